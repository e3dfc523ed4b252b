"""An evaluation: what became of every frame, and the figures made of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from geo_training.evaluation.calibration_check import calibration_figures, coverage_table
from geo_training.evaluation.metrics import FrameOutcome, Ruler, latency_figures, pose_figures
from geo_training.evaluation.trajectory import trajectory_figures


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
        """The result for `--json`: figures, figures by sequence, the calibration table, and a row for each frame."""
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
    sequences = list(dict.fromkeys(o.sequence for o in outcomes))
    by_sequence = {name: summarize([o for o in outcomes if o.sequence == name], ruler) for name in sequences}
    figures = summarize(outcomes, ruler)
    rows = coverage_table(outcomes)
    return Evaluation(title, outcomes, ruler, figures, by_sequence, rows, landmarks_map_l3, **shown)


def frame_row(outcome: FrameOutcome, ruler: Ruler) -> dict:
    """One frame as a row of the JSON."""
    distance, degrees = outcome.error
    return {
        "name": outcome.name,
        "sequence": outcome.sequence,
        "stamp_s": outcome.stamp_s,
        "verdict": outcome.verdict,
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
    if figures["frames_with_truth"]:
        parts.append(f"{figures[middle.key]:.1%} within {middle.words}")
        parts.append(f"median {figures[f'median_{ruler.unit}']:.2f} {ruler.unit_words}, {figures['median_deg']:.2f}°")
        parts.append(f"{figures['coverage_90']:.1%} inside the stated 90 % ellipsoid")
    else:
        parts.append("no true poses to compare with")
    parts.append(f"{figures['frame_ms_p50']:.0f} ms a frame (p99 {figures['frame_ms_p99']:.0f})")
    return "; ".join(parts)
