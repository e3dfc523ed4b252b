"""Depth by a network that somebody else trained, whatever runs it: what its card says, done."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from geo_perception.depth.card import DepthCard
from geo_perception.depth.estimator import MAX_ASPECT, DepthEstimator
from geo_perception.depth.point_map import depth_of_points
from geo_perception.errors import InputError
from geo_perception.geometry import Camera
from geo_perception.runtime.image import network_size

_NEAREST_SHARE = 0.01  # of what is nearest, in inverse depth: what is farther than that is as far
_FARTHEST_LOG = 20.0
_SEEN = 0.5  # of a mask


class CardDepthEstimator(DepthEstimator):
    """As `DepthEstimator`, by a network with a card. Nothing is said of its errors: such networks do not tell, or
    were not checked.

    Metric networks give metres, as far as they are right; others up to a factor. An inverse depth with an unknown shift
    (`disparity`) is taken for one without.
    """

    def __init__(self, card: DepthCard, device: torch.device):
        # What DepthEstimator has of a network of its own is not there: its methods that need it are replaced below.
        self.card, self.device, self.sigma_scale = card, device, None
        self.metric, self.shift_unknown = card.metric, card.output == "disparity"
        self.area_px = card.area_px or int(np.prod(card.size_px))
        self.header, self.size_bytes = {"licence": card.licence, "network": card.name}, 0
        self._resamplers = {}

    def save(self, path: str | Path, metadata: dict[str, Any]) -> None:
        """Raises InputError: a network of somebody else is kept as it came."""
        raise InputError(
            f"a network of somebody else is not written as weights; copy its file instead of making {path}"
        )

    @abstractmethod
    def _answers(self, view_hw3: np.ndarray) -> tuple[np.ndarray, np.ndarray | None, np.float32]:
        """The output (H, W), or (H, W, 3) where it is points; where it is seen (H, W) or None; the scale or 1."""

    def _map_size(self, width_px: int, height_px: int) -> tuple[int, int]:
        card = self.card
        if card.size_px is not None:
            return card.size_px[0], card.size_px[1]
        return network_size(width_px, height_px, self.area_px // self._shrink, card.multiple_px, MAX_ASPECT)

    @property
    def _takes_any_size(self) -> bool:
        return self.card.size_px is None

    @property
    def _canonical_focal_px(self) -> float | None:
        return self.card.canonical_focal_px

    def _prepared(self, view_hw3: np.ndarray) -> np.ndarray:
        """The image as the network takes it, float32 (1, 3, H, W)."""
        card = self.card
        mean_3, std_3 = np.array(card.mean, np.float32), np.array(card.std, np.float32)
        image_hw3 = (view_hw3.astype(np.float32) * np.float32(card.range / 255.0) - mean_3) / std_3
        return np.ascontiguousarray(image_hw3.transpose(2, 0, 1)[None])

    def _run(self, view_hw3: np.ndarray, camera: Camera | None) -> tuple[np.ndarray, None]:
        """Depth, float32 (H, W) of the view."""
        answer, mask_hw, scale = self._answers(view_hw3)
        size_px = view_hw3.shape[1], view_hw3.shape[0]
        if self.card.output == "points":
            seen_by = camera and camera.resized(answer.shape[1], answer.shape[0])
            depth_hw = depth_of_points(answer, None if mask_hw is None else mask_hw > _SEEN, seen_by)
            if depth_hw.shape != size_px[::-1]:
                depth_hw = cv2.resize(depth_hw, size_px, interpolation=cv2.INTER_LINEAR)
            return depth_hw * scale, None
        if answer.shape != size_px[::-1]:
            answer = cv2.resize(answer, size_px, interpolation=cv2.INTER_LINEAR)
        depth_hw = depth_of(answer, self.card.output)
        if mask_hw is not None:
            seen_hw = cv2.resize(mask_hw, size_px, interpolation=cv2.INTER_LINEAR) > _SEEN
            depth_hw = np.where(seen_hw, depth_hw, np.float32(np.nan))
        return depth_hw * scale, None


def depth_of(output_hw: np.ndarray, kind: str) -> np.ndarray:
    """Depth, float32 (H, W), from what a network gives (`DepthCard.output`); NaN where that means none."""
    if kind == "log_depth":
        return np.exp(np.clip(output_hw, -_FARTHEST_LOG, _FARTHEST_LOG))
    valid_hw = np.isfinite(output_hw) & (output_hw > 0)
    if kind == "depth":
        return np.where(valid_hw, output_hw, np.float32(np.nan))
    if not valid_hw.any():
        return np.full_like(output_hw, np.nan)
    least = np.float32(_NEAREST_SHARE * float(np.percentile(output_hw[valid_hw], 98)))
    # What a network puts at infinity is far, and not unknown.
    return np.where(np.isfinite(output_hw), 1 / np.maximum(np.nan_to_num(output_hw), least), np.float32(np.nan))
