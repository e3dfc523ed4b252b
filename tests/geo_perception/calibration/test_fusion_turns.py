"""Turns of the camera in the fusion: hand-computed."""

import numpy as np
import pytest

from geo_perception.calibration.fusion import CalibrationFusion, FusionOptions, FusionState
from geo_perception.calibration.result import Calibration, CalibrationVerdict
from geo_perception.calibration.rotation_calibration import RotationMeasurement

OPTIONS = FusionOptions(shared_error=0.5, focal_walk=0.0, attitude_walk_rad=0.0, min_frames=5)


def image(focal_px=500.0, sigma=0.3):
    covariance = np.diag([(sigma * focal_px) ** 2, 0.01, 0.01])
    return Calibration(CalibrationVerdict.CALIBRATED, "", 640, 480, focal_px, 0.1, 0.0, covariance)


DARK = Calibration(CalibrationVerdict.NO_STRUCTURE, "", 640, 480)


def turn(focal_px, sigma=0.02):
    return RotationMeasurement(focal_px, sigma, 0.3)


def test_a_turn_outweighs_a_look_by_its_variance():
    fusion = CalibrationFusion(OPTIONS)
    fused = fusion.update(image(500.0, 0.3), 0.0, turn=turn(600.0, 0.02))
    # Weights 1/0.09 and 1/0.0004 of log 500 and log 600.
    expected = (np.log(500) / 0.09 + np.log(600) / 0.0004) / (1 / 0.09 + 1 / 0.0004)
    assert np.log(fused.focal_px) == pytest.approx(expected, abs=1e-9)
    assert (fused.sigma_focal_px / fused.focal_px) ** 2 == pytest.approx(1 / (1 / 0.09 + 1 / 0.0004), rel=1e-6)


def test_two_turns_settle_the_focal_length_without_a_usable_image():
    fusion = CalibrationFusion(OPTIONS)
    first = fusion.update(DARK, 0.0, turn=turn(600.0))
    assert not first.focal_settled
    second = fusion.update(DARK, 0.5, turn=turn(600.0))
    assert second.focal_settled
    assert second.state is FusionState.SETTLED
    assert second.focal_px == pytest.approx(600.0)
    assert not second.attitude_good  # nothing has told it


def test_one_odd_turn_is_left_out_and_two_that_agree_tell_of_a_zoom():
    fusion = CalibrationFusion(OPTIONS)
    for stamp_s in (0.0, 0.5):
        fusion.update(image(600.0), stamp_s, turn=turn(600.0))
    odd = fusion.update(image(600.0), 1.0, turn=turn(900.0))
    assert odd.focal_px == pytest.approx(600.0, rel=0.01)
    assert odd.event == ""
    changed = fusion.update(image(800.0), 1.5, turn=turn(905.0))
    assert changed.focal_px == pytest.approx(905.0, rel=0.02)
    assert "the focal length changed from 60" in changed.event


def test_odd_turns_that_disagree_with_each_other_change_nothing():
    fusion = CalibrationFusion(OPTIONS)
    for stamp_s in (0.0, 0.5):
        fusion.update(image(600.0), stamp_s, turn=turn(600.0))
    for number, focal_px in enumerate((900.0, 1500.0, 300.0)):
        fused = fusion.update(image(600.0), 1.0 + number, turn=turn(focal_px))
    assert fused.focal_px == pytest.approx(600.0, rel=0.02)
