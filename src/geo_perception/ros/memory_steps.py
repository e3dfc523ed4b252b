"""What a node does when memory is short, and when it tries for more again. No ROS; times are of one clock.

Steps one after the other: a smaller input where its estimator takes one, then the CPU where it was on a GPU. What does
not fit even then waits: a frame is tried after a pause that doubles, and all others are dropped. After some time with
less, the whole is tried again, each time that fails after twice the time.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass

SMALLER, CPU = "a smaller input", "the CPU"
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 8.0  # between two tries, where nothing fits
RETURN_S, LONGEST_RETURN_S = 15.0, 480.0  # with less, before the whole is tried again
ERROR_S = 5.0  # without a frame that fits
_COUNTED = 30


@dataclass(frozen=True)
class Shortage:
    """What there is to say of it: why, since when, and what the node does about it."""

    sentence: str
    severe: bool  # nothing has fitted for long


class MemorySteps:
    """The steps of one node. May be called from any thread.

    `level` is how many of its `steps` are in use; whoever calls applies it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.steps: tuple[str, ...] = ()
        self.clear()

    def clear(self, steps: Sequence[str] = ()) -> None:
        """Begins anew with the whole, and with these steps."""
        with self._lock:
            self.steps, self.level = tuple(steps), 0
            self._fitting = 0  # the level to go back to where the whole does not fit
            self._reason, self._dropping = "", False
            self._since_s = self._dropping_since_s = self._try_s = self._return_s = 0.0
            self._well_s = -math.inf  # since when nothing is short
            self._waits = self._returns = 0

    def may_try(self, now_s: float) -> bool:
        """Whether a frame is worked on now."""
        with self._lock:
            return not self._dropping or now_s >= self._try_s

    def failed(self, reason: str, now_s: float) -> str:
        """A frame did not fit. Returns what changes, in words; nothing where all stays as it is."""
        with self._lock:
            if not self._reason:
                self._since_s = now_s
                if now_s - self._well_s > RETURN_S:  # else it goes on where it was
                    self._waits = self._returns = 0
            self._reason = reason
            if self.level < self._fitting:
                self.level = self._fitting
                self._return_later(now_s)
                return ""
            if self.level < len(self.steps):
                self.level = self._fitting = self.level + 1
                self._return_later(now_s)
                return f"not enough memory ({reason}): goes on with {self.steps[self.level - 1]}"
            self._try_s = now_s + min(FIRST_WAIT_S * 2**self._waits, LONGEST_WAIT_S)
            self._waits = min(self._waits + 1, _COUNTED)
            if self._dropping:
                return ""
            self._dropping, self._dropping_since_s = True, now_s
            return f"not enough memory ({reason}): frames are dropped, and one is tried now and then"

    def fitted(self, now_s: float) -> str:
        """A frame did fit. Returns what changes, in words."""
        with self._lock:
            if not self._reason:
                return ""
            if self.level == 0:
                self._reason, self._dropping, self._fitting, self._well_s = "", False, 0, now_s
                return f"there is memory again, after {now_s - self._since_s:.0f} s"
            if not self._dropping:
                return ""
            self._dropping = False
            self._return_later(now_s)
            return f"there is memory again for {self.steps[self.level - 1]}, not for the whole"

    def takes_whole(self, now_s: float) -> bool:
        """Whether it is time to try the whole again; then `level` is 0."""
        with self._lock:
            if self.level == 0 or self._dropping or now_s < self._return_s:
                return False
            self.level = 0
            return True

    def shortage(self, now_s: float) -> Shortage | None:
        """What is short now; None: nothing."""
        with self._lock:
            if not self._reason:
                return None
            why = f"not enough memory since {now_s - self._since_s:.0f} s ago ({self._reason})"
            if self._dropping:
                left_s = max(self._try_s - now_s, 0.0)
                severe = now_s - self._dropping_since_s >= ERROR_S
                return Shortage(f"{why}: frames are dropped, the next one is tried in {left_s:.1f} s", severe)
            return Shortage(f"{why}: works with {self.steps[max(self.level, self._fitting) - 1]}", False)

    def _return_later(self, now_s: float) -> None:
        self._return_s = now_s + min(RETURN_S * 2**self._returns, LONGEST_RETURN_S)
        self._returns = min(self._returns + 1, _COUNTED)
