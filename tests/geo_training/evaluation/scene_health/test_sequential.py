"""The test that tells when a landmark ceased to answer."""

from __future__ import annotations

import numpy as np
import pytest
from geo_training.evaluation.scene_health.sequential import (
    ErrorRates,
    Rates,
    fit_rates,
    novelty,
    run_test,
    total_evidence,
)

RATES = Rates(7.0, 3.0, 1.8, 28.2, 0.1)  # alive 70 %, gone 6 %


def test_the_limit_is_walds():
    assert ErrorRates(0.01, 0.05).limit() == pytest.approx(np.log(0.95 / 0.01))


def test_more_looks_raise_the_limit_by_their_logarithm():
    assert ErrorRates().limit(20) - ErrorRates().limit() == pytest.approx(np.log(20))


def test_one_miss_counts_the_log_of_the_ratio_of_the_rates():
    state = run_test(np.array([False]), np.ones(1), [RATES])

    assert state.evidence == pytest.approx(np.log((28.2 / 30) / (3 / 10)))
    assert state.since == 0


def test_a_run_of_misses_since_a_frame_is_dated_to_that_frame():
    hit_n = np.array([True] * 12 + [False] * 9)
    state = run_test(hit_n, np.ones(len(hit_n)), [RATES])

    assert state.since == 12
    assert state.evidence > ErrorRates().limit()


def test_whoever_answers_again_is_alive_again():
    hit_n = np.array([True] * 5 + [False] * 4 + [True] * 6)
    state = run_test(hit_n, np.ones(len(hit_n)), [RATES])

    assert state.evidence == 0.0
    assert state.since is None
    assert state.peak > 0


def test_a_landmark_that_always_answered_seldom_is_not_taken_for_gone_by_a_few_misses():
    rng = np.random.default_rng(0)
    seldom = np.concatenate([rng.random(60) < 0.3, np.zeros(6, bool)])
    often = np.concatenate([np.ones(60, bool), np.zeros(6, bool)])

    assert run_test(seldom, np.ones(66), [RATES]).evidence < ErrorRates().limit()
    assert run_test(often, np.ones(66), [RATES]).evidence > ErrorRates().limit()


def test_the_stated_rate_of_false_alarms_holds_for_whoever_is_alive():
    rng = np.random.default_rng(1)
    alarms = 0
    for rate in rng.beta(7.0, 3.0, 600):
        alarms += total_evidence(*_hits_of(rng, rate, 25), RATES) >= ErrorRates(0.01, 0.05).limit()
    assert alarms / 600 <= 0.01


def _hits_of(rng, rate: float, looks: int) -> tuple[float, float]:
    hits = float((rng.random(looks) < rate).sum())
    return hits, looks - hits


def test_the_rates_are_found_again():
    rng = np.random.default_rng(2)
    rate_l = np.where(rng.random(800) < 0.3, 0.06, rng.beta(6, 2, 800))
    looks_l = rng.integers(5, 25, 800).astype(float)
    hits_l = rng.binomial(looks_l.astype(int), rate_l).astype(float)
    rates = fit_rates(hits_l, looks_l, 0.06)

    assert rates.gone_share == pytest.approx(0.3, abs=0.05)
    assert rates.alive_mean == pytest.approx(0.75, abs=0.06)


def test_no_observations_leave_rates_that_can_be_used():
    rates = fit_rates(np.zeros(5), np.zeros(5), 0.06)

    assert rates.alive_mean == pytest.approx(0.7)
    assert rates.gone_share < 0.1


def test_frames_that_look_alike_count_little_and_new_ones_whole():
    point_3 = np.array([0.0, 0.0, 0.0])
    same = np.tile([2.0, 0.0, 0.0], (3, 1))
    around = np.stack([2 * np.cos(np.arange(3) * 0.2), 2 * np.sin(np.arange(3) * 0.2), np.zeros(3)], axis=1)
    half = np.array([[2.0, 0.0, 0.0], [2 * np.cos(0.05), 2 * np.sin(0.05), 0.0]])

    np.testing.assert_allclose(novelty(same, point_3), [1.0, 0.1, 0.1])
    np.testing.assert_allclose(novelty(around, point_3), [1.0, 1.0, 1.0])
    np.testing.assert_allclose(novelty(half, point_3), [1.0, 0.5])
