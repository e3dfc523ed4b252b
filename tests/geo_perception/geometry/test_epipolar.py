"""Matches that a relative pose allows lie on its epipolar lines."""

import numpy as np
import pytest

from geo_perception.geometry import essential_matrix, make_pose, sampson_distance, so3_exp


def test_the_sampson_distance_of_exact_matches_is_zero():
    T_b_a = make_pose(so3_exp(np.array([0.1, -0.2, 0.05])), np.array([0.5, 0.1, -0.2]))
    points_a_n3 = np.random.default_rng(0).uniform([-1, -1, 2], [1, 1, 5], (20, 3))
    points_b_n3 = points_a_n3 @ T_b_a[:3, :3].T + T_b_a[:3, 3]
    a_n2, b_n2 = (points_n3[:, :2] / points_n3[:, 2:] for points_n3 in (points_a_n3, points_b_n3))
    np.testing.assert_allclose(sampson_distance(essential_matrix(T_b_a), a_n2, b_n2), 0, atol=1e-15)


def test_half_of_a_step_across_the_epipolar_line_falls_to_each_point():
    sideways = essential_matrix(make_pose(np.eye(3), np.array([2.0, 0, 0])))
    distance_n = sampson_distance(sideways, np.array([[0.1, 0.2]]), np.array([[0.3, 0.2 + 0.03]]))
    assert distance_n[0] == pytest.approx(0.03 / np.sqrt(2))
