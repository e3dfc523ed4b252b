"""How alike two images of a sequence are, by normalized cross-correlation (NCC): a camera that stands still repeats
its errors."""

from __future__ import annotations

import cv2
import numpy as np

THUMBNAIL_PX = (32, 24)  # large enough to see a turn of a few degrees, small enough to average sensor noise away
SAME_VIEW = 0.995  # what noise and compression alone leave


class ViewChange:
    """Compares each image with the one before it. A view that stands still is compared with the first image of it, so
    that sensor noise does not add up to a change and a slow turn does."""

    def __init__(self):
        self._thumbnail: np.ndarray | None = None

    def reset(self) -> None:
        self._thumbnail = None

    def ncc(self, image_hw3: np.ndarray) -> float:
        """The NCC of this image (RGB uint8, H x W x 3) with the one before, from 0 (nothing alike) to 1.

        0 for the first image. Brightness and contrast do not matter.
        """
        grey = cv2.cvtColor(cv2.resize(image_hw3, THUMBNAIL_PX, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
        thumbnail = grey.astype(np.float64).ravel()
        thumbnail -= thumbnail.mean()
        thumbnail /= max(float(np.linalg.norm(thumbnail)), 1e-9)
        before = self._thumbnail
        if before is None:
            self._thumbnail = thumbnail
            return 0.0
        alike = float(thumbnail @ before)
        if alike >= SAME_VIEW:
            return 1.0
        self._thumbnail = thumbnail
        return max(alike, 0.0)
