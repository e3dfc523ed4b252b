"""What an image must be before a network looks at it."""

from __future__ import annotations

import cv2
import numpy as np

_MAX_SIDE_PX = 1 << 15  # from here on OpenCV cannot resample


def image_problem(image_hw3, min_side_px: int) -> str:
    """Why this cannot be an image (RGB uint8, H x W x 3); empty when it can."""
    if not isinstance(image_hw3, np.ndarray) or image_hw3.dtype != np.uint8:
        return "it is not an array of uint8"
    if image_hw3.ndim != 3 or image_hw3.shape[2] != 3:
        return f"its shape is {image_hw3.shape}, not (height, width, 3)"
    if min(image_hw3.shape[:2]) < min_side_px:
        return f"it has only {image_hw3.shape[1]} x {image_hw3.shape[0]} pixels"
    if max(image_hw3.shape[:2]) >= _MAX_SIDE_PX:
        return f"it has {image_hw3.shape[1]} x {image_hw3.shape[0]} pixels, more than can be resampled"
    return ""


def network_size(width_px: int, height_px: int, area_px: int, multiple_px: int, max_aspect: float) -> tuple[int, int]:
    """(width, height) at which a network looks at an image of this size: about the same area for every format up to
    1 to `max_aspect`, sides multiples of `multiple_px`."""
    aspect = float(np.clip(width_px / height_px, 1 / max_aspect, max_aspect))
    sides = np.sqrt(area_px * aspect), np.sqrt(area_px / aspect)
    return tuple(int(max(1, round(side / multiple_px))) * multiple_px for side in sides)


def resized(image_hw3: np.ndarray, size_px: tuple[int, int]) -> np.ndarray:
    """The image at (width, height): averaged where it shrinks, interpolated where it grows."""
    shrinks = size_px[0] < image_hw3.shape[1] or size_px[1] < image_hw3.shape[0]
    return cv2.resize(image_hw3, size_px, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
