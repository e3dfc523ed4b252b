"""How a camera stands against gravity: signs by hand, and the formulas against each other."""

import numpy as np
import pytest

from geo_perception.geometry import (
    attitude_from_up,
    focal_px_from_fov,
    fov_rad,
    horizon_line,
    horizon_midpoint,
    rotation_gravity_camera,
    up_from_attitude,
    wrap_rad,
)

DEG = np.pi / 180


def test_the_up_vector_of_simple_cameras():
    assert up_from_attitude(0.0, 0.0) == pytest.approx([0, -1, 0])  # level: up is against y
    assert up_from_attitude(np.pi / 2, 0.0) == pytest.approx([0, 0, 1])  # looking at the zenith: up is ahead
    assert up_from_attitude(-np.pi / 2, 0.3) == pytest.approx([0, 0, -1])
    assert up_from_attitude(0.0, np.pi / 2) == pytest.approx([-1, 0, 0])  # up lies to the left of the image
    half, root = 0.5, np.sqrt(3) / 2
    assert up_from_attitude(30 * DEG, 60 * DEG) == pytest.approx([-root * root, -half * root, half])


def test_attitude_comes_back_from_the_up_vector():
    pitch, roll = np.meshgrid(np.linspace(-89, 89, 13) * DEG, np.linspace(-179, 179, 15) * DEG)
    back_pitch, back_roll = attitude_from_up(7.5 * up_from_attitude(pitch, roll))  # of any length
    np.testing.assert_allclose(back_pitch, pitch, atol=1e-12)
    np.testing.assert_allclose(back_roll, roll, atol=1e-12)


def test_straight_up_and_down_the_roll_is_nought():
    pitch, roll = attitude_from_up([[0, 0, 2.0], [0, 0, -1.0]])
    assert pitch == pytest.approx([np.pi / 2, -np.pi / 2])
    assert list(roll) == [0.0, 0.0]


@pytest.mark.parametrize(("pitch", "roll"), [(0, 0), (0.4, 0), (-0.7, 0.3), (1.2, -2.5), (-1.5, 1.0)])
def test_the_level_frame_keeps_the_heading_and_stands_upright(pitch, roll):
    R = rotation_gravity_camera(pitch, roll)
    np.testing.assert_allclose(R @ R.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(R) == pytest.approx(1)
    assert R @ up_from_attitude(pitch, roll) == pytest.approx([0, 0, 1])
    # The optical axis stays in the plane of x (ahead) and z (up), at the pitch's elevation.
    assert pytest.approx([np.cos(pitch), 0, np.sin(pitch)]) == R @ [0, 0, 1]


def test_a_level_camera_has_its_right_at_minus_y():
    R = rotation_gravity_camera(0, 0)
    assert pytest.approx([0, -1, 0]) == R @ [1, 0, 0]
    assert pytest.approx([0, 0, -1]) == R @ [0, 1, 0]


def test_a_rolled_camera_sees_up_to_its_left():
    """Roll of 30 degrees: the image's x axis points 30 degrees below the level's right."""
    R = rotation_gravity_camera(0, 30 * DEG)
    assert pytest.approx([0, -np.cos(30 * DEG), -0.5]) == R @ [1, 0, 0]


def test_field_of_view_and_focal_length_are_inverse():
    assert fov_rad(200, 100) == pytest.approx(np.pi / 2)
    assert focal_px_from_fov(480, 60 * DEG) == pytest.approx(240 * np.sqrt(3))
    focal_px = np.array([10, 300.0, 5000])
    np.testing.assert_allclose(focal_px_from_fov(640, fov_rad(640, focal_px)), focal_px)


def test_looking_up_puts_the_horizon_below_the_centre():
    line = horizon_line(100, 50, 40, pitch_rad=45 * DEG, roll_rad=0)
    assert line @ [50, 140, 1] == pytest.approx(0)  # f tan(45) = 100 pixels below the centre
    assert line @ [0, 140, 1] == pytest.approx(0)
    assert line @ [50, 40, 1] == pytest.approx(100)  # the centre is 100 pixels above it
    assert horizon_midpoint(100, 200, 45 * DEG) == pytest.approx(-1)  # the lower edge of an image of 200 rows


def test_a_positive_roll_lowers_the_left_end():
    a, b, c = horizon_line(100, 50, 40, pitch_rad=0, roll_rad=45 * DEG)
    left_y, right_y = -c / b, -(a * 100 + c) / b
    assert (left_y, right_y) == (pytest.approx(90), pytest.approx(-10))


@pytest.mark.parametrize("pitch", [-1.2, -0.3, 0.0, 0.6])
def test_midpoint_and_line_agree_without_roll(pitch):
    height_px, focal_px, cx_px = 240, 210.0, 159.5
    cy_px = (height_px - 1) / 2
    _, b, c = horizon_line(focal_px, cx_px, cy_px, pitch, 0)
    row_px = -c / b
    assert 1 - 2 * (row_px + 0.5) / height_px == pytest.approx(horizon_midpoint(focal_px, height_px, pitch))


def test_every_point_of_the_horizon_line_is_seen_level():
    focal_px, cx_px, cy_px, pitch, roll = 180.0, 100.0, 70.0, 0.35, -0.8
    a, b, c = horizon_line(focal_px, cx_px, cy_px, pitch, roll)
    for x in (-40.0, 90.0, 300.0):
        ray = np.array([(x - cx_px) / focal_px, (-(a * x + c) / b - cy_px) / focal_px, 1])
        assert ray @ up_from_attitude(pitch, roll) == pytest.approx(0, abs=1e-12)
    assert np.hypot(a, b) == pytest.approx(1)


def test_the_horizon_is_nowhere_when_looking_straight_down():
    # The exact up-vector; cos(pi / 2) is not nought in floating point.
    line = horizon_line(100, 50, 40, pitch_rad=-np.pi / 2, roll_rad=0.0)
    assert abs(line[2]) > 1e15 or not np.isfinite(line).all()


def test_angles_are_wrapped_into_one_turn():
    np.testing.assert_allclose(wrap_rad(np.array([0.1, np.pi, -np.pi, 7.0])), [0.1, -np.pi, -np.pi, 7.0 - 2 * np.pi])
