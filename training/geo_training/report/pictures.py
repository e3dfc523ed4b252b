"""Pictures for a page: an image in its size on the page, its pixels there, and its bytes inside the page."""

from __future__ import annotations

import base64

import cv2
import numpy as np

_JPEG_QUALITY = 80


def resized_canvas(image_hw3: np.ndarray, longest_px: int) -> tuple[np.ndarray, float]:
    """A copy (H, W, 3) of the image to draw on, its longer side `longest_px`, and the scale from the image to it."""
    height_px, width_px = image_hw3.shape[:2]
    scale = longest_px / max(height_px, width_px)
    size = max(1, round(width_px * scale)), max(1, round(height_px * scale))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.ascontiguousarray(cv2.resize(image_hw3, size, interpolation=method)), scale


def canvas_pixel(pixel_2: np.ndarray, scale: float) -> tuple[int, int]:
    """A pixel (OpenCV) of the image as a pixel of its canvas."""
    return round(float((pixel_2[0] + 0.5) * scale - 0.5)), round(float((pixel_2[1] + 0.5) * scale - 0.5))


def as_data_url(image_hw3: np.ndarray) -> str:
    """The RGB picture as a JPEG inside a data: address."""
    written, buffer = cv2.imencode(
        ".jpg", cv2.cvtColor(image_hw3, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    )
    if not written:
        raise RuntimeError("the picture cannot be encoded as JPEG")
    return "data:image/jpeg;base64," + base64.b64encode(buffer).decode("ascii")
