"""Whose turn it is to compute: the nodes of a process take turns, so that their inferences do not fight for the cores.

Of those that wait, the one goes first that has not been served for longest, and of equals the one of the lowest rank: a
node waits for no more than one image of each of the others.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE_S = 2.0  # a turn that takes longer is not waited for any more: its inference may hang


class Turn:
    """What one node has of a `Turns`. For one thread at a time."""

    def __init__(self, turns: Turns, rank: int):
        self._turns, self.rank = turns, rank
        self.served = 0  # the number of its last turn
        self.resumes = False
        self.since_s: float | None = None  # it has the turn

    def take(self) -> None:
        """Waits until it is this node's turn."""
        self._turns.take(self)

    def end(self) -> None:
        """The next may go. Does nothing without the turn."""
        self._turns.end(self)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Lets others compute while this node waits in the middle of an image; then it goes on before all others."""
        if self.since_s is None:
            yield
            return
        self.end()
        try:
            yield
        finally:
            self.resumes = True
            self.take()


class Turns:
    """At most `at_once` nodes compute at the same time."""

    def __init__(self, at_once: int = 1):
        self._at_once = at_once
        self._changed = threading.Condition()
        self._waiting: list[Turn] = []
        self._working: list[Turn] = []
        self._count = 0

    def join(self, rank: int) -> Turn:
        return Turn(self, rank)

    def take(self, turn: Turn) -> None:
        with self._changed:
            self._waiting.append(turn)
            while not self._may_go(turn):
                self._changed.wait(self._until_overdue_s())
            self._waiting.remove(turn)
            self._working.append(turn)
            self._count += 1
            turn.served, turn.resumes, turn.since_s = self._count, False, time.monotonic()
            self._changed.notify_all()  # there may be room for another

    def end(self, turn: Turn) -> None:
        with self._changed:
            if turn.since_s is not None:
                self._working.remove(turn)
                turn.since_s = None
                self._changed.notify_all()

    def _may_go(self, turn: Turn) -> bool:
        now_s = time.monotonic()
        busy = sum(now_s - other.since_s < PATIENCE_S for other in self._working if other.since_s is not None)
        ahead = min(self._waiting, key=lambda one: (not one.resumes, one.served, one.rank))
        return ahead is turn and busy < self._at_once

    def _until_overdue_s(self) -> float | None:
        """How long until the oldest turn is not waited for any more; None where all are overdue."""
        now_s = time.monotonic()
        left_s = [PATIENCE_S - (now_s - turn.since_s) for turn in self._working if turn.since_s is not None]
        return min((left for left in left_s if left > 0), default=None)
