"""A pose from the directions of points on all sides."""

import numpy as np
import pytest
from geo_training.experiments.landmark_papers.bearing_pose import solve_bearings

from geo_perception.geometry import make_pose, pose_error, so3_exp


def seen(points_n3, T_map_camera):
    offset_n3 = (points_n3 - T_map_camera[:3, 3]) @ T_map_camera[:3, :3]
    return offset_n3 / np.linalg.norm(offset_n3, axis=1, keepdims=True)


@pytest.fixture
def scene():
    rng = np.random.default_rng(1)
    points_n3 = rng.uniform(-3, 3, (60, 3))  # around the camera: half of them are behind it
    T_map_camera = make_pose(so3_exp(np.array([0.2, -0.4, 0.1])), [0.3, 0.1, -0.2])
    return points_n3, T_map_camera, rng


def test_exact_bearings_give_the_exact_pose(scene):
    points_n3, T_map_camera, _ = scene
    bearings_n3 = seen(points_n3, T_map_camera)
    assert (bearings_n3[:, 2] < 0).sum() > 20
    pose = solve_bearings(bearings_n3, points_n3, np.full(60, 0.01))
    distance_m, angle_rad = pose_error(T_map_camera, pose.T_map_camera)
    assert distance_m < 1e-6
    assert angle_rad < 1e-6
    assert pose.inlier_n.all()
    assert np.linalg.eigvalsh(pose.covariance_66).min() > 0


def test_wrong_bearings_are_left_out(scene):
    points_n3, T_map_camera, rng = scene
    bearings_n3 = seen(points_n3, T_map_camera)
    bearings_n3[:20] = seen(rng.uniform(-3, 3, (20, 3)), T_map_camera)
    pose = solve_bearings(bearings_n3, points_n3, np.full(60, 0.01))
    distance_m, angle_rad = pose_error(T_map_camera, pose.T_map_camera)
    assert distance_m < 0.01
    assert angle_rad < 0.01
    assert pose.inlier_n[20:].all()
    assert pose.inlier_n[:20].sum() <= 3


def test_exact_ones_among_rough_ones_decide(scene):
    points_n3, T_map_camera, rng = scene
    bearings_n3 = seen(points_n3, T_map_camera)
    rough_n3 = bearings_n3 + rng.normal(0, 0.05, (60, 3))
    rough_n3 /= np.linalg.norm(rough_n3, axis=1, keepdims=True)
    sigma_rad_n = np.full(60, 0.05)
    alone = solve_bearings(rough_n3, points_n3, sigma_rad_n)
    rough_n3[:5], sigma_rad_n[:5] = bearings_n3[:5], 0.002
    both = solve_bearings(rough_n3, points_n3, sigma_rad_n)
    errors_m = [pose_error(T_map_camera, pose.T_map_camera)[0] for pose in (alone, both)]
    assert errors_m[1] < errors_m[0] / 3


def test_too_few_bearings_and_those_that_agree_on_nothing_give_no_pose(scene):
    points_n3, T_map_camera, rng = scene
    assert solve_bearings(seen(points_n3[:3], T_map_camera), points_n3[:3], np.full(3, 0.01)) is None
    random_n3 = seen(rng.uniform(-3, 3, (12, 3)), T_map_camera)
    assert solve_bearings(random_n3, points_n3[:12], np.full(12, 1e-4)) is None
