"""Errors, areas under the recall curve, horizon, coverage: against numbers made by hand."""

import math

import numpy as np
import pytest
from geo_training.metrics.calibration import (
    CalibrationOutcome,
    TrueCamera,
    auc,
    coverage_metrics,
    error_metrics,
    horizon_error,
    horizon_in_image,
    median,
    reliability_table,
    summarize,
    verdict_metrics,
)

from geo_perception.calibration.result import Calibration, CalibrationVerdict

TRUTH = TrueCamera(400, 200, 100.0, 0.0, 0.0)  # 90 degrees high


def camera(pitch_deg=0.0, roll_deg=0.0, focal_px=100.0, **changes):
    return TrueCamera(400, 200, focal_px, math.radians(pitch_deg), math.radians(roll_deg), **changes)


def outcome(
    pitch_deg=0.0, roll_deg=0.0, focal_px=100.0, truth=TRUTH, sigmas=(10.0, 0.1, 0.1),
    verdict=CalibrationVerdict.CALIBRATED,
):  # fmt: skip
    covariance_33 = None if sigmas is None else np.diag(np.square(sigmas))
    result = Calibration(
        verdict, "", 400, 200, focal_px, math.radians(pitch_deg), math.radians(roll_deg), covariance_33
    )
    return CalibrationOutcome("a", "indoor", truth, result, 0.02)


def missed(verdict=CalibrationVerdict.BAD_IMAGE):
    return CalibrationOutcome("a", "indoor", TRUTH, Calibration(verdict, "", 400, 200), 0.01)


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [
        # The curve (0, 0) (0.5, 1/3) (2, 2/3) (20, 1), cut at the threshold.
        (1, 1 / 12 + 0.5 / 3),
        (5, (1 / 12 + 3 / 4 + 3 * 2 / 3) / 5),
        (10, (1 / 12 + 3 / 4 + 8 * 2 / 3) / 10),
    ],
)
def test_the_area_under_the_curve_of_three_errors(threshold, expected):
    assert auc([20, 0.5, 2], threshold) == pytest.approx(expected)


def test_an_error_beyond_the_limit_counts_in_the_number_of_frames_alone():
    assert auc([0.5, math.inf], 1) == pytest.approx(0.5 * 0.5 / 2 + 0.5 * 0.5)
    assert auc([math.inf, math.inf], 10) == 0.0


def test_no_error_at_all_is_a_full_area_and_no_frame_is_none():
    assert auc([0.0, 0.0], 1) == 1.0
    assert math.isnan(auc([], 1))


def test_medians_count_what_is_infinitely_wrong():
    assert median([1.0, math.inf, 3.0]) == 3.0
    assert median([1.0, math.inf, math.inf]) == math.inf
    assert median([math.inf, math.inf]) == math.inf
    assert math.isnan(median([]))


def test_roll_is_compared_around_the_circle():
    errors = outcome(roll_deg=-179, truth=camera(roll_deg=179)).errors_deg
    assert errors["roll"] == pytest.approx(2)
    assert errors["gravity"] == pytest.approx(2)


def test_the_field_of_view_is_vertical_and_the_focal_length_relative():
    found = outcome(focal_px=100 * math.sqrt(3))  # 60 degrees instead of 90
    assert found.errors_deg["fov"] == pytest.approx(30)
    assert found.focal_error == pytest.approx(math.sqrt(3) - 1)


def test_gravity_is_off_less_than_the_roll_when_the_camera_looks_up():
    errors = outcome(pitch_deg=60, roll_deg=10, truth=camera(pitch_deg=60)).errors_deg
    assert errors["roll"] == pytest.approx(10)
    assert errors["pitch"] == pytest.approx(0, abs=1e-9)
    # Two vectors of length cos 60 apart by 10 degrees in the image plane, and sin 60 in common.
    assert math.cos(math.radians(errors["gravity"])) == pytest.approx(0.25 * math.cos(math.radians(10)) + 0.75)


def test_a_frame_without_an_answer_is_infinitely_wrong_in_everything():
    metrics = error_metrics([missed(), missed(CalibrationVerdict.NO_STRUCTURE)])
    assert metrics["roll_median_deg"] == metrics["fov_median_deg"] == metrics["focal_median_pct"] == math.inf
    assert metrics["horizon_median_pct"] == math.inf
    assert metrics["pitch_auc_10"] == 0.0


def test_metrics_are_in_percent_and_degrees():
    metrics = error_metrics([outcome(pitch_deg=0.5), outcome(pitch_deg=2), outcome(pitch_deg=20)])
    assert metrics["pitch_auc_1"] == pytest.approx(25.0)
    assert metrics["pitch_auc_5"] == pytest.approx(100 * 17 / 30)
    assert metrics["pitch_auc_10"] == pytest.approx(100 * 37 / 60)
    assert metrics["pitch_median_deg"] == pytest.approx(2)
    assert metrics["roll_auc_1"] == pytest.approx(100)


def test_a_wrong_pitch_shifts_the_horizon():
    assert horizon_error(TRUTH, camera(pitch_deg=10)) == pytest.approx(100 * math.tan(math.radians(10)) / 200)
    assert horizon_error(TRUTH, TRUTH) == 0.0


def test_a_wrong_roll_counts_at_the_border_of_the_image():
    assert horizon_error(TRUTH, camera(roll_deg=10)) == pytest.approx(200 * math.tan(math.radians(10)) / 200)


def test_a_standing_horizon_is_compared_across():
    true, found = camera(roll_deg=90), camera(pitch_deg=10, roll_deg=90)
    assert horizon_error(true, found) == pytest.approx(100 * math.tan(math.radians(10)) / 200)
    assert horizon_error(true, camera()) == math.inf


def test_a_camera_said_to_look_straight_up_or_down_has_no_horizon():
    assert horizon_error(TRUTH, camera(pitch_deg=90)) > 1e6
    straight_up = outcome(pitch_deg=90, focal_px=100.0)
    assert straight_up.horizon_error > 1e6
    assert straight_up.errors_deg["pitch"] == pytest.approx(90)


def test_the_horizon_is_only_measured_where_it_is_in_the_image():
    assert horizon_in_image(camera(pitch_deg=44))
    assert not horizon_in_image(camera(pitch_deg=46))
    assert not horizon_in_image(camera(pitch_deg=90))
    assert not horizon_in_image(camera(pitch_deg=-90))
    outside = outcome(pitch_deg=46, truth=camera(pitch_deg=46))
    assert math.isnan(outside.horizon_error)
    metrics = error_metrics([outside, outcome(pitch_deg=10)])
    assert metrics["horizon_frames"] == 1
    assert metrics["horizon_median_pct"] == pytest.approx(50 * math.tan(math.radians(10)))


def test_the_horizon_of_a_shifted_principal_point_is_shifted():
    shifted = camera(cy_px=99.5 + 20)
    assert horizon_error(shifted, TRUTH) == pytest.approx(20 / 200)


def test_coverage_counts_errors_within_1_645_sigma():
    sigma_deg = math.degrees(0.1)
    near, far = 1.64 * sigma_deg, 1.65 * sigma_deg
    outcomes = [outcome(roll_deg=near), outcome(roll_deg=far), outcome(pitch_deg=far, roll_deg=far), outcome()]
    metrics = coverage_metrics(outcomes)
    assert metrics["coverage_90_roll"] == 0.5
    assert metrics["coverage_90_pitch"] == 0.75
    assert metrics["coverage_90_focal"] == 1.0
    assert metrics["coverage_90"] == pytest.approx(0.75)
    # 1.65^2 twice is 5.4, below the 6.25 of chi-square with three degrees of freedom.
    assert metrics["coverage_90_joint"] == 1.0


def test_the_focal_length_is_held_by_its_logarithm():
    # sigma is 10 % of the estimate; log(2) is 6.9 of those.
    squares = outcome(focal_px=200, sigmas=(20, 0.1, 0.1)).normalized_squares
    assert squares["focal"] == pytest.approx((math.log(2) / 0.1) ** 2)
    assert squares["joint"] == pytest.approx(squares["focal"])


def test_nees_heeds_correlation():
    covariance_33 = np.diag([100.0, 0.01, 0.01])
    covariance_33[1, 2] = covariance_33[2, 1] = 0.008
    result = Calibration(CalibrationVerdict.CALIBRATED, "", 400, 200, 100.0, 0.1, 0.1, covariance_33)
    squares = CalibrationOutcome("a", "", TRUTH, result).normalized_squares
    assert squares["pitch"] == pytest.approx(1)
    assert squares["joint"] == pytest.approx(2 / 1.8)  # along the long axis of the ellipse, of variance 0.018


def test_an_answer_without_a_valid_covariance_holds_nothing_and_none_at_all_is_left_out():
    metrics = coverage_metrics([outcome(sigmas=None), outcome(), missed()])
    assert metrics["coverage_90"] == 0.5
    assert metrics["coverage_90_joint"] == 0.5
    singular = outcome(sigmas=(0.0, 0.1, 0.1)).normalized_squares
    assert singular["joint"] == math.inf
    assert singular["pitch"] == 0.0
    assert math.isnan(coverage_metrics([missed()])["coverage_90"])


def test_the_reliability_of_normal_errors_is_what_they_state():
    rng = np.random.default_rng(0)
    outcomes = [outcome(*np.degrees(0.1 * rng.standard_normal(2)), 100 * math.exp(0.1 * rng.standard_normal()))
                for _ in range(600)]  # fmt: skip
    fitted = [outcome(math.degrees(o.result.pitch_rad), math.degrees(o.result.roll_rad), o.result.focal_px,
                      sigmas=(0.1 * o.result.focal_px, 0.1, 0.1)) for o in outcomes]  # fmt: skip
    rows = reliability_table(fitted)
    assert [row["stated"] for row in rows] == [0.5, 0.68, 0.9, 0.95, 0.99]
    for row in rows:
        for part in ("focal", "pitch", "roll", "joint"):
            assert row[part] == pytest.approx(row["stated"], abs=0.05)
    assert coverage_metrics(fitted)["nees_median"] == pytest.approx(2.37, abs=0.25)


def test_the_verdict_is_judged_by_the_errors_on_either_side():
    doubted = CalibrationVerdict.TOO_UNCERTAIN
    metrics = verdict_metrics(
        [outcome(pitch_deg=1), outcome(pitch_deg=3), outcome(pitch_deg=30, verdict=doubted), missed()]
    )
    assert metrics["answered_share"] == 0.75
    assert metrics["trusted_share"] == 0.5
    assert metrics["trusted_pitch_median_deg"] == pytest.approx(2)
    assert metrics["doubted_pitch_median_deg"] == pytest.approx(30)


def test_a_summary_of_nothing_has_the_same_keys():
    full, empty = summarize([outcome()]), summarize([])
    assert set(full) == set(empty)
    assert full["frame_ms_p50"] == pytest.approx(20)
    assert empty["frames"] == 0
    assert math.isnan(empty["coverage_90"])
