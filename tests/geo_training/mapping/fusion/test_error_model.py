"""Stated deviations of a completion."""

import numpy as np
import pytest
from geo_training.mapping.fusion.error_model import ErrorModel


def test_nine_tenths_of_the_errors_lie_inside():
    rng = np.random.default_rng(0)
    error_n = np.abs(0.05 * rng.standard_normal(20_000))
    model = ErrorModel(error_n, rng.uniform(1, 40, 20_000), rng.uniform(0, 0.1, 20_000))
    sigma_n = model.sigma(rng.uniform(1, 40, 1000), rng.uniform(0, 0.1, 1000))
    np.testing.assert_allclose(sigma_n, 0.05, rtol=0.15)


def test_it_grows_with_the_distance_and_with_contradiction():
    rng = np.random.default_rng(1)
    away_n, spread_n = rng.uniform(1, 50, 40_000), rng.uniform(0, 0.2, 40_000)
    error_n = np.abs((0.001 * away_n + 0.5 * spread_n) * rng.standard_normal(40_000))
    model = ErrorModel(error_n, away_n, spread_n)
    near, far, contradicted = model.sigma(np.array([2.0, 48.0, 2.0]), np.array([0.01, 0.01, 0.19]))
    assert far > 1.5 * near
    assert contradicted > 3 * near


def test_farther_away_is_never_surer():
    """Few errors far away, by chance small ones."""
    away_n = np.concatenate([np.full(400, 2.0), np.full(50, 30.0)])
    model = ErrorModel(np.concatenate([np.full(400, 0.1), np.full(50, 0.01)]), away_n, np.zeros(450))
    near, far = model.sigma(np.array([1.0, 35.0]), np.zeros(2))
    assert far >= near == pytest.approx(0.1 / 1.645, rel=0.01)


def test_without_a_single_error_it_is_wide():
    empty = np.zeros(0)
    assert ErrorModel(empty, empty, empty).sigma(np.array([3.0]), np.array([0.1])) == pytest.approx(0.5 / 1.645)
