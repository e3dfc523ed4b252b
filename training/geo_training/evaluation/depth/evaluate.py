"""A depth estimator against images whose depth is known: every image on its own, in process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from geo_perception.depth.result import RelativeDepth
from geo_training.console import track
from geo_training.evaluation.depth.field import FIELD_KEYS, measure_field
from geo_training.evaluation.depth.odometry import (
    MotionEstimator,
    OdometryPath,
    odometry_metrics,
    paths_beside_truth,
)
from geo_training.evaluation.depth.predictions import FORMAT, Estimator, predict_queries, with_depth
from geo_training.evaluation.depth.set import DepthQuery
from geo_training.evaluation.predictions import Predictions, PredictionStore
from geo_training.metrics import confidence as confidence
from geo_training.metrics.depth import (
    METRICS,
    SCALINGS,
    DepthProtocol,
    counted_pixels,
    distance_sums,
    evaluate_image,
    median_scale,
    resize_depth,
    scale_metrics,
    summarize,
)
from geo_training.metrics.edges import edge_metrics
from geo_training.metrics.pose import percentile
from geo_training.report.numbers import latency_label

DISTANCE_BINS = 16
EDGE_KEYS = ("edge", "edge_precision", "edge_recall", "edge_width_px")
CONFIDENCE_KEYS = ("ause", "ause_random", "rank_correlation", "confidence", "confidence_actual")
_COUNTED = (("scaled", "scale"), ("edge", "edge"), ("confidence", "confidence"))


@dataclass(frozen=True)
class DepthOptions:
    """`protocol` says which pixels count; `edges` whether edges are looked at; `points` by how many true depths maps
    are completed (0: they are not)."""

    protocol: DepthProtocol
    edges: bool = True
    points: int = 0


@dataclass(frozen=True)
class DepthAnswer:
    """What was said of one query, and the factor that brings it to the truth; NaN without an answer or truth."""

    query: DepthQuery
    result: RelativeDepth
    latency_s: float
    scale: float


@dataclass(frozen=True)
class DepthEvaluation:
    """Everything a report shows.

    `metrics` is flat; `rows` has one entry for each image. `distance_rows` and `reliability_rows` are of all pixels
    together, `curves` the mean sparsification curves. `answers` hold the depth maps, for pictures. `metadata` are lines
    for the reader: the weights, the data.
    """

    title: str
    options: DepthOptions
    rows: list[dict]
    metrics: dict[str, float]
    distance_rows: list[dict[str, float]]
    reliability_rows: list[dict[str, float]]
    curves: dict[str, list[float]]
    paths: list[OdometryPath] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)
    config: dict = field(default_factory=dict)
    answers: dict[str, DepthAnswer] = field(default_factory=dict, repr=False, compare=False)

    def write_report(self, path: str | Path, command: str = "") -> Path:
        """Writes the page; `command` is the line that made it."""
        from geo_training.evaluation.depth.report import write_depth_report  # charts are loaded where they are drawn

        return write_depth_report(self, path, command)

    def as_json(self) -> dict:
        """The result for `--json`."""
        return {
            "title": self.title,
            "figures": self.metrics,
            "by_distance": self.distance_rows,
            "reliability": self.reliability_rows,
            "sparsification": self.curves,
            "metadata": self.metadata,
            "config": self.config,
            "frames": self.rows,
        }


def evaluate_depth(
    estimator: Estimator,
    queries: Sequence[DepthQuery],
    options: DepthOptions,
    motion: MotionEstimator | None = None,
    title: str = "Depth from one image",
    metadata: dict[str, str] | None = None,
    config: dict | None = None,
    store: PredictionStore[RelativeDepth] | None = None,
) -> DepthEvaluation:
    """Runs the estimator over the queries with true depth, and `motion` over those with true poses, or takes what
    `store` holds of them, and measures both.

    Raises InputError when there is nothing to measure, or the store is of something else.
    """
    metadata = dict(metadata or {})
    answer = partial(predict_queries, estimator, queries, motion)
    seen, data = [query.seen for query in queries], metadata.get("data", "other images")
    predictions = (store or PredictionStore()).obtain(FORMAT, seen, data, answer)
    return score(queries, predictions, options, title, metadata, dict(config or {}))


def score(
    queries: Sequence[DepthQuery],
    predictions: Predictions[RelativeDepth],
    options: DepthOptions,
    title: str,
    metadata: dict[str, str],
    config: dict,
) -> DepthEvaluation:
    """Measures what was answered to the queries, in their order.

    An image without an answer counts as a flat map (at the usual distance, where it is not scaled by its own truth), so
    that it does not pay to refuse the difficult ones; none of its pixels is covered. What only an answer has is over
    fewer images, and the figures say over how many: `scaled_frames` (scale, scale_spread), `edge_frames`,
    `confidence_frames`.
    """
    answers = scaled_answers(queries, predictions, options.protocol)
    one_scale = scale_metrics([answer.scale for answer in answers])
    sums, usual_depth = _Sums(options.protocol), _usual_depth(answers)
    rows = [_measure(answer, options, one_scale["scale"], usual_depth, sums) for answer in track(answers, "comparing")]
    metrics = {
        "frames": len(rows),
        "frames_with_truth": int(sum(np.isfinite(row["abs_rel"]) for row in rows)),
        "failed": sum(not answer.result.estimated for answer in answers),
    }
    for ending in SCALINGS.values():
        metrics |= summarize(rows, [f"{name}{ending}" for name in METRICS])
    metrics |= one_scale | summarize(rows, ("coverage",))
    extra = [f"object_{key}" for key in EDGE_KEYS if any(f"object_{key}" in row for row in rows)]
    metrics |= summarize(rows, (*EDGE_KEYS, *extra) if options.edges else ()) | summarize(rows, CONFIDENCE_KEYS)
    if options.points:
        taken_ms = [row["field_ms"] for row in rows if "field_ms" in row]
        metrics |= summarize(rows, FIELD_KEYS) | {"field_ms_p50": percentile(taken_ms, 50)}
    for name, key in _COUNTED:
        metrics[f"{name}_frames"] = sum(bool(np.isfinite(row.get(key, np.nan))) for row in rows)
    metrics |= {f"frame_ms_p{p}": percentile([row["latency_ms"] for row in rows], p) for p in (50, 99)}
    metrics["timed_frames"] = len(rows)
    paths = paths_beside_truth(queries, predictions.paths)
    if paths:
        metrics |= odometry_metrics(paths)
        posed = sum(query.T_world_camera is not None for query in queries)
        metrics["odometry_left_out"] = posed - metrics["odometry_frames"]
    shown = {"metadata": metadata | predictions.metadata, "config": config}
    by_name = {answer.query.name: answer for answer in answers}
    tables = sums.distance_rows(), sums.reliability_rows(), sums.mean_curves()
    return DepthEvaluation(title, options, rows, metrics, *tables, paths, **shown, answers=by_name)


def scaled_answers(
    queries: Sequence[DepthQuery], predictions: Predictions[RelativeDepth], protocol: DepthProtocol
) -> list[DepthAnswer]:
    """What was said of every query with true depth, in order, each with its own scale."""
    answers = []
    for query, prediction in zip(with_depth(queries), predictions.answers, strict=True):
        result, scale = prediction.result, float("nan")
        if result.estimated:
            true_hw = query.load_depth_m()
            scale = median_scale(true_hw, resize_depth(result.depth_hw, *true_hw.shape), protocol)
        answers.append(DepthAnswer(query, result, prediction.latency_s, scale))
    return answers


def headline(evaluation: DepthEvaluation) -> str:
    """The result in one line for a terminal."""
    metrics, parts = evaluation.metrics, []
    if metrics["frames"]:
        parts.append(f"{metrics['frames']} frames")
        if metrics["failed"]:
            parts.append(f"{metrics['failed']} without an answer")
        parts += _error_labels(metrics)
        if evaluation.options.points:
            parts.append(_field_label(metrics, evaluation.options.points))
        if metrics["edge_frames"]:
            few = f" over {metrics['edge_frames']}" if metrics["edge_frames"] < metrics["frames"] else ""
            parts.append(f"edges {metrics['edge']:.3f}{few}")
        parts.append(latency_label(metrics))
    if evaluation.paths:
        parts.append(path_label(metrics))
    return "; ".join(parts)


def _error_labels(metrics: dict[str, float]) -> list[str]:
    if not metrics["frames_with_truth"]:
        return ["no image has true depth in the range that is compared, so there is no error"]
    parts = []
    if metrics["frames_with_truth"] < metrics["frames"]:
        parts.append(f"of {metrics['frames_with_truth']} with true depth in range")
    for ending, label in (("", "its own scale"), ("_one_scale", "one scale"), ("_unscaled", "unscaled")):
        if np.isfinite(metrics[f"abs_rel{ending}"]):
            parts.append(f"{label}: abs_rel {metrics[f'abs_rel{ending}']:.3f}, d1 {metrics[f'd1{ending}']:.3f}")
    if not metrics["scaled_frames"]:
        return [*parts, "no image has a scale"]
    few = f" over {metrics['scaled_frames']}" if metrics["scaled_frames"] < metrics["frames"] else ""
    return [*parts, f"scales spread by {metrics['scale_spread']:.0%}{few}"]


def _field_label(metrics: dict[str, float], points: int) -> str:
    if not np.isfinite(metrics["field_abs_rel"]):
        return f"no image has {points} pixels of true depth"
    return (
        f"completed by {points} points: abs_rel {metrics['field_abs_rel']:.3f}, d1 {metrics['field_d1']:.3f}, "
        f"{metrics['field_coverage_90']:.1%} inside the stated 90 % interval"
    )


def path_label(metrics: dict[str, float]) -> str:
    """The errors of the camera's path in words, also where there are none."""
    if not np.isfinite([metrics["ate5_m"], metrics["ate_m"]]).all():
        return "the path holds motions that are no numbers, so it has no error"
    snippets = f"{metrics['ate5_m']:.3f} ± {metrics['ate5_std_m']:.3f} m over {metrics['ate5_snippets']}"
    left_out = metrics.get("odometry_left_out", 0)
    few = f" ({left_out} frames are in runs too short)" if left_out else ""
    return f"ATE of 5 frames {snippets}, of the whole path ({metrics['path_m']:.3g} m) {metrics['ate_m']:.3g} m{few}"


class _Sums:
    """What is added up over the pixels of all images."""

    def __init__(self, protocol: DepthProtocol):
        self.edges_m = np.linspace(0.0, protocol.cap_m, DISTANCE_BINS + 1)
        self.distance_b3 = np.zeros((DISTANCE_BINS, 3))
        self.reliability_b3 = np.zeros((confidence.BINS, 3))
        self.curves: list[np.ndarray] = []

    def distance_rows(self) -> list[dict[str, float]]:
        return [
            {"from_m": low, "to_m": high, "pixels": int(pixels), "abs_rel": error / pixels, "d1": right / pixels}
            for low, high, (pixels, error, right) in zip(
                self.edges_m[:-1].tolist(), self.edges_m[1:].tolist(), self.distance_b3.tolist(), strict=True
            )
            if pixels
        ]

    def reliability_rows(self) -> list[dict[str, float]]:
        return [
            {"stated": stated / pixels, "actual": right / pixels, "pixels": int(pixels)}
            for pixels, stated, right in self.reliability_b3.tolist()
            if pixels
        ]

    def mean_curves(self) -> dict[str, list[float]]:
        if not self.curves:
            return {}
        names = ("by_stated", "best", "random")
        curves = {name: curve.tolist() for name, curve in zip(names, np.mean(self.curves, axis=0), strict=True)}
        return {"removed": confidence.removed_shares().tolist(), **curves}


def _usual_depth(answers: Sequence[DepthAnswer]) -> float:
    """The median of the medians of all estimated maps, in their unit; 1 where there is none."""
    medians = [float(np.nanmedian(a.result.depth_hw)) for a in answers if a.result.estimated]
    middle = percentile(medians, 50)
    return middle if np.isfinite(middle) else 1.0


def _measure(
    answer: DepthAnswer, options: DepthOptions, one_scale: float, usual_depth: float, sums: _Sums
) -> dict[str, float | str]:
    """One row: the figures of one image. Adds its pixels to the sums."""
    query, result, protocol = answer.query, answer.result, options.protocol
    true_hw = query.load_depth_m()
    if result.estimated:
        predicted_hw = resize_depth(result.depth_hw, *true_hw.shape)
    else:
        predicted_hw = np.full(true_hw.shape, usual_depth, np.float32)
    row = {"name": query.name, "sequence": query.sequence, "verdict": result.verdict.value}
    median = evaluate_image(true_hw, predicted_hw, protocol)
    row |= median | {"scale": answer.scale}
    if not result.estimated:
        row["coverage"] *= 0  # of pixels with an answer; NaN stays where none counts
    for ending, scale in ((SCALINGS["one_scale"], one_scale), (SCALINGS["unscaled"], 1.0)):
        found = evaluate_image(true_hw, predicted_hw, protocol, scale)
        row |= {f"{name}{ending}": found[name] for name in METRICS}
    row["latency_ms"] = 1e3 * answer.latency_s
    if not np.isfinite(median["abs_rel"]):
        return row
    if options.edges:
        row |= edge_metrics(true_hw, predicted_hw)
        if query.load_instances is not None:
            found = edge_metrics(true_hw, predicted_hw, query.load_instances())
            row |= {f"object_{key}": value for key, value in found.items()}
    if options.points and result.estimated:
        row |= measure_field(query, result, true_hw, protocol, options.points)
    if result.estimated:
        sums.distance_b3 += distance_sums(true_hw, predicted_hw, protocol, median["scale"], sums.edges_m)
    if result.estimated and result.sigma_hw is not None:
        row |= _measure_confidence(true_hw, predicted_hw, result, protocol, median["scale"], sums)
    return row


def _measure_confidence(true_hw, predicted_hw, result: RelativeDepth, protocol, scale: float, sums: _Sums) -> dict:
    """The figures of the stated uncertainty, of the median-scaled depth: it does not speak of the scale."""
    mask_hw, true_n, predicted_n = counted_pixels(true_hw, predicted_hw, protocol, scale)
    size_px = true_hw.shape[::-1]
    sigma_n, confidence_n = (
        cv2.resize(map_hw, size_px, interpolation=cv2.INTER_LINEAR)[mask_hw]
        for map_hw in (result.sigma_hw, result.confidence_hw)
    )
    sums.curves.append(confidence.sparsification_curves(true_n, predicted_n, sigma_n))
    sums.reliability_b3 += confidence.reliability_sums(true_n, predicted_n, confidence_n)
    return confidence.confidence_metrics(true_n, predicted_n, sigma_n, confidence_n)
