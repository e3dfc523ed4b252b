"""One wrong stamp is dropped; time that really goes back is followed."""

import pytest

from geo_perception.ros.stamp_order import Passed, StampOrder


def story(*stamps_s: float, period_s: float = 0.1) -> list:
    """What happens when messages of these stamps come `period_s` apart: the stamps taken, -s where time went back by s
    seconds, the names of faults."""
    order, told = StampOrder(), []
    for index, stamp_s in enumerate(stamps_s):
        told += words(order.put(stamp_s, round(stamp_s * 1e9), index * period_s))
    return told


def words(passed: Passed) -> list:
    faults = [fault.name for fault, _ in passed.dropped]
    return faults + ([pytest.approx(-passed.back_s)] if passed.back_s else []) + list(passed.taken)


def test_stamps_that_go_on_are_taken_also_twice_the_same():
    assert story(50.0, 50.1, 50.1, 50.3) == [50.0, 50.1, 50.1, 50.3]


def test_a_little_back_came_out_of_order():
    assert story(50.0, 50.1, 50.0, 50.2) == [50.0, 50.1, "LATE", 50.2]


@pytest.mark.parametrize("stray_s", [10.0, 48.0, 53.0, 90.0, 2e9])
def test_a_lone_stray_stamp_is_dropped_when_the_next_good_one_comes(stray_s):
    assert story(50.0, 50.1, stray_s, 50.3, 50.4) == [50.0, 50.1, "ASTRAY", 50.3, 50.4]


@pytest.mark.parametrize("stamp_s", [0.0, -5.0])
def test_no_stamp_among_good_ones_is_dropped_at_once(stamp_s):
    assert story(50.0, 50.1, stamp_s, stamp_s) == [50.0, 50.1, "UNSTAMPED", "UNSTAMPED"]


def test_the_same_stray_stamp_twice_is_no_stream():
    assert story(50.0, 10.0, 10.0, 50.3) == [50.0, "ASTRAY", "ASTRAY", 50.3]


def test_strays_between_good_ones_never_add_up():
    assert story(50.0, 10.0, 50.1, 10.1, 50.2, 10.2, 50.3) == [50.0, *("ASTRAY", 50.1, "ASTRAY", 50.2, "ASTRAY", 50.3)]


def test_strays_that_agree_with_nothing_never_add_up():
    told = story(50.0, 10.0, 3.0, 30.0, 500.0, 49.9, 50.5)
    assert told == [50.0, "ASTRAY", "ASTRAY", "ASTRAY", "ASTRAY", "LATE", 50.5]


def test_a_recording_that_begins_again_is_followed_and_none_of_it_lost():
    assert story(50.0, 50.1, 10.0, 10.1, 10.2) == [50.0, 50.1, pytest.approx(-40.1), 10.0, 10.1, 10.2]


def test_it_may_begin_again_any_number_of_times():
    assert story(50.0, 10.0, 10.1, 5.0, 5.1) == [50.0, -40.0, 10.0, 10.1, pytest.approx(-5.1), 5.0, 5.1]


def test_a_jump_ahead_that_goes_on_there_is_followed_without_forgetting():
    assert story(50.0, 500.0, 500.1, 500.2) == [50.0, 500.0, 500.1, 500.2]


def test_after_a_pause_the_stamps_may_be_as_much_later():
    order = StampOrder()
    order.put("before", 50 * 10**9, 0.0)
    assert order.put("after", 3650 * 10**9, 3600.0) == Passed(["after"], [])


def test_a_recording_of_long_steps_may_be_played_fast():
    assert story(0.5, 60.0, 120.0, 180.0, 240.0) == [0.5, 60.0, 120.0, 180.0, 240.0]


def test_the_sentence_says_how_far_it_was():
    order = StampOrder()
    for index, stamp_s in enumerate((50, 20, 50.1)):
        passed = order.put(index, int(stamp_s * 1e9), 0.1 * index)
    assert passed.dropped[0][1] == "its stamp is 30.0 s before that of the one before, and the next is not"


def test_a_source_that_never_stamps_is_taken_until_it_does():
    assert story(0.0, 0.0, 50.0, 50.1, 0.0) == [0.0, 0.0, 50.0, 50.1, "UNSTAMPED"]


def test_after_clearing_any_stamp_is_the_first():
    order = StampOrder()
    order.put("before", 50 * 10**9, 0.0)
    order.put("held", 90 * 10**9, 0.1)
    order.clear()
    assert not order.holds
    assert order.put("after", 10 * 10**9, 0.2) == Passed(["after"])


class TestWhereNothingFollows:
    def test_what_is_held_is_taken_after_a_while(self):
        order = StampOrder()
        order.put("before", 50 * 10**9, 0.0)
        assert order.put("back", 10 * 10**9, 1.0) == Passed(dropped=[])
        assert order.holds
        assert order.expire(1.9) == Passed()
        assert order.expire(2.1) == Passed(["back"], back_s=40.0)
        assert not order.holds
        assert order.put("next", 11 * 10**9, 2.2) == Passed(["next"], [])

    def test_a_slow_source_is_waited_for_longer(self):
        order = StampOrder()
        order.put("before", 50 * 10**9, 0.0)
        order.put("ahead", 90 * 10**9, 5.0)
        assert order.expire(10.0, patience_s=15.0) == Passed()
        assert order.expire(20.1, patience_s=15.0) == Passed(["ahead"])

    def test_nothing_held_is_nothing_to_take(self):
        order = StampOrder()
        order.put("before", 50 * 10**9, 0.0)
        assert order.expire(100.0) == Passed()
