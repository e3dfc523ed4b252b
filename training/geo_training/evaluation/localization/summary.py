"""An evaluation: what became of every frame, and the figures made of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from geo_training.metrics.consistency import calibration_figures, coverage_table
from geo_training.metrics.pose import FrameOutcome, Ruler, by_sequence, latency_figures, pose_figures
from geo_training.metrics.trajectory import trajectory_figures


@dataclass(frozen=True)
class Evaluation:
    """Everything a report shows.

    `figures` is flat; `by_sequence` holds the same for each sequence. `landmarks_map_l3` are the scene's landmarks.
    `up_map_3` points away from gravity, where that is known. `load_images` gives the RGB images of the named frames,
    for pictures. `facts` are lines for the reader: the scene, the data, the command.
    """

    title: str
    outcomes: list[FrameOutcome]
    ruler: Ruler
    figures: dict[str, float]
    by_sequence: dict[str, dict[str, float]]
    coverage_rows: list[dict[str, float]]
    landmarks_map_l3: np.ndarray
    up_map_3: np.ndarray | None = None
    facts: dict[str, str] = field(default_factory=dict)
    config: dict = field(default_factory=dict)
    load_images: Callable[[list[str]], dict[str, np.ndarray]] | None = field(default=None, repr=False, compare=False)

    def as_json(self) -> dict:
        """The result for `--json`: figures, figures by sequence, the calibration table, and a row for each frame.

        JSON has no infinity: a figure that misses made infinite is written as null, and `frames_missed` beside it says
        how many they are. In a frame's row `localized` tells a miss. Null is also what cannot be measured:
        `frames_with_truth` is 0 then.
        """
        return {
            "title": self.title,
            "unit": self.ruler.unit_words,
            "figures": self.figures,
            "by_sequence": self.by_sequence,
            "coverage": self.coverage_rows,
            "facts": self.facts,
            "config": self.config,
            "frames": [frame_row(outcome, self.ruler) for outcome in self.outcomes],
        }


def summarize(outcomes: Sequence[FrameOutcome], ruler: Ruler) -> dict[str, float]:
    """All figures of a set of frames, flat."""
    return {
        **pose_figures(outcomes, ruler),
        **trajectory_figures(outcomes, ruler),
        **calibration_figures(outcomes),
        **latency_figures(outcomes),
    }


def make_evaluation(
    title: str,
    outcomes: Sequence[FrameOutcome],
    ruler: Ruler,
    landmarks_map_l3: np.ndarray,
    **shown,
) -> Evaluation:
    """An `Evaluation` with its figures made from the outcomes; `shown` are its other fields."""
    outcomes = list(outcomes)
    own = {name: summarize(members, ruler) for name, members in by_sequence(outcomes).items()}
    figures = summarize(outcomes, ruler)
    rows = coverage_table(outcomes)
    return Evaluation(title, outcomes, ruler, figures, own, rows, landmarks_map_l3, **shown)


def frame_row(outcome: FrameOutcome, ruler: Ruler) -> dict:
    """One frame as a row of the JSON."""
    distance, degrees = outcome.error
    return {
        "name": outcome.name,
        "sequence": outcome.sequence,
        "stamp_s": outcome.stamp_s,
        "verdict": outcome.verdict,
        "localized": outcome.localized,
        f"error_{ruler.unit}": distance * ruler.factor,
        "error_deg": degrees,
        "inliers": outcome.inliers,
        "latency_ms": 1e3 * outcome.latency_s,
    }


def headline(evaluation: Evaluation) -> str:
    """The result in one line for a terminal."""
    figures, ruler = evaluation.figures, evaluation.ruler
    middle = ruler.thresholds[2]
    parts = [f"{figures['frames']} frames", f"{figures['localized_share']:.1%} localized"]
    if "frames_published" in figures:
        parts.append(live_words(figures))
    if not figures["frames_with_truth"]:
        parts.append("no true poses to compare with")
    else:
        if figures["frames_with_truth"] < figures["frames"]:
            parts.append(f"of {figures['frames_with_truth']} with a true pose")
        parts.append(f"{figures[middle.key]:.1%} within {middle.words}")
        parts.append(median_words(figures, ruler))
        held = f"{figures['coverage_90']:.1%} of {figures['coverage_frames']} poses inside the stated 90 % ellipsoid"
        parts.append(held if figures["coverage_frames"] else "no pose whose stated ellipsoid could be checked")
    parts.append(latency_words(figures))
    return "; ".join(parts)


def median_words(figures: dict[str, float], ruler: Ruler) -> str:
    """The median errors in words, also where there is none."""
    if not np.isfinite(figures["median_deg"]):
        return "no median error, since half of the frames or more have no pose"
    return f"median {figures[f'median_{ruler.unit}']:.2f} {ruler.unit_words}, {figures['median_deg']:.2f}°"


def latency_words(figures: dict[str, float], what: str = "frame") -> str:
    """How long an answer took, and of how many that is where they are few."""
    timed = figures["timed_frames"]
    if not timed:
        return f"no {what} was answered, so no time is known"
    few = f" over {timed} answers" if timed < figures["frames"] else ""
    return f"{figures['frame_ms_p50']:.0f} ms a {what} (p99 {figures['frame_ms_p99']:.0f}){few}"


def live_words(figures: dict[str, float]) -> str:
    """What became of the published frames of a live run."""
    published, answered = figures["frames_published"], figures["frames_answered"]
    return f"{answered} of {published} published frames answered, {figures['frames_dropped']} dropped"
