"""Steps where memory is short, by a clock that the test turns."""

import pytest

from geo_perception.ros.memory_steps import (
    CPU,
    ERROR_S,
    FIRST_WAIT_S,
    LONGEST_RETURN_S,
    LONGEST_WAIT_S,
    RETURN_S,
    SMALLER,
    MemorySteps,
)


def short_of(*steps: str) -> MemorySteps:
    memory = MemorySteps()
    memory.clear(steps)
    return memory


def test_first_a_smaller_input_then_the_cpu_then_frames_are_dropped():
    memory = short_of(SMALLER, CPU)
    assert memory.failed("out of memory", 10.0).endswith("goes on with a smaller input")
    assert memory.failed("out of memory", 10.1).endswith("goes on with the CPU")
    assert memory.may_try(10.2)
    assert "frames are dropped" in memory.failed("out of memory", 10.2)
    assert not memory.may_try(10.3)
    assert memory.level == 2


def test_what_is_short_is_told_with_its_reason_since_when_and_at_last_as_an_error():
    memory = short_of()
    assert memory.shortage(9.0) is None
    memory.failed("bad_alloc", 10.0)
    shortage = memory.shortage(12.0)
    assert "since 2 s ago (bad_alloc)" in shortage.sentence
    assert not shortage.severe
    assert memory.shortage(10.0 + ERROR_S).severe


def test_waits_between_tries_double_up_to_a_bound_and_are_told_once():
    memory, now_s, waits, said = short_of(), 10.0, [], []
    for _ in range(8):
        said.append(memory.failed("bad_alloc", now_s))
        began_s = now_s
        while not memory.may_try(now_s):
            now_s += 0.125
        waits.append(now_s - began_s)
    assert waits[:3] == [FIRST_WAIT_S, 2 * FIRST_WAIT_S, 4 * FIRST_WAIT_S]
    assert waits[-1] == LONGEST_WAIT_S
    assert [bool(sentence) for sentence in said] == [True] + [False] * 7
    assert "memory again" in memory.fitted(now_s)
    assert memory.shortage(now_s) is None
    assert memory.fitted(now_s) == ""


def test_the_whole_is_tried_again_after_a_stated_time_and_each_failure_doubles_it():
    memory = short_of(SMALLER)
    memory.failed("bad_alloc", 0.0)
    memory.fitted(0.1)
    assert not memory.takes_whole(RETURN_S - 0.1)
    assert memory.takes_whole(RETURN_S)
    assert memory.level == 0
    assert memory.failed("bad_alloc", RETURN_S) == ""  # known already
    assert memory.level == 1
    assert "a smaller input" in memory.shortage(RETURN_S).sentence
    memory.fitted(RETURN_S + 0.1)
    assert not memory.takes_whole(RETURN_S + 2 * RETURN_S - 0.1)
    assert memory.takes_whole(RETURN_S + 2 * RETURN_S)
    assert "there is memory again, after 45 s" in memory.fitted(RETURN_S + 2 * RETURN_S)


def test_the_time_to_the_whole_is_bounded():
    memory, now_s, longest_s = short_of(SMALLER), 0.0, 0.0
    memory.failed("bad_alloc", now_s)
    for _ in range(12):
        memory.fitted(now_s)
        began_s = now_s
        while not memory.takes_whole(now_s):
            now_s += 5.0
        longest_s = max(longest_s, now_s - began_s)
        memory.failed("bad_alloc", now_s)
    assert longest_s == LONGEST_RETURN_S


def test_after_frames_were_dropped_the_smaller_input_is_gone_on_with_first():
    memory = short_of(SMALLER)
    memory.failed("bad_alloc", 0.0)
    memory.failed("bad_alloc", 0.1)
    assert "for a smaller input, not for the whole" in memory.fitted(1.0)
    assert memory.level == 1
    assert not memory.takes_whole(1.5)


@pytest.mark.parametrize(("calm_s", "wait_s"), [(0.1, 2 * FIRST_WAIT_S), (RETURN_S + 1, FIRST_WAIT_S)])
def test_memory_that_comes_and_goes_does_not_shorten_the_waits(calm_s, wait_s):
    memory = short_of()
    memory.failed("bad_alloc", 0.0)
    memory.fitted(0.6)
    memory.failed("bad_alloc", 0.6 + calm_s)
    assert not memory.may_try(0.6 + calm_s + wait_s - 0.01)
    assert memory.may_try(0.6 + calm_s + wait_s)
