"""Planes in a depth image."""

import numpy as np
import pytest
from geo_training.mapping.fusion.planes import PlaneOptions, find_planes, image_plane_terms


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
