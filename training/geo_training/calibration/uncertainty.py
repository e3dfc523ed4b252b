"""Validation errors on panoramas that nothing was learned from, and the uncertainty fitted on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from geo_perception.calibration.estimator import Calibrator, Uncertainty, camera_values, network_size
from geo_perception.calibration.fields import image_scale
from geo_perception.geometry import fov_rad, wrap_rad
from geo_training.calibration.config import CalibrationTrainingConfig
from geo_training.calibration.data.crops import CropSpec, render_crop
from geo_training.calibration.data.panoramas import Panorama, cached_panorama
from geo_training.engine.uncertainty import fit_scale_and_floor

# Validation knows only a few places; others err more. A margin on the standard deviations, by the statistics of so few
# panoramas rather than by any test: the scatter between panoramas of a robust spread is about a fifth.
NEW_PLACE_MARGIN = 1.15
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
    panoramas: Sequence[Panorama], config: CalibrationTrainingConfig, whole: bool = False
) -> list[ValidationCrop]:
    """`validation_crops` of the config, as many of each panorama, drawn by its seed; `whole` ones in the sizes of the
    config, others in those at which the network looks at these."""
    rng = np.random.default_rng([config.seed, 99])
    sizes_px = [size if whole else network_size(*size) for size in config.crops.sizes_px]
    crops = []
    for number in range(config.validation_crops):
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


def lines_errors(calibrator: Calibrator, crops: Sequence[ValidationCrop]) -> ValidationErrors:
    """Runs the whole calibrator, lines included, on whole crops; errors of those for which lines speak."""
    plain = Calibrator(
        calibrator.network, calibrator.uncertainty, str(calibrator.device), calibrator.options,
        lines_uncertainty=Uncertainty(),
    )  # fmt: skip
    errors, sigmas, vfov_errors = [], [], []
    for crop in crops:
        spec, answer = crop.spec, plain.estimate(crop.image_hw3)
        if not answer.lines or answer.covariance_33 is None:
            continue
        attitude_2 = answer.pitch_rad - spec.pitch_rad, float(wrap_rad(answer.roll_rad - spec.roll_rad))
        errors.append([np.log(answer.focal_px / spec.focal_px), *attitude_2])
        sigmas.append([answer.sigma_focal_px / answer.focal_px, answer.sigma_pitch_rad, answer.sigma_roll_rad])
        vfov_errors.append(answer.vfov_rad - spec.vfov_rad)
    return ValidationErrors(np.reshape(errors, (-1, 3)), np.reshape(sigmas, (-1, 3)), np.array(vfov_errors))


def fit_lines_uncertainty(calibrator: Calibrator, crops: Sequence[ValidationCrop]) -> Uncertainty | None:
    """That of answers that lines refined, on whole crops; None where too few show lines to tell."""
    errors = lines_errors(calibrator, crops)
    return fit_uncertainty(errors) if len(errors.error_n3) >= _FEWEST else None


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
