"""Of a stream of images, the sharpest of each interval."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

# Wide enough to see motion blur of a few pixels, small enough that noise and compression do not count as detail.
MEASURED_WIDTH_PX = 320


def sharpness(image_rgb: np.ndarray) -> float:
    """Variance of the Laplacian of the grey image (H, W, 3), reduced to at most 320 pixels across. Larger is sharper.

    It compares images of one scene; between scenes it says little.
    """
    grey = cv2.cvtColor(image_rgb, cv2.COLOR_RGB2GRAY)
    height, width = grey.shape
    if width > MEASURED_WIDTH_PX:
        size = (MEASURED_WIDTH_PX, max(1, round(height * MEASURED_WIDTH_PX / width)))
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    return float(cv2.Laplacian(grey, cv2.CV_32F).var())


@dataclass(frozen=True)
class TimedImage:
    stamp_ns: int
    image_rgb: np.ndarray


class SharpestPerInterval:
    """Keeps one image at a time. `offer` returns the best of an interval once the next has begun, `finish` the last.

    `fps` is the number of intervals a second, counted from the first stamp; 0 keeps every image. A clock that jumps
    back begins a new interval.
    """

    def __init__(self, fps: float):
        self._fps = fps
        self._first_ns: int | None = None
        self._interval: int | None = None
        self._best: TimedImage | None = None
        self._best_sharpness: float | None = None

    def offer(self, stamp_ns: int, image_rgb: np.ndarray) -> TimedImage | None:
        candidate = TimedImage(stamp_ns, image_rgb)
        if self._fps <= 0:
            return candidate
        if self._first_ns is None:
            self._first_ns = stamp_ns
        # A millionth of an interval: stamps of an exact rate must not fall to either side by rounding.
        interval = int(np.floor((stamp_ns - self._first_ns) * self._fps * 1e-9 + 1e-6))
        if interval != self._interval:
            finished, self._best, self._best_sharpness = self._best, candidate, None
            self._interval = interval
            return finished
        if self._best_sharpness is None:
            self._best_sharpness = sharpness(self._best.image_rgb)
        found = sharpness(image_rgb)
        if found > self._best_sharpness:
            self._best, self._best_sharpness = candidate, found
        return None

    def finish(self) -> TimedImage | None:
        finished, self._best = self._best, None
        return finished
