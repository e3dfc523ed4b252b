"""Paired differences by hand, and intervals that hold what they state."""

import numpy as np
import pytest
from geo_training.metrics.paired import PairedSet, paired_difference


def test_both_sets_weigh_the_same_and_every_seed_has_its_mean():
    first = PairedSet(np.array([[1.0, 3.0], [2.0, 2.0]]), np.array([0, 1]))
    second = PairedSet(np.array([[6.0, 6.0, 0.0], [1.0, 1.0, 1.0]]), np.array([0, 0, 1]))
    found = paired_difference([first, second])
    assert found.by_seed == pytest.approx((3.0, 1.5))  # (2 + 4) / 2, (2 + 1) / 2
    assert found.mean == pytest.approx(2.25)
    assert (found.blocks, found.frames) == (4, 5)


def test_the_interval_of_the_seeds_is_students():
    differences = np.array([[0.1], [0.2], [0.6]])
    found = paired_difference([PairedSet(differences, np.array([0]))])
    # Mean 0.3, deviation of a sample sqrt(0.07), t(0.975, 2) = 4.3027.
    half = 4.302653 * (0.07 / 3) ** 0.5
    assert (found.seeds_low, found.seeds_high) == pytest.approx((0.3 - half, 0.3 + half))


def test_one_seed_tells_nothing_of_seeds():
    found = paired_difference([PairedSet(np.array([[1.0, 2.0]]), np.array([0, 1]))])
    assert found.mean == 1.5
    assert (found.seeds_low, found.seeds_high) == (-np.inf, np.inf)


def test_two_blocks_are_drawn_with_their_known_probabilities():
    # Drawn twice of 0 and 1: the mean is 0, 1/2, 1/2 or 1. So 95 % of the draws reach from 0 to 1.
    found = paired_difference([PairedSet(np.array([[0.0, 1.0]]), np.array([0, 1]))])
    assert (found.low, found.high) == (0.0, 1.0)
    # In one block they always come together.
    together = paired_difference([PairedSet(np.array([[0.0, 1.0]]), np.array([7, 7]))])
    assert (together.low, together.high) == (0.5, 0.5)


def test_frames_of_one_block_count_once_and_not_many_times():
    random = np.random.default_rng(1)
    blocks = random.normal(size=12)
    alone = paired_difference([PairedSet(np.tile(blocks, (2, 1)), np.arange(12))])
    copied = paired_difference([PairedSet(np.tile(np.repeat(blocks, 9), (2, 1)), np.repeat(np.arange(12), 9))])
    apart = paired_difference([PairedSet(np.tile(np.repeat(blocks, 9), (2, 1)), np.arange(108))])
    assert copied.high - copied.low == pytest.approx(alone.high - alone.low, rel=1e-9)
    assert apart.high - apart.low == pytest.approx((alone.high - alone.low) / 3, rel=0.1)


def test_the_interval_holds_the_truth_about_as_often_as_it_states():
    random, inside = np.random.default_rng(2), 0
    for _ in range(150):
        seeds = random.normal(size=(8, 1)) + random.normal(size=(1, 20)) + 0.5
        found = paired_difference([PairedSet(seeds, np.arange(20))], draws=400)
        inside += found.low < 0.5 < found.high
    assert 0.85 < inside / 150 < 0.99


def test_a_frame_that_one_seed_lacks_is_compared_in_none():
    differences = np.array([[1.0, np.nan, 3.0], [1.0, 9.0, 5.0]])
    found = paired_difference([PairedSet(differences, np.array([0, 1, 2]))])
    assert found.by_seed == (2.0, 3.0)
    assert (found.blocks, found.frames) == (2, 2)
    nothing = paired_difference([PairedSet(np.full((2, 3), np.nan), np.arange(3))])
    assert np.isnan(nothing.mean)
    assert nothing.frames == 0
