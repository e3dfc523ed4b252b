"""The scale from points: robust, honest about its error, careful at edges."""

import numpy as np
import pytest

from geo_perception.depth.result import DepthVerdict, RelativeDepth
from geo_perception.depth.sparse_scale import (
    CORRELATION_SHARE,
    USUAL_SIGMA,
    pixels_to_map,
    sample_map,
    scale_from_points,
)
from geo_perception.errors import InputError
from geo_perception.geometry import Camera

CAMERA = Camera(80, 60, 60.0, 60.0, 39.5, 29.5)
ROWS, COLUMNS = np.mgrid[0:60, 0:80]


def relative(depth_hw, sigma_hw=None, camera=CAMERA):
    return RelativeDepth(DepthVerdict.ESTIMATED, camera=camera, depth_hw=depth_hw.astype(np.float32), sigma_hw=sigma_hw)


def plane_inverse(pixels_n2):
    return 0.2 + 0.002 * pixels_n2[:, 0] + 0.003 * pixels_n2[:, 1]


PLANE_HW = 1 / plane_inverse(np.stack([COLUMNS.ravel(), ROWS.ravel()], 1)).reshape(60, 80)


def points(count, seed=0):
    return np.random.default_rng(seed).uniform(0, [79, 59], (count, 2))


def test_scale_of_a_plane_between_its_pixels_is_exact():
    pixels_n2 = points(30)
    got = scale_from_points(relative(PLANE_HW), pixels_n2, 3.7 / plane_inverse(pixels_n2), 0.01, "landmarks")
    assert np.exp(got.log_scale) == pytest.approx(3.7, rel=1e-5)
    assert (got.source, got.support) == ("landmarks", 30)
    assert 0 < got.sigma < USUAL_SIGMA


@pytest.mark.parametrize("side", ["one", "both", "coherent"])
def test_four_in_ten_wrong_points_do_not_matter(side):
    rng = np.random.default_rng(1)
    pixels_n2 = points(100)
    depth_m_n = 2.0 / plane_inverse(pixels_n2) * np.exp(rng.normal(0, 0.05, 100))
    wrong_n = {"one": rng.uniform(0.5, 2, 40), "both": rng.uniform(0.5, 2, 40) * rng.choice([-1, 1], 40)}
    depth_m_n[:40] *= np.exp(wrong_n.get(side, np.full(40, -0.9)))
    got = scale_from_points(relative(PLANE_HW), pixels_n2, depth_m_n, 0.05, "landmarks")
    assert got.log_scale == pytest.approx(np.log(2.0), abs=0.03)
    assert 55 <= got.support <= 60


def spoiled(kind, share, seed, count=100):
    """Pixels and depths at scale 2 with 5 % of noise, of which a share is wrong in the way that is named."""
    rng = np.random.default_rng(seed)
    pixels_n2 = points(count, seed)
    depth_m_n = 2.0 / plane_inverse(pixels_n2) * np.exp(rng.normal(0, 0.05, count))
    wrong = round(share * count)
    low, high = {"nearer": (-2, -0.3), "further": (0.3, 2), "both": (-1.5, 1.5), "a little": (-0.7, -0.1)}[kind]
    depth_m_n[:wrong] *= np.exp(rng.uniform(low, high, wrong))
    return pixels_n2, depth_m_n


@pytest.mark.parametrize("kind", ["nearer", "further", "both", "a little"])
def test_most_points_wrong_give_nothing_or_the_truth_within_what_is_stated(kind):
    for seed in range(40):
        got = scale_from_points(relative(PLANE_HW), *spoiled(kind, 0.55, seed), 0.05, "landmarks")
        if got is not None:
            assert got.support > 50
            assert abs(got.log_scale - np.log(2.0)) < 2.5 * got.sigma


@pytest.mark.parametrize("kind", ["nearer", "further", "both", "a little"])
def test_four_in_ten_wrong_points_give_the_truth(kind):
    for seed in range(20):
        got = scale_from_points(relative(PLANE_HW), *spoiled(kind, 0.4, seed), 0.05, "landmarks")
        assert got.log_scale == pytest.approx(np.log(2.0), abs=0.06)


@pytest.mark.parametrize(("wrong", "accepted"), [(0, True), (38, True), (46, False), (50, False), (54, False)])
def test_two_scales_with_nearly_as_many_points_give_nothing(wrong, accepted):
    """A poster that moved: its points agree with each other as well as the others do."""
    pixels_n2 = points(100)
    depth_m_n = 2.0 / plane_inverse(pixels_n2)
    depth_m_n[:wrong] *= 1.5
    got = scale_from_points(relative(PLANE_HW), pixels_n2, depth_m_n, 0.05, "landmarks")
    assert (got is not None) == accepted
    if accepted:
        assert got.log_scale == pytest.approx(np.log(2.0), abs=1e-3)


def test_the_more_points_are_wrong_the_less_is_it_sure():
    sigmas = [
        np.median([
            scale_from_points(relative(PLANE_HW), *spoiled("further", share, seed), 0.05, "landmarks").sigma
            for seed in range(8)
        ])
        for share in (0.0, 0.2, 0.4)
    ]  # fmt: skip
    assert sigmas[0] < 0.9 * sigmas[1] < 0.81 * sigmas[2]


def test_points_that_agree_on_nothing_give_nothing():
    rng = np.random.default_rng(2)
    depth_m_n = np.exp(rng.uniform(-3, 3, 60))
    assert scale_from_points(relative(np.ones((60, 80))), points(60), depth_m_n, 0.05, "odometry") is None


def test_too_few_points_give_nothing():
    pixels_n2 = points(6)
    depth_m_n = 1 / plane_inverse(pixels_n2)
    assert scale_from_points(relative(PLANE_HW), pixels_n2[:5], depth_m_n[:5], 0.05, "ground") is None
    assert scale_from_points(relative(PLANE_HW), pixels_n2, depth_m_n, 0.05, "ground").support == 6
    assert scale_from_points(relative(PLANE_HW), pixels_n2, depth_m_n, 0.05, "ground", min_points=7) is None


def test_confident_pixels_weigh_more():
    depth_hw, sigma_hw = np.ones((60, 80)), np.full((60, 80), 0.3, np.float32)
    depth_hw[:, 40:], sigma_hw[:, 40:] = np.exp(0.2), 0.02
    pixels_n2 = np.concatenate([points(20) * [0.4, 1], points(20) * [0.4, 1] + [45, 0]])
    got = scale_from_points(relative(depth_hw, sigma_hw), pixels_n2, np.ones(40), 0.01, "landmarks")
    assert got.log_scale == pytest.approx(-0.2, abs=0.01)


def test_standard_error_covers_errors_that_neighbours_share():
    rng = np.random.default_rng(3)
    normal, sigmas = [], []
    pixels_n2 = points(60, 5)
    distance_nn = np.linalg.norm(pixels_n2[:, None] - pixels_n2[None], axis=2)
    root_nn = np.linalg.cholesky(np.exp(-distance_nn / (CORRELATION_SHARE * 80)) + 1e-9 * np.eye(60))
    for _ in range(250):
        error_n = USUAL_SIGMA * root_nn @ rng.normal(size=60) + 0.03 * rng.normal(size=60)
        got = scale_from_points(relative(np.ones((60, 80))), pixels_n2, np.exp(error_n), 0.03, "landmarks")
        normal.append(got.log_scale / got.sigma)
        sigmas.append(got.sigma)
    inside = np.mean(np.abs(normal) < 2)
    assert inside > 0.9
    assert 0.7 < np.sqrt(np.mean(np.square(normal))) < 1.3
    # As if all were independent it would be a seventh of that.
    assert np.median(sigmas) > 3 * USUAL_SIGMA / np.sqrt(60)


def test_points_in_one_spot_are_no_more_certain_than_the_map_is_there():
    pixels_n2 = [40, 30] + points(200) / 80
    got = scale_from_points(relative(np.ones((60, 80))), pixels_n2, np.ones(200), 0.01, "landmarks")
    assert got.sigma > 0.8 * USUAL_SIGMA


def test_nothing_is_read_across_an_edge_or_beside_a_hole():
    depth_hw = np.ones((60, 80))
    depth_hw[:, 40:] = 3.0
    depth_hw[10, 10] = np.nan
    depth_hw[20, 10], depth_hw[30, 10], depth_hw[40, 10] = -1.0, 0.0, np.inf
    pixels_n2 = np.array([[39.5, 5], [38.5, 5], [9.5, 10.5], [9.5, 20], [9.5, 30], [9.5, 40], [-1, 5], [np.nan, 1]])
    depth_n, sigma_n = sample_map(relative(depth_hw), pixels_n2)
    np.testing.assert_array_equal(np.isfinite(depth_n), [False, True] + [False] * 6)
    assert depth_n[1] == 1.0
    assert sigma_n[1] == USUAL_SIGMA
    corners_n2 = np.array([[-0.5, -0.5], [79.5, 59.5]])
    np.testing.assert_allclose(sample_map(relative(depth_hw), corners_n2)[0], [1.0, 3.0])


@pytest.mark.parametrize("depth_hw", [
    np.full((60, 80), np.nan), np.full((60, 80), -1.0), np.full((60, 80), np.inf), np.zeros((60, 80)), np.ones((1, 1)),
])  # fmt: skip
def test_useless_map_gives_nothing(depth_hw):
    assert scale_from_points(relative(depth_hw), points(20), np.ones(20), 0.1, "landmarks") is None


def test_useless_points_give_nothing():
    whole = relative(np.ones((60, 80)))
    assert scale_from_points(whole, np.zeros((0, 2)), np.zeros(0), np.zeros(0), "landmarks") is None
    for bad in (np.nan, 0.0, -2.0, np.inf):
        assert scale_from_points(whole, points(20), np.full(20, bad), 0.1, "landmarks") is None
    assert scale_from_points(whole, points(20), np.ones(20), np.full(20, np.nan), "landmarks") is None
    assert scale_from_points(RelativeDepth(DepthVerdict.BAD_IMAGE), points(20), np.ones(20), 0.1, "landmarks") is None
    with pytest.raises(InputError, match="give one of each"):
        scale_from_points(whole, points(20), np.ones(19), 0.1, "landmarks")


def test_pixels_of_the_lens_land_where_their_rays_do():
    lens = Camera(160, 120, 110.0, 112.0, 78.0, 61.0, "plumb_bob", (-0.2, 0.05, 0.001, -0.001, 0.0))
    rays_n3 = np.array([[0.1, 0.2, 1.0], [-0.3, 0.1, 1.0], [0.0, 0.0, 1.0]])
    got_n2 = pixels_to_map(lens.project(rays_n3), lens, relative(PLANE_HW))
    np.testing.assert_allclose(got_n2, CAMERA.project(rays_n3), atol=1e-4)
    with pytest.raises(InputError, match="no camera"):
        pixels_to_map(got_n2, lens, relative(PLANE_HW, camera=None))
