"""Batches ahead: in order, no more than are taken, with their errors; and a cache that several threads share."""

import time

import numpy as np
import pytest
from geo_training.engine.loader import MemoryCache, prefetch

from geo_perception.errors import InputError


def test_batches_ahead_that_nobody_takes_are_not_made():
    made = []

    def make(number):
        made.append(number)
        time.sleep(0.02)
        return number

    batches = prefetch(make, 5, 1000, workers=1)
    assert [next(batches), next(batches)] == [5, 6]
    batches.close()
    assert made[:2] == [5, 6]
    assert len(made) <= 3  # one that had begun


def test_batches_come_in_order_though_a_later_one_is_ready_first():
    def make(number):
        time.sleep(0.05 * (number == 5))
        return number

    assert list(prefetch(make, 5, 4, workers=2)) == [5, 6, 7, 8]
    assert list(prefetch(make, 5, 0, workers=2)) == []


def test_an_unreadable_batch_ends_the_row_behind_those_before_it():
    def make(number):
        if number == 2:
            raise InputError("2.jpg cannot be read; copy it again")
        return number

    batches = prefetch(make, 0, 9, workers=2)
    assert [next(batches), next(batches)] == [0, 1]
    with pytest.raises(InputError, match=r"^2\.jpg cannot be read; copy it again$"):
        next(batches)


def test_a_cache_that_threads_share_holds_no_more_than_its_limit():
    cache = MemoryCache(3 * 80)

    def make(number):
        return float(cache.get(number % 7, lambda: np.full(10, number % 7, np.float64))[0])

    assert list(prefetch(make, 0, 200, workers=4)) == [number % 7 for number in range(200)]
    assert sum(kept.nbytes for kept in cache._kept.values()) == 3 * 80


def test_an_array_larger_than_the_whole_cache_is_given_all_the_same():
    cache, made = MemoryCache(10), []
    for key in "aab":
        assert cache.get(key, lambda key=key: made.append(key) or np.zeros(100)).shape == (100,)
    assert made == ["a", "b"]
