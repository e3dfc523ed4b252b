"""Where landmarks should be seen, by a pose in which they have no part.

A pose is the least-squares answer of its anchors: points of the map found in the image. Without those of one object its
information is that of the others, H - H_g, and one Gauss-Newton step with their gradient leads to the pose that they
alone have (Cook's deletion, "Detection of Influential Observation in Linear Regression", 1977, here for a group).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from geo_perception.geometry import Camera, make_pose, so3_exp

MIN_ANCHORS = 12  # of other objects, without which nothing is told
MIN_GROUPS = 3  # in which these must lie: a pose by one object is wrong where that was moved
MAX_SIGMA_PX = 4.0  # of a prediction along its worst direction
_HUBER = 1.5
_MAX_SHIFT_SHARE = 0.1  # of the distance: what a step may move the camera; farther, it is no linear matter


@dataclass(frozen=True)
class Anchors:
    """A points of the map found in an image: `pixels_a2` in a pinhole camera, `points_map_a3`, `sigma_px_a`."""

    pixels_a2: np.ndarray
    points_map_a3: np.ndarray
    sigma_px_a: np.ndarray

    def __len__(self) -> int:
        return len(self.pixels_a2)


def group_points(points_l3: np.ndarray, radius: float) -> np.ndarray:
    """The group (L,) of each point: parts of space about `radius` wide, each around one of the points."""
    group_l = np.full(len(points_l3), -1)
    tree, number = cKDTree(points_l3), 0
    for index in range(len(points_l3)):
        if group_l[index] < 0:
            near = np.array(tree.query_ball_point(points_l3[index], radius))
            group_l[near[group_l[near] < 0]] = number
            number += 1
    return group_l


def predict_without_own(
    T_map_camera: np.ndarray,
    camera: Camera,
    anchors: Anchors,
    points_l3: np.ndarray,
    group_l: np.ndarray,
    radius: float,
) -> np.ndarray:
    """Pixels (L, 2) of the landmarks by the pose of those anchors that are farther than `radius` from every landmark of
    their group. NaN behind the camera, outside the image, and where the other anchors are too few, lie on too few
    objects, or leave the place too uncertain: there nothing is told."""
    pixels_l2 = np.full((len(points_l3), 2), np.nan)
    if len(anchors) < MIN_ANCHORS:
        return pixels_l2
    ahead_l = (points_l3 - T_map_camera[:3, 3]) @ T_map_camera[:3, 2] > 1e-6
    first_l2 = camera.project((points_l3 - T_map_camera[:3, 3]) @ T_map_camera[:3, :3])
    candidate_l = ahead_l & camera.contains(np.where(ahead_l[:, None], first_l2, -1e6))
    information_a66, gradient_a6 = _parts(T_map_camera, camera, anchors)
    object_a = group_points(anchors.points_map_a3, radius)
    whole_66, whole_6 = information_a66.sum(axis=0), gradient_a6.sum(axis=0)
    reach = float(np.median(np.linalg.norm(anchors.points_map_a3 - T_map_camera[:3, 3], axis=1)))
    tree = cKDTree(anchors.points_map_a3)
    own_l = dict(zip(index := np.flatnonzero(np.isin(group_l, group_l[candidate_l])),
                     tree.query_ball_point(points_l3[index], radius), strict=True))  # fmt: skip
    for group in np.unique(group_l[candidate_l]):
        members = np.flatnonzero(candidate_l & (group_l == group))
        own = sorted(set().union(*(own_l[k] for k in np.flatnonzero(group_l == group))))
        rest_a = np.ones(len(anchors), bool)
        rest_a[own] = False
        if rest_a.sum() < MIN_ANCHORS or len(np.unique(object_a[rest_a])) < MIN_GROUPS:
            continue
        H_66, g_6 = whole_66 - information_a66[own].sum(axis=0), whole_6 - gradient_a6[own].sum(axis=0)
        try:
            covariance_66 = np.linalg.inv(H_66)
        except np.linalg.LinAlgError:
            continue
        step_6 = -covariance_66 @ g_6
        if np.linalg.norm(step_6[:3]) > _MAX_SHIFT_SHARE * reach or np.linalg.norm(step_6[3:]) > _MAX_SHIFT_SHARE:
            continue
        T = make_pose(so3_exp(step_6[3:]) @ T_map_camera[:3, :3], T_map_camera[:3, 3] + step_6[:3])
        found_k2 = camera.project((points_l3[members] - T[:3, 3]) @ T[:3, :3])
        J_k26 = jacobians(T, camera, points_l3[members])
        spread_k = np.linalg.eigvalsh(J_k26 @ covariance_66 @ J_k26.transpose(0, 2, 1))[:, -1]
        sure_k = camera.contains(found_k2) & (spread_k <= MAX_SIGMA_PX**2)
        pixels_l2[members[sure_k]] = found_k2[sure_k]
    return pixels_l2


def jacobians(T_map_camera: np.ndarray, camera: Camera, points_n3: np.ndarray) -> np.ndarray:
    """How the pixels of points move (N, 2, 6) with a step (dt, dr) of the pose: t <- t + dt, R <- Exp(dr) R."""
    offset_n3 = points_n3 - T_map_camera[:3, 3]
    x_n, y_n, z_n = (offset_n3 @ T_map_camera[:3, :3]).T
    z_n = np.maximum(z_n, 1e-6)
    by_camera_n23 = np.zeros((len(points_n3), 2, 3))
    by_camera_n23[:, 0, 0], by_camera_n23[:, 0, 2] = camera.fx_px / z_n, -camera.fx_px * x_n / z_n**2
    by_camera_n23[:, 1, 1], by_camera_n23[:, 1, 2] = camera.fy_px / z_n, -camera.fy_px * y_n / z_n**2
    by_point_n23 = by_camera_n23 @ T_map_camera[:3, :3].T
    # Turning the camera by dr moves the points, as it sees them, by -dr x offset.
    turning_n23 = -np.cross(offset_n3[:, None, :], by_point_n23)
    return np.concatenate([-by_point_n23, turning_n23], axis=2)


def _parts(T_map_camera: np.ndarray, camera: Camera, anchors: Anchors) -> tuple[np.ndarray, np.ndarray]:
    """What each anchor gives to information (A, 6, 6) and gradient (A, 6), with Huber's weights."""
    local_a3 = (anchors.points_map_a3 - T_map_camera[:3, 3]) @ T_map_camera[:3, :3]
    residual_a2 = (camera.project(local_a3) - anchors.pixels_a2) / anchors.sigma_px_a[:, None]
    residual_a2 = np.nan_to_num(residual_a2)
    weight_a = _HUBER / np.maximum(np.linalg.norm(residual_a2, axis=1), _HUBER)
    J_a26 = jacobians(T_map_camera, camera, anchors.points_map_a3) / anchors.sigma_px_a[:, None, None]
    information_a66 = weight_a[:, None, None] * (J_a26.transpose(0, 2, 1) @ J_a26)
    return information_a66, weight_a[:, None] * np.einsum("aij,ai->aj", J_a26, residual_a2)
