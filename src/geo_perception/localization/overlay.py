"""A localization drawn on its image."""

from __future__ import annotations

import cv2
import numpy as np

from geo_perception.localization.result import Localization

INLIER_RGB = (40, 220, 90)
OUTLIER_RGB = (235, 60, 50)
_SMALLEST_SIDE_PX = 480  # at which a line is one pixel wide


def draw_localization(image_hw3: np.ndarray, result: Localization) -> np.ndarray:
    """A copy of the image (RGB uint8, H x W x 3) with every detection as a circle of its expected error, green where
    the pose agrees with it and red where not, and the verdict in words along the bottom."""
    canvas = np.ascontiguousarray(image_hw3).copy()
    height_px, width_px = canvas.shape[:2]
    scale = max(min(height_px, width_px) / _SMALLEST_SIDE_PX, 0.4)
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
    _write(canvas, f"{result.verdict.value}: {result.detail}" if result.detail else result.verdict.value, scale)
    return canvas


def _write(canvas: np.ndarray, text: str, scale: float) -> None:
    """One line of text along the bottom edge, on a dark band; smaller where it would not fit."""
    height_px, width_px = canvas.shape[:2]
    font, thickness_px = cv2.FONT_HERSHEY_SIMPLEX, max(round(scale), 1)
    font_scale = 0.5 * scale
    (text_px, _), _ = cv2.getTextSize(text, font, font_scale, thickness_px)
    font_scale *= min(1.0, 0.96 * width_px / max(text_px, 1))
    (_, tall_px), below_px = cv2.getTextSize(text, font, font_scale, thickness_px)
    band_px = min(tall_px + below_px + 2 * thickness_px, height_px)
    canvas[height_px - band_px :] //= 3
    at = (round(0.02 * width_px), height_px - below_px - thickness_px)
    cv2.putText(canvas, text, at, font, font_scale, (255, 255, 255), thickness_px, cv2.LINE_AA)
