"""Time limits that a busy machine may overstep: what is slow because others compute is not stuck."""

from __future__ import annotations

import time

_MEASURED_CPU_S = 0.1  # long enough to see a scheduler's turns


class Deadline:
    """A limit in seconds of a machine that is free; on a busy one it is as many times longer as computing is slower.

    How busy it is, is measured whenever the limit is reached: load that comes later counts too.
    """

    def __init__(self, seconds: float):
        self.seconds = seconds
        self._started_s = time.monotonic()
        self._slowdown = 1.0

    def passed(self) -> bool:
        """Whether the limit is over. Takes a moment to measure, where it seems so."""
        if self._elapsed_s() < self.seconds * self._slowdown:
            return False
        self._slowdown = max(self._slowdown, slowdown())
        return self._elapsed_s() >= self.seconds * self._slowdown

    def _elapsed_s(self) -> float:
        return time.monotonic() - self._started_s


def slowdown(cpu_s: float = _MEASURED_CPU_S) -> float:
    """How many times longer than alone this thread takes to compute now: seconds that pass over seconds of processor
    time, for `cpu_s` of them; at least 1."""
    started_s, computing_s = time.perf_counter(), time.thread_time()
    while (used_s := time.thread_time() - computing_s) < cpu_s:
        pass
    return max(1.0, (time.perf_counter() - started_s) / used_s)
