"""Where a landmark went: its drift by the places in which it answers, and its new place by those where it is found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2

from geo_perception.geometry import Camera
from geo_training.evaluation.scene_health.leave_out import jacobians

DRIFT_PX = 9.0  # as seen, of the network: less is within a cell of the landmark's map, and is not told
_SURE = float(chi2.ppf(0.999, 3))
_NEW_PLACE_PX, _NEW_PLACE_LOOKS, _NEW_PLACE_SHARE, _NEW_PLACE_RAD = 10.0, 4, 0.4, 0.1
_PAIRS = 60
_MIN_SIGMA_PX = 1.0


@dataclass(frozen=True)
class Look:
    """One sighting of a landmark: pixel (2,) in a pinhole camera that stood at `T_map_camera`."""

    T_map_camera: np.ndarray
    camera: Camera
    pixel_2: np.ndarray


@dataclass(frozen=True)
class Drift:
    """How far (3,) a landmark is from where the map has it, with its covariance (3, 3); `significant` where that is
    neither chance nor less than the landmark's map can tell."""

    offset_3: np.ndarray
    covariance_33: np.ndarray
    significant: bool

    @property
    def distance(self) -> float:
        return float(np.linalg.norm(self.offset_3))


def drift_of(point_3: np.ndarray, looks: Sequence[Look], weight_n: np.ndarray) -> Drift | None:
    """The drift by N looks at a landmark near its place, which count `weight_n`; None of too few."""
    if len(looks) < 4 or weight_n.sum() < 3:
        return None
    J_n23, residual_n2 = [], []
    for look in looks:
        local_3 = (point_3 - look.T_map_camera[:3, 3]) @ look.T_map_camera[:3, :3]
        J_n23.append(-jacobians(look.T_map_camera, look.camera, point_3[None])[0, :, :3])
        residual_n2.append(look.pixel_2 - look.camera.project(local_3[None])[0])
    J_n23, residual_n2 = np.array(J_n23), np.array(residual_n2)
    sigma_px = 5.0
    offset_3 = np.zeros(3)
    for _ in range(8):
        left_n2 = residual_n2 - J_n23 @ offset_3
        size_n = np.linalg.norm(left_n2, axis=1)
        sigma_px = max(float(np.median(size_n)) / 1.1774, _MIN_SIGMA_PX)
        robust_n = weight_n * np.minimum(1.0, 1.5 * sigma_px / np.maximum(size_n, 1e-9))
        H_33 = np.einsum("n,nij,nik->jk", robust_n, J_n23, J_n23)
        ridge_33 = np.eye(3) * (1e-3 * np.trace(H_33) + 1e-12)  # along the ray nothing is known where all look alike
        offset_3 = np.linalg.solve(H_33 + ridge_33, np.einsum("n,nij,ni->j", robust_n, J_n23, residual_n2))
    covariance_33 = np.linalg.inv(H_33 + ridge_33) * sigma_px**2
    sure = float(offset_3 @ np.linalg.solve(covariance_33, offset_3)) > _SURE
    far = float(np.sqrt(np.average(((J_n23 @ offset_3) ** 2).sum(axis=1), weights=robust_n))) > DRIFT_PX
    return Drift(offset_3, covariance_33, bool(sure and far))


def new_place(looks: Sequence[Look], seed: int = 0) -> np.ndarray | None:
    """The point (3,) at which a landmark that is found elsewhere stands now; None where its sightings agree on none.

    Pairs of rays propose points (midpoint method; Hartley and Sturm, "Triangulation", 1997), all sightings vote.
    """
    if len(looks) < _NEW_PLACE_LOOKS:
        return None
    rng = np.random.default_rng(seed)
    centre_n3 = np.stack([look.T_map_camera[:3, 3] for look in looks])
    R_n33 = np.stack([look.T_map_camera[:3, :3] for look in looks])
    K_n4 = np.array([[c.fx_px, c.fy_px, c.cx_px, c.cy_px] for c in (look.camera for look in looks)])
    pixel_n2 = np.stack([look.pixel_2 for look in looks])
    local_n3 = np.c_[(pixel_n2 - K_n4[:, 2:]) / K_n4[:, :2], np.ones(len(looks))]
    ray_n3 = np.einsum("nij,nj->ni", R_n33, local_n3 / np.linalg.norm(local_n3, axis=1, keepdims=True))

    def agree(point_3: np.ndarray) -> np.ndarray:
        seen_n3 = np.einsum("nji,nj->ni", R_n33, point_3 - centre_n3)
        ahead_n = seen_n3[:, 2] > 1e-6
        found_n2 = K_n4[:, :2] * seen_n3[:, :2] / np.where(ahead_n, seen_n3[:, 2], 1.0)[:, None] + K_n4[:, 2:]
        return ahead_n & (np.linalg.norm(found_n2 - pixel_n2, axis=1) <= _NEW_PLACE_PX)

    i_p, j_p = np.triu_indices(len(looks), 1)
    wide_p = np.flatnonzero((ray_n3[i_p] * ray_n3[j_p]).sum(axis=1) <= np.cos(_NEW_PLACE_RAD))
    if len(wide_p) > _PAIRS:
        wide_p = rng.choice(wide_p, _PAIRS, replace=False)
    best_n, best_3 = np.zeros(len(looks), bool), None
    for pair in wide_p:
        both = [i_p[pair], j_p[pair]]
        point_3 = _meeting(centre_n3[both], ray_n3[both])
        agree_n = agree(point_3)
        if agree_n.sum() > best_n.sum():
            best_n, best_3 = agree_n, point_3
    if best_3 is None or best_n.sum() < max(_NEW_PLACE_LOOKS, _NEW_PLACE_SHARE * len(looks)):
        return None
    return _meeting(centre_n3[best_n], ray_n3[best_n])


def _meeting(centre_n3: np.ndarray, ray_n3: np.ndarray) -> np.ndarray:
    """The point nearest to all rays."""
    across_n33 = np.eye(3) - ray_n3[:, :, None] * ray_n3[:, None, :]
    return np.linalg.solve(across_n33.sum(axis=0), np.einsum("nij,nj->i", across_n33, centre_n3))
