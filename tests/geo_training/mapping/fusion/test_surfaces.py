"""Depth with holes, completed by what is near, alike and on the same plane."""

import numpy as np
import pytest
from drawn_planes import SIZE_HW, drawn_planes
from geo_training.mapping.fusion.methods import by_factor, by_surfaces, find_method
from geo_training.mapping.fusion.surfaces import SurfaceOptions, complete_by_surfaces

from geo_perception.errors import InputError


@pytest.fixture(scope="module")
def planes():
    return drawn_planes()


def with_hole(depth_hw, rows, columns):
    hidden_hw = np.zeros(SIZE_HW, bool)
    hidden_hw[rows, columns] = True
    return np.where(hidden_hw, 0, depth_hw), hidden_hw


def test_known_depth_stays_and_has_the_stated_error(planes):
    depth_hw, image_hw3, relative_hw = planes
    known_hw, hidden_hw = with_hole(depth_hw, slice(50, 60), slice(40, 60))
    found = complete_by_surfaces(known_hw, relative_hw, image_hw3, SurfaceOptions(known_sigma=0.02))
    np.testing.assert_array_equal(found.depth_hw[found.kept_hw], known_hw[found.kept_hw])
    np.testing.assert_allclose(found.sigma_hw[found.kept_hw], 0.02, atol=1e-6)
    assert found.kept_hw[~hidden_hw].mean() > 0.99
    assert np.isfinite(found.depth_hw).all()


def test_a_hole_in_a_plane_is_filled_by_the_plane(planes):
    """By one factor the floor would be off by 8 %: relative depth has it nearer than the walls."""
    depth_hw, image_hw3, relative_hw = planes
    known_hw, hidden_hw = with_hole(depth_hw, slice(52, 68), slice(40, 70))
    ours_hw = by_surfaces(known_hw, relative_hw, image_hw3).depth_hw
    factor_hw = by_factor(known_hw, relative_hw, image_hw3).depth_hw
    off = [np.abs(one_hw[hidden_hw] / depth_hw[hidden_hw] - 1).mean() for one_hw in (ours_hw, factor_hw)]
    assert off[0] < 0.004
    assert off[1] > 0.05


def test_a_hole_at_the_rim_goes_on_as_the_floor_does(planes):
    depth_hw, image_hw3, relative_hw = planes
    known_hw, hidden_hw = with_hole(depth_hw, slice(64, 72), slice(30, 70))
    found_hw = by_surfaces(known_hw, relative_hw, image_hw3).depth_hw
    np.testing.assert_allclose(found_hw[hidden_hw], depth_hw[hidden_hw], rtol=0.02)


def test_depth_does_not_leak_over_an_edge(planes):
    """A hole over the edge of the box: what is green is on the box, what is not is on the wall."""
    depth_hw, image_hw3, relative_hw = planes
    known_hw, hidden_hw = with_hole(depth_hw, slice(26, 38), slice(28, 40))
    found_hw = by_surfaces(known_hw, relative_hw, image_hw3).depth_hw
    inner_hw = hidden_hw.copy()
    inner_hw[:, 32:36] = False  # the blurred image says less there
    assert np.abs(found_hw[inner_hw] / depth_hw[inner_hw] - 1).mean() < 0.02


def test_nine_tenths_lie_inside_the_stated_interval_where_depth_is_noisy(planes):
    depth_hw, image_hw3, relative_hw = planes
    rng = np.random.default_rng(3)
    noisy_hw = depth_hw * np.exp(0.01 * rng.standard_normal(SIZE_HW)).astype(np.float32)
    hidden_hw = np.zeros(SIZE_HW, bool)
    hidden_hw[8:24, 40:90], hidden_hw[50:70, 10:40] = True, True
    found = complete_by_surfaces(np.where(hidden_hw, 0, noisy_hw), relative_hw, image_hw3)
    off_n = np.abs(np.log(found.depth_hw[hidden_hw] / noisy_hw[hidden_hw]))
    inside = (off_n <= 1.645 * found.sigma_hw[hidden_hw]).mean()
    assert 0.8 <= inside <= 0.99


def test_single_points_are_enough(planes):
    """As of COLMAP's map: 120 of 6912 pixels."""
    depth_hw, image_hw3, relative_hw = planes
    rng = np.random.default_rng(4)
    known_hw = np.zeros(SIZE_HW, np.float32)
    chosen = rng.choice(known_hw.size, 120, replace=False)
    known_hw.flat[chosen] = depth_hw.flat[chosen]
    found = complete_by_surfaces(known_hw, relative_hw, image_hw3)
    off_hw = np.abs(np.log(found.depth_hw / depth_hw))
    assert np.median(off_hw) < 0.01
    assert (off_hw <= 1.645 * found.sigma_hw).mean() > 0.8


def test_points_that_contradict_all_around_are_not_believed(planes):
    depth_hw, image_hw3, relative_hw = planes
    known_hw = depth_hw.copy()
    wrong = [(60, 50), (60, 51), (10, 20)]
    for row, column in wrong:
        known_hw[row, column] *= 3
    found = complete_by_surfaces(known_hw, relative_hw, image_hw3)
    for row, column in wrong:
        assert not found.kept_hw[row, column]
        assert found.depth_hw[row, column] == pytest.approx(depth_hw[row, column], rel=0.05)


def test_nothing_is_said_where_relative_depth_is_not_known(planes):
    depth_hw, image_hw3, relative_hw = planes
    unknown_hw = relative_hw.copy()
    unknown_hw[:4] = np.nan
    known_hw, _ = with_hole(depth_hw, slice(0, 20), slice(0, 96))
    found = complete_by_surfaces(known_hw, unknown_hw, image_hw3)
    assert np.isnan(found.depth_hw[:4]).all()
    assert np.isnan(found.sigma_hw[:4]).all()
    assert np.isfinite(found.depth_hw[4:]).all()


def test_the_same_input_gives_the_same_answer(planes):
    depth_hw, image_hw3, relative_hw = planes
    known_hw, _ = with_hole(depth_hw, slice(10, 60), slice(10, 60))
    first, second = (complete_by_surfaces(known_hw, relative_hw, image_hw3) for _ in range(2))
    np.testing.assert_array_equal(first.depth_hw, second.depth_hw)
    np.testing.assert_array_equal(first.sigma_hw, second.sigma_hw)


def test_what_does_not_fit_is_refused(planes):
    depth_hw, image_hw3, relative_hw = planes
    with pytest.raises(InputError, match="give all three in one size"):
        complete_by_surfaces(depth_hw[:-1], relative_hw, image_hw3)
    with pytest.raises(InputError, match="give RGB as uint8"):
        complete_by_surfaces(depth_hw, relative_hw, image_hw3.astype(np.float32))
    nearly_none_hw = np.zeros(SIZE_HW, np.float32)
    nearly_none_hw[:2, :3] = 2.0
    with pytest.raises(InputError, match="only 6 pixels have depth"):
        complete_by_surfaces(nearly_none_hw, relative_hw, image_hw3)
    with pytest.raises(InputError, match="only 6 pixels have both depths"):
        by_factor(nearly_none_hw, relative_hw, image_hw3)
    with pytest.raises(InputError, match="must be positive"):
        SurfaceOptions(neighbours=0)
    with pytest.raises(InputError, match="choose surfaces, factor, mlp"):
        find_method("best")
