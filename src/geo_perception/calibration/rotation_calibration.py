"""Rotation self-calibration: the focal length from a turn of the camera, by geometry alone, without a network.

A camera that turns about its centre moves every point x of its image to K R K^-1 x, whatever the scene. A wide lens
and a long one shape that motion differently, so tracked points give the focal length and the rotation at once (Hartley,
"Self-calibration from multiple views with a rotating camera", 1994; here f alone is unknown, and f and R are fitted
together). A camera that also moves sees near things pass far ones. No rotation fits that, and nothing is measured.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from geo_perception.filtering.feature_tracker import find_corners, track_features

WIDTH_PX = 480  # images are tracked at this width
MAX_POINTS, MIN_POINTS = 250, 40
MIN_TURN_RAD = 0.10  # less changes the motion by less than noise
MEASURE_AT = 0.22  # of the width: how far points have moved when a pair is measured
MAX_RESIDUAL_PX, MIN_INLIERS = 0.8, 0.75
MAX_SIGMA = 0.15  # of the log focal length
SIGMA_FLOOR, INFLATION = 0.02, 2.0  # lenses are not pinholes, and tracks of one pair err together
_STARTS = (0.5, 1.0, 2.0)  # focal lengths, in widths


@dataclass(frozen=True)
class RotationMeasurement:
    """The focal length in pixels of the image as it came, the standard deviation of its logarithm, and the turn."""

    focal_px: float
    sigma_log_focal: float
    turn_rad: float


class RotationSelfCalibration:
    """Tracks points from image to image, and measures the focal length when a rotation has moved them far enough."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._grey: np.ndarray | None = None
        self._size: tuple[int, int] | None = None
        self._first_n2 = self._now_n2 = np.zeros((0, 2), np.float32)

    def update(self, image_hw3: np.ndarray) -> RotationMeasurement | None:
        """The next image (RGB uint8); a measurement where the rotation since an earlier one gives the focal length."""
        height_px, width_px = image_hw3.shape[:2]
        shrink = min(1.0, WIDTH_PX / width_px)
        size = max(round(width_px * shrink), 16), max(round(height_px * shrink), 16)
        grey = cv2.cvtColor(cv2.resize(image_hw3, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
        if self._grey is None or size != self._size:
            self._begin(grey, size)
            return None
        now_n2, kept_n = track_features(self._grey, grey, self._now_n2)
        self._first_n2, self._now_n2, self._grey = self._first_n2[kept_n], now_n2[kept_n], grey
        if len(self._now_n2) < MIN_POINTS:
            self._begin(grey, size)
            return None
        moved_px = float(np.median(np.linalg.norm(self._now_n2 - self._first_n2, axis=1)))
        if moved_px < MEASURE_AT * size[0]:
            return None
        centre_2 = (np.array(size) - 1) / 2
        found = focal_from_rotation(self._first_n2 - centre_2, self._now_n2 - centre_2, size[0])
        self._begin(grey, size)
        if found is None:
            return None
        focal_px, sigma, turn_rad = found
        return RotationMeasurement(focal_px * width_px / size[0], sigma, turn_rad)

    def _begin(self, grey: np.ndarray, size: tuple[int, int]) -> None:
        self._first_n2 = find_corners(grey, MAX_POINTS, 8)
        self._now_n2, self._grey, self._size = self._first_n2.copy(), grey, size


def focal_from_rotation(
    before_n2: np.ndarray, after_n2: np.ndarray, width_px: float
) -> tuple[float, float, float] | None:
    """Focal length (pixels), standard deviation of its logarithm, and angle of the turn, from points (N, 2) relative to
    the principal point before and after it. None where no turn explains them, or the turn is too small."""
    fits = [_fit(before_n2, after_n2, start * width_px) for start in _STARTS]
    best = min(fits, key=lambda fit: fit.cost)
    residual_n2 = _residual(best.x, before_n2, after_n2).reshape(-1, 2)
    distance_n = np.linalg.norm(residual_n2, axis=1)
    inlier_n = distance_n < 3 * MAX_RESIDUAL_PX
    if inlier_n.mean() < MIN_INLIERS or inlier_n.sum() < MIN_POINTS:
        return None
    best = _fit(before_n2[inlier_n], after_n2[inlier_n], float(np.exp(best.x[0])), best.x[1:])
    residual_n2 = _residual(best.x, before_n2[inlier_n], after_n2[inlier_n]).reshape(-1, 2)
    rms_px = float(np.sqrt(np.mean(residual_n2**2)))
    turn_rad = float(np.linalg.norm(best.x[1:]))
    if rms_px > MAX_RESIDUAL_PX or turn_rad < MIN_TURN_RAD:
        return None
    information_44 = best.jac.T @ best.jac / max(rms_px, 0.05) ** 2
    try:
        variance = float(np.linalg.inv(information_44)[0, 0])
    except np.linalg.LinAlgError:
        return None
    sigma = float(np.hypot(INFLATION * np.sqrt(variance), SIGMA_FLOOR)) if variance > 0 else np.inf
    return (float(np.exp(best.x[0])), sigma, turn_rad) if sigma < MAX_SIGMA else None


def _fit(before_n2, after_n2, start_px: float, rotation_3=None):
    """Least squares over (log f, rotation vector), robust against wrong tracks."""
    if rotation_3 is None:  # the turn that moves the middle as the points moved
        shift_2 = np.median(after_n2 - before_n2, axis=0)
        rotation_3 = np.array([-shift_2[1], shift_2[0], 0.0]) / start_px
    start_4 = np.concatenate([[np.log(start_px)], rotation_3])
    return least_squares(_residual, start_4, args=(before_n2, after_n2), loss="soft_l1", f_scale=0.5, max_nfev=40)


def _residual(x_4: np.ndarray, before_n2: np.ndarray, after_n2: np.ndarray) -> np.ndarray:
    focal_px = np.exp(np.clip(x_4[0], 0.0, 12.0))
    rays_n3 = np.column_stack([before_n2 / focal_px, np.ones(len(before_n2))])
    turned_n3 = rays_n3 @ Rotation.from_rotvec(x_4[1:]).as_matrix().T
    ahead_n = np.maximum(turned_n3[:, 2], 0.05)
    return (focal_px * turned_n3[:, :2] / ahead_n[:, None] - after_n2).ravel()
