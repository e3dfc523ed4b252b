"""The answer of a calibration and what follows from it."""

import numpy as np
import pytest

from geo_perception.calibration.result import Calibration, CalibrationVerdict
from geo_perception.errors import InputError

ANSWER = Calibration(
    CalibrationVerdict.CALIBRATED, "", 640, 480, 240.0, 0.1, -0.2, np.diag([16.0, 0.01, 0.0025])
)  # fmt: skip
NOTHING = Calibration(CalibrationVerdict.NO_STRUCTURE, "black", 640, 480)


def test_the_field_of_view_is_the_vertical_one():
    assert ANSWER.vfov_rad == pytest.approx(np.pi / 2)


def test_standard_deviations_are_roots_of_the_diagonal():
    assert (ANSWER.sigma_focal_px, ANSWER.sigma_pitch_rad, ANSWER.sigma_roll_rad) == pytest.approx((4, 0.1, 0.05))
    # d fov / d f = -h / (f^2 + (h / 2)^2) = -480 / 115200
    assert ANSWER.sigma_vfov_rad == pytest.approx(4 / 240)


def test_the_deviation_of_the_field_of_view_is_the_slope_of_it():
    more = Calibration(ANSWER.verdict, "", 640, 480, 240.01).vfov_rad
    less = Calibration(ANSWER.verdict, "", 640, 480, 239.99).vfov_rad
    assert ANSWER.sigma_vfov_rad == pytest.approx(4 * abs(more - less) / 0.02, rel=1e-6)


def test_the_camera_has_square_pixels_and_a_centred_principal_point():
    camera = ANSWER.camera
    assert (camera.width_px, camera.height_px) == (640, 480)
    np.testing.assert_allclose(camera.K, [[240, 0, 319.5], [0, 240, 239.5], [0, 0, 1]])


def test_only_a_calibrated_answer_is_trusted():
    assert ANSWER.trusted
    for verdict in set(CalibrationVerdict) - {CalibrationVerdict.CALIBRATED}:
        assert not Calibration(verdict, "", 640, 480, 240.0, 0.1, -0.2, np.eye(3)).trusted


def test_without_an_answer_all_is_nan_and_there_is_no_camera():
    values = [NOTHING.focal_px, NOTHING.pitch_rad, NOTHING.roll_rad, NOTHING.vfov_rad, NOTHING.sigma_focal_px,
              NOTHING.sigma_pitch_rad, NOTHING.sigma_roll_rad, NOTHING.sigma_vfov_rad]  # fmt: skip
    assert np.isnan(values).all()
    with pytest.raises(InputError):
        _ = NOTHING.camera
