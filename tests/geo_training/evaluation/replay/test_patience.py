"""Time limits on a busy machine: measured, not guessed."""

import subprocess
import sys

import pytest
from geo_training.evaluation.replay import patience
from geo_training.evaluation.replay.patience import Deadline, slowdown


class Clock:
    def __init__(self, monkeypatch, *slowdowns):
        self.now_s, self.slowdowns, self.measured = 0.0, list(slowdowns), 0
        monkeypatch.setattr(patience.time, "monotonic", lambda: self.now_s)
        monkeypatch.setattr(patience, "slowdown", self.slowdown)

    def slowdown(self):
        self.measured += 1
        return self.slowdowns.pop(0)


def test_on_a_free_machine_a_limit_is_what_it_says(monkeypatch):
    clock = Clock(monkeypatch, 1.0)
    limit = Deadline(10.0)
    clock.now_s = 9.9
    assert not limit.passed()
    assert clock.measured == 0
    clock.now_s = 10.1
    assert limit.passed()


def test_a_limit_grows_as_computing_slows_down_and_ends_all_the_same(monkeypatch):
    clock = Clock(monkeypatch, 3.0, 2.0)
    limit = Deadline(10.0)
    clock.now_s = 10.1
    assert not limit.passed()  # three times slower: 30 s
    clock.now_s = 29.0
    assert not limit.passed()
    clock.now_s = 30.1
    assert limit.passed()


def test_load_that_comes_later_counts(monkeypatch):
    clock = Clock(monkeypatch, 1.5, 4.0, 4.0)
    limit = Deadline(10.0)
    clock.now_s = 12.0
    assert not limit.passed()
    clock.now_s = 15.5
    assert not limit.passed()
    clock.now_s = 41.0
    assert limit.passed()


def test_computing_that_others_hold_up_is_slower(monkeypatch):
    """A thread that gets a third of the processor: its own clock runs a third as fast."""
    wall_s = {"now": 0.0}

    def wall():
        wall_s["now"] += 0.001
        return wall_s["now"]

    monkeypatch.setattr(patience.time, "perf_counter", wall)
    monkeypatch.setattr(patience.time, "thread_time", lambda: (wall() - 0.001) / 3)
    assert slowdown(0.05) == pytest.approx(3.0, rel=0.1)


@pytest.mark.skipif(sys.platform != "linux", reason="needs taskset's sched_setaffinity")
def test_two_programs_on_one_processor_are_each_slower():
    code = (
        "import os, subprocess, sys\n"
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "busy = subprocess.Popen([sys.executable, '-c', 'while True: pass'])\n"
        "from geo_training.evaluation.replay.patience import slowdown\n"
        "import time; time.sleep(0.5)\n"
        "print(slowdown(0.2)); busy.kill()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert float(done.stdout) > 1.4
