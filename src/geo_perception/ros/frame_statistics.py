"""What a node counts and measures about its frames. No ROS here: times are seconds of one steady clock."""

from __future__ import annotations

import math
import threading
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

RATE_WINDOW_S = 5.0
LATENCY_WINDOW = 300
SHARE_WINDOW = 100
OTHER_CLOCK_S = 60.0  # a result further from its image's stamp: the stamps are of another clock than the node's
_PERIOD_WINDOW = 30


class Reason(str, Enum):
    """Why a frame was dropped. The words are published in diagnostics and counted by."""

    BAD_IMAGE = "unusable image"
    NO_CAMERA_INFO = "no CameraInfo"
    UNCALIBRATED = "uncalibrated camera"
    BAD_CAMERA_INFO = "unusable CameraInfo"
    SIZE_MISMATCH = "CameraInfo of another shape"
    OTHER_CAMERA = "CameraInfo of another camera"
    OUT_OF_ORDER = "older than the frame before"
    UNSTAMPED = "no stamp"
    ASTRAY = "stamp far from the frames around it"
    NO_TRANSFORM = "no transform"
    NO_MEMORY = "no memory"
    OUTDATED = "outlived by a reset"
    DEFECT = "defect of the node"


def nearest_rank_percentile(values: Iterable[float], percent: float) -> float:
    """The smallest of the values that at least `percent` % of them do not exceed; NaN where there are none.

    By nearest rank, so the answer is always a value that was measured.
    """
    ordered = sorted(values)
    if not ordered:
        return math.nan
    return ordered[max(math.ceil(percent / 100 * len(ordered)), 1) - 1]


@dataclass(frozen=True)
class Snapshot:
    """The values at one moment. Counts are since the last reset; NaN and None mean "not yet"."""

    received: int = 0
    processed: int = 0
    replaced: int = 0
    skipped: int = 0
    given_way: int = 0
    stale: int = 0
    lost: int = 0
    lost_hz: float = 0.0
    rejected: dict[str, int] = field(default_factory=dict)
    input_hz: float = 0.0
    output_hz: float = 0.0
    input_period_s: float = math.nan
    input_age_s: float | None = None
    busy_s: float | None = None
    latency_p50_s: float = math.nan
    latency_p99_s: float = math.nan
    inference_p50_s: float = math.nan
    inference_p99_s: float = math.nan
    age_p50_s: float = math.nan
    age_p99_s: float = math.nan
    good_share: float = math.nan
    good_age_s: float | None = None
    last_verdict: str = ""
    last_rejection: str = ""
    rejection_age_s: dict[str, float] = field(default_factory=dict)


class FrameStatistics:
    """Counts frames from arrival to result. Every method may be called from any thread."""

    def __init__(self, now_s: float):
        self._lock = threading.Lock()
        self._busy_since_s: float | None = None
        self.reset(now_s)

    def reset(self, now_s: float) -> None:
        """Forgets everything but that a frame is being worked on, as after a jump of the clock."""
        with self._lock:
            self._since_s = now_s
            self._received = self._processed = self._replaced = 0
            self._skipped = self._given_way = self._stale = self._lost = 0
            self._rejected: Counter[str] = Counter()
            self._arrivals_s: deque[float] = deque(maxlen=1000)
            self._results_s: deque[float] = deque(maxlen=1000)
            self._periods_s: deque[float] = deque(maxlen=_PERIOD_WINDOW)
            self._latencies_s: deque[float] = deque(maxlen=LATENCY_WINDOW)
            self._inferences_s: deque[float] = deque(maxlen=LATENCY_WINDOW)
            self._losses_s: deque[float] = deque(maxlen=1000)
            self._ages_s: deque[float] = deque(maxlen=LATENCY_WINDOW)
            self._goods: deque[bool] = deque(maxlen=SHARE_WINDOW)
            self._last_good_s: float | None = None
            self._last_verdict = self._last_rejection = ""
            self._rejected_s: dict[str, float] = {}

    def received(self, now_s: float) -> None:
        with self._lock:
            if self._arrivals_s:
                self._periods_s.append(now_s - self._arrivals_s[-1])
            self._received += 1
            self._arrivals_s.append(now_s)

    def pause_input(self) -> None:
        """The input was closed on purpose: the gap until the next frame is not a period."""
        with self._lock:
            self._arrivals_s.clear()

    def replaced(self) -> None:
        with self._lock:
            self._replaced += 1

    def skipped(self) -> None:
        """A frame was left out to keep a rate."""
        with self._lock:
            self._skipped += 1

    def gave_way(self) -> None:
        """A frame was left out to keep a latency budget."""
        with self._lock:
            self._given_way += 1

    def too_old(self) -> None:
        """A frame was left out since its result would have come too late."""
        with self._lock:
            self._stale += 1

    def lost(self, count: int, now_s: float) -> None:
        """So many messages were sent and did not come, as the middleware tells."""
        with self._lock:
            self._lost += count
            self._losses_s.extend([now_s] * min(count, self._losses_s.maxlen or count))

    def rejected(self, reason: Reason, detail: str, now_s: float) -> None:
        """A frame was dropped; `detail` is the sentence for the person."""
        with self._lock:
            self._rejected[reason.value] += 1
            self._rejected_s[reason.value] = now_s
            self._last_rejection = detail

    def started(self, now_s: float) -> None:
        with self._lock:
            self._busy_since_s = now_s

    def ended(self) -> None:
        """The frame that was started is done with, whatever came of it."""
        with self._lock:
            self._busy_since_s = None

    def finished(
        self, received_s: float, started_s: float, now_s: float, good: bool, verdict: str, age_s: float = math.nan
    ) -> None:
        """A frame has its result: `good` when it was worth publishing, `verdict` says why or why not. `age_s` is the
        time from the image's stamp to now, by the clock that stamps are of."""
        with self._lock:
            self._processed += 1
            self._results_s.append(now_s)
            self._latencies_s.append(now_s - received_s)
            self._inferences_s.append(now_s - started_s)
            if abs(age_s) < OTHER_CLOCK_S:
                self._ages_s.append(age_s)
            self._goods.append(good)
            self._last_verdict = verdict
            if good:
                self._last_good_s = now_s

    def snapshot(self, now_s: float) -> Snapshot:
        with self._lock:
            span_s = max(min(RATE_WINDOW_S, now_s - self._since_s), 1e-9)

            def rate_hz(times_s: deque[float]) -> float:
                return sum(t >= now_s - span_s for t in times_s) / span_s

            def age_s(then_s: float | None) -> float | None:
                return None if then_s is None else now_s - then_s

            return Snapshot(
                received=self._received,
                processed=self._processed,
                replaced=self._replaced,
                skipped=self._skipped,
                given_way=self._given_way,
                stale=self._stale,
                lost=self._lost,
                lost_hz=rate_hz(self._losses_s),
                rejected=dict(self._rejected),
                input_hz=rate_hz(self._arrivals_s),
                output_hz=rate_hz(self._results_s),
                input_period_s=nearest_rank_percentile(self._periods_s, 50),
                input_age_s=age_s(self._arrivals_s[-1]) if self._arrivals_s else None,
                busy_s=age_s(self._busy_since_s),
                latency_p50_s=nearest_rank_percentile(self._latencies_s, 50),
                latency_p99_s=nearest_rank_percentile(self._latencies_s, 99),
                inference_p50_s=nearest_rank_percentile(self._inferences_s, 50),
                inference_p99_s=nearest_rank_percentile(self._inferences_s, 99),
                age_p50_s=nearest_rank_percentile(self._ages_s, 50),
                age_p99_s=nearest_rank_percentile(self._ages_s, 99),
                good_share=sum(self._goods) / len(self._goods) if self._goods else math.nan,
                good_age_s=age_s(self._last_good_s),
                last_verdict=self._last_verdict,
                last_rejection=self._last_rejection,
                rejection_age_s={reason: now_s - then_s for reason, then_s in self._rejected_s.items()},
            )


class RateLimiter:
    """Lets through one event of each kind per interval and counts what it held back."""

    def __init__(self, interval_s: float):
        self._interval_s = interval_s
        self._lock = threading.Lock()
        self._last_s: dict[str, float] = {}
        self._held: Counter[str] = Counter()

    def allow(self, kind: str, now_s: float) -> int | None:
        """How many events of this kind were held back since the last one let through; None: hold this one, too."""
        with self._lock:
            if now_s - self._last_s.get(kind, -math.inf) < self._interval_s:
                self._held[kind] += 1
                return None
            self._last_s[kind] = now_s
            return self._held.pop(kind, 0)
