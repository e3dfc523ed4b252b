"""The noise model, on detections whose noise is known."""

import numpy as np
import pytest
import torch
from geo_training.localization.noise import (
    NEW_RECORDING_MARGIN,
    HeldOutView,
    fit_covariance,
    fit_look_noise,
    fit_pixel_noise,
    normalized_errors,
)
from made_up_points import CAMERA as MADE_UP_CAMERA
from made_up_points import STRIDE, T_TRUE, MadeUp
from scipy.stats import chi2

from geo_perception.geometry import Camera, make_pose, so3_exp
from geo_perception.localization.estimator import LocalizerOptions
from geo_perception.localization.look import SecondLookOptions
from geo_perception.localization.scene import NoiseModel, Scene
from geo_perception.localization.second_look import SecondLooker

CAMERA = Camera(640, 480, 500.0, 500.0, 319.5, 239.5)


def views_with_noise(count: int, sigma_of_score, wrong: float = 0.0, seed: int = 0):
    rng = np.random.default_rng(seed)
    landmarks_l3 = rng.uniform([-3, -2, 3], [3, 2, 7], (80, 3))
    views = []
    for _ in range(count):
        T = make_pose(so3_exp(rng.normal(0, 0.1, 3)), rng.normal(0, 0.3, 3))
        true_l2 = CAMERA.project((landmarks_l3 - T[:3, 3]) @ T[:3, :3])
        score_l = rng.uniform(0.1, 1.0, 80)
        found_l2 = true_l2 + rng.normal(0, 1, (80, 2)) * sigma_of_score(score_l)[:, None]
        lost = rng.random(80) < wrong
        found_l2[lost] = rng.uniform(0, 480, (lost.sum(), 2))
        state_l = np.where(CAMERA.contains(true_l2), 1, -1)
        views.append(HeldOutView(found_l2, np.where(state_l > 0, score_l, 0.0), true_l2, state_l, CAMERA, T))
    return views, landmarks_l3


def test_the_fitted_sigma_is_the_true_one_at_every_score():
    views, _ = views_with_noise(60, lambda score: 4.0 - 3.0 * score, wrong=0.1)
    noise = fit_pixel_noise(views, NoiseModel(), 0.05)
    for score in (0.3, 0.6, 0.9):
        assert noise.sigma_of(np.array([score]))[0] == pytest.approx(4.0 - 3.0 * score, rel=0.25)


def test_too_few_detections_keep_the_model_one_starts_with():
    views, _ = views_with_noise(1, lambda score: np.ones_like(score))
    assert fit_pixel_noise(views[:0], NoiseModel(), 0.05) == NoiseModel()


def test_stated_and_actual_errors_agree_after_the_fit_on_other_views():
    sigma = lambda score: np.full_like(score, 2.0)  # noqa: E731 - a constant
    views, landmarks_l3 = views_with_noise(60, sigma, seed=1)
    boastful = NoiseModel((0.0, 1.0), (0.5, 0.5))  # says half a pixel, is off by two
    error_m6, covariance_m66, _ = normalized_errors(views, landmarks_l3, boastful, LocalizerOptions())
    fitted = fit_covariance(error_m6, covariance_m66 / 16, boastful)
    others, _ = views_with_noise(200, sigma, seed=2)
    landmarks_other = views_with_noise(1, sigma, seed=2)[1]
    error_m6, covariance_m66, _ = normalized_errors(others, landmarks_other, boastful, LocalizerOptions())
    floor_66 = np.diag([fitted.floor_m**2] * 3 + [fitted.floor_rad**2] * 3)
    total_m66 = covariance_m66 / 16 * fitted.covariance_scale + floor_66
    nees_m = np.einsum("mi,mij,mj->m", error_m6, np.linalg.inv(total_m66), error_m6)
    # The fit holds where it was made; for other recordings it is widened.
    inside = np.mean(nees_m * NEW_RECORDING_MARGIN**2 <= chi2.ppf(0.9, 6))
    assert 0.82 <= inside <= 0.96
    assert np.mean(nees_m <= chi2.ppf(0.9, 6)) > inside


def test_a_wider_margin_states_wider_ellipsoids():
    rng = np.random.default_rng(5)
    error_m6, covariance_m66 = rng.normal(size=(400, 6)), np.tile(np.eye(6), (400, 1, 1))
    usual, wide = (
        fit_covariance(error_m6, covariance_m66, NoiseModel(floor_m=0.0, floor_rad=0.0), margin=margin)
        for margin in (1.0, 2.0)
    )
    # Scale and floor together are the variance, which was 1.
    assert usual.covariance_scale + usual.floor_m**2 == pytest.approx(1.0, rel=0.25)
    assert wide.covariance_scale + wide.floor_m**2 == pytest.approx(4 * (usual.covariance_scale + usual.floor_m**2))


def test_few_poses_leave_the_covariance_as_it_is():
    assert fit_covariance(np.zeros((3, 6)), np.zeros((3, 6, 6)), NoiseModel()) == NoiseModel()


def test_a_view_without_detections_does_not_localize():
    views, landmarks_l3 = views_with_noise(1, lambda score: np.ones_like(score))
    blind = HeldOutView(views[0].pixels_l2, np.zeros(80), views[0].true_pixels_l2, views[0].state_l, CAMERA, np.eye(4))
    error_m6, _, distances = normalized_errors([blind], landmarks_l3, NoiseModel(), LocalizerOptions())
    assert len(error_m6) == 0
    assert distances == [(np.inf, np.inf)]


def test_the_second_look_s_sigma_is_how_far_points_of_a_similarity_are_off():
    """Points of similarity 0.75 are seen a cell (4 px) to the right of where they are, those of 1 where they are."""
    world = MadeUp(120)
    odd_n = np.arange(120) % 2 == 1
    points = world.map_points()
    world.column_n = world.column_n + odd_n
    blurred_nd = world.descriptors_nd.copy()
    aside_nd = np.roll(blurred_nd, 7, axis=1)
    aside_nd -= (aside_nd * blurred_nd).sum(axis=1, keepdims=True) * blurred_nd
    aside_nd /= np.linalg.norm(aside_nd, axis=1, keepdims=True)
    blurred_nd[odd_n] = (0.75 * blurred_nd + (1 - 0.75**2) ** 0.5 * aside_nd)[odd_n]
    world.descriptors_nd = blurred_nd
    # The landmarks of the first look are the points themselves, found where they are.
    state_n = np.ones(120, np.int8)
    view = HeldOutView(world.pixels_n2, np.full(120, 0.9), world.pixels_n2, state_n, MADE_UP_CAMERA, T_TRUE)
    looker = SecondLooker(points, [STRIDE], torch.device("cpu"), SecondLookOptions(keypoints=False))
    start = Scene.usual_look_noise()
    fitted = fit_look_noise(
        [view] * 2, points.points_map_a3, NoiseModel(), LocalizerOptions(), looker, lambda _, level: world.level(level),
        start,
    )  # fmt: skip
    # The median of a Rayleigh distribution is 1.1774 sigma; nothing is stated to be better than 0.3 px.
    assert fitted.sigma_of(np.array([0.75]))[0] == pytest.approx(4 / 1.1774, rel=0.05)
    assert fitted.sigma_of(np.array([1.0]))[0] == pytest.approx(0.3, abs=0.1)
    assert fitted.covariance_scale == start.covariance_scale  # two poses are too few


def test_a_second_look_that_finds_nothing_leaves_the_noise_as_it_is():
    world, other = MadeUp(60), MadeUp(60, seed=1)
    view = HeldOutView(world.pixels_n2, np.zeros(60), world.pixels_n2, np.ones(60, np.int8), MADE_UP_CAMERA, T_TRUE)
    points = world.map_points()
    looker = SecondLooker(points, [STRIDE], torch.device("cpu"), SecondLookOptions(keypoints=False))
    start = Scene.usual_look_noise()
    level_of = lambda _, level: other.level(level)  # noqa: E731 - short
    assert start == fit_look_noise(
        [view], points.points_map_a3, NoiseModel(), LocalizerOptions(), looker, level_of, start
    )
