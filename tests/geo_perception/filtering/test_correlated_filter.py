"""The filter agrees with generalized least squares, and measurements that contradict it form an alternative."""

import numpy as np
import pytest

from geo_perception.filtering.correlated_filter import CorrelatedFilter, CorrelatedMeasurement

STILL = np.zeros(1)


def scalar(z, sigma=0.1, shared=0.5):
    return CorrelatedMeasurement(np.array([z]), np.array([[sigma**2]]), shared, shared_at=1)


def followed(values, rho, shared):
    estimate = CorrelatedFilter([100.0, 1.0])
    estimate.accept(estimate.started(scalar(values[0], shared=shared)))
    for z in values[1:]:
        estimate.predict(1.0, rho, STILL)
        estimate.accept(estimate.updated(estimate.state, scalar(z, shared=shared)))
    return estimate.state


@pytest.mark.parametrize(("rho", "shared"), [(0.0, 0.5), (0.7, 0.5), (1.0, 0.8), (0.9, 0.0)])
def test_a_constant_is_estimated_as_by_generalized_least_squares(rho, shared):
    values = np.array([0.3, 0.1, -0.2, 0.4, 0.15])
    lags = np.abs(np.subtract.outer(range(5), range(5)))
    covariance = 0.01 * (shared * np.power(rho, lags) + (1 - shared) * np.eye(5))
    weights = np.linalg.solve(covariance, np.ones(5))
    state = followed(values, rho, shared)
    assert state.mean_n[0] == pytest.approx(weights @ values / weights.sum())
    assert state.covariance_nn[0, 0] == pytest.approx(1 / weights.sum())


def test_repeated_errors_keep_the_variance_up():
    assert followed(np.zeros(500), 1.0, 0.8).covariance_nn[0, 0] == pytest.approx(0.01 * 0.8, rel=0.01)


def test_random_walk_grows_the_variance_and_leaves_the_unit_variance_of_the_error():
    estimate = CorrelatedFilter([100.0, 1.0])
    estimate.accept(estimate.started(scalar(0.0)))
    estimate.predict(4.0, 0.3, np.array([0.2]))
    assert np.diag(estimate.state.covariance_nn) == pytest.approx([0.01 + 0.04 * 4.0, 1.0])


def test_contradictions_that_agree_form_an_alternative():
    estimate = CorrelatedFilter([100.0, 1.0])
    estimate.accept(estimate.started(scalar(0.0)))
    assert estimate.contradictions(scalar(3.0), 4.0).all()
    assert [estimate.support_alternative(scalar(z), 4.0) for z in (3.0, 3.1, -3.0, -3.0)] == [1, 2, 1, 2]
    assert estimate.state.mean_n[0] == 0.0
    estimate.accept(estimate.alternative)
    assert estimate.state.mean_n[0] == pytest.approx(-3.0)
    assert (estimate.alternative, estimate.alternative_count) == (None, 0)


def test_alternative_holds_while_only_its_other_entries_wander():
    estimate = CorrelatedFilter([100.0, 9.0])

    def pair(first, second):
        return CorrelatedMeasurement(np.array([first, second]), 0.01 * np.eye(2))

    assert [estimate.support_alternative(pair(5.0, y), 4.0) for y in (0.0, 2.0)] == [1, 2]
    assert estimate.alternative.mean_n == pytest.approx([5.0, 2.0], abs=0.01)


def test_angles_are_compared_around_the_circle():
    estimate = CorrelatedFilter([9.0], angles=(0,))
    angle = [CorrelatedMeasurement(np.array([a]), np.array([[0.01]])) for a in (3.1, -3.1)]
    estimate.accept(estimate.started(angle[0]))
    assert not estimate.contradictions(angle[1], 1.0).any()
    assert abs(estimate.updated(estimate.state, angle[1]).mean_n[0]) == pytest.approx(np.pi)


def test_entries_known_anew_are_independent_of_the_others():
    state = followed(np.zeros(3), 0.5, 0.5).replaced([0], 0.25, 1.5)
    assert state.mean_n[0] == 1.5
    assert state.covariance_nn[0].tolist() == [0.25, 0.0]
