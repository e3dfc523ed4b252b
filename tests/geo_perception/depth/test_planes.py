"""Planes in a depth image."""

import numpy as np
import pytest

from geo_perception.depth.planes import PlaneOptions, find_planes, image_plane_terms


def found(depth_hw, **options):
    terms_n3 = image_plane_terms(*depth_hw.shape).reshape(-1, 3)
    known_n = depth_hw.ravel() > 0
    return find_planes(
        terms_n3[known_n], depth_hw.ravel()[known_n], PlaneOptions(**options), np.random.default_rng(0)
    )  # fmt: skip


def test_terms_are_shares_of_the_width_from_the_middle():
    terms_hw3 = image_plane_terms(4, 8)
    np.testing.assert_allclose(terms_hw3[0, 0], [-0.5, -0.25, 1])
    np.testing.assert_allclose(terms_hw3[2, 6], [0.25, 0.0, 1])


def test_a_plane_is_found_to_the_last_digit():
    terms_hw3 = image_plane_terms(40, 60)
    planes_p3 = found(1 / (terms_hw3 @ [0.1, 0.4, 0.5]))
    assert len(planes_p3) == 1
    np.testing.assert_allclose(planes_p3[0], [0.1, 0.4, 0.5], atol=1e-9)


def test_the_larger_of_two_planes_comes_first():
    inverse_hw = np.full((40, 60), 0.25)
    inverse_hw[:, :20] = 0.5
    planes_p3 = found(1 / inverse_hw)
    np.testing.assert_allclose(planes_p3, [[0, 0, 0.25], [0, 0, 0.5]], atol=1e-9)


def test_a_third_of_wrong_depths_does_not_move_a_plane():
    rng = np.random.default_rng(1)
    depth_hw = np.full((40, 60), 4.0)
    wrong_hw = rng.random(depth_hw.shape) < 0.33
    depth_hw[wrong_hw] = rng.uniform(1, 9, wrong_hw.sum())
    assert 1 / found(depth_hw)[0][2] == pytest.approx(4.0, rel=1e-3)


def test_depth_without_any_plane_has_none():
    rng = np.random.default_rng(2)
    assert len(found(rng.uniform(1, 9, (30, 30)), tolerance=0.002, least_share=0.1)) == 0


def test_fewer_points_than_a_plane_needs_have_none():
    terms_n3 = image_plane_terms(2, 3).reshape(-1, 3)
    assert find_planes(terms_n3, np.full(6, 2.0), PlaneOptions(), np.random.default_rng(0)).shape == (0, 3)


def test_points_in_a_row_by_chance_are_no_plane_where_they_are_unlike():
    """Four columns of points on two walls, at 1 m and 1.3 m: every other column lies on a slanted plane, too."""
    x_n, y_n = (axis.ravel() for axis in np.meshgrid([-0.35, -0.15, 0.15, 0.35], np.linspace(-0.3, 0.3, 6)))
    left_n = x_n < 0
    terms_n3, depth_n = np.column_stack([x_n, y_n, np.ones(24)]), np.where(left_n, 1.0, 1.3)
    alike_nn = np.where(left_n[:, None] == left_n, 1.0, 0.2)
    for seed in range(5):
        options, rng = PlaneOptions(least_points=5, reach=(6, 12, 24)), np.random.default_rng(seed)
        planes_p3 = find_planes(terms_n3, depth_n, options, rng, alike_nn)
        np.testing.assert_allclose(np.sort(planes_p3[:, 2]), [1 / 1.3, 1.0], atol=1e-9)
        np.testing.assert_allclose(planes_p3[:, :2], 0, atol=1e-9)
