"""Things are made ahead, in order, and no further than asked."""

import threading

import pytest
from geo_training.engine.ahead import made_ahead


def test_what_is_made_comes_in_order():
    assert list(made_ahead(lambda n: n * n, range(20))) == [n * n for n in range(20)]
    assert list(made_ahead(lambda n: n, [])) == []


def test_it_is_made_by_another_thread_and_no_further_ahead_than_asked():
    asked, makers = [], set()

    def ask():
        for n in range(10):
            asked.append(n)
            yield n

    def make(n):
        makers.add(threading.current_thread())
        return n

    made = made_ahead(make, ask(), ahead=3)
    assert next(made) == 0
    assert asked == [0, 1, 2, 3]
    assert list(made) == list(range(1, 10))
    assert threading.current_thread() not in makers


def test_what_is_raised_comes_where_the_thing_would_have_come_and_ends_it():
    made_of = []

    def make(n):
        made_of.append(n)
        if n == 3:
            raise ValueError("three")
        return n

    made = made_ahead(make, range(100))
    assert [next(made) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(made)
    assert list(made) == []
    assert len(made_of) <= 7


def test_who_stops_early_leaves_no_thread_behind():
    before = threading.active_count()
    made = made_ahead(lambda n: n, range(100))
    next(made)
    made.close()
    assert threading.active_count() == before
