"""Depth by any network that somebody else trained: an ONNX file with a card (card.py), run by ONNX Runtime."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from geo_perception.depth.card import DepthCard, card_beside, card_of
from geo_perception.depth.estimator import MAX_ASPECT, DepthEstimator
from geo_perception.depth.point_map import depth_of_points
from geo_perception.errors import InputError
from geo_perception.geometry import Camera
from geo_perception.runtime.device import pick_device
from geo_perception.runtime.image import network_size

SUFFIX = ".onnx"
_NEAREST_SHARE = 0.01  # of what is nearest, in inverse depth: what is farther than that is as far
_FARTHEST_LOG = 20.0
_SEEN = 0.5  # of a mask


class OnnxDepthEstimator(DepthEstimator):
    """As `DepthEstimator`, by an ONNX file. Nothing is said of its errors: such networks do not tell, or
    were not checked.

    Metric networks give metres, as far as they are right; others up to a factor. An inverse depth with an unknown shift
    (`disparity`) is taken for one without.
    """

    def __init__(self, session: Any, card: DepthCard, device: torch.device):
        # What DepthEstimator has of a network of its own is not there: its methods that need it are replaced below.
        self.card, self.device, self.sigma_scale = card, device, None
        self.metric, self.shift_unknown = card.metric, card.output == "disparity"
        self.area_px = card.area_px or int(np.prod(card.size_px))
        self.header, self.size_bytes = {"licence": card.licence, "network": card.name}, 0
        self._session, self._resamplers = session, {}
        given = session.get_inputs()
        self._images = [one for one in given if one.name not in card.inputs]
        self._others = {one.name: _constant(one, card.inputs[one.name]) for one in given if one.name in card.inputs}
        self._outputs = _outputs_of(session, card)

    @classmethod
    def load(cls, path: str | Path | None = None, device: str = "auto") -> OnnxDepthEstimator:
        """Reads an ONNX file and its card. Raises InputError when either, ONNX Runtime or the device cannot be used, or
        when the network does not take and give what the card says."""
        if path is None:
            raise InputError("no ONNX file is given; name one")
        path, chosen = Path(path), pick_device(device)
        if not path.is_file():
            raise InputError(f"{path} is not there; check the path")
        card = card_of(path)
        session = _session(path, chosen)
        try:
            estimator = cls(session, card, chosen)
            estimator._try()
        except InputError as problem:
            raise InputError(f"{path}: {problem}") from None
        estimator.size_bytes = path.stat().st_size
        return estimator

    def save(self, path: str | Path, metadata: dict[str, Any]) -> None:
        """Raises InputError: a network of somebody else is kept as it came."""
        raise InputError(f"a network by ONNX is not written as weights; copy its file instead of making {path}")

    def _try(self) -> None:
        """Runs once. Raises InputError when the network and the card do not belong together."""
        if len(self._images) != 1:
            names = ", ".join(one.name for one in self._images)
            raise InputError(
                f"it takes {len(self._images)} inputs ({names}); only networks of one image can be used, with numbers "
                "for the others (inputs in its card)"
            )
        width_px, height_px = self._map_size(4, 3)
        asked, given = [1, 3, height_px, width_px], self._images[0].shape
        fits = len(given) == 4 and all(
            isinstance(b, str) or b is None or a == b for a, b in zip(asked, given, strict=True)
        )
        if not fits:
            raise InputError(f"it takes images of {given}, its card says {asked}; mend the card")
        answer, *_ = self._answers(np.zeros((height_px, width_px, 3), np.uint8))
        if not np.isfinite(answer).any():
            raise InputError("it gives nothing but invalid numbers; mend range, mean and std of its card")

    def _map_size(self, width_px: int, height_px: int) -> tuple[int, int]:
        card = self.card
        if card.size_px is not None:
            return card.size_px[0], card.size_px[1]
        return network_size(width_px, height_px, self.area_px, card.multiple_px, MAX_ASPECT)

    @property
    def _canonical_focal_px(self) -> float | None:
        return self.card.canonical_focal_px

    def _run(self, view_hw3: np.ndarray, camera: Camera | None) -> tuple[np.ndarray, None]:
        """Depth, float32 (H, W) of the view."""
        answer, mask_hw, scale = self._answers(view_hw3)
        size_px = view_hw3.shape[1], view_hw3.shape[0]
        if self.card.output == "points":
            seen_by = camera and camera.resized(answer.shape[1], answer.shape[0])
            depth_hw = depth_of_points(answer, None if mask_hw is None else mask_hw > _SEEN, seen_by)
            if depth_hw.shape != size_px[::-1]:
                depth_hw = cv2.resize(depth_hw, size_px, interpolation=cv2.INTER_LINEAR)
        else:
            if answer.shape != size_px[::-1]:
                answer = cv2.resize(answer, size_px, interpolation=cv2.INTER_LINEAR)
            depth_hw = depth_of(answer, self.card.output)
            if mask_hw is not None:
                seen_hw = cv2.resize(mask_hw, size_px, interpolation=cv2.INTER_LINEAR) > _SEEN
                depth_hw = np.where(seen_hw, depth_hw, np.float32(np.nan))
        return depth_hw * scale, None

    def _answers(self, view_hw3: np.ndarray) -> tuple[np.ndarray, np.ndarray | None, np.float32]:
        """The output (H, W), or (H, W, 3) where it is points; where it is seen (H, W) or None; the scale or 1."""
        card = self.card
        mean_3, std_3 = np.array(card.mean, np.float32), np.array(card.std, np.float32)
        image_hw3 = (view_hw3.astype(np.float32) * np.float32(card.range / 255.0) - mean_3) / std_3
        image_b3hw = np.ascontiguousarray(image_hw3.transpose(2, 0, 1)[None])
        try:  # tried when it was loaded; later it fails where memory is gone
            given = self._session.run(self._outputs, {self._images[0].name: image_b3hw, **self._others})
        except Exception as problem:  # ONNX Runtime has a class for each kind, and no common one
            raise InputError(f"it cannot be run ({' '.join(str(problem).split())[:200]}); export it again") from None
        by_name = {name: np.asarray(value, np.float32) for name, value in zip(self._outputs, given, strict=True)}
        answer = by_name[self._outputs[0]].squeeze()
        if card.output == "points":
            answer = np.moveaxis(answer, 0, -1) if answer.ndim == 3 and answer.shape[-1] != 3 else answer
        if answer.ndim != (3 if card.output == "points" else 2) or (answer.ndim == 3 and answer.shape[2] != 3):
            shape, wanted = list(by_name[self._outputs[0]].shape), "points" if card.output == "points" else "one map"
            raise InputError(f"its output '{self._outputs[0]}' is of the shape {shape}, not {wanted}; name another")
        mask_hw = by_name[card.mask_name].squeeze() if card.mask_name else None
        if mask_hw is not None and mask_hw.shape != answer.shape[:2]:
            raise InputError(f"its mask '{card.mask_name}' is of the shape {list(mask_hw.shape)}, not of its answer's")
        scale = by_name[card.scale_name].ravel() if card.scale_name else np.ones(1, np.float32)
        if len(scale) != 1:
            raise InputError(f"its output '{card.scale_name}' is not one number; mend scale_name in its card")
        return answer, mask_hw, scale[0]


def load_depth_estimator(path: str | Path | None = None, device: str = "auto") -> DepthEstimator:
    """By weights of this package (the reference ones where none are given), or by an ONNX file.

    Raises InputError as their `load` do.
    """
    by_onnx = path is not None and Path(path).suffix.lower() == SUFFIX
    return OnnxDepthEstimator.load(path, device) if by_onnx else DepthEstimator.load(path, device)


def model_files(path: str | Path) -> list[Path]:
    """The files that decide what a network says: its own, those with its tensors, and the card that somebody wrote."""
    path = Path(path)
    if path.suffix.lower() != SUFFIX:
        return [path]
    outside = [path.with_name(path.name + ".data"), path.with_name(path.name + "_data")]  # tensors of large networks
    return [path, *(file for file in (*outside, card_beside(path)) if file is not None and file.is_file())]


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


def _outputs_of(session: Any, card: DepthCard) -> list[str]:
    """The outputs that a card names, that of depth first. Raises InputError where one is not there."""
    names = [output.name for output in session.get_outputs()]
    for key in ("output_name", "mask_name", "scale_name"):
        wanted = getattr(card, key)
        if wanted and wanted not in names:
            raise InputError(f"it gives {', '.join(names)}, not '{wanted}'; mend {key} in its card")
    return [card.output_name or names[0], *(name for name in (card.mask_name, card.scale_name) if name)]


def _constant(given: Any, value: float) -> np.ndarray:
    """A number as an input of the network takes it."""
    shape = [side if isinstance(side, int) else 1 for side in given.shape]
    return np.full(shape, value, np.int64 if given.type == "tensor(int64)" else np.float32)


def _session(path: Path, device: torch.device) -> Any:
    try:
        runtime: Any = importlib.import_module("onnxruntime")  # optional
    except ImportError:
        raise InputError(f"{path} needs ONNX Runtime; run `pip install onnxruntime`") from None
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    wanted = ["CUDAExecutionProvider"] if device.type == "cuda" else []
    providers = [name for name in [*wanted, "CPUExecutionProvider"] if name in runtime.get_available_providers()]
    try:
        return runtime.InferenceSession(str(path), options, providers=providers)
    except Exception as problem:  # as above
        raise InputError(
            f"{path} is no ONNX file that can be run ({' '.join(str(problem).split())[:200]}); export it again"
        ) from None
