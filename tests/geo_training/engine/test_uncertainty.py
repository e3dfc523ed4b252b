"""One fit of stated uncertainty: known over-confidence in several dimensions is found, and widened by the margin."""

import numpy as np
import pytest
from geo_training.engine.uncertainty import fit_mean_scale, fit_scale_and_floor

LEVELS = np.array([0.5, 0.8, 0.9])
START = 1.0, np.zeros(3)


def normal_errors(scale: float, floor_d: np.ndarray, count: int = 4000):
    """Errors (N, 3) of covariances (N, 3, 3) that are stated too small."""
    rng = np.random.default_rng(0)
    factor_ndd = rng.normal(0, 1, (count, 3, 3))
    stated_ndd = factor_ndd @ factor_ndd.transpose(0, 2, 1) + np.eye(3)
    true_ndd = scale * stated_ndd + np.diag(floor_d**2)
    return np.einsum("nij,nj->ni", np.linalg.cholesky(true_ndd), rng.normal(0, 1, (count, 3))), stated_ndd


@pytest.mark.parametrize("margin", [1.0, 1.3])
def test_scale_and_floor_are_found_and_widened(margin):
    floors = [np.zeros(3), np.full(3, 2.0), np.full(3, 8.0)]
    error_nd, stated_ndd = normal_errors(4.0, floors[1])
    scale, floor_d = fit_scale_and_floor(
        error_nd, stated_ndd, floors, np.geomspace(0.25, 64, 49), LEVELS, margin, START
    )
    assert scale == pytest.approx(4.0 * margin**2, rel=0.15)
    assert floor_d == pytest.approx(floors[1] * margin)


def test_errors_that_are_no_numbers_leave_the_start():
    error_nd, stated_ndd = normal_errors(1.0, np.zeros(3), 20)
    error_nd[0, 0] = np.nan
    scale, floor_d = fit_scale_and_floor(error_nd, stated_ndd, [np.zeros(3)], np.ones(1), LEVELS, 2.0, START)
    assert (scale, *floor_d) == (4.0, 0.0, 0.0, 0.0)


def test_a_mean_ratio_is_taken_as_it_is():
    assert fit_mean_scale(2.0, 1.5) == 3.0
