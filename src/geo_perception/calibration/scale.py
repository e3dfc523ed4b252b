"""The unit in which images of any size are alike."""

from __future__ import annotations


def image_scale(height_px: int, width_px: int) -> float:
    """The length that focal lengths and pixels are divided by: half the side of a square of the image's area."""
    return (height_px * width_px) ** 0.5 / 2
