"""A localization drawn on its image."""

from __future__ import annotations

import cv2
import numpy as np

from geo_perception.drawing import drawing_scale, write_caption
from geo_perception.localization.result import Localization

INLIER_RGB = (40, 220, 90)
OUTLIER_RGB = (235, 60, 50)


def draw_localization(image_hw3: np.ndarray, result: Localization) -> np.ndarray:
    """A copy of the image (RGB uint8, H x W x 3) with every detection as a circle of its expected error, green where
    the pose agrees with it and red where not, and the verdict in words along the bottom."""
    canvas = np.ascontiguousarray(image_hw3).copy()
    scale = drawing_scale(canvas)
    thickness_px = max(round(scale), 1)
    found = result.detections
    for pixel_2, sigma_px, inlier in zip(found.pixels_n2, found.sigma_px_n, found.inlier_n, strict=True):
        if not np.isfinite(pixel_2).all() or np.abs(pixel_2).max() > 1 << 15:
            continue
        color = INLIER_RGB if inlier else OUTLIER_RGB
        center = tuple(round(float(value)) for value in pixel_2)
        radius_px = int(np.clip(np.nan_to_num(sigma_px), 3 * scale, 30 * scale))
        cv2.circle(canvas, center, radius_px, color, thickness_px, cv2.LINE_AA)
        cv2.circle(canvas, center, max(round(scale), 1), color, -1, cv2.LINE_AA)
    write_caption(canvas, f"{result.verdict.value}: {result.detail}" if result.detail else result.verdict.value)
    return canvas
