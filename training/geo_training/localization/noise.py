"""The noise model of the localizer, fitted on held-out frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from geo_perception.geometry import Camera, pose_error, so3_log
from geo_perception.localization.estimator import LocalizerOptions
from geo_perception.localization.look import ImageLevels, LevelView, Proposal
from geo_perception.localization.network import CELL_PX, Peaks
from geo_perception.localization.pnp import PoseSolution, solve_pose
from geo_perception.localization.scene import NoiseModel
from geo_perception.localization.second_look import SecondLooker
from geo_training.engine.uncertainty import fit_scale_and_floor
from geo_training.localization.views import View
from geo_training.mapping.landmark_set import SEEN

LOOK_KNOTS = (0.3, 0.45, 0.6, 0.7, 0.8, 0.9)  # of cosine similarities
SCORE_KNOTS = (0.05, 0.2, 0.4, 0.6, 0.8, 0.95)
_GROSS_PX = 24.0  # beyond this a detection is a confusion, which the search rejects, not noise
_MIN_IN_BIN = 20
# Held-out frames lie between learned ones, on the same walk and in the same light. Robots come on other days, so what
# is stated is wider than what was measured there by this factor (of the standard deviation).
NEW_RECORDING_MARGIN = 1.3
# Of the second look. With 1.3, 70 % of the true poses of another walk of a house and 67 % of later frames of an office
# lay in the ellipsoids of 90 %, and both needed 1.4 times as much.
LOOK_MARGIN = 1.8
_LEVELS = np.array([0.5, 0.8, 0.9])
# Poses by keypoints are mostly all but exact, and sometimes not: what is stated must hold for those, too.
_LOOK_LEVELS = np.array([0.8, 0.9])
_SCALES = np.geomspace(0.25, 64, 49)  # of the covariances
_FLOOR_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the median error
_RAYLEIGH_MEDIAN = np.sqrt(2 * np.log(2))


@dataclass(frozen=True)
class HeldOutView:
    """What the network found in one held-out view, and the truth."""

    pixels_l2: np.ndarray
    score_l: np.ndarray
    true_pixels_l2: np.ndarray
    state_l: np.ndarray
    camera: Camera
    T_world_camera: np.ndarray


def held_out_view(view: View, peaks: Peaks) -> HeldOutView:
    """What was found in a view, as the first of `peaks`."""
    pixels_l2, score_l = peaks.pixels_bl2[0].double().cpu().numpy(), peaks.score_bl[0].double().cpu().numpy()
    return HeldOutView(pixels_l2, score_l, view.pixels_l2, view.state_l, view.camera, view.T_world_camera)


def held_out_metrics(
    views: list[HeldOutView], landmarks_l3: np.ndarray, metric: bool, options: LocalizerOptions
) -> dict[str, float]:
    """Pixel error and recall in plain held-out views, by the landmarks alone; lengths in cm where the scene is
    `metric`."""
    error_px, _ = pixel_errors(views, 0.3)
    _, _, distances = normalized_errors(views, landmarks_l3.astype(float), NoiseModel(), options)
    distance_n, angle_deg = np.array(distances).T
    metrics = {
        "held_out_px": float(np.median(error_px)) if len(error_px) else float("nan"),
        "held_out_median_deg": float(np.median(angle_deg)),
        "held_out_localized": float(np.mean(np.isfinite(distance_n))),
    }
    if not metric:
        return metrics | {"held_out_median_scene_units": float(np.median(distance_n))}
    return metrics | {
        "held_out_recall_5cm_5deg": float(np.mean((distance_n <= 0.05) & (angle_deg <= 5))),
        "held_out_median_cm": float(np.median(distance_n) * 100),
    }


def pixel_errors(views: list[HeldOutView], min_score: float) -> tuple[np.ndarray, np.ndarray]:
    """Errors in network pixels (M,) and scores (M,) of the detections of landmarks that are in view."""
    errors, scores = [np.zeros(0)], [np.zeros(0)]
    for view in views:
        used_l = (view.score_l >= min_score) & (view.state_l >= 0)
        errors.append(np.linalg.norm(view.pixels_l2[used_l] - view.true_pixels_l2[used_l], axis=1))
        scores.append(view.score_l[used_l])
    return np.concatenate(errors), np.concatenate(scores)


def found_share(views: list[HeldOutView], limit_px: float = CELL_PX) -> float:
    """Of the landmarks that are seen in the views, the share whose highest place is right within `limit_px`, whatever
    its score. NaN where none is seen."""
    off_px = [np.linalg.norm(view.pixels_l2 - view.true_pixels_l2, axis=1)[view.state_l == SEEN] for view in views]
    return float(np.mean(np.concatenate([np.zeros(0), *off_px]) <= limit_px)) if any(map(len, off_px)) else np.nan


def fit_pixel_noise(views: list[HeldOutView], start: NoiseModel, min_score: float) -> NoiseModel:
    """Pixel sigma as a function of the score: robust deviation of the errors in each band of scores, never rising."""
    error_px_m, score_m = pixel_errors(views, min_score)
    return _fit_sigma(error_px_m, score_m, SCORE_KNOTS, start)


def _fit_sigma(error_px_m: np.ndarray, score_m: np.ndarray, bands: tuple[float, ...], start: NoiseModel) -> NoiseModel:
    close_m = error_px_m < _GROSS_PX
    knots, sigmas = [], []
    for low, high in zip(bands, (*bands[1:], 1.01), strict=True):
        band_m = close_m & (score_m >= low) & (score_m < high)
        if band_m.sum() >= _MIN_IN_BIN:
            knots.append(float(score_m[band_m].mean()))
            sigmas.append(float(np.median(error_px_m[band_m]) / _RAYLEIGH_MEDIAN))
    if len(knots) < 2:
        return start
    sigmas = np.minimum.accumulate(np.maximum(sigmas, 0.3))
    return NoiseModel(tuple(knots), tuple(float(s) for s in sigmas), 1.0, start.floor_m, start.floor_rad)


def normalized_errors(
    views: list[HeldOutView], landmarks_l3, noise: NoiseModel, options
) -> tuple[np.ndarray, np.ndarray, list]:
    """For each view that localizes: error vectors (M, 6) in the convention of `Localization`, stated covariances
    (M, 6, 6) before scale and floor, and (metres, degrees) of every view (infinite where it does not localize)."""
    solutions = [first_pose(view, landmarks_l3, noise, options) for view in views]
    return _errors_of(
        views, [s if s is not None and s.inlier_n.sum() >= options.min_inliers else None for s in solutions]
    )


def first_pose(view: HeldOutView, landmarks_l3, noise: NoiseModel, options) -> PoseSolution | None:
    """The pose on which the landmarks found in a view agree."""
    found = np.flatnonzero(view.score_l >= options.min_score)
    if len(found) < options.min_inliers:
        return None
    score_n = view.score_l[found]
    sigma_px_n = noise.sigma_of(score_n)
    return solve_pose(view.pixels_l2[found], landmarks_l3[found], score_n, sigma_px_n, view.camera, options.pose)


def _errors_of(views: list[HeldOutView], solutions: list[PoseSolution | None]) -> tuple[np.ndarray, np.ndarray, list]:
    error_m6, covariance_m66, distances = [], [], []
    for view, solution in zip(views, solutions, strict=True):
        if solution is None:
            distances.append((np.inf, np.inf))
            continue
        T_true, T = view.T_world_camera, solution.T_map_camera
        distance_m, angle_rad = pose_error(T_true, T)
        distances.append((distance_m, float(np.degrees(angle_rad))))
        error_m6.append(np.concatenate([T[:3, 3] - T_true[:3, 3], so3_log(T[:3, :3] @ T_true[:3, :3].T)]))
        covariance_m66.append(solution.covariance_66)
    return np.reshape(error_m6, (-1, 6)), np.reshape(covariance_m66, (-1, 6, 6)), distances


def fit_look_noise(
    views: list[HeldOutView],
    landmarks_l3: np.ndarray,
    noise: NoiseModel,
    options: LocalizerOptions,
    looker: SecondLooker,
    view_of: Callable[[int, int], LevelView],
    start: NoiseModel,
) -> NoiseModel:
    """The noise model of the second look: pixel sigma by similarity, then the covariance of its poses.

    `view_of(number, level)` gives a level of view `number`.
    """
    firsts = [first_pose(view, landmarks_l3, noise, options) for view in views]
    errors, similarities = [np.zeros(0)], [np.zeros(0)]
    for number, (view, first) in enumerate(zip(views, firsts, strict=True)):
        look = first and looker.search.look(first.T_map_camera, ImageLevels(partial(view_of, number)), start.sigma_of)
        if look is None:
            continue
        offset_m3 = looker.points.points_map_a3[look.matches.index_m] - view.T_world_camera[:3, 3]
        true_m2 = view.camera.project(offset_m3 @ view.T_world_camera[:3, :3])
        errors.append(np.linalg.norm(look.matches.pixels_m2 - true_m2, axis=1) / look.matches.scale_m)
        similarities.append(look.matches.similarity_m)
    error_px_m = np.nan_to_num(np.concatenate(errors), nan=np.inf)
    fitted = _fit_sigma(error_px_m, np.concatenate(similarities), LOOK_KNOTS, start)
    solutions: list[PoseSolution | None] = []
    for number, first in enumerate(firsts):
        image = ImageLevels(partial(view_of, number))
        look = first and looker.look(Proposal(first.T_map_camera), image, fitted.sigma_of)
        solutions.append(look and looker.exact(look, image).widened)
    error_m6, covariance_m66, _ = _errors_of(views, solutions)
    return fit_covariance(error_m6, covariance_m66, fitted, _LOOK_LEVELS, LOOK_MARGIN)


def fit_covariance(
    error_m6: np.ndarray,
    covariance_m66: np.ndarray,
    noise: NoiseModel,
    levels: np.ndarray = _LEVELS,
    margin: float = NEW_RECORDING_MARGIN,
) -> NoiseModel:
    """Scale and floors of the stated covariances (see `fit_scale_and_floor`).

    Errors without a bound (a wrong pose) are for the verdict to find: quantiles do not see their size. Few views leave
    the model as it is.
    """
    if len(error_m6) < 8:
        return noise
    typical_m, typical_rad = np.median(np.abs(error_m6[:, :3])), np.median(np.abs(error_m6[:, 3:]))
    # A share of the usual floors, which are in the unit of the scene, is the least.
    floors_k6 = [
        np.repeat([max(noise.floor_m / 30, share * typical_m), max(noise.floor_rad / 10, share * typical_rad)], 3)
        for share in _FLOOR_SHARES
    ]
    start = noise.covariance_scale, np.repeat([noise.floor_m, noise.floor_rad], 3)
    scale, floor_6 = fit_scale_and_floor(error_m6, covariance_m66, floors_k6, _SCALES, levels, margin, start)
    return replace(noise, covariance_scale=scale, floor_m=float(floor_6[0]), floor_rad=float(floor_6[3]))
