"""How numbers are written in reports and tables."""

from __future__ import annotations

import math


def number(value: float, digits: int, unit: str = "", deviation: float = math.nan) -> str:
    """With the deviation over seeds where there is one; a dash for what is not known, ∞ for what misses made
    infinite."""
    if not math.isfinite(value):
        return _no_number(value)
    spread = "" if math.isnan(deviation) else f" ± {deviation:.{digits}f}"
    return f"{value:.{digits}f}{spread}{unit}"


def signed(change: float, digits: int) -> str:
    """A change with its sign; a dash where it is not known."""
    return f"{change:+.{digits}f}" if math.isfinite(change) else _no_number(change)


def percent(value: float) -> str:
    return number(100 * value, 1, " %")


def two(value: float) -> str:
    return number(value, 2)


def three(value: float) -> str:
    return number(value, 3)


def count(value: float) -> str:
    return number(value, 0)


def short(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else _no_number(value)


def latency_label(metrics: dict[str, float]) -> str:
    """How long an answer took, and of how many that is where they are few."""
    timed = metrics["timed_frames"]
    if not timed:
        return "no frame was answered, so no time is known"
    few = f" over {timed} answers" if timed < metrics["frames"] else ""
    return f"{metrics['frame_ms_p50']:.0f} ms a frame (p99 {metrics['frame_ms_p99']:.0f}){few}"


def _no_number(value: float) -> str:
    return "–" if math.isnan(value) else "∞"
