"""Validation errors on panoramas that nothing was learned from, and the uncertainty fitted on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace

import numpy as np
from scipy.optimize import minimize
from scipy.stats import norm, t

from geo_perception.calibration.angles import camera_values
from geo_perception.calibration.estimator import Calibrator
from geo_perception.calibration.fields import image_scale
from geo_perception.calibration.network_view import network_size
from geo_perception.calibration.uncertainty import MOST_DISAGREEMENT, LinesUncertainty, Uncertainty
from geo_perception.geometry import fov_rad, wrap_rad
from geo_training.calibration.config import CalibrationTrainingConfig
from geo_training.calibration.data.crops import CropSpec, render_crop
from geo_training.calibration.data.panoramas import Panorama, cached_panorama
from geo_training.engine.uncertainty import fit_scale_and_floor

# Validation knows only a few places; others err more. A margin on the standard deviations, by the statistics of so few
# panoramas rather than by any test: the scatter between panoramas of a robust spread is about a fifth.
NEW_PLACE_MARGIN = 1.15
LEARNED_CROPS = 40  # of each learned panorama, to tell how far lines are to be believed
LEARNED_WEIGHT = 1.0
# Of (log focal, pitch, roll): lenses are no pinholes, and walls no planes.
LINES_FLOORS = (0.01, 0.002, 0.002)
_T_FREEDOM = 4.0
_T_90 = float(t.ppf(0.95, _T_FREEDOM))
_SHRINK = 1e-3  # keeps what hardly matters near nothing
_FEWEST = 30  # crops that tell an uncertainty
_LEVELS = np.array([0.5, 0.7, 0.8, 0.9])
_SCALES = np.geomspace(0.1, 10, 81)  # of the standard deviations
_FLOOR_SHARES = np.array([0.0, 0.15, 0.3, 0.5, 0.7, 0.9])  # of the median error


@dataclass(frozen=True)
class ValidationCrop:
    """A crop, as the network sees it or whole."""

    image_hw3: np.ndarray
    spec: CropSpec


@dataclass(frozen=True)
class ValidationErrors:
    """Of N crops: errors of (log focal, pitch, roll), their stated standard deviations without any calibration, and the
    error of the vertical field of view."""

    error_n3: np.ndarray
    sigma_n3: np.ndarray
    vfov_error_n: np.ndarray


def validation_crops(
    panoramas: Sequence[Panorama], config: CalibrationTrainingConfig, whole: bool = False, count: int | None = None
) -> list[ValidationCrop]:
    """`count` crops (`validation_crops` of the config), as many of each panorama, drawn by its seed; `whole` ones in
    the sizes of the config, others in those at which the network looks at these."""
    rng = np.random.default_rng([config.seed, 99])
    sizes_px = [size if whole else network_size(*size) for size in config.crops.sizes_px]
    crops = []
    for number in range(config.validation_crops if count is None else count):
        panorama = panoramas[number % len(panoramas)]
        spec = config.crops.draw(rng, sizes_px[int(rng.integers(len(sizes_px)))])
        crops.append(ValidationCrop(render_crop(cached_panorama(panorama.path), spec), spec))
    return crops


def validation_errors(calibrator: Calibrator, crops: Sequence[ValidationCrop]) -> ValidationErrors:
    """Runs the calibrator's network and solver on the crops."""
    errors, sigmas, vfov_errors = [], [], []
    for crop in crops:
        spec = crop.spec
        values_3, covariance_33 = camera_values(calibrator.solve(calibrator.run(crop.image_hw3)), Uncertainty())
        scale = image_scale(spec.height_px, spec.width_px)
        error_3 = values_3 - [np.log(spec.focal_px / scale), spec.pitch_rad, spec.roll_rad]
        error_3[2] = wrap_rad(error_3[2])
        errors.append(error_3)
        sigmas.append(np.sqrt(np.diag(covariance_33)))
        vfov_errors.append(float(fov_rad(spec.height_px, np.exp(values_3[0]) * scale)) - spec.vfov_rad)
    return ValidationErrors(np.array(errors), np.array(sigmas), np.array(vfov_errors))


@dataclass(frozen=True)
class LinesErrors:
    """Of N crops for which lines speak: errors of (log focal, pitch, roll), the solver's standard deviations, what
    `LinesUncertainty` looks at, and how much each crop counts."""

    error_n3: np.ndarray
    sigma_n3: np.ndarray
    strays_n: np.ndarray
    disagreement_n: np.ndarray
    weight_n: np.ndarray

    def __len__(self) -> int:
        return len(self.error_n3)


def lines_errors(calibrator: Calibrator, crops: Sequence[ValidationCrop], weight: float = 1.0) -> LinesErrors:
    """Runs network and lines on whole crops; errors of those for which lines speak. Each counts `weight`."""
    rows = []
    for crop in crops:
        spec, found = crop.spec, calibrator.lines_answer(crop.image_hw3)
        if found is None:
            continue
        scale = image_scale(spec.height_px, spec.width_px)
        error_3 = found.values_3 - [np.log(spec.focal_px / scale), spec.pitch_rad, spec.roll_rad]
        error_3[2] = wrap_rad(error_3[2])
        sigma_3 = np.sqrt(np.diag(found.covariance_33))
        rows.append([*error_3, *sigma_3, found.strays, found.disagreement, weight])
    table_n9 = np.reshape(rows, (-1, 9))
    return LinesErrors(table_n9[:, :3], table_n9[:, 3:6], *table_n9[:, 6:].T)


def fit_lines_uncertainty(
    calibrator: Calibrator, crops: Sequence[ValidationCrop], learned: Sequence[ValidationCrop] = ()
) -> LinesUncertainty | None:
    """That of answers that lines refined, on whole crops; None where too few show lines to tell.

    Few panoramas validate a training, and where lines mislead differs from place to place. What lines say was not
    learned, so crops of `learned` panoramas tell, too; but there the network is better than elsewhere, and so they
    count less, whatever their number: `LEARNED_WEIGHT` of what the others do.
    """
    own = lines_errors(calibrator, crops)
    if len(own) < _FEWEST:
        return None
    others = lines_errors(calibrator, learned)
    if not len(others):
        return fit_lines_errors(own)
    others = replace(others, weight_n=np.full(len(others), LEARNED_WEIGHT * len(own) / len(others)))
    together = (np.concatenate([one, other]) for one, other in zip(astuple(own), astuple(others), strict=True))
    return fit_lines_errors(LinesErrors(*together))


def fit_lines_errors(errors: LinesErrors) -> LinesUncertainty:
    """The most likely scale and dependences under errors with the tails of Student's t, the scale widened by the
    margin; and floors that no answer passes."""
    looked_n2 = np.stack([errors.strays_n, np.minimum(errors.disagreement_n, MOST_DISAGREEMENT)], axis=1)
    weight_n = errors.weight_n / errors.weight_n.sum()

    def cost(x_3: np.ndarray, size_n: np.ndarray, floor: float, sigma_n: np.ndarray) -> float:
        stated_n = np.hypot(sigma_n * np.exp(x_3[0] + looked_n2 @ x_3[1:]), floor)
        # In the units of t: nine of ten errors are within 1.645 stated deviations, as they would be if normal.
        squared_n = (size_n / stated_n * _T_90 / norm.ppf(0.95)) ** 2
        own_n = (_T_FREEDOM + 1) / 2 * np.log1p(squared_n / _T_FREEDOM) + np.log(stated_n)
        return float(weight_n @ own_n + _SHRINK * (x_3[1:] @ x_3[1:]))

    found = []
    for size_n, sigma_n, floor in zip(np.abs(errors.error_n3).T, errors.sigma_n3.T, LINES_FLOORS, strict=True):
        found.append(minimize(cost, np.zeros(3), args=(size_n, floor, sigma_n), method="Nelder-Mead").x)
    log_scale_3, strays_3, disagreement_3 = np.transpose(found).tolist()
    scales = [float(np.exp(value)) * NEW_PLACE_MARGIN for value in log_scale_3]
    return LinesUncertainty(tuple(scales), LINES_FLOORS, tuple(strays_3), tuple(disagreement_3))


def validation_metrics(errors: ValidationErrors) -> dict[str, float]:
    """Medians in degrees, and how often a plain 90 % interval holds, before calibration, over `validation_crops` crops.
    Those without an answer (`validation_missed`: an error is no number) are infinitely wrong and in no interval."""
    names = ("focal", "pitch", "roll")
    error_n4 = np.column_stack([errors.error_n3, errors.vfov_error_n])
    missed_n = ~np.isfinite(error_n4).all(axis=1)
    median_4 = np.degrees(np.median(np.where(missed_n[:, None], np.inf, np.abs(error_n4)), axis=0))
    within_3 = (np.abs(errors.error_n3) <= norm.ppf(0.95) * errors.sigma_n3).mean(axis=0)
    return {
        "roll_median_deg": float(median_4[2]),
        "pitch_median_deg": float(median_4[1]),
        "vfov_median_deg": float(median_4[3]),
        "validation_crops": len(missed_n),
        "validation_missed": int(missed_n.sum()),
        **{f"raw_coverage_90_{name}": float(share) for name, share in zip(names, within_3, strict=True)},
    }


def fit_uncertainty(errors: ValidationErrors) -> Uncertainty:
    """Scale and floor of each value (see `fit_scale_and_floor`)."""
    scales, floors = [], []
    for index in range(3):
        error_n1, sigma_n = errors.error_n3[:, [index]], errors.sigma_n3[:, index]
        floors_k1 = _FLOOR_SHARES[:, None] * np.median(np.abs(error_n1))
        scale, floor_1 = fit_scale_and_floor(
            error_n1, sigma_n[:, None, None] ** 2, floors_k1, _SCALES**2, _LEVELS, NEW_PLACE_MARGIN, (1.0, np.zeros(1))
        )
        scales.append(float(np.sqrt(scale)))
        floors.append(float(floor_1[0]))
    return Uncertainty(tuple(scales), tuple(floors))
