"""Metric depth from a few true depths and a relative map: exact where it can be, honest where it cannot."""

from dataclasses import replace

import numpy as np
import pytest

from geo_perception.depth.completion import CompletionOptions, CorrectionKernel, complete
from geo_perception.depth.result import DepthVerdict, RelativeDepth
from geo_perception.depth.scale import Scale
from geo_perception.errors import InputError

HEIGHT, WIDTH = 96, 128


def relative(depth_hw: np.ndarray, view_hw3: np.ndarray | None = None) -> RelativeDepth:
    return RelativeDepth(DepthVerdict.ESTIMATED, depth_hw=depth_hw.astype(np.float32), view_hw3=view_hw3)


def ramp() -> np.ndarray:
    """From 1 at the left to 2 at the right."""
    return np.tile(1 + np.arange(WIDTH) / WIDTH, (HEIGHT, 1))


def anywhere(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, [WIDTH, HEIGHT], (count, 2)).astype(float)


def at(values_hw: np.ndarray, pixels_n2: np.ndarray) -> np.ndarray:
    return values_hw[pixels_n2[:, 1].astype(int), pixels_n2[:, 0].astype(int)]


def off(found, true_hw: np.ndarray) -> np.ndarray:
    return np.abs(np.log(found.depth_hw / true_hw))


def test_a_map_that_is_wrong_by_one_factor_becomes_exact():
    pixels_n2, true_hw = anywhere(40), 3.7 * ramp()
    found = complete(relative(ramp()), pixels_n2, at(true_hw, pixels_n2), 0.01)
    assert found.depth_hw.dtype == np.float32
    assert off(found, true_hw).max() < 0.01
    assert (found.right_n > 0.9).all()


def test_surfaces_that_are_wrong_by_factors_of_their_own_are_mended_each_up_to_its_edge():
    """A box before a wall, of which the network has the wall a fifth too near and the box a fifth too far."""
    box_hw = np.zeros((HEIGHT, WIDTH), bool)
    box_hw[30:80, 40:90] = True
    map_hw = np.where(box_hw, 1.0, 3.0)
    true_hw = 2 * map_hw * np.where(box_hw, 0.8, 1.2)
    pixels_n2 = anywhere(80)
    found = complete(relative(map_hw), pixels_n2, at(true_hw, pixels_n2), 0.01)
    assert np.median(off(found, true_hw)) < 0.01
    assert off(found, true_hw).max() < 0.1  # far from all points; a correction that leaks would be half of log 1.5
    beside_edge = off(found, true_hw)[40:70, 36:44]
    assert beside_edge.max() < 0.05


def test_an_error_that_changes_slowly_is_followed_between_points():
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    true_hw = ramp() * np.exp(0.3 * np.sin(u / 25) * np.cos(v / 40))
    pixels_n2 = anywhere(120)
    found = complete(relative(ramp()), pixels_n2, at(true_hw, pixels_n2), 0.01)
    by_one_factor = np.abs(np.log(true_hw / ramp()) - np.median(np.log(at(true_hw, pixels_n2) / at(ramp(), pixels_n2))))
    assert off(found, true_hw).mean() < 0.15 * by_one_factor.mean()


def test_colour_tells_surfaces_apart_where_depth_does_not():
    true_hw = np.where(np.arange(WIDTH) < 64, 1.0, 1.3) * np.ones((HEIGHT, 1))
    view_hw3 = np.where(np.arange(WIDTH)[:, None] < 64, [200, 40, 40], [40, 40, 200]) * np.ones((HEIGHT, 1, 1))
    # Points only away from the border between the two.
    pixels_n2 = np.array([[x, y] for x in (20, 44, 84, 110) for y in range(8, 96, 16)], float)
    points = pixels_n2, at(true_hw, pixels_n2), 0.01
    flat = np.ones((HEIGHT, WIDTH))
    coloured = off(complete(relative(flat, view_hw3.astype(np.uint8)), *points), true_hw)[:, 54:74].mean()
    assert coloured < 0.02
    assert coloured < 0.4 * off(complete(relative(flat), *points), true_hw)[:, 54:74].mean()


def crooked_wall() -> tuple[np.ndarray, np.ndarray]:
    """A wall that recedes from 2 m at the left to 4 m at the right, and a map that has it less so and in waves."""
    u_w = np.arange(WIDTH) / (WIDTH - 1)
    true_hw = np.tile(1 / (1 / 2 + u_w * (1 / 4 - 1 / 2)), (HEIGHT, 1))
    return true_hw, 2 + (u_w + 0.3 * np.sin(9 * u_w)) * np.ones((HEIGHT, 1))


def test_points_on_a_wall_tell_the_wall_however_crooked_the_network_has_it():
    true_hw, map_hw = crooked_wall()
    pixels_n2 = anywhere(40)
    points = relative(map_hw), pixels_n2, at(true_hw, pixels_n2), 0.01
    by_field = complete(*points, options=CompletionOptions(planes=None))
    by_plane = complete(*points)
    assert off(by_plane, true_hw).mean() < 0.005 < 0.5 * off(by_field, true_hw).mean()
    assert np.median(by_plane.sigma_hw) < 0.6 * np.median(by_field.sigma_hw)
    inside_hw = off(by_plane, true_hw) < 1.645 * by_plane.sigma_hw
    assert inside_hw.mean() > 0.9


def test_wrong_points_make_no_plane():
    """Every fifth point is on a plane of its own, half as far away as the wall."""
    true_hw, map_hw = crooked_wall()
    pixels_n2 = anywhere(90)
    depth_m_n = at(true_hw, pixels_n2)
    depth_m_n[::5] *= 0.5
    found = complete(relative(map_hw), pixels_n2, depth_m_n, 0.01)
    assert (found.right_n[::5] < 0.1).all()
    assert off(found, true_hw).mean() < 0.01


def test_a_wall_before_another_keeps_its_edge():
    """Two walls that face the camera at 2 m and 4 m, which the map tells apart but has in waves."""
    left_hw = np.tile(np.arange(WIDTH) < WIDTH // 2, (HEIGHT, 1))
    true_hw = np.where(left_hw, 2.0, 4.0)
    waves_hw = np.exp(0.15 * np.sin(np.arange(HEIGHT) / 9)[:, None] * np.ones((1, WIDTH)))
    pixels_n2 = anywhere(60)
    found = complete(relative(true_hw * waves_hw), pixels_n2, at(true_hw, pixels_n2), 0.01)
    assert off(found, true_hw).mean() < 0.01
    assert off(found, true_hw)[:, WIDTH // 2 - 3 : WIDTH // 2 + 3].max() < 0.05


def test_a_third_of_wrong_points_changes_little():
    rng = np.random.default_rng(4)
    pixels_n2, true_hw = anywhere(60), 3.7 * ramp()
    depth_m_n = at(true_hw, pixels_n2)
    wrong_n = np.arange(60) % 3 == 0
    depth_m_n = np.where(wrong_n, depth_m_n * np.exp(rng.choice([-1, 1], 60) * rng.uniform(0.7, 1.5, 60)), depth_m_n)
    found = complete(relative(ramp()), pixels_n2, depth_m_n, 0.01)
    assert off(found, true_hw).mean() < 0.02
    assert off(found, true_hw).max() < 0.15  # in a corner that only a wrong point is near
    assert found.right_n[wrong_n].max() < 0.1 < 0.9 < np.median(found.right_n[~wrong_n])


def test_away_from_points_it_is_as_sure_as_one_factor_would_be():
    points = np.array([[10.0, 48.0], [12.0, 50.0], [9.0, 45.0], [14.0, 47.0]])
    known = Scale(2.0, 0.05, "ground", 0.0)
    found = complete(relative(np.ones((HEIGHT, WIDTH))), points, np.full(4, 2.2), 0.01, known)
    sigma = np.hypot(np.sqrt(CompletionOptions().variance), 0.05)
    assert found.sigma_hw[48, 11] < 0.04
    assert found.sigma_hw[48, 120] == pytest.approx(sigma, rel=0.1)
    assert (np.diff(found.sigma_hw[48, 20:120]) > -1e-4).all()
    assert found.depth_hw[48, 11] == pytest.approx(2.2, rel=0.01)
    assert found.depth_hw[48, 120] == pytest.approx(2.0, rel=0.06)


def test_by_a_factor_alone_the_map_is_that_many_times_as_large():
    found = complete(relative(ramp()), np.zeros((0, 2)), np.zeros(0), 0.01, Scale(2.5, 0.1, "ground", 0.0))
    np.testing.assert_allclose(found.depth_hw, 2.5 * ramp(), rtol=1e-6)
    sigma = np.sqrt(CompletionOptions().variance + 0.1**2 + CompletionOptions().pixel_sigma ** 2)
    np.testing.assert_allclose(found.sigma_hw, sigma, rtol=1e-5)
    assert found.right_n.shape == (0,)


def test_a_single_point_is_a_factor():
    found = complete(relative(ramp()), np.array([[64.0, 48.0]]), np.array([3.0]), 0.01)
    assert found.depth_hw[48, 64] == pytest.approx(3.0, rel=0.01)
    assert found.depth_hw[5, 5] / ramp()[5, 5] == pytest.approx(2.0, rel=0.1)


def test_nine_of_ten_are_inside_nine_tenths_when_networks_err_as_they_are_taken_to():
    """The process's own draws, on a flat map: 400 pixels of 20 maps."""
    options = CompletionOptions(kernels=(CorrectionKernel(0.2, 0.3, 0.3, 0.5),), pixel_sigma=0.01)
    rng, inside = np.random.default_rng(0), []
    grid_n2 = np.array([[x, y] for y in range(2, HEIGHT, 5) for x in range(2, WIDTH, 6)], float)
    features_n6 = np.column_stack([grid_n2 / WIDTH, np.zeros((len(grid_n2), 4))])
    lower = np.linalg.cholesky(options.covariance(features_n6, features_n6) + 1e-6 * np.eye(len(grid_n2)))
    for _ in range(20):
        true_n = np.exp(lower @ rng.standard_normal(len(grid_n2)) + 0.01 * rng.standard_normal(len(grid_n2)))
        told = rng.choice(len(grid_n2), 30, replace=False)
        noisy_n = true_n[told] * np.exp(0.02 * rng.standard_normal(30))
        found = complete(relative(np.ones((HEIGHT, WIDTH))), grid_n2[told], noisy_n, 0.02, options=options)
        inside.append(np.abs(np.log(at(found.depth_hw, grid_n2) / true_n)) < 1.645 * at(found.sigma_hw, grid_n2))
    assert np.mean(inside) == pytest.approx(0.9, abs=0.04)


def test_points_that_cannot_be_used_count_for_nothing():
    map_hw = ramp()
    map_hw[:20] = np.nan
    pixels_n2 = np.concatenate([anywhere(30) * [1, 0.7] + [0, 25], [[5, 5], [-9, 50], [400, 50], [50, 50], [51, 51]]])
    depth_m_n = 2 * np.append(at(ramp(), np.clip(pixels_n2[:30], 0, [WIDTH - 1, HEIGHT - 1])), [1, 1, 1, np.nan, -1])
    found = complete(relative(map_hw), pixels_n2, depth_m_n, 0.02)
    assert (found.right_n[30:] == 0).all()
    assert np.isnan(found.depth_hw[:20]).all()
    assert np.isnan(found.sigma_hw[:20]).all()
    assert off(found, 2 * ramp())[22:].max() < 0.03


def test_many_points_are_thinned_out():
    pixels_n2, true_hw = anywhere(3000), 3.7 * ramp()
    found = complete(relative(ramp()), pixels_n2, at(true_hw, pixels_n2), 0.02)
    assert (found.right_n > 0).sum() <= CompletionOptions().max_points
    assert off(found, true_hw).max() < 0.01


def test_where_nothing_is_known_there_are_no_metres():
    nothing = np.zeros((0, 2)), np.zeros(0), 0.01
    assert complete(relative(ramp()), *nothing) is None
    assert complete(relative(ramp()), np.array([[500.0, 5.0]]), np.array([2.0]), 0.01) is None
    bad = RelativeDepth(DepthVerdict.BAD_IMAGE)
    assert complete(bad, *nothing, Scale(2.0, 0.1, "ground", 0.0)) is None


def test_what_does_not_fit_is_refused():
    with pytest.raises(InputError, match="3 pixels, 2 depths"):
        complete(relative(ramp()), np.zeros((3, 2)), np.ones(2), 0.01)
    with pytest.raises(InputError, match="between 0 and 1"):
        CompletionOptions(wrong=0.0)
    with pytest.raises(InputError, match="positive"):
        CompletionOptions(pixel_sigma=0.0)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (31, 33), (97, 129)])
def test_maps_of_any_size_are_completed_whole(size):
    map_hw = np.ones(size)
    found = complete(relative(map_hw), np.zeros((1, 2)), np.full(1, 2.0), 0.01, Scale(2.0, 0.1, "ground", 0.0))
    assert found.depth_hw.shape == found.sigma_hw.shape == size
    np.testing.assert_allclose(found.depth_hw, 2.0, rtol=0.02)


def test_the_same_points_give_the_same_metres():
    points = anywhere(60), np.random.default_rng(1).uniform(1, 6, 60), 0.05
    one, other = (complete(relative(ramp()), *points) for _ in range(2))
    assert np.array_equal(one.depth_hw, other.depth_hw)
    assert np.array_equal(one.right_n, other.right_n)
    wider = complete(relative(ramp()), *points, options=replace(CompletionOptions(), scale_sigma=2.0))
    assert np.isfinite(wider.depth_hw).all()


def test_what_points_err_alike_is_not_averaged_away():
    """Sixty points that err by one number of deviation 0.1 leave every depth that uncertain; by sixty, hardly."""
    pixels_n2 = anywhere(60)
    options = CompletionOptions(kernels=(CorrectionKernel(0.001, 0.2, 0.2, 0.2),), pixel_sigma=0.001)
    told = relative(ramp()), pixels_n2, 2.0 * at(ramp(), pixels_n2), 0.01, None, options
    alike = complete(*told, np.full((60, 1), 0.1))
    apart = complete(*told, 0.1 * np.eye(60))
    assert np.median(alike.sigma_hw) == pytest.approx(0.1, rel=0.02)
    assert np.median(apart.sigma_hw) == pytest.approx(0.1 / np.sqrt(60), rel=0.1)
    np.testing.assert_allclose(np.median(alike.depth_hw / ramp()), 2.0, rtol=0.01)


def test_a_known_scale_corrects_what_points_err_alike():
    """The factor is known to 1 %, and the points say 10 % more, with an error in common of 10 %."""
    pixels_n2 = anywhere(60)
    options = CompletionOptions(kernels=(CorrectionKernel(0.01, 0.2, 0.2, 0.2),))
    told = pixels_n2, 2.2 * at(ramp(), pixels_n2), 0.01, Scale(2.0, 0.01, "ground", 0.0), options
    alike = complete(relative(ramp()), *told, np.full((60, 1), 0.1))
    assert np.median(alike.depth_hw / ramp()) == pytest.approx(2.0, rel=0.01)
    assert np.median(complete(relative(ramp()), *told).depth_hw / ramp()) > 2.05


def test_shared_errors_need_a_row_for_every_point():
    with pytest.raises(InputError, match="give a row for every point"):
        complete(relative(ramp()), anywhere(5), np.ones(5), 0.01, shared_nk=np.ones((4, 1)))


def test_confidence_is_the_normal_probability_of_a_quarter():
    found = complete(relative(ramp()), anywhere(40), np.full(40, 3.0), 0.01)
    sigma = float(found.sigma_hw[50, 60])
    draws = np.random.default_rng(0).normal(0, sigma, 200_000)
    assert found.confidence_hw[50, 60] == pytest.approx((np.abs(draws) < np.log(1.25)).mean(), abs=0.005)
    assert found.confidence_hw.dtype == np.float32
