"""Image files of one grey."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np


def write_image(path: Path, grey: int = 90, size_px: tuple[int, int] = (64, 48)) -> Path:
    """Writes an image of three channels in the format of its suffix, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((size_px[1], size_px[0], 3), grey, np.uint8))
    return path
