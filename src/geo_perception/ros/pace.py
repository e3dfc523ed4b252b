"""The pace of a node among those of its process: which images it takes, when it computes, and whose budget it gives way
to."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

from geo_perception.ros.frame_statistics import Snapshot
from geo_perception.ros.latency_budget import Member
from geo_perception.ros.process_share import ProcessShare, share_of
from geo_perception.ros.turns import Turn
from geo_perception.ros.worker import Frame

OLDEST_FRAMES = 2  # periods of its own rate that a result may be old
LEAST_OLD_S = 0.2  # a burst of images is no rate


class Pace:
    """Of a `PerceptionNode`, from its activation on."""

    def __init__(self, node):
        self._node = node
        self._share: ProcessShare | None = None
        self._member: Member | None = None
        self._turn: Turn | None = None
        self._next_s = self._accepted_s = 0.0

    def join(self) -> Turn:
        """The node becomes active. Returns what it takes its turns with."""
        self.leave()
        self._share = share_of(self._node)
        self._member = self._share.budget.join(self._node.get_name(), self._node.rank)
        self._turn = self._share.turns.join(self._node.rank)
        return self._turn

    def leave(self) -> None:
        """The node is not active any more."""
        if self._share is not None and self._member is not None:
            self._share.budget.leave(self._member)
        self._share = self._member = None

    def clear(self) -> None:
        """The next image is taken, whenever the last one was."""
        self._next_s = 0.0

    def allows(self, now_s: float) -> bool:
        """Whether an image that comes now may be worked on by the rate that was given and the one that is left. Counts
        it where not."""
        rate_hz, given_hz = self._node.value("max_rate_hz"), 0.0 if self._member is None else self._member.limit_hz
        lowest_hz = min((hz for hz in (rate_hz, given_hz) if hz > 0), default=0.0)
        if lowest_hz == 0:
            return True
        if now_s < self._next_s:
            statistics = self._node.statistics
            statistics.gave_way() if lowest_hz == given_hz else statistics.skipped()
            return False
        self._next_s = max(self._next_s + 1 / lowest_hz, now_s)
        return True

    def accepted(self, now_s: float) -> None:
        """The newest image waits for its turn from now on. It may have waited for another reason before."""
        self._accepted_s = now_s

    def is_stale(self, now_s: float) -> bool:
        """Whether a result of the image that waited for its turn would be older than two frames of the node's rate."""
        seen: Snapshot = self._node.statistics.snapshot(now_s)
        work_s = 0.0 if math.isnan(seen.inference_p50_s) else seen.inference_p50_s
        period_s = max(work_s, 0.0 if math.isnan(seen.input_period_s) else seen.input_period_s)
        if seen.output_hz > 0:
            period_s = max(period_s, 1 / seen.output_hz)
        return now_s - self._accepted_s + work_s > max(OLDEST_FRAMES * period_s, LEAST_OLD_S + work_s)

    def finished(self, frame: Frame, started_s: float, now_s: float) -> None:
        """The node has published the result of a frame."""
        share, member = self._share, self._member
        if share is not None and member is not None:
            share.budget.set_budget(member, self._node.value("latency_budget_s"))
            rate_hz = self._node.statistics.snapshot(now_s).output_hz
            share.budget.finished(member, now_s - frame.received_s, now_s - started_s, rate_hz, now_s)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """In the worker's thread: others may compute while the block waits for something."""
        if self._turn is None:
            yield
        else:
            with self._turn.paused():
                yield

    @property
    def gave_way(self) -> str:
        """For which budget the node works more slowly, in a sentence; nothing where it does not."""
        member = self._member
        return member.gave_way_for if member is not None and member.step else ""

    def diagnostic_values(self) -> dict[str, str]:
        share, member = self._share, self._member
        return {} if share is None or member is None else share.budget.words(member)
