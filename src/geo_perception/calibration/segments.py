"""Straight segments of an image, in the units of the perspective fields."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from geo_perception.calibration.lens import LEAST_SHRINK
from geo_perception.calibration.scale import image_scale

AREA_PX = 640 * 480  # larger images are shrunk to it
MIN_LENGTH_PX = 20.0  # what is shorter points nowhere in particular
MOST = 250  # the longest
# Across, of a segment's end: half of what LSD misses by on rendered edges, since what is far is no edge of one thing.
SIGMA_PX = 0.7


@dataclass(frozen=True)
class Segments:
    """S straight segments, pixels from the principal point divided by `image_scale`: `middle_s2`, unit `along_s2`,
    `half_length_s`; `sigma_rad_s` is how exactly each points where it does."""

    middle_s2: np.ndarray
    along_s2: np.ndarray
    half_length_s: np.ndarray
    sigma_rad_s: np.ndarray

    def __len__(self) -> int:
        return len(self.half_length_s)

    def straightened(self, bend: float) -> Segments:
        """As a camera without distortion would have taken them, where this one's lens takes r for r / (1 + bend r^2)
        (Fitzgibbon, "Simultaneous linear estimation of multiple view geometry and lens distortion", 2001)."""
        if bend == 0:
            return self
        middle_s2, along_s2 = self.middle_s2, self.along_s2
        # A strong bend has no answer far out in a wide image.
        factor_s1 = 1 / np.maximum(1 + bend * (middle_s2**2).sum(axis=1, keepdims=True), LEAST_SHRINK)
        outward_s1 = (middle_s2 * along_s2).sum(axis=1, keepdims=True)
        turned_s2 = along_s2 * factor_s1 - 2 * bend * factor_s1**2 * outward_s1 * middle_s2
        stretch_s = np.linalg.norm(turned_s2, axis=1)
        half_s = self.half_length_s * stretch_s
        return Segments(middle_s2 * factor_s1, turned_s2 / stretch_s[:, None], half_s, self.sigma_rad_s)


def segments_of(ends_s4: np.ndarray, sigma: float) -> Segments:
    """Of segments by their ends (x, y, x, y), in the units above, each end known across to within `sigma`."""
    ends_s4 = np.asarray(ends_s4, np.float64).reshape(-1, 4)
    first_s2, last_s2 = ends_s4[:, :2], ends_s4[:, 2:]
    length_s = np.maximum(np.linalg.norm(last_s2 - first_s2, axis=1), 1e-12)
    half_s = length_s / 2
    return Segments((first_s2 + last_s2) / 2, (last_s2 - first_s2) / length_s[:, None], half_s, sigma / half_s)


def find_segments(image_hw3: np.ndarray) -> Segments:
    """The longest straight segments of an RGB image (von Gioi et al., "LSD: a line segment detector", 2012), the
    principal point in its centre."""
    grey_hw = cv2.cvtColor(image_hw3, cv2.COLOR_RGB2GRAY)
    height_px, width_px = grey_hw.shape
    shrink = min(1.0, (AREA_PX / (height_px * width_px)) ** 0.5)
    if shrink < 1:
        size = max(round(width_px * shrink), 1), max(round(height_px * shrink), 1)
        grey_hw = cv2.resize(grey_hw, size, interpolation=cv2.INTER_AREA)
    found = cv2.createLineSegmentDetector().detect(grey_hw)[0]
    height_px, width_px = grey_hw.shape
    ends_s4 = np.zeros((0, 4)) if found is None else np.asarray(found, np.float64).reshape(-1, 4)
    length_s = np.linalg.norm(ends_s4[:, 2:] - ends_s4[:, :2], axis=1)
    longest = np.argsort(-length_s, kind="stable")[:MOST]
    longest = longest[length_s[longest] >= MIN_LENGTH_PX]
    scale = image_scale(height_px, width_px)
    centre_2 = np.array([(width_px - 1) / 2, (height_px - 1) / 2])
    return segments_of((ends_s4[longest] - np.tile(centre_2, 2)) / scale, SIGMA_PX / scale)


NO_SEGMENTS = segments_of(np.zeros((0, 4)), 1.0)
