"""A calibrator against images whose camera is known: every image on its own, in process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from geo_perception.calibration.result import Calibration
from geo_perception.errors import InputError
from geo_training.evaluation.calibration.predictions import FORMAT, Estimator, predict_queries
from geo_training.evaluation.calibration.set import CalibrationQuery, largest_offset_deg
from geo_training.evaluation.predictions import Predictions, PredictionStore
from geo_training.metrics.calibration import (
    AUC_THRESHOLDS_DEG,
    CalibrationOutcome,
    reliability_table,
    summarize,
)
from geo_training.report.numbers import latency_label


@dataclass(frozen=True)
class CalibrationEvaluation:
    """Everything a report shows.

    `metrics` is flat; `by_domain` holds the same for each domain. `load_images` gives the RGB images of the named
    frames, for pictures. `metadata` are lines for the reader: the weights, the data.
    """

    title: str
    outcomes: list[CalibrationOutcome]
    metrics: dict[str, float]
    by_domain: dict[str, dict[str, float]]
    reliability_rows: list[dict[str, float]]
    metadata: dict[str, str] = field(default_factory=dict)
    config: dict = field(default_factory=dict)
    load_images: Callable[[list[str]], dict[str, np.ndarray]] | None = field(default=None, repr=False, compare=False)

    def write_report(self, path: str | Path, command: str = "") -> Path:
        """Writes the page; `command` is the line that made it."""
        from geo_training.evaluation.calibration.report import (
            write_calibration_report,  # charts are loaded where they are drawn
        )

        return write_calibration_report(self, path, command)

    def as_json(self) -> dict:
        """The result for `--json`: figures, figures by domain, the reliability table, and a row for each frame.

        JSON has no infinity: a figure that images without an answer made infinite is written as null, and
        `frames_missed` beside it says how many they are.
        """
        return {
            "title": self.title,
            "figures": self.metrics,
            "by_domain": self.by_domain,
            "reliability": self.reliability_rows,
            "metadata": self.metadata,
            "config": self.config,
            "frames": [frame_row(outcome) for outcome in self.outcomes],
        }


def evaluate_calibrator(
    estimator: Estimator,
    queries: Sequence[CalibrationQuery],
    title: str = "Calibration from one image",
    metadata: dict[str, str] | None = None,
    config: dict | None = None,
    store: PredictionStore[Calibration] | None = None,
) -> CalibrationEvaluation:
    """Runs the calibrator over the queries, or takes what `store` holds of them, and measures it.

    Raises InputError when there is no query, or the store is of something else.
    """
    if not queries:
        raise InputError("there is no image to measure on; give panoramas, crops, or photographs with known gravity")
    metadata = dict(metadata or {})
    answer = partial(predict_queries, estimator, queries)
    seen, data = [query.seen for query in queries], metadata.get("data", "other images")
    predictions = (store or PredictionStore()).obtain(FORMAT, seen, data, answer)
    return score(queries, predictions, title, metadata, config or {})


def score(
    queries: Sequence[CalibrationQuery],
    predictions: Predictions[Calibration],
    title: str,
    metadata: dict[str, str],
    config: dict,
) -> CalibrationEvaluation:
    """Measures what was answered to the queries, in their order."""
    outcomes = [
        CalibrationOutcome(query.name, query.domain, query.truth, answer.result, answer.latency_s)
        for query, answer in zip(queries, predictions.answers, strict=True)
    ]
    offset_deg = largest_offset_deg(queries)
    metadata = metadata | predictions.metadata
    if offset_deg > 0.01:
        metadata["principal point"] = (
            f"up to {offset_deg:.2f}° from the image's centre, where the calibrator takes it to be; pitch and roll are "
            "those of the optical axis"
        )
    by_name = {query.name: query for query in queries}
    return make_evaluation(
        title, outcomes, metadata=metadata, config=config,
        load_images=lambda names: {name: by_name[name].load() for name in names},
    )  # fmt: skip


def make_evaluation(title: str, outcomes: Sequence[CalibrationOutcome], **shown) -> CalibrationEvaluation:
    """A `CalibrationEvaluation` with its figures made from the outcomes; `shown` are its other fields."""
    outcomes = list(outcomes)
    groups: dict[str, list[CalibrationOutcome]] = {}
    for outcome in outcomes:
        groups.setdefault(outcome.domain, []).append(outcome)
    by_domain = {name: summarize(groups[name]) for name in sorted(groups) if name}
    return CalibrationEvaluation(title, outcomes, summarize(outcomes), by_domain, reliability_table(outcomes), **shown)


def frame_row(outcome: CalibrationOutcome) -> dict:
    """One frame as a row of the JSON: errors, the true and the estimated camera with its standard deviations."""
    found, truth = outcome.result, outcome.truth
    errors = {f"{name}_error_deg": value for name, value in outcome.errors_deg.items()}
    return {
        "name": outcome.name,
        "domain": outcome.domain,
        "verdict": found.verdict.value,
        **errors,
        "focal_error_pct": 100 * outcome.focal_error,
        "horizon_error_pct": 100 * outcome.horizon_error,
        "true": {"focal_px": truth.focal_px, **_degrees(truth)},
        "estimated": {"focal_px": found.focal_px, **_degrees(found)},
        "sigma": {
            "focal_px": found.sigma_focal_px,
            "pitch_deg": float(np.degrees(found.sigma_pitch_rad)),
            "roll_deg": float(np.degrees(found.sigma_roll_rad)),
            "vfov_deg": float(np.degrees(found.sigma_vfov_rad)),
        },
        "latency_ms": 1e3 * outcome.latency_s,
    }


def headline(evaluation: CalibrationEvaluation) -> str:
    """The result in one line for a terminal."""
    metrics = evaluation.metrics
    areas = ", ".join(f"{label} {auc_label(metrics, name)}" for name, label in _NAMES)
    parts = [f"{metrics['frames']} frames", f"{metrics['trusted_share']:.1%} trusted"]
    if metrics["frames_missed"]:
        parts.append(f"{metrics['frames_missed']} without an answer")
    if np.isfinite(metrics["roll_median_deg"]):
        medians = ", ".join(f"{label} {metrics[f'{name}_median_deg']:.2f}°" for name, label in _NAMES)
        parts.append(f"median error: {medians}")
    else:
        parts.append("no median error, since half of the frames or more have no answer")
    parts.append(f"AUC at 1/5/10°: {areas}")
    held = f"{metrics['coverage_90']:.1%} of {metrics['coverage_frames']} inside the stated 90 % interval"
    parts.append(held if metrics["coverage_frames"] else "no answer whose stated interval could be checked")
    parts.append(latency_label(metrics))
    return "; ".join(parts)


def auc_label(metrics: dict[str, float], name: str) -> str:
    """The AUC of one angle at all limits, in percent: 34.1/64.0/79.2."""
    return "/".join(f"{metrics[f'{name}_auc_{limit}']:.1f}" for limit in AUC_THRESHOLDS_DEG)


_NAMES = (("roll", "roll"), ("pitch", "pitch"), ("fov", "vertical fov"))


def _degrees(camera) -> dict[str, float]:
    angles_rad = {"pitch_deg": camera.pitch_rad, "roll_deg": camera.roll_rad, "vfov_deg": camera.vfov_rad}
    return {name: float(np.degrees(value)) for name, value in angles_rad.items()}
