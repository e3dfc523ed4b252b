"""The shift of points along z, from points whose truth is known."""

import numpy as np
import pytest

from geo_perception.depth.point_map import depth_of_points, shift_along_z
from geo_perception.geometry import Camera

CAMERA = Camera(48, 32, 40.0, 42.0, 25.0, 14.5)
MIDDLE = Camera(48, 32, 40.0, 40.0, 23.5, 15.5)


def true_depth() -> np.ndarray:
    """A slope, with a box that stands before it."""
    y_hw, x_hw = np.mgrid[:32, :48]
    depth_hw = 4.0 + 0.05 * x_hw - 0.04 * y_hw
    depth_hw[10:20, 12:24] = 2.0
    return depth_hw


def points_of(depth_hw, camera) -> np.ndarray:
    y_hw, x_hw = np.mgrid[: camera.height_px, : camera.width_px]
    rays = [(x_hw - camera.cx_px) / camera.fx_px, (y_hw - camera.cy_px) / camera.fy_px, np.ones(depth_hw.shape)]
    return np.stack([ray * depth_hw for ray in rays], -1)


def test_one_point_by_hand():
    """X = x (Z + t): on the ray (0.5, 0) the point (1, 0, 1.5) lies 0.5 too near."""
    points, rays = np.array([[1.0, 0.0, 1.5]] * 8), np.array([[0.5, 0.0]] * 8)
    assert shift_along_z(points, rays) == pytest.approx(0.5)


@pytest.mark.parametrize("factor", [0.01, 1.0, 300.0])
@pytest.mark.parametrize("shift", [-1.7, 0.0, 3.0])
def test_the_shift_is_found_exactly_at_any_scale(factor, shift):
    points_hw3 = factor * (points_of(true_depth(), CAMERA) - [0, 0, shift])
    depth_hw = depth_of_points(points_hw3, None, CAMERA)
    assert depth_hw.dtype == np.float32
    np.testing.assert_allclose(depth_hw, factor * true_depth(), rtol=1e-5)


def test_a_quarter_of_wild_points_does_not_move_it():
    random = np.random.default_rng(0)
    points_hw3 = points_of(true_depth(), CAMERA) - [0, 0, 1.2]
    wild_hw = (random.random((32, 48)) < 0.5) & (np.arange(48) > 23)  # on one side, where they all pull one way
    points_hw3[wild_hw, :2] += random.uniform(1, 4, (int(wild_hw.sum()), 2))
    points_hw3[..., :2] += random.normal(0, 0.002, (32, 48, 2))
    depth_hw = depth_of_points(points_hw3, None, CAMERA)
    np.testing.assert_allclose(depth_hw, true_depth(), rtol=0.01)
    x_hw, y_hw = np.meshgrid((np.arange(48) - 25.0) / 40, (np.arange(32) - 14.5) / 42)
    plain = np.sum(x_hw * (points_hw3[..., 0] - x_hw * points_hw3[..., 2]))
    plain += np.sum(y_hw * (points_hw3[..., 1] - y_hw * points_hw3[..., 2]))
    assert abs(plain / np.sum(x_hw**2 + y_hw**2) - 1.2) > 0.1  # without the weights it would be this far off


def test_what_is_masked_or_no_number_neither_counts_nor_is_answered():
    points_hw3 = points_of(true_depth(), CAMERA) - [0, 0, 1.2]
    points_hw3[:, :20] += 7.0
    points_hw3[0, 30] = np.inf
    valid_hw = np.ones((32, 48), bool)
    valid_hw[:, :20] = False
    depth_hw = depth_of_points(points_hw3, valid_hw, CAMERA)
    valid_hw[0, 30] = False
    np.testing.assert_array_equal(np.isfinite(depth_hw), valid_hw)
    np.testing.assert_allclose(depth_hw[valid_hw], true_depth()[valid_hw], rtol=1e-5)


def test_points_behind_the_camera_have_no_depth():
    points_hw3 = points_of(true_depth(), CAMERA)
    points_hw3[3, 4] = 0.5, 0.5, -1.0
    depth_hw = depth_of_points(points_hw3, None, CAMERA)
    assert np.isnan(depth_hw[3, 4])
    assert np.isnan(depth_hw).sum() == 1


@pytest.mark.parametrize("shift", [-0.8, 0.0, 1.1])
def test_without_a_camera_the_focal_length_is_found_with_it(shift):
    points_hw3 = points_of(true_depth(), MIDDLE) - [0, 0, shift]
    np.testing.assert_allclose(depth_of_points(points_hw3, None, None), true_depth(), rtol=1e-4)


def test_a_wall_alone_does_not_tell_shift_and_focal_length():
    points_hw3 = points_of(np.full((32, 48), 3.0), MIDDLE)
    assert np.isnan(depth_of_points(points_hw3, None, None)).all()
    np.testing.assert_allclose(depth_of_points(points_hw3 - [0, 0, 0.5], None, MIDDLE), 3.0, rtol=1e-5)


def test_few_points_and_points_without_a_direction_tell_nothing():
    assert np.isnan(shift_along_z(np.ones((7, 3)), np.ones((7, 2))))
    assert np.isnan(shift_along_z(np.ones((20, 3)), np.zeros((20, 2))))
    nothing = np.zeros((32, 48), bool)
    assert np.isnan(depth_of_points(points_of(true_depth(), CAMERA), nothing, CAMERA)).all()


def test_of_a_large_map_not_every_point_is_looked_at_and_every_one_answered():
    camera = CAMERA.resized(480, 320)
    true_hw = np.kron(true_depth(), np.ones((10, 10)))
    points_hw3 = points_of(true_hw, camera) - [0, 0, 1.2]
    points_hw3[::7, ::5] += 3.0
    depth_hw = depth_of_points(points_hw3, None, camera)
    right_hw = np.ones((320, 480), bool)
    right_hw[::7, ::5] = False
    np.testing.assert_allclose(depth_hw[right_hw], true_hw[right_hw], rtol=2e-3)
    assert np.isfinite(depth_hw).all()
