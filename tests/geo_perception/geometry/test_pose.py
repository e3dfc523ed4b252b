"""Poses: inverses, quaternions in ROS order, errors, interpolation."""

import warnings

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from geo_perception.errors import InputError
from geo_perception.geometry import (
    checked_quaternion,
    checked_rotation,
    interpolate_pose,
    invert_pose,
    make_pose,
    pose_error,
    pose_from_quaternion,
    pose_to_quaternion,
    rotation_angle_rad,
    skew,
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


def test_quaternions_are_x_y_z_w_and_normalized():
    half = np.sqrt(0.5)
    T = pose_from_quaternion([1, 2, 3], [0, 0, 0.71, 0.71])  # rounded to two decimals
    np.testing.assert_allclose(T, make_pose(QUARTER_ABOUT_Z, [1, 2, 3]), atol=1e-12)
    t_3, q_xyzw = pose_to_quaternion(T)
    np.testing.assert_allclose(t_3, [1, 2, 3])
    np.testing.assert_allclose(q_xyzw, [0, 0, half, half])


def test_a_quaternion_and_its_negative_are_one_rotation_written_with_w_positive():
    for T in random_poses(20):
        t_3, q_xyzw = pose_to_quaternion(T)
        assert q_xyzw[3] >= 0
        np.testing.assert_allclose(pose_from_quaternion(t_3, -q_xyzw), T, atol=1e-12)


@pytest.mark.parametrize("norm", [0.91, 1.0, 1.09])
def test_a_quaternion_of_nearly_unit_norm_is_normalized(norm):
    np.testing.assert_allclose(checked_quaternion(norm * np.array([0.6, 0, 0, -0.8])), [0.6, 0, 0, -0.8], atol=1e-15)


NO_QUATERNIONS = {
    "of zeros": [0, 0, 0, 0],
    "too short": [0, 0, 0, 0.89],
    "too long": [0, 0, 0, 1.11],
    "too long, no number above 1": [1, 1, 0, 0],
    "tiny": [0, 0, 0, 1e-300],
    "whose square overflows": [0, 1e300, 0, 1],
    "of NaN": [0, 0, np.nan, 1],
    "infinite": [0, 0, -np.inf, 1],
    "of three numbers": [0, 0, 1],
    "of words": ["a", "b", "c", "d"],
    "ragged": [[0], [0, 1]],
    "missing": None,
}


@pytest.mark.parametrize("q_xyzw", NO_QUATERNIONS.values(), ids=NO_QUATERNIONS.keys())
def test_a_quaternion_that_is_no_rotation_is_refused_in_one_line(q_xyzw):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InputError) as refusal:
            checked_quaternion(q_xyzw)
        with pytest.raises(InputError, match="not a pose"):
            pose_from_quaternion([0, 0, 0], q_xyzw)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("t_3", [[0, np.nan, 0], [np.inf, 0, 0], [1e300, 0, 0], [1, 2], ["x", 0, 0]])
def test_a_translation_that_is_none_is_refused(t_3):
    with pytest.raises(InputError):
        pose_from_quaternion(t_3, [0, 0, 0, 1])


def test_a_rounded_rotation_becomes_the_nearest_exact_one():
    exact_33 = so3_exp([0.3, -1.0, 0.2])
    R_33 = checked_rotation(np.round(exact_33, 2))
    np.testing.assert_allclose(R_33 @ R_33.T, np.eye(3), atol=1e-14)
    assert np.linalg.det(R_33) == pytest.approx(1)
    assert rotation_angle_rad(R_33, exact_33) < 0.01
    # A symmetric stretch along the axes of an exact rotation is undone to the last bit.
    np.testing.assert_allclose(checked_rotation(QUARTER_ABOUT_Z @ np.diag([1.004, 0.996, 1.0])), QUARTER_ABOUT_Z)


NO_ROTATIONS = {
    "scaled up": 1.01 * QUARTER_ABOUT_Z,
    "scaled down": 0.98 * np.eye(3),
    "mirrored": np.diag([1.0, 1.0, -1.0]),
    "sheared": [[1, 0.1, 0], [0, 1, 0], [0, 0, 1]],
    "of zeros": np.zeros((3, 3)),
    "of rank two": np.diag([1.0, 1.0, 0.0]),
    "of NaN": np.full((3, 3), np.nan),
    "infinite": np.diag([1.0, np.inf, 1.0]),
    "whose square overflows": 1e300 * np.eye(3),
    "of four rows": np.eye(4),
    "ragged": [[1, 0, 0], [0, 1], [0, 0, 1]],
}


@pytest.mark.parametrize("R_33", NO_ROTATIONS.values(), ids=NO_ROTATIONS.keys())
def test_a_block_that_is_no_rotation_is_refused_in_one_line(R_33):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InputError) as refusal:
            checked_rotation(R_33)
    assert "\n" not in str(refusal.value)


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


def test_skew_matrices_are_cross_products():
    a_n3, b_n3 = np.random.default_rng(3).normal(size=(2, 4, 3))
    np.testing.assert_allclose(np.einsum("nij,nj->ni", skew(a_n3), b_n3), np.cross(a_n3, b_n3))
    np.testing.assert_allclose(skew(a_n3[0]) @ b_n3[0], np.cross(a_n3[0], b_n3[0]))
