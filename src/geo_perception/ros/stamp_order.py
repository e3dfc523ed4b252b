"""Which stamps of a stream make sense after those before. No ROS: `received_s` is by one steady clock.

One wrong stamp must not throw away what was learned from a thousand good ones; a recording that begins again must.
The two look alike until the next message comes: it goes on either from the odd stamp or from those before. So the odd
one is held back until then, or for a while where nothing comes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

FAR_S = 1.0  # further back, or further ahead of the time that has passed, than messages get into disorder
PATIENCE_S = 1.0  # how long at least an odd stamp waits for the message after it

Item = TypeVar("Item")


class Fault(Enum):
    """Why a message is dropped for its stamp."""

    LATE = "older than the one before"
    UNSTAMPED = "without a stamp"
    ASTRAY = "stamp far from those around it"


@dataclass(frozen=True)
class Passed(Generic[Item]):
    """What becomes of messages: those to take in order, and those to drop with why and a sentence. `back_s` above 0:
    time went back by so much before the ones to take."""

    taken: Sequence[Item] = ()
    dropped: Sequence[tuple[Fault, str]] = ()
    back_s: float = 0.0


@dataclass(frozen=True)
class _Seen(Generic[Item]):
    item: Item
    stamp_ns: int
    received_s: float


class StampOrder(Generic[Item]):
    """Passes on the messages of one stream, in the order in which they come, by their stamps."""

    def __init__(self):
        self.clear()

    def clear(self) -> None:
        """Forgets every stamp and what is held: the next message is taken whatever its stamp."""
        self._last: _Seen[Item] | None = None
        self._held: _Seen[Item] | None = None
        self._step_s = 0.0  # between the last two taken: a recording may be played fast

    def put(self, item: Item, stamp_ns: int, received_s: float) -> Passed[Item]:
        """A message has come."""
        if stamp_ns <= 0:
            if self._last is None:  # a source that never stamps is taken as it is
                return Passed([item])
            return Passed(dropped=[(Fault.UNSTAMPED, "its stamp is 0, and those before were not; see its source")])
        seen = _Seen(item, stamp_ns, received_s)
        if self._last is None:
            self._note(seen, 0.0)
            return Passed([item])
        step_s = _step_s(self._last, seen)
        if 0 <= step_s <= self._longest_s(self._last, seen):
            dropped = self._drop_held()
            self._note(seen, step_s)
            return Passed([item], dropped)
        if -FAR_S < step_s < 0:
            late = (Fault.LATE, f"it is {-step_s:.3f} s older than the one before")
            return Passed(dropped=[*self._drop_held(), late])
        held = self._held
        if held is None or not self._is_stream(held, seen):
            dropped, self._held = self._drop_held(), seen
            return Passed(dropped=dropped)
        return self._jump([held, seen])

    def expire(self, now_s: float, patience_s: float = PATIENCE_S) -> Passed[Item]:
        """Takes what was held when nothing has come for so long to tell what it is."""
        held = self._held
        if held is None or now_s - held.received_s <= max(patience_s, PATIENCE_S):
            return Passed()
        return self._jump([held])

    @property
    def holds(self) -> bool:
        """Whether a message waits for the next one."""
        return self._held is not None

    def _is_stream(self, held: _Seen[Item], seen: _Seen[Item]) -> bool:
        """Whether the one can follow the other that is held. Both ahead may be a stream of long steps."""
        step_s, ahead = _step_s(held, seen), held.stamp_ns > self._last.stamp_ns
        return step_s > 0 and (ahead or step_s <= self._longest_s(held, seen))

    def _longest_s(self, before: _Seen[Item], seen: _Seen[Item]) -> float:
        return max(seen.received_s - before.received_s + FAR_S, 2 * self._step_s)

    def _jump(self, stream: list[_Seen[Item]]) -> Passed[Item]:
        back_s = max(-_step_s(self._last, stream[0]), 0.0)
        self._last = stream[0]
        self._note(stream[-1], _step_s(stream[0], stream[-1]))
        return Passed([seen.item for seen in stream], back_s=back_s)

    def _note(self, seen: _Seen[Item], step_s: float) -> None:
        self._last, self._held, self._step_s = seen, None, step_s

    def _drop_held(self) -> list[tuple[Fault, str]]:
        held, self._held = self._held, None
        if held is None:
            return []
        step_s = _step_s(self._last, held)
        way = "after" if step_s > 0 else "before"
        return [(Fault.ASTRAY, f"its stamp is {abs(step_s):.1f} s {way} that of the one before, and the next is not")]


def _step_s(before: _Seen, after: _Seen) -> float:
    return (after.stamp_ns - before.stamp_ns) * 1e-9
