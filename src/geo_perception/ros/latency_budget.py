"""Who works on fewer images where results come too late: the least needed node first. No ROS; times are of one clock.

A node whose results take longer than its budget makes the node of the highest rank (depth before calibration before
localization) work at half its rate, then at a quarter and an eighth, then the next. While all budgets are kept with
room to spare they get it back in the opposite order.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field

from geo_perception.ros.frame_statistics import nearest_rank_percentile

STEPS = 3  # a half, a quarter, an eighth
LATE_PERCENT = 80  # the budget is for so many of a hundred results
ENOUGH_RESULTS = 5  # of a node since the last change, before its latency says anything
ROOM = 0.7  # of the budget: below it there is room for more
PAUSE_S, LONGEST_PAUSE_S = 4.0, 64.0  # before somebody gets back what it gave
_KEPT = 30


@dataclass(eq=False)
class Member:
    """One node: its rank (the highest gives way first) and its budget in seconds; 0: none."""

    name: str
    rank: int
    budget_s: float = 0.0
    step: int = 0
    full_hz: float = 0.0  # the rate it had before it gave way
    gave_way_for: str = ""
    latencies_s: deque[float] = field(default_factory=lambda: deque(maxlen=_KEPT))
    busy_s: deque[float] = field(default_factory=lambda: deque(maxlen=_KEPT))

    @property
    def limit_hz(self) -> float:
        """The rate it may work at, 0 where it gives no way."""
        return self.full_hz / 2**self.step if self.step else 0.0

    @property
    def late_s(self) -> float:
        """The latency that so many of its results keep; NaN without any."""
        return nearest_rank_percentile(self.latencies_s, LATE_PERCENT)


class LatencyBudget:
    """The budgets of the nodes of one process. May be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._members: list[Member] = []
        self._changed_s, self._pause_s = 0.0, PAUSE_S
        self._gave_back = False

    def join(self, name: str, rank: int) -> Member:
        with self._lock:
            member = Member(name, rank)
            self._members.append(member)
            return member

    def leave(self, member: Member) -> None:
        """It has been deactivated; what others gave for it they get back at once."""
        with self._lock:
            self._members = [other for other in self._members if other is not member]
            if not any(other.budget_s for other in self._members):
                self._restore_all()

    def set_budget(self, member: Member, budget_s: float) -> None:
        with self._lock:
            member.budget_s = budget_s
            if not any(other.budget_s for other in self._members):
                self._restore_all()

    def finished(self, member: Member, latency_s: float, busy_s: float, rate_hz: float, now_s: float) -> None:
        """A result of this node took `latency_s` from its image's arrival, of which it was worked on `busy_s`;
        `rate_hz` is the rate of its results."""
        with self._lock:
            member.latencies_s.append(latency_s)
            member.busy_s.append(busy_s)
            if member.step == 0:
                member.full_hz = rate_hz
            if self._is_late(member):
                self._take(member, now_s)
            elif now_s - self._changed_s >= self._pause_s and self._has_room():
                self._give_back(now_s)

    def words(self, member: Member) -> dict[str, str]:
        """For the diagnostics of this node."""
        with self._lock:
            values = {}
            if member.budget_s:
                state = "kept"
                if self._alone_too_long(member):
                    state = "cannot be kept: one image alone takes longer"
                elif self._is_late(member):
                    state = "exceeded, and nobody is left to give way"
                values["latency budget (ms)"] = f"{1e3 * member.budget_s:.0f}, {state}"
            values["gave way"] = member.gave_way_for if member.step else "no"
            others = ", ".join(other.name for other in self._in_order() if other.step and other is not member)
            if others:
                values["others that gave way"] = others
            return values

    def _in_order(self) -> list[Member]:
        return sorted(self._members, key=lambda member: -member.rank)

    def _is_late(self, member: Member) -> bool:
        enough = len(member.latencies_s) >= ENOUGH_RESULTS
        return enough and 0 < member.budget_s < member.late_s and not self._alone_too_long(member)

    def _alone_too_long(self, member: Member) -> bool:
        """Whether not even the images that go fast can keep its budget, so that nobody can help it."""
        enough = len(member.busy_s) >= ENOUGH_RESULTS
        return enough and 0 < member.budget_s < nearest_rank_percentile(member.busy_s, 100 - LATE_PERCENT)

    def _has_room(self) -> bool:
        limited = [member for member in self._members if member.budget_s and len(member.latencies_s) > 0]
        return all(member.late_s < ROOM * member.budget_s or self._alone_too_long(member) for member in limited)

    def _take(self, late: Member, now_s: float) -> None:
        giver = next((member for member in self._in_order() if member.step < STEPS), None)
        if giver is None:
            return
        if self._gave_back:  # it was too early
            self._pause_s, self._gave_back = min(2 * self._pause_s, LONGEST_PAUSE_S), False
        giver.step += 1
        whose = "its own" if giver is late else f"the {late.name}'s"
        giver.gave_way_for = (
            f"works at {giver.limit_hz:.2g} Hz instead of {giver.full_hz:.2g} Hz for {whose} latency budget of "
            f"{1e3 * late.budget_s:.0f} ms ({1e3 * late.late_s:.0f} ms before)"
        )
        self._note_change(now_s)

    def _give_back(self, now_s: float) -> None:
        receiver = next((member for member in reversed(self._in_order()) if member.step), None)
        if receiver is not None:
            receiver.step -= 1
            self._gave_back = True
            self._note_change(now_s)
        else:
            self._pause_s = PAUSE_S

    def _restore_all(self) -> None:
        for member in self._members:
            member.step = 0
        self._pause_s, self._gave_back = PAUSE_S, False

    def _note_change(self, now_s: float) -> None:
        self._changed_s = now_s
        for member in self._members:  # what was measured before says nothing of what is now
            member.latencies_s.clear()
            member.busy_s.clear()
