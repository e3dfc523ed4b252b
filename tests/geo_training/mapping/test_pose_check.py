"""Whether matches fit recorded poses: exact geometry, with and without a baseline."""

import numpy as np
import pytest
from geo_training.mapping.pose_check import epipolar_distance

from geo_perception.geometry import make_pose, so3_exp

POINTS = np.random.default_rng(0).uniform([-1, -1, 2], [1, 1, 5], (50, 3))


def rays(points_n3):
    return points_n3 / points_n3[:, 2:]


def seen_from(T_b_a):
    return rays(POINTS @ T_b_a[:3, :3].T + T_b_a[:3, 3])


@pytest.mark.parametrize("t", [(0.3, 0.1, 0.05), (0.0, 0.0, 0.0)])
def test_true_poses_fit_exactly(t):
    T_b_a = make_pose(so3_exp(np.array([0.02, -0.1, 0.05])), np.array(t))
    np.testing.assert_allclose(epipolar_distance(T_b_a, rays(POINTS), seen_from(T_b_a)), 0, atol=1e-12)


def test_poses_that_stand_do_not_fit_a_camera_that_moved():
    """All poses the same, as of a tracker that lost its way: without a baseline any match has a distance of its own."""
    T_b_a = make_pose(np.eye(3), np.array([0.3, 0.0, 0.0]))
    standing = epipolar_distance(np.eye(4), rays(POINTS), seen_from(T_b_a))
    np.testing.assert_allclose(standing, 0.3 / POINTS[:, 2], rtol=1e-12)


def test_a_point_that_turns_behind_the_camera_fits_nothing():
    T_b_a = make_pose(so3_exp(np.array([0.0, np.pi, 0.0])), np.zeros(3))
    assert np.isinf(epipolar_distance(T_b_a, rays(POINTS), rays(POINTS))).all()
