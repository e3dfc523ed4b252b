"""Poses: inverses, quaternions in ROS order, errors, interpolation."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from geo_perception.errors import InputError
from geo_perception.geometry import (
    interpolate_pose,
    invert_pose,
    make_pose,
    pose_error,
    pose_from_quaternion,
    pose_to_quaternion,
    rotation_angle_rad,
    so3_exp,
    so3_log,
)

QUARTER_ABOUT_Z = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])


def random_poses(count: int) -> np.ndarray:
    rng = np.random.default_rng(3)
    return np.array([make_pose(so3_exp(rng.normal(size=3)), rng.normal(size=3)) for _ in range(count)])


def test_a_pose_maps_points_by_hand():
    T = make_pose(QUARTER_ABOUT_Z, [1.0, 2.0, 3.0])
    np.testing.assert_allclose(T @ [1.0, 0.0, 0.0, 1.0], [1.0, 3.0, 3.0, 1.0])
    np.testing.assert_allclose(invert_pose(T), make_pose(QUARTER_ABOUT_Z.T, [-2.0, 1.0, -3.0]))


def test_inverses_of_a_stack():
    T_n44 = random_poses(6).reshape(2, 3, 4, 4)
    np.testing.assert_allclose(T_n44 @ invert_pose(T_n44), np.broadcast_to(np.eye(4), (2, 3, 4, 4)), atol=1e-12)


def test_quaternions_are_x_y_z_w_and_of_any_norm():
    half = np.sqrt(0.5)
    T = pose_from_quaternion([1, 2, 3], [0, 0, 5 * half, 5 * half])
    np.testing.assert_allclose(T, make_pose(QUARTER_ABOUT_Z, [1, 2, 3]), atol=1e-12)
    t_3, q_xyzw = pose_to_quaternion(T)
    np.testing.assert_allclose(t_3, [1, 2, 3])
    np.testing.assert_allclose(q_xyzw, [0, 0, half, half])


def test_a_quaternion_and_its_negative_are_one_rotation_written_with_w_positive():
    for T in random_poses(20):
        t_3, q_xyzw = pose_to_quaternion(T)
        assert q_xyzw[3] >= 0
        np.testing.assert_allclose(pose_from_quaternion(t_3, -q_xyzw), T, atol=1e-12)


@pytest.mark.parametrize(
    ("t_3", "q_xyzw"),
    [([0, 0, 0], [0, 0, 0, 0]), ([0, np.nan, 0], [0, 0, 0, 1]), ([0, 0, 0], [0, 0, np.inf, 1])],
)
def test_what_is_no_pose_is_refused(t_3, q_xyzw):
    with pytest.raises(InputError, match="not a pose"):
        pose_from_quaternion(t_3, q_xyzw)


def test_exp_and_log_are_inverse_up_to_half_a_turn():
    np.testing.assert_allclose(so3_exp([0, 0, np.pi / 2]), QUARTER_ABOUT_Z, atol=1e-12)
    for omega_3 in ([0.0, 0, 0], [1e-9, 0, 0], [0.3, -1.0, 0.2], [0, 3.1, 0]):
        np.testing.assert_allclose(so3_log(so3_exp(np.array(omega_3))), omega_3, atol=1e-12)


def test_small_angles_are_not_rounded_away():
    # arccos of a trace would give 0 here.
    assert rotation_angle_rad(np.eye(3), so3_exp([0, 1e-9, 0])) == pytest.approx(1e-9, rel=1e-6)
    assert rotation_angle_rad(np.eye(3), so3_exp([0, 0, np.pi])) == pytest.approx(np.pi)


def test_the_error_of_a_pose_is_distance_and_angle():
    T_true = make_pose(QUARTER_ABOUT_Z, [1.0, 1.0, 1.0])
    T_estimated = make_pose(QUARTER_ABOUT_Z @ so3_exp([0.1, 0, 0]), [1.0, 4.0, 5.0])
    assert pose_error(T_true, T_estimated) == pytest.approx((5.0, 0.1))


def test_interpolation_is_linear_in_place_and_even_in_rotation():
    stamps_s = np.array([10.0, 11.0, 20.0])
    T_n44 = np.array([make_pose(so3_exp([0, 0, angle]), [angle, 0, 0]) for angle in (0.0, 1.0, 1.5)])
    T = interpolate_pose(stamps_s, T_n44, 10.25, max_gap_s=2.0)
    np.testing.assert_allclose(T, make_pose(so3_exp([0, 0, 0.25]), [0.25, 0, 0]), atol=1e-12)
    exact = interpolate_pose(stamps_s, T_n44, 20.0, max_gap_s=2.0)
    np.testing.assert_array_equal(exact, T_n44[2])
    exact[0, 3] = 99.0
    assert T_n44[2, 0, 3] == 1.5  # a copy


@pytest.mark.parametrize("stamp_s", [9.9, 20.1, 15.0])
def test_no_pose_is_made_up_outside_or_over_a_gap(stamp_s):
    stamps_s = np.array([10.0, 11.0, 20.0])
    assert interpolate_pose(stamps_s, random_poses(3), stamp_s, max_gap_s=2.0) is None


def test_no_pose_from_none():
    assert interpolate_pose(np.zeros(0), np.zeros((0, 4, 4)), 1.0, max_gap_s=2.0) is None


def test_a_rotation_takes_the_short_way():
    T_n44 = np.array(
        [make_pose(Rotation.from_euler("z", a, degrees=True).as_matrix(), np.zeros(3)) for a in (170, 190)]
    )
    T = interpolate_pose(np.array([0.0, 1.0]), T_n44, 0.5, max_gap_s=2.0)
    assert rotation_angle_rad(T[:3, :3], so3_exp([0, 0, np.pi])) == pytest.approx(0.0, abs=1e-9)
