"""The horizon lies in the picture where geometry puts it."""

import numpy as np
import pytest

from geo_perception.calibration.overlay import HORIZON_RGB, UNTRUSTED_RGB, describe, draw_calibration, draw_horizon
from geo_perception.calibration.result import Calibration, CalibrationVerdict

GREY = np.full((481, 641, 3), 100, np.uint8)
RED = (255, 0, 0)


def calibration(pitch_deg=0.0, roll_deg=0.0, verdict=CalibrationVerdict.CALIBRATED, sigma_deg=0.0) -> Calibration:
    covariance_33 = np.diag([400.0, np.radians(sigma_deg) ** 2, np.radians(sigma_deg) ** 2])
    angles = np.radians(pitch_deg), np.radians(roll_deg)
    return Calibration(verdict, "", 641, 481, 500.0, *angles, covariance_33 if sigma_deg else None)


def rows_of(canvas: np.ndarray, column: int) -> list[int]:
    """The rows above the caption that were drawn on (lines are smooth, so their colors are mixed)."""
    return np.flatnonzero((canvas[:440, column] != GREY[:440, column]).any(axis=1)).tolist()


def row_of(canvas: np.ndarray, column: int) -> float:
    """The middle of the one line there."""
    weight_h = np.abs(canvas[:440, column].astype(float) - GREY[:440, column]).sum(axis=1)
    return float(weight_h @ np.arange(440) / weight_h.sum())


class TestHorizon:
    def test_of_a_level_camera_is_the_middle_row(self):
        canvas = GREY.copy()
        assert draw_horizon(canvas, 500.0, 0.0, 0.0, RED)
        assert row_of(canvas, 10) == pytest.approx(240, abs=0.1)
        assert row_of(canvas, 630) == pytest.approx(240, abs=0.1)

    def test_looking_up_it_lies_lower_by_f_tan_pitch(self):
        canvas = GREY.copy()
        assert draw_horizon(canvas, 500.0, float(np.arctan(0.2)), 0.0, RED)
        assert row_of(canvas, 320) == pytest.approx(340, abs=0.1)  # 240 + 500 * 0.2

    def test_a_positive_roll_lowers_its_left_end(self):
        canvas = GREY.copy()
        assert draw_horizon(canvas, 500.0, 0.0, float(np.arctan(0.5)), RED)
        assert row_of(canvas, 120) == pytest.approx(340, abs=1)  # 240 + 0.5 * 200
        assert row_of(canvas, 520) == pytest.approx(140, abs=1)

    @pytest.mark.parametrize("pitch_deg", [60.0, -60.0, 90.0, -90.0])
    def test_outside_the_image_nothing_is_drawn(self, pitch_deg):
        canvas = GREY.copy()
        assert not draw_horizon(canvas, 500.0, float(np.radians(pitch_deg)), 0.0, RED)
        np.testing.assert_array_equal(canvas, GREY)


class TestDrawCalibration:
    def test_the_image_itself_is_left_alone_and_trust_has_a_color(self):
        image = GREY.copy()
        trusted, doubted = (
            draw_calibration(image, calibration(verdict=verdict))
            for verdict in (CalibrationVerdict.CALIBRATED, CalibrationVerdict.TOO_UNCERTAIN)
        )
        np.testing.assert_array_equal(image, GREY)
        np.testing.assert_allclose(trusted[240, 50], HORIZON_RGB, atol=15)
        np.testing.assert_allclose(doubted[240, 50], UNTRUSTED_RGB, atol=15)

    def test_thin_lines_hold_the_horizon_with_90_percent_certainty(self):
        drawn = draw_calibration(GREY, calibration(sigma_deg=2.0))
        rows = rows_of(drawn, 50)
        # 500 tan(1.645 * 2 degrees) = 28.7 px to either side.
        assert min(rows) == pytest.approx(240 - 28.7, abs=1.5)
        assert max(rows) == pytest.approx(240 + 28.7, abs=1.5)

    @pytest.mark.parametrize(("pitch_deg", "below"), [(70.0, True), (-70.0, False)])
    def test_an_arrow_points_to_a_horizon_outside(self, pitch_deg, below):
        drawn = draw_calibration(GREY, calibration(pitch_deg), caption="")
        rows = rows_of(drawn, 320)
        assert rows
        assert (np.mean(rows) > 240) == below

    def test_without_an_answer_only_the_words_are_written(self):
        nothing = Calibration(CalibrationVerdict.NO_STRUCTURE, "dark", 641, 481)
        drawn = draw_calibration(GREY, nothing)
        np.testing.assert_array_equal(drawn[:440], GREY[:440])
        assert (drawn[450:] != GREY[450:]).any()

    @pytest.mark.parametrize("shape", [(1, 1, 3), (3, 900, 3), (900, 2, 3)])
    def test_any_shape_can_be_drawn_on(self, shape):
        image = np.full(shape, 50, np.uint8)
        assert draw_calibration(image, calibration(5.0, 5.0, sigma_deg=3.0)).shape == shape


class TestWords:
    def test_figures_with_90_percent_bounds(self):
        assert describe(calibration(10.0, -3.0, sigma_deg=2.0)) == (
            "f 500 px, view 51.4 deg high, pitch 10.0 +- 3.3 deg, roll -3.0 +- 3.3 deg"
        )

    def test_a_doubted_answer_says_so_first(self):
        assert describe(calibration(verdict=CalibrationVerdict.TOO_UNCERTAIN)) == (
            "the answer is too uncertain: f 500 px, view 51.4 deg high, pitch 0.0 deg, roll 0.0 deg"
        )

    def test_no_answer(self):
        assert describe(Calibration(CalibrationVerdict.BAD_IMAGE, "no pixels", 1, 1)) == (
            "the image cannot be used: no pixels"
        )
