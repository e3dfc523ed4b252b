"""Depth as a picture for people."""

from __future__ import annotations

import cv2
import numpy as np

from geo_perception.errors import InputError
from geo_perception.runtime.image import resized

UNKNOWN_RGB = (110, 110, 110)
_PERCENTILES = (2.0, 98.0)  # a few wild depths do not take the colours of all others


def draw_depth(depth_hw: np.ndarray, view_hw3: np.ndarray | None = None) -> np.ndarray:
    """A depth map (H x W, any unit) in colours, uint8 RGB: near is bright and warm, far is dark, unknown is grey.

    The colours are even in 1 / depth, between its 2nd and 98th percentile. With a view (RGB uint8) it stands to the
    left, made as high as the map, and the picture is that much wider. Raises InputError when the map is not H x W or
    the view not H x W x 3.
    """
    depth_hw = np.asarray(depth_hw)
    if depth_hw.ndim != 2 or depth_hw.size == 0:
        raise InputError(f"a depth map of shape {depth_hw.shape} cannot be drawn; give height x width")
    known_hw = np.isfinite(depth_hw) & (depth_hw > 0)
    picture_hw3 = np.full((*depth_hw.shape, 3), UNKNOWN_RGB, np.uint8)
    if known_hw.any():
        near_n = 1 / depth_hw[known_hw].astype(np.float64)
        low, high = np.percentile(near_n, _PERCENTILES)
        share_n = (near_n - low) / (high - low) if high > low * (1 + 1e-6) else np.full(len(near_n), 0.5)
        level_n = np.rint(255 * np.clip(share_n, 0, 1)).astype(np.uint8)
        picture_hw3[known_hw] = cv2.applyColorMap(level_n[:, None], cv2.COLORMAP_INFERNO)[:, 0, ::-1]
    if view_hw3 is None:
        return picture_hw3
    if view_hw3.ndim != 3 or view_hw3.shape[2] != 3 or view_hw3.size == 0:
        raise InputError(f"a view of shape {view_hw3.shape} cannot be drawn; give height x width x 3")
    height_px = depth_hw.shape[0]
    width_px = max(round(view_hw3.shape[1] * height_px / view_hw3.shape[0]), 1)
    return np.concatenate([resized(view_hw3, (width_px, height_px)), picture_hw3], axis=1)
