"""The test that tells when a landmark ceased to answer."""

from __future__ import annotations

import numpy as np
import pytest
from geo_training.evaluation.scene_health.sequential import (
    MOST_OF_A_LOOK,
    ErrorRates,
    Rates,
    Standing,
    fit_rates,
    novelty,
    run_test,
    total_evidence,
)

# Two grades, right and wrong: alive 70 % are right, gone 6 %.
RATES = Rates(np.array([7.0, 3.0]), np.array([1.8, 28.2]), 0.1)
RIGHT, WRONG = 0, 1


def _run(grades) -> Standing:
    return run_test(np.array(grades), np.ones(len(grades)), [RATES])


def test_the_limit_is_walds_and_grows_with_the_beginnings():
    assert ErrorRates(0.01, 0.05).limit() == pytest.approx(np.log(0.95 / 0.01))
    assert ErrorRates().limit(20) - ErrorRates().limit() == pytest.approx(np.log(20))


def test_one_wrong_answer_counts_the_log_of_the_ratio_of_the_rates():
    state = _run([WRONG])

    assert state.evidence == pytest.approx(np.log((28.2 / 30) / (3 / 10)))
    assert (state.since, state.beginnings, state.looks) == (0, 1, 1.0)


def test_the_sequence_adds_up_to_the_factor_of_all_together():
    grades = [WRONG] * 4 + [RIGHT] + [WRONG]

    assert _run(grades).evidence == pytest.approx(float(total_evidence(np.array([[1.0, 5.0]]), RATES)[0]))


def test_a_run_of_misses_since_a_frame_is_dated_to_that_frame():
    state = _run([RIGHT] * 12 + [WRONG] * 9)

    assert state.since == 12
    assert state.is_gone(ErrorRates())


def test_whoever_answers_again_is_alive_again():
    state = _run([RIGHT] * 5 + [WRONG] * 2 + [RIGHT] * 6)

    assert state.evidence == 0.0
    assert state.since is None
    assert not state.is_gone(ErrorRates())


def test_one_look_says_no_more_than_it_may_and_decides_nothing_alone():
    sharp = Rates(np.array([100.0, 0.1]), np.array([1.0, 9.0]), 0.1)
    state = run_test(np.array([WRONG]), np.ones(1), [sharp])

    assert state.evidence == pytest.approx(MOST_OF_A_LOOK)
    assert not state.is_gone(ErrorRates(false_alarm=0.9))


def test_a_landmark_that_always_answered_seldom_is_not_taken_for_gone_by_a_few_misses():
    rng = np.random.default_rng(0)
    seldom = _run([*np.where(rng.random(60) < 0.3, RIGHT, WRONG), *[WRONG] * 4])
    often = _run([RIGHT] * 60 + [WRONG] * 4)

    assert not seldom.is_gone(ErrorRates())
    assert often.is_gone(ErrorRates())


def test_rates_are_those_of_the_recording():
    dim = Rates(np.array([3.0, 7.0]), np.array([1.8, 28.2]), 0.1)
    grades, numbers = np.array([RIGHT] * 8 + [WRONG] * 3), np.array([0] * 8 + [1] * 3)

    by_day = run_test(grades, np.ones(11), [RATES, RATES], numbers)
    by_night = run_test(grades, np.ones(11), [RATES, dim], numbers)
    assert by_night.evidence < by_day.evidence
    assert by_night.evidence == pytest.approx(float(total_evidence(np.array([[0.0, 3.0]]), dim)[0]))


def test_the_stated_rate_of_false_alarms_holds_for_whoever_is_alive():
    rng, alarms, errors = np.random.default_rng(1), 0, ErrorRates(0.05, 0.05)
    for rate in rng.beta(7.0, 3.0, 600):
        alarms += _run(np.where(rng.random(25) < rate, RIGHT, WRONG)).is_gone(errors)

    assert alarms / 600 <= 0.05


def test_the_rates_are_found_again():
    rng = np.random.default_rng(2)
    gone_l = rng.random(800) < 0.3
    share_lg = np.where(gone_l[:, None], [0.05, 0.15, 0.8], rng.dirichlet([6.0, 1.0, 1.0], 800))
    counts_lg = np.array([rng.multinomial(rng.integers(5, 25), share) for share in share_lg], float)
    rates = fit_rates(counts_lg, (0.05, 0.15, 0.8))

    assert rates.gone_share == pytest.approx(0.3, abs=0.05)
    np.testing.assert_allclose(rates.alive_mean_g, [0.75, 0.125, 0.125], atol=0.04)


def test_no_observations_leave_rates_that_can_be_used():
    rates = fit_rates(np.zeros((5, 3)), (0.1, 0.2, 0.7))

    assert rates.alive_mean_g.sum() == pytest.approx(1.0)
    assert rates.alive_mean_g[0] > 0.8
    assert rates.gone_share < 0.1


def test_frames_that_look_alike_count_little_and_new_ones_whole():
    point_3 = np.array([0.0, 0.0, 0.0])
    same = np.tile([2.0, 0.0, 0.0], (3, 1))
    around = np.stack([2 * np.cos(np.arange(3) * 0.2), 2 * np.sin(np.arange(3) * 0.2), np.zeros(3)], axis=1)
    half = np.array([[2.0, 0.0, 0.0], [2 * np.cos(0.05), 2 * np.sin(0.05), 0.0]])

    np.testing.assert_allclose(novelty(same, point_3), [1.0, 0.1, 0.1])
    np.testing.assert_allclose(novelty(around, point_3), [1.0, 1.0, 1.0])
    np.testing.assert_allclose(novelty(half, point_3), [1.0, 0.5])
