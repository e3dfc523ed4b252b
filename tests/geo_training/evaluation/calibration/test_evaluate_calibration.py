"""NEES and coverage: errors drawn from a known covariance, and single errors worked out by hand."""

import numpy as np
import pytest
from geo_training.metrics.consistency import (
    calibration_metrics,
    coverage,
    coverage_table,
    map_error_6,
    nees,
    normalized_error_squared,
)
from geo_training.metrics.pose import FrameOutcome

from geo_perception.geometry import make_pose, so3_exp

TRUE = make_pose(so3_exp([0.3, -0.8, 1.1]), [1.0, 2.0, 3.0])


def outcome(error_6, covariance_66, T_true=TRUE):
    T = make_pose(so3_exp(error_6[3:]) @ T_true[:3, :3], T_true[:3, 3] + error_6[:3])
    return FrameOutcome("f", "s", 0, "localized", T_true, T, covariance_66)


def gaussian_outcomes(count, stated_factor=1.0):
    rng = np.random.default_rng(7)
    mix_66 = rng.normal(size=(6, 6)) * 0.01
    covariance_66 = mix_66 @ mix_66.T + 1e-5 * np.eye(6)
    return [
        outcome(e, covariance_66 * stated_factor) for e in rng.multivariate_normal(np.zeros(6), covariance_66, count)
    ]


def test_the_error_is_along_the_axes_of_the_map():
    error_6 = np.array([0.1, -0.2, 0.3, 0.01, -0.02, 0.03])
    stated = outcome(error_6, np.eye(6))
    assert map_error_6(TRUE, stated.T_estimated) == pytest.approx(error_6, abs=1e-12)


def test_nees_of_one_error_by_hand():
    # (0.02/0.01)^2 + (0.03/0.03)^2 for the translation, (0.01/0.02)^2 for the rotation
    covariance_66 = np.diag([0.01, 0.03, 1, 0.02, 1, 1]) ** 2
    stated = [outcome(np.array([0.02, 0.03, 0, 0.01, 0, 0]), covariance_66)]
    assert nees(stated) == pytest.approx([5.25])
    assert nees(stated, "translation") == pytest.approx([5.0])
    assert nees(stated, "rotation") == pytest.approx([0.25])


def test_true_covariances_cover_what_they_state():
    outcomes = gaussian_outcomes(3000)
    metrics = calibration_metrics(outcomes)
    # three standard deviations of a share of 3000
    assert metrics["coverage_90"] == pytest.approx(0.90, abs=0.017)
    assert metrics["nees_mean"] == pytest.approx(6.0, abs=0.2)
    assert metrics["nees_median"] == pytest.approx(5.348, abs=0.2)
    assert metrics["nees_mean_translation"] == pytest.approx(3.0, abs=0.15)
    for row in coverage_table(outcomes):
        for part in ("pose", "translation", "rotation"):
            assert row[part] == pytest.approx(row["stated"], abs=0.03)


def test_overconfident_covariances_cover_less():
    # Stated at a quarter of the true variance: 90 % becomes P(chi2_6 <= 10.645 / 4) = 0.150.
    metrics = calibration_metrics(gaussian_outcomes(3000, stated_factor=0.25))
    assert metrics["coverage_90"] == pytest.approx(0.150, abs=0.02)
    assert metrics["nees_mean"] == pytest.approx(24.0, abs=0.8)


def test_only_localized_frames_with_truth_count():
    missed = FrameOutcome("m", "s", 0, "too few", TRUE)
    blind = FrameOutcome("b", "s", 0, "localized", None, TRUE, np.eye(6))
    assert len(nees([outcome(np.zeros(6), np.eye(6)), missed, blind])) == 1


def test_a_covariance_that_is_none_holds_nothing():
    bare = FrameOutcome("b", "s", 0, "localized", TRUE, TRUE)
    assert nees([bare]) == pytest.approx([np.inf])
    assert normalized_error_squared(np.zeros(2), np.zeros((2, 2))) == np.inf
    assert normalized_error_squared(np.zeros(2), -np.eye(2)) == np.inf
    assert coverage(nees([bare]), 0.9, 6) == 0.0


def test_no_frame_has_no_coverage():
    assert np.isnan(calibration_metrics([])["coverage_90"])
