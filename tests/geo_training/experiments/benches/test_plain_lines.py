"""The plain way to use lines that the calibrator is compared with: it is a fair one."""

from dataclasses import dataclass

import numpy as np
import pytest
from drawn_room import room
from geo_training.calibration.data.crops import CropSpec
from geo_training.experiments.benches.plain_lines import PlainLines

from geo_perception.calibration.result import Calibration, CalibrationVerdict

FOCAL_PX, PITCH_RAD, ROLL_RAD = 480.0, -0.1, 0.06


@dataclass
class Guess:
    """One answer for every image."""

    covariance_33: np.ndarray | None

    def estimate(self, image_hw3):
        values = 1.12 * FOCAL_PX, PITCH_RAD + 0.03, ROLL_RAD - 0.02
        height_px, width_px = image_hw3.shape[:2]
        return Calibration(CalibrationVerdict.CALIBRATED, "", width_px, height_px, *values, self.covariance_33)


def covariance(sigma_focal, sigma_rad):
    return np.diag([(sigma_focal * 1.12 * FOCAL_PX) ** 2, sigma_rad**2, sigma_rad**2])


@pytest.fixture(scope="module")
def image_hw3():
    return room(CropSpec(640, 480, FOCAL_PX, PITCH_RAD, ROLL_RAD, 0.0), 0.6)


def test_lines_bring_a_guess_nearer_to_the_truth(image_hw3):
    found = PlainLines(Guess(covariance(0.15, 0.03))).estimate(image_hw3)
    assert found.focal_px == pytest.approx(FOCAL_PX, rel=0.03)
    assert found.pitch_rad == pytest.approx(PITCH_RAD, abs=np.radians(0.6))
    assert found.roll_rad == pytest.approx(ROLL_RAD, abs=np.radians(0.3))


def test_a_guess_that_is_sure_is_kept(image_hw3):
    found = PlainLines(Guess(covariance(1e-6, 1e-6))).estimate(image_hw3)
    assert found.focal_px == pytest.approx(1.12 * FOCAL_PX, rel=1e-3)
    assert found.pitch_rad == pytest.approx(PITCH_RAD + 0.03, abs=1e-4)


@pytest.mark.parametrize("empty", [True, False])
def test_without_lines_or_an_answer_nothing_changes(image_hw3, empty):
    guess = Guess(covariance(0.15, 0.03) if empty else None)
    image = np.full_like(image_hw3, 128) if empty else image_hw3
    found, before = PlainLines(guess).estimate(image), guess.estimate(image)
    assert (found.focal_px, found.pitch_rad, found.roll_rad) == (before.focal_px, before.pitch_rad, before.roll_rad)
