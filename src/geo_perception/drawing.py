"""What every overlay is drawn with: a scale for its lines, and one line of text along the bottom."""

from __future__ import annotations

import cv2
import numpy as np

_SMALLEST_SIDE_PX = 480  # at which a line is one pixel wide


def drawing_scale(image_hw3: np.ndarray) -> float:
    """How many times thicker than one pixel a line should be in this image."""
    return max(min(image_hw3.shape[:2]) / _SMALLEST_SIDE_PX, 0.4)


def write_caption(canvas_hw3: np.ndarray, text: str) -> None:
    """Writes one line of text into the image along its bottom edge, on a dark band; smaller where it would not fit."""
    height_px, width_px = canvas_hw3.shape[:2]
    scale = drawing_scale(canvas_hw3)
    font, thickness_px = cv2.FONT_HERSHEY_SIMPLEX, max(round(scale), 1)
    font_scale = 0.5 * scale
    (text_px, _), _ = cv2.getTextSize(text, font, font_scale, thickness_px)
    font_scale *= min(1.0, 0.96 * width_px / max(text_px, 1))
    (_, tall_px), below_px = cv2.getTextSize(text, font, font_scale, thickness_px)
    band_px = min(tall_px + below_px + 2 * thickness_px, height_px)
    canvas_hw3[height_px - band_px :] //= 3
    at = (round(0.02 * width_px), height_px - below_px - thickness_px)
    cv2.putText(canvas_hw3, text, at, font, font_scale, (255, 255, 255), thickness_px, cv2.LINE_AA)
