"""A pose from bearings: directions of known points, in front of the camera or not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import poselib
from scipy.optimize import least_squares

from geo_perception.geometry import make_pose, so3_exp

MIN_BEARINGS = 4
_ITERATIONS = 500
_MAX_SIGMAS = 3.0  # beyond which a bearing does not agree with a pose
_HUBER_SIGMAS = 1.5


@dataclass(frozen=True)
class BearingPose:
    """T_map_camera, which of the bearings agree with it, and the covariance of (x, y, z, rotation) in the convention of
    `Localization.covariance_66`."""

    T_map_camera: np.ndarray
    inlier_n: np.ndarray
    covariance_66: np.ndarray


def solve_bearings(
    bearings_n3: np.ndarray, points_map_n3: np.ndarray, sigma_rad_n: np.ndarray, seed: int = 0
) -> BearingPose | None:
    """The pose on which most bearings agree (P3P in RANSAC, then a robust refinement of all); None where fewer than
    four do."""
    count = len(bearings_n3)
    if count < MIN_BEARINGS:
        return None
    rng, best = np.random.default_rng(seed), None
    # Exact bearings are drawn more often than rough ones.
    share_n = sigma_rad_n**-2 / (sigma_rad_n**-2).sum()
    share_n = (share_n + 1 / count) / 2
    for _ in range(_ITERATIONS):
        drawn_3 = rng.choice(count, 3, replace=False, p=share_n)
        for pose in poselib.p3p(bearings_n3[drawn_3], points_map_n3[drawn_3]):
            T_map_camera = make_pose(pose.R.T, -pose.R.T @ pose.t)
            residual_n = _sigmas(T_map_camera, bearings_n3, points_map_n3, sigma_rad_n)
            cost = np.minimum(residual_n, _MAX_SIGMAS).sum()
            if np.isfinite(cost) and (best is None or cost < best[0]):  # degenerate samples give poses without numbers
                best = cost, T_map_camera
    if best is None:
        return None
    start = best[1]

    def moved(step_6: np.ndarray) -> np.ndarray:
        return make_pose(so3_exp(step_6[3:]) @ start[:3, :3], start[:3, 3] + step_6[:3])

    def residuals(step_6: np.ndarray) -> np.ndarray:
        seen_n3 = _seen_from(moved(step_6), points_map_n3)
        return ((bearings_n3 - seen_n3) / sigma_rad_n[:, None]).ravel()

    found = least_squares(residuals, np.zeros(6), loss="huber", f_scale=_HUBER_SIGMAS, max_nfev=50)
    T_map_camera = moved(found.x)
    inlier_n = _sigmas(T_map_camera, bearings_n3, points_map_n3, sigma_rad_n) < _MAX_SIGMAS
    if inlier_n.sum() < MIN_BEARINGS or not np.isfinite(T_map_camera).all():
        return None
    return BearingPose(T_map_camera, inlier_n, np.linalg.pinv(found.jac.T @ found.jac))


def _seen_from(T_map_camera: np.ndarray, points_map_n3: np.ndarray) -> np.ndarray:
    offset_n3 = (points_map_n3 - T_map_camera[:3, 3]) @ T_map_camera[:3, :3]
    return offset_n3 / np.maximum(np.linalg.norm(offset_n3, axis=1, keepdims=True), 1e-12)


def _sigmas(T_map_camera: np.ndarray, bearings_n3, points_map_n3, sigma_rad_n) -> np.ndarray:
    """How far each bearing is off, in its own sigmas."""
    return np.linalg.norm(bearings_n3 - _seen_from(T_map_camera, points_map_n3), axis=1) / sigma_rad_n
