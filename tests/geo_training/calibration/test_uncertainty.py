"""Stated covariances against errors: known over-confidence is found, coverage is counted."""

import numpy as np
import pytest
from geo_training.calibration.config import CalibrationTrainingConfig
from geo_training.calibration.data.panoramas import list_panoramas
from geo_training.calibration.uncertainty import (
    NEW_PLACE_MARGIN,
    ValidationErrors,
    fit_uncertainty,
    validation_crops,
    validation_errors,
    validation_metrics,
)
from scipy.stats import norm
from tiny_panoramas import make_tiny_panoramas

from geo_perception.calibration.estimator import Calibrator
from geo_perception.calibration.fields import image_scale
from geo_perception.calibration.network import CalibrationNetwork, NetworkConfig


def errors_of(error_n3, sigma_n3):
    return ValidationErrors(np.asarray(error_n3), np.asarray(sigma_n3), np.zeros(len(error_n3)))


def test_an_over_confidence_of_two_is_found():
    rng = np.random.default_rng(0)
    sigma_n3 = rng.uniform(0.005, 0.1, (4000, 3))
    uncertainty = fit_uncertainty(errors_of(2 * sigma_n3 * rng.standard_normal((4000, 3)), sigma_n3))
    # A small floor may stand in for a part of the factor.
    assert uncertainty.scale_3 == pytest.approx([2 * NEW_PLACE_MARGIN] * 3, rel=0.12)
    assert max(uncertainty.floor_3) < 0.02


def test_each_value_has_a_factor_of_its_own():
    rng = np.random.default_rng(1)
    sigma_n3 = rng.uniform(0.005, 0.1, (4000, 3))
    factors = np.array([0.5, 1.0, 3.0])
    uncertainty = fit_uncertainty(errors_of(factors * sigma_n3 * rng.standard_normal((4000, 3)), sigma_n3))
    assert np.array(uncertainty.scale_3) == pytest.approx(NEW_PLACE_MARGIN * factors, rel=0.15)


def test_an_error_that_is_always_there_becomes_a_floor():
    rng = np.random.default_rng(2)
    sigma_n3 = rng.uniform(0.0005, 0.1, (6000, 3))
    true_n3 = np.hypot(sigma_n3, 0.03)
    uncertainty = fit_uncertainty(errors_of(true_n3 * rng.standard_normal((6000, 3)), sigma_n3))
    # The median error of all is the grain in which it is searched.
    assert np.array(uncertainty.floor_3) == pytest.approx([0.03 * NEW_PLACE_MARGIN] * 3, rel=0.35)


def test_what_is_fitted_covers_as_it_says():
    """Errors with heavy tails: 90 % of new ones lie within the stated 90 %, and a little more for the margin."""
    rng = np.random.default_rng(3)
    sigma = rng.uniform(0.01, 0.1, (8000, 3))
    error = sigma * rng.standard_t(4, (8000, 3)) * 1.7
    uncertainty = fit_uncertainty(errors_of(error[:4000], sigma[:4000]))
    stated = np.sqrt((np.array(uncertainty.scale_3) * sigma[4000:]) ** 2 + np.array(uncertainty.floor_3) ** 2)
    within_3 = (np.abs(error[4000:]) < norm.ppf(0.95) * stated).mean(axis=0)
    assert (within_3 > 0.88).all()
    assert (within_3 < 0.96).all()


def test_metrics_by_hand():
    """Four crops. A 90 % interval reaches to 1.645 standard deviations."""
    error_n3 = np.array([[0.1, 0.0, 0.02], [-0.2, 0.01, -0.04], [0.3, -0.03, 0.06], [-0.1, 0.05, 0.1]])
    sigma_n3 = np.array([[0.1, 1.0, 0.01]] * 4)
    metrics = validation_metrics(ValidationErrors(error_n3, sigma_n3, np.radians([1.0, -2.0, 4.0, -8.0])))
    assert metrics["roll_median_deg"] == pytest.approx(np.degrees(0.05))
    assert metrics["pitch_median_deg"] == pytest.approx(np.degrees(0.02))
    assert metrics["vfov_median_deg"] == pytest.approx(3.0)
    assert metrics["raw_coverage_90_focal"] == 0.5  # 0.1 twice, within 0.1645
    assert metrics["raw_coverage_90_pitch"] == 1.0
    assert metrics["raw_coverage_90_roll"] == 0.0


@pytest.fixture(scope="module")
def crops_and_config(tmp_path_factory):
    panoramas = list_panoramas(make_tiny_panoramas(tmp_path_factory.mktemp("panoramas"), 1))
    config = CalibrationTrainingConfig(validation_crops=5, seed=3)
    return panoramas, config, validation_crops(panoramas, config)


def test_validation_crops_are_the_same_ones_each_time(crops_and_config):
    panoramas, config, crops = crops_and_config
    again = validation_crops(panoramas, config)
    assert [crop.spec for crop in again] == [crop.spec for crop in crops]
    for one, other in zip(crops, again, strict=True):
        np.testing.assert_array_equal(one.image_hw3, other.image_hw3)
        assert (one.image_hw3.shape[0] % 32, one.image_hw3.shape[1] % 32) == (0, 0)
    other_seed = validation_crops(panoramas, config.model_copy(update={"seed": 4}))
    assert [crop.spec for crop in other_seed] != [crop.spec for crop in crops]


def test_errors_are_those_of_the_calibrator(crops_and_config):
    """A network that says one camera whatever it sees, and says it firmly: a log focal of 0.2, level, upright."""
    _, _, crops = crops_and_config
    network = CalibrationNetwork(NetworkConfig("test_resnet", 16, 48, 0))
    network.direct[-1].weight.data.zero_()
    network.direct[-1].bias.data[:] = network.direct[-1].bias.data.new_tensor([0.2, 0, -1, 0, 8, 8])
    calibrator = Calibrator(network, device="cpu")
    calibrator.fields = False
    errors = validation_errors(calibrator, crops)
    for row, crop in enumerate(crops):
        spec = crop.spec
        scale_px = image_scale(spec.height_px, spec.width_px)
        expected = [0.2 - np.log(spec.focal_px / scale_px), -spec.pitch_rad, -spec.roll_rad]
        assert errors.error_n3[row] == pytest.approx(expected, abs=0.005)
        said_rad = 2 * np.arctan(spec.height_px / 2 / (np.exp(0.2) * scale_px))
        assert errors.vfov_error_n[row] == pytest.approx(said_rad - spec.vfov_rad, abs=0.005)
    # The stated deviation of log focal and pitch is exp(-8 / 2).
    assert errors.sigma_n3[:, 0] == pytest.approx(np.exp(-4), rel=0.05)
    assert errors.sigma_n3[:, 1] == pytest.approx(np.exp(-4), rel=0.05)
