"""How far an answer is to be believed that lines refined: by hand-computed values."""

import numpy as np
import pytest

from geo_perception.calibration.uncertainty import MOST_DISAGREEMENT, LinesUncertainty, Uncertainty

COVARIANCE = np.array([[0.04, 0.006, 0.0], [0.006, 0.01, 0.0], [0.0, 0.0, 0.0025]])


def test_the_plain_one_scales_and_adds_a_floor():
    found_33 = Uncertainty((2.0, 1.0, 3.0), (0.0, 0.1, 0.0)).calibrated(COVARIANCE)
    np.testing.assert_allclose(found_33, [[0.16, 0.012, 0], [0.012, 0.02, 0], [0, 0, 0.0225]])


def test_strays_and_disagreement_widen_it():
    lines = LinesUncertainty((2.0, 1.0, 1.0), (0.0, 0.0, 0.1), (np.log(3), 0.0, 0.0), (0.0, np.log(2), 0.0))
    np.testing.assert_allclose(lines.factors(0.0, 0.0), [2, 1, 1])
    np.testing.assert_allclose(lines.factors(1.0, 2.0), [6, 4, 1])
    found_33 = lines.calibrated(COVARIANCE, 1.0, 2.0)
    np.testing.assert_allclose(np.diag(found_33), [36 * 0.04, 16 * 0.01, 0.0025 + 0.01])
    assert found_33[0, 1] == pytest.approx(24 * 0.006)  # correlations stay
    assert np.linalg.eigvalsh(found_33).min() > 0


def test_disagreement_beyond_a_limit_makes_nothing_worse():
    lines = LinesUncertainty(disagreement_3=(1.0, 1.0, 1.0))
    np.testing.assert_array_equal(lines.factors(0.0, 50.0), lines.factors(0.0, MOST_DISAGREEMENT))


def test_headers_of_before_are_read_without_them():
    header = {"scale_3": [1.5, 2, 2.5], "floor_3": [0.1, 0.2, 0.3]}
    assert LinesUncertainty.of_header(header) == LinesUncertainty((1.5, 2.0, 2.5), (0.1, 0.2, 0.3))
    assert Uncertainty.of_header(header) == Uncertainty((1.5, 2.0, 2.5), (0.1, 0.2, 0.3))


@pytest.mark.parametrize("header", [{}, {"scale_3": [1, 2, 3]}, {"scale_3": 1.0, "floor_3": [0, 0, 0]}])
def test_headers_that_say_nothing_are_errors(header):
    with pytest.raises((KeyError, TypeError)):
        LinesUncertainty.of_header(header)


def test_two_values_where_three_are_wanted_are_an_error():
    with pytest.raises(ValueError, match="unpack"):
        Uncertainty.of_header({"scale_3": [1, 2], "floor_3": [0, 0, 0]})
