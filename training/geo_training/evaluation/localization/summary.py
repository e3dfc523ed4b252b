"""An evaluation: what became of every frame, and the figures made of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from geo_training.metrics.consistency import calibration_metrics, coverage_table
from geo_training.metrics.pose import FrameOutcome, LengthUnit, by_sequence, latency_metrics, pose_metrics
from geo_training.metrics.trajectory import trajectory_metrics
from geo_training.report.numbers import latency_label


@dataclass(frozen=True)
class Evaluation:
    """Everything a report shows.

    `metrics` is flat; `by_sequence` holds the same for each sequence, `by_scene` for the frames that each scene of a
    folder answered. `landmarks_map_l3` are the scene's landmarks.
    `up_map_3` points away from gravity, where that is known. `load_images` gives the RGB images of the named frames,
    for pictures. `metadata` are lines for the reader: the scene, the data, the command.
    """

    title: str
    outcomes: list[FrameOutcome]
    length_unit: LengthUnit
    metrics: dict[str, float]
    by_sequence: dict[str, dict[str, float]]
    coverage_rows: list[dict[str, float]]
    landmarks_map_l3: np.ndarray
    up_map_3: np.ndarray | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    config: dict = field(default_factory=dict)
    load_images: Callable[[list[str]], dict[str, np.ndarray]] | None = field(default=None, repr=False, compare=False)
    by_scene: dict[str, dict[str, float]] = field(default_factory=dict)

    def write_report(self, path: str | Path, command: str = "") -> Path:
        """Writes the page; `command` is the line that made it."""
        from geo_training.evaluation.localization.report import write_report  # charts are loaded where they are drawn

        return write_report(self, path, command)

    def as_json(self) -> dict:
        """The result for `--json`: figures, figures by sequence, the calibration table, and a row for each frame.

        JSON has no infinity: a figure that misses made infinite is written as null, and `frames_missed` beside it says
        how many they are. In a frame's row `localized` tells a miss. Null is also what cannot be measured:
        `frames_with_truth` is 0 then.
        """
        return {
            "title": self.title,
            "unit": self.length_unit.label,
            "figures": self.metrics,
            "by_sequence": self.by_sequence,
            **({"by_scene": self.by_scene} if self.by_scene else {}),
            "coverage": self.coverage_rows,
            "metadata": self.metadata,
            "config": self.config,
            "frames": [frame_row(outcome, self.length_unit) for outcome in self.outcomes],
        }


def summarize(outcomes: Sequence[FrameOutcome], length_unit: LengthUnit) -> dict[str, float]:
    """All figures of a set of frames, flat."""
    return {
        **pose_metrics(outcomes, length_unit),
        **trajectory_metrics(outcomes, length_unit),
        **calibration_metrics(outcomes),
        **latency_metrics(outcomes),
    }


def make_evaluation(
    title: str,
    outcomes: Sequence[FrameOutcome],
    length_unit: LengthUnit,
    landmarks_map_l3: np.ndarray,
    **shown,
) -> Evaluation:
    """An `Evaluation` with its figures made from the outcomes; `shown` are its other fields."""
    outcomes = list(outcomes)
    own = {name: summarize(members, length_unit) for name, members in by_sequence(outcomes).items()}
    metrics = summarize(outcomes, length_unit)
    rows = coverage_table(outcomes)
    shown["by_scene"] = {
        name: summarize([outcome for outcome in outcomes if outcome.scene == name], length_unit)
        for name in sorted({outcome.scene for outcome in outcomes} - {""})
    }
    return Evaluation(title, outcomes, length_unit, metrics, own, rows, landmarks_map_l3, **shown)


def frame_row(outcome: FrameOutcome, length_unit: LengthUnit) -> dict:
    """One frame as a row of the JSON."""
    distance, degrees = outcome.error
    return {
        "name": outcome.name,
        "sequence": outcome.sequence,
        "stamp_s": outcome.stamp_s,
        "verdict": outcome.verdict,
        "localized": outcome.localized,
        f"error_{length_unit.key}": distance * length_unit.factor,
        "error_deg": degrees,
        "inliers": outcome.inliers,
        "latency_ms": 1e3 * outcome.latency_s,
        **({"scene": outcome.scene} if outcome.scene else {}),
    }


def headline(evaluation: Evaluation) -> str:
    """The result in one line for a terminal."""
    metrics, length_unit = evaluation.metrics, evaluation.length_unit
    middle = length_unit.thresholds[2]
    parts = [f"{metrics['frames']} frames", f"{metrics['localized_share']:.1%} localized"]
    if "frames_published" in metrics:
        parts.append(live_label(metrics))
    if not metrics["frames_with_truth"]:
        parts.append("no true poses to compare with")
    else:
        if metrics["frames_with_truth"] < metrics["frames"]:
            parts.append(f"of {metrics['frames_with_truth']} with a true pose")
        parts.append(f"{metrics[middle.key]:.1%} within {middle.label}")
        parts.append(median_label(metrics, length_unit))
        held = f"{metrics['coverage_90']:.1%} of {metrics['coverage_frames']} poses inside the stated 90 % ellipsoid"
        parts.append(held if metrics["coverage_frames"] else "no pose whose stated ellipsoid could be checked")
    parts.append(latency_label(metrics))
    return "; ".join(parts)


def median_label(metrics: dict[str, float], length_unit: LengthUnit) -> str:
    """The median errors in words, also where there is none."""
    if not np.isfinite(metrics["median_deg"]):
        return "no median error, since half of the frames or more have no pose"
    return f"median {metrics[f'median_{length_unit.key}']:.2f} {length_unit.label}, {metrics['median_deg']:.2f}°"


def live_label(metrics: dict[str, float]) -> str:
    """What became of the published frames of a live run."""
    published, answered = metrics["frames_published"], metrics["frames_answered"]
    return f"{answered} of {published} published frames answered, {metrics['frames_dropped']} dropped"
