"""Where landmarks should be seen, by a pose in which they have no part.

A pose is the least-squares answer of its anchors: points of the map found in the image. Without those of one object its
information is that of the others, H - H_g, and one Gauss-Newton step with their gradient leads to the pose that they
alone have (Cook's deletion, "Detection of Influential Observation in Linear Regression", 1977, here for a group).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from geo_perception.geometry import Camera, so3_exp

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
    first_l2 = camera.project(_in_camera(T_map_camera, points_l3))
    candidate_l = ahead_l & camera.contains(np.where(ahead_l[:, None], first_l2, -1e6))
    candidates = np.flatnonzero(candidate_l)
    if len(candidates) == 0:
        return pixels_l2
    groups_g, group_k = np.unique(group_l[candidates], return_inverse=True)
    own_ga = _own_anchors(anchors.points_map_a3, points_l3, group_l, groups_g, radius)
    T_g44, covariance_g66, known_g = _poses_without(own_ga, T_map_camera, camera, anchors, radius)
    told, pose_k = candidates[known_g[group_k]], group_k[known_g[group_k]]
    T_k44, points_k3 = T_g44[pose_k], points_l3[told]
    found_k2 = camera.project(_in_camera(T_k44, points_k3))
    J_k26 = jacobians(T_k44, camera, points_k3)
    spread_k = np.linalg.eigvalsh(J_k26 @ covariance_g66[pose_k] @ J_k26.transpose(0, 2, 1))[:, -1]
    sure_k = camera.contains(found_k2) & (spread_k <= MAX_SIGMA_PX**2)
    pixels_l2[told[sure_k]] = found_k2[sure_k]
    return pixels_l2


def _own_anchors(
    places_a3: np.ndarray, points_l3: np.ndarray, group_l: np.ndarray, groups_g: np.ndarray, radius: float
) -> np.ndarray:
    """Which anchors (G, A) are within `radius` of a landmark of each group."""
    own_ga = np.zeros((len(groups_g), len(places_a3)), bool)
    index = np.flatnonzero(np.isin(group_l, groups_g))
    near = cKDTree(places_a3).query_ball_point(points_l3[index], radius)
    for row, own in zip(np.searchsorted(groups_g, group_l[index]), near, strict=True):
        own_ga[row, own] = True
    return own_ga


def _poses_without(
    own_ga: np.ndarray, T_map_camera: np.ndarray, camera: Camera, anchors: Anchors, radius: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each group the pose (G, 4, 4) of the anchors that are not its own, the covariance of it (G, 6, 6), and
    whether these are enough for one (G,)."""
    information_a66, gradient_a6 = _parts(T_map_camera, camera, anchors)
    object_a = group_points(anchors.points_map_a3, radius)
    is_of_ao = object_a[:, None] == np.arange(object_a.max() + 1)
    rest_ga = ~own_ga
    known_g = (rest_ga.sum(axis=1) >= MIN_ANCHORS) & ((rest_ga @ is_of_ao).sum(axis=1) >= MIN_GROUPS)
    H_g66 = np.tensordot(rest_ga.astype(float), information_a66, axes=1)
    g_g6 = rest_ga.astype(float) @ gradient_a6
    known_g &= np.linalg.slogdet(H_g66)[0] > 0
    H_g66[~known_g] = np.eye(6)
    covariance_g66 = np.linalg.inv(H_g66)
    step_g6 = -(covariance_g66 @ g_g6[:, :, None])[:, :, 0]
    reach = float(np.median(np.linalg.norm(anchors.points_map_a3 - T_map_camera[:3, 3], axis=1)))
    known_g &= np.linalg.norm(step_g6[:, :3], axis=1) <= _MAX_SHIFT_SHARE * reach
    known_g &= np.linalg.norm(step_g6[:, 3:], axis=1) <= _MAX_SHIFT_SHARE
    T_g44 = np.tile(np.eye(4), (len(own_ga), 1, 1))
    T_g44[:, :3, :3] = so3_exp(step_g6[:, 3:]) @ T_map_camera[:3, :3]
    T_g44[:, :3, 3] = T_map_camera[:3, 3] + step_g6[:, :3]
    return T_g44, covariance_g66, known_g


def jacobians(T_map_camera: np.ndarray, camera: Camera, points_n3: np.ndarray) -> np.ndarray:
    """How the pixels of points move (N, 2, 6) with a step (dt, dr) of the pose: t <- t + dt, R <- Exp(dr) R. One pose
    (4, 4) for all, or one for each (N, 4, 4)."""
    offset_n3 = points_n3 - T_map_camera[..., :3, 3]
    x_n, y_n, z_n = _in_camera(T_map_camera, points_n3).T
    z_n = np.maximum(z_n, 1e-6)
    by_camera_n23 = np.zeros((len(points_n3), 2, 3))
    by_camera_n23[:, 0, 0], by_camera_n23[:, 0, 2] = camera.fx_px / z_n, -camera.fx_px * x_n / z_n**2
    by_camera_n23[:, 1, 1], by_camera_n23[:, 1, 2] = camera.fy_px / z_n, -camera.fy_px * y_n / z_n**2
    by_point_n23 = by_camera_n23 @ np.swapaxes(T_map_camera[..., :3, :3], -1, -2)
    # Turning the camera by dr moves the points, as it sees them, by -dr x offset.
    turning_n23 = -np.cross(offset_n3[:, None, :], by_point_n23)
    return np.concatenate([-by_point_n23, turning_n23], axis=2)


def _in_camera(T_map_camera: np.ndarray, points_n3: np.ndarray) -> np.ndarray:
    """Points (N, 3) in the camera's axes, by one pose (4, 4) or one for each (N, 4, 4)."""
    return ((points_n3 - T_map_camera[..., :3, 3])[:, None] @ T_map_camera[..., :3, :3])[:, 0]


def _parts(T_map_camera: np.ndarray, camera: Camera, anchors: Anchors) -> tuple[np.ndarray, np.ndarray]:
    """What each anchor gives to information (A, 6, 6) and gradient (A, 6), with Huber's weights."""
    local_a3 = _in_camera(T_map_camera, anchors.points_map_a3)
    residual_a2 = (camera.project(local_a3) - anchors.pixels_a2) / anchors.sigma_px_a[:, None]
    residual_a2 = np.nan_to_num(residual_a2)
    weight_a = _HUBER / np.maximum(np.linalg.norm(residual_a2, axis=1), _HUBER)
    J_a26 = jacobians(T_map_camera, camera, anchors.points_map_a3) / anchors.sigma_px_a[:, None, None]
    information_a66 = weight_a[:, None, None] * (J_a26.transpose(0, 2, 1) @ J_a26)
    return information_a66, weight_a[:, None] * np.einsum("aij,ai->aj", J_a26, residual_a2)
