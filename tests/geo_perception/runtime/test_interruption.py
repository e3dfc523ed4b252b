"""Signals end a process whatever it is busy with, and only while they are asked to."""

import signal
import subprocess
import sys

import pytest
from process_end import end

PREAMBLE = """
import ctypes, os, signal, sys, time
from geo_perception.runtime.interruption import ended_by_signals, watch_signals
"""
# Again and again, since a signal wakes it.
SLEEP_IN_C = "print('ready', flush=True); any(ctypes.CDLL(None).sleep(5) < 0 for _ in range(9))"


def run(code: str, *numbers: int) -> tuple[int, str, float]:
    """Starts this code, sends it signals once it is ready; exit code, what it said, and the seconds to its end."""
    process = subprocess.Popen(
        [sys.executable, "-c", PREAMBLE + code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout.readline() == "ready\n"
    return end(process, *numbers, apart_s=0.2)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_code_that_does_not_come_back_from_c_is_ended_at_once(number):
    code, said, seconds = run(f"watch_signals(3, 'ended'); {SLEEP_IN_C}", number)
    assert (code, said) == (3, "ended\n")
    assert seconds < 2


def test_without_an_exit_code_it_is_that_of_a_shell():
    assert run(f"watch_signals(None); {SLEEP_IN_C}", signal.SIGINT)[:2] == (130, "")
    assert run(f"watch_signals(None); {SLEEP_IN_C}", signal.SIGTERM)[:2] == (143, "")


def test_after_the_block_signals_mean_what_they_did():
    code = """
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would ignore it
with ended_by_signals(3):
    pass
try:
    print('ready', flush=True)
    time.sleep(30)
except KeyboardInterrupt:
    print('as before')
"""
    assert run(code, signal.SIGINT)[:2] == (0, "as before\n")


def test_an_inner_block_leaves_the_outer_watch_in_place():
    code = f"""
watch_signals(3)
with ended_by_signals(4):
    pass
{SLEEP_IN_C}
"""
    assert run(code, signal.SIGINT)[0] == 3


def test_an_end_in_order_has_its_time_and_no_more():
    in_time = """
watch = watch_signals(0)
watch.end_in_order()
print('ready', flush=True)
while not watch.asked:
    time.sleep(0.01)
print('in order')
sys.exit(5)
"""
    assert run(in_time, signal.SIGINT)[:2] == (5, "in order\n")
    code, said, seconds = run(f"watch_signals(0).end_in_order(); {SLEEP_IN_C}", signal.SIGINT)
    assert (code, said) == (0, "ended without waiting for what was still being done\n")
    assert 1.4 < seconds < 4


def test_where_an_end_in_order_is_not_worth_it_there_is_none():
    code, said, seconds = run(f"watch_signals(0).end_in_order(lambda: False); {SLEEP_IN_C}", signal.SIGINT)
    assert (code, said) == (0, "")
    assert seconds < 1.4
