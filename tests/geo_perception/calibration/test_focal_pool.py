"""One focal length by views and turns: by hand-computed values."""

import numpy as np
import pytest

from geo_perception.calibration.focal_pool import MOST_TURNS, MOST_VIEWS, FocalPool


def pool_of(log_focals, sigma=0.1, ncc=0.0, shared_error=0.0, walk=0.0, period_s=0.1) -> FocalPool:
    pool = FocalPool(shared_error, walk)
    for number, log_focal in enumerate(log_focals):
        pool.advance(number * period_s, ncc)
        pool.add_image(log_focal, sigma)
    return pool


def test_nothing_said_is_not_known():
    pool = FocalPool(0.2, 0.001)
    assert not pool.known
    with pytest.raises(ValueError, match="nothing was said"):
        pool.estimate()


def test_a_view_counts_as_its_best_image():
    pool = FocalPool(0.0, 0.0)
    for number, (log_focal, sigma) in enumerate([(6.0, 0.2), (6.3, 0.1), (5.0, 0.3)]):
        pool.advance(number * 0.1, 1.0)
        pool.add_image(log_focal, sigma)
    assert pool.estimate() == (pytest.approx(6.3), pytest.approx(0.1))
    assert (len(pool.views), pool.images) == (1, 3)


def test_a_view_ends_when_less_than_half_of_it_is_left():
    # 0.8^3 = 0.512 is still the first view; the fifth image begins the second.
    assert len(pool_of([6.0] * 4, ncc=0.8).views) == 1
    assert len(pool_of([6.0] * 5, ncc=0.8).views) == 2


def test_views_and_turns_count_by_their_inverse_variances():
    pool = pool_of([6.0] * 4)
    pool.add_turn(6.2, 0.05)
    value, sigma = pool.estimate()
    information = 4 / 0.1**2, 1 / 0.05**2
    assert value == pytest.approx((6.0 * information[0] + 6.2 * information[1]) / sum(information))
    assert sigma == pytest.approx(sum(information) ** -0.5)


def test_what_was_said_long_ago_is_less_certain():
    pool = pool_of([6.0], sigma=0.06, walk=0.008)
    pool.advance(100.0, 1.0)
    assert pool.estimate()[1] == pytest.approx(0.1)  # sqrt(0.06^2 + 0.008^2 * 100)


def test_the_value_stays_while_nothing_is_said():
    pool = pool_of([6.0, 6.1], walk=0.02, period_s=10.0)
    pool.add_turn(6.3, 0.05)
    value, sigma = pool.estimate()
    pool.advance(500.0, 1.0)
    assert pool.estimate()[0] == value
    assert pool.estimate()[1] > sigma


def test_only_the_last_are_kept():
    pool = pool_of(np.linspace(5, 6, 3 * MOST_VIEWS))
    for _ in range(2 * MOST_TURNS):
        pool.add_turn(6.0, 0.1)
    assert (len(pool.views), len(pool.turns)) == (MOST_VIEWS, MOST_TURNS)
    assert pool.images == 3 * MOST_VIEWS


def test_contradiction_is_by_both_uncertainties():
    pool = pool_of([6.0], sigma=0.03)
    assert not pool.contradicts(6.19, 0.04, gate_sigma=4.0)  # 0.05 together
    assert pool.contradicts(6.21, 0.04, gate_sigma=4.0)
