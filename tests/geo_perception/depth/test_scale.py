"""The scale over time: certain as far as it may be, deaf to one wrong measurement, ready to start anew."""

import numpy as np
import pytest

from geo_perception.depth.scale import ScaleFilter, ScaleMeasurement, ScaleOptions
from geo_perception.errors import InputError

STILL = ScaleOptions(walk=0.0, shared_error=0.5, correlation_s=1e9, floor_sigma=0.001)


def measured(log_scale=0.0, sigma=0.1, source="landmarks"):
    return ScaleMeasurement(log_scale, sigma, source, 20)


def test_first_measurement_is_the_scale():
    scales = ScaleFilter(STILL)
    assert scales.scale(0.0) is None
    assert scales.update(measured(np.log(2.0), 0.1), 3.0)
    got = scales.scale(3.0)
    assert (got.factor, got.sigma, got.source, got.age_s) == (pytest.approx(2.0), pytest.approx(0.1), "landmarks", 0.0)


def test_two_measurements_of_two_sources_are_independent_but_those_of_one_are_not():
    apart, alike = ScaleFilter(STILL), ScaleFilter(STILL)
    apart.update(measured(0.0, 0.1, "ground"), 0.0)
    apart.update(measured(0.1, 0.1, "landmarks"), 0.0)
    for z in (0.0, 0.1):
        alike.update(measured(z, 0.1), 0.0)
    # The mean of two: variance s^2 / 2 when independent, s^2 (1 + c) / 2 with the part c in common.
    assert np.log(apart.scale(0.0).factor) == pytest.approx(0.05)
    assert apart.scale(0.0).sigma == pytest.approx(0.1 * np.sqrt(0.5))
    assert np.log(alike.scale(0.0).factor) == pytest.approx(0.05)
    assert alike.scale(0.0).sigma == pytest.approx(0.1 * np.sqrt(0.75))
    assert apart.scale(0.0).source == "landmarks+ground"


def test_many_alike_measurements_do_not_feign_certainty():
    scales = ScaleFilter(STILL)
    for k in range(500):
        assert scales.update(measured(), 0.1 * k if k < 90 else 9.0)
    assert 0.1 * np.sqrt(0.5) <= scales.scale(9.0).sigma < 0.1 * np.sqrt(0.51)


def test_scale_grows_uncertain_with_time_and_then_ends():
    scales = ScaleFilter(ScaleOptions(walk=0.1, max_age_s=9.0))
    scales.update(measured(0.0, 0.3), 100.0)
    assert scales.scale(104.0).sigma == pytest.approx(np.sqrt(0.3**2 + 0.1**2 * 4.0))
    assert scales.scale(104.0).age_s == pytest.approx(4.0)
    assert scales.scale(109.1) is None
    # Asking changes nothing.
    assert scales.scale(104.0).sigma == pytest.approx(np.sqrt(0.3**2 + 0.1**2 * 4.0))


def test_stated_sigma_below_the_floor_counts_as_the_floor():
    scales = ScaleFilter(ScaleOptions(floor_sigma=0.05))
    scales.update(measured(0.0, 1e-6), 0.0)
    assert scales.scale(0.0).sigma == pytest.approx(0.05)


def test_one_outlier_is_left_out_and_contradictions_that_agree_start_anew():
    scales = ScaleFilter(ScaleOptions(restart_after=3))
    for k in range(10):
        scales.update(measured(0.0, 0.05), 0.1 * k)
    before = scales.scale(0.9)
    assert not scales.update(measured(1.0, 0.05, "ground"), 0.9)
    assert scales.scale(0.9) == before
    assert scales.update(measured(0.0, 0.05), 1.0)  # agrees, so the row is broken
    taken = [scales.update(measured(1.0, 0.05, "ground"), 1.0 + 0.1 * k) for k in range(1, 4)]
    assert taken == [False, False, True]
    assert np.log(scales.scale(1.3).factor) == pytest.approx(1.0, abs=1e-6)
    assert scales.scale(1.3).source == "ground"


def test_contradictions_that_do_not_agree_never_start_anew():
    scales = ScaleFilter(ScaleOptions(restart_after=3))
    scales.update(measured(0.0, 0.02), 0.0)
    for k in range(20):
        assert not scales.update(measured(1.0 + (k % 2), 0.02), 0.01 * k)
    assert np.log(scales.scale(0.2).factor) == 0.0


def test_late_measurement_counts_less_and_does_not_turn_time_back():
    scales, prompt = (ScaleFilter(ScaleOptions(walk=0.2, shared_error=0.0)) for _ in range(2))
    for one in (scales, prompt):
        one.update(measured(0.0, 0.1), 10.0)
    assert scales.update(measured(0.1, 0.1, "ground"), 9.2)
    assert prompt.update(measured(0.1, 0.1, "ground"), 10.0)
    # Weights 1 / 0.01 against 1 / (0.01 + 0.04 * 0.8).
    assert np.log(scales.scale(10.0).factor) == pytest.approx(0.1 * 0.01 / (0.01 + 0.01 + 0.04 * 0.8))
    assert scales.scale(10.0).sigma > prompt.scale(10.0).sigma
    assert scales.scale(10.0).age_s == 0.0


def test_clock_that_jumps_back_starts_anew():
    scales = ScaleFilter()
    scales.update(measured(0.0, 0.02), 1000.0)
    assert scales.scale(5.0) is None
    assert scales.update(measured(2.0, 0.02), 5.0)
    assert np.log(scales.scale(5.0).factor) == pytest.approx(2.0)


def test_silence_longer_than_the_age_starts_anew():
    scales = ScaleFilter(ScaleOptions(max_age_s=5.0))
    scales.update(measured(0.0, 0.02, "ground"), 0.0)
    assert scales.update(measured(2.0, 0.02), 5.1)
    assert scales.scale(5.1).source == "landmarks"


def test_random_walk_is_followed_within_the_stated_uncertainty():
    rng = np.random.default_rng(4)
    options = ScaleOptions(walk=0.05, shared_error=0.5, correlation_s=5.0)
    scales, x, u, errors = ScaleFilter(options), 0.3, rng.normal(), []
    for k in range(1500):
        x += 0.05 * np.sqrt(0.2) * rng.normal()
        rho = np.exp(-0.2 / 5.0)
        u = rho * u + np.sqrt(1 - rho**2) * rng.normal()
        scales.update(measured(x + 0.1 * np.sqrt(0.5) * (u + rng.normal())), 0.2 * k)
        got = scales.scale(0.2 * k)
        errors.append((np.log(got.factor) - x) / got.sigma)
    assert 0.7 < np.sqrt(np.mean(np.square(errors[50:]))) < 1.3


@pytest.mark.parametrize(("log_scale", "sigma", "stamp_s"), [
    (np.nan, 0.1, 0.0), (np.inf, 0.1, 0.0), (0.0, np.nan, 0.0), (0.0, 0.0, 0.0), (0.0, -1.0, 0.0), (0.0, 0.1, np.nan),
])  # fmt: skip
def test_what_is_no_number_is_left_out(log_scale, sigma, stamp_s):
    scales = ScaleFilter()
    assert not scales.update(ScaleMeasurement(log_scale, sigma, "ground", 5), stamp_s)
    assert scales.scale(0.0) is None


def test_reset_forgets():
    scales = ScaleFilter()
    scales.update(measured(), 0.0)
    scales.reset()
    assert scales.scale(0.0) is None


@pytest.mark.parametrize("wrong", [
    {"walk": -1}, {"shared_error": 1.0}, {"floor_sigma": 0.0}, {"restart_after": 0}, {"max_age_s": 0.0},
])  # fmt: skip
def test_options_that_cannot_be_are_refused(wrong):
    with pytest.raises(InputError, match="give"):
        ScaleOptions(**wrong)


def test_unknown_source_is_refused():
    with pytest.raises(InputError, match="landmarks, ground, odometry"):
        measured(source="sonar")
