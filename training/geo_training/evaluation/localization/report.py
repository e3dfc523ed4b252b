"""One HTML file that shows an evaluation to a person: it loads nothing and opens from disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from markupsafe import Markup

from geo_training.evaluation.localization.charts import all_charts
from geo_training.evaluation.localization.pictures import draw_detections, worst_frames
from geo_training.evaluation.localization.summary import Evaluation
from geo_training.metrics.pose import FrameOutcome
from geo_training.report.numbers import count, number, percent, short, two
from geo_training.report.page import (
    chart_section,
    coverage_tone,
    header,
    page,
    pair,
    picture,
    pictures,
    provenance,
    section,
    table,
    tiles,
    verdict_table,
    write_page,
)
from geo_training.report.pictures import as_data_url

# What each chart is called, and one sentence on how to read it.
_CHART_TEXTS = {
    "above": (
        "The path from above",
        "Grey is where the camera truly was, dots where it was found; a red line joins the two. Colours show the "
        "distance, crosses are frames without a pose.",
    ),
    "time": (
        "Error over time",
        "Every dot is one frame, on a logarithmic scale; red crosses along the top are frames without a pose.",
    ),
    "recall": (
        "Recall",
        "The share of all frames that are right within a limit. A frame without a pose never is, so the curve need not "
        "reach 100 %.",
    ),
    "calibration": (
        "Does the stated uncertainty hold?",
        "Each pose states an ellipsoid that should hold the truth with a given probability. On the diagonal it does; "
        "below it the pose is overconfident, above it too cautious.",
    ),
    "latency": (
        "Time per frame",
        "How long one answer took. p50 is the median; one frame in a hundred takes longer than p99.",
    ),
    "landmarks": (
        "Landmarks in 3D",
        "The points of the scene that the network looks for, coloured by how many poses used them. Drag to turn, "
        "scroll to zoom.",
    ),
}
_VERDICT_NOTE = "Why a frame has a pose or has none. A pose that would be a guess is not given."


def write_report(evaluation: Evaluation, path: str | Path, command: str = "") -> Path:
    """Writes the report to `path` (its folder is made) and returns it. `command` is the line that made it."""
    return write_page(path, render_report(evaluation, command))


def render_report(evaluation: Evaluation, command: str = "") -> str:
    """The whole page as text."""
    charts = all_charts(evaluation)
    sections = (
        _header(evaluation),
        _tiles(evaluation),
        chart_section(charts, "above", _CHART_TEXTS),
        chart_section(charts, "time", _CHART_TEXTS),
        pair(chart_section(charts, "recall", _CHART_TEXTS), chart_section(charts, "calibration", _CHART_TEXTS)),
        _worst(evaluation),
        chart_section(charts, "landmarks", _CHART_TEXTS),
        pair(chart_section(charts, "latency", _CHART_TEXTS), verdict_table(_verdicts(evaluation), _VERDICT_NOTE)),
        _tables(evaluation),
        provenance(evaluation.metadata, evaluation.config, command),
    )
    return page(evaluation.title, sections, charts)


def _header(evaluation: Evaluation) -> Markup:
    metrics, length_unit = evaluation.metrics, evaluation.length_unit
    middle = length_unit.thresholds[2]
    sentences = [f"{percent(metrics['localized_share'])} of {metrics['frames']} frames were localized."]
    if metrics["frames_with_truth"]:
        right = Markup("<b>{}</b> are right within {}.")
        sentences.append(right.format(percent(metrics[middle.key]), middle.label))
    if metrics["frames_missed"]:
        sentences.append(f"{metrics['frames_missed']} have no pose and count as infinitely far off.")
    if np.isfinite(metrics["median_deg"]):
        sentences.append(
            f"Half of the frames are closer than {metrics[f'median_{length_unit.key}']:.2f} {length_unit.label} and "
            f"{metrics['median_deg']:.2f}° to the truth."
        )
    elif metrics["frames_with_truth"]:
        sentences.append("Half of them or more have no pose, so there is no median error.")
    if not metrics["frames_with_truth"]:
        sentences.append("The recording holds no true poses, so errors cannot be given.")
    if not length_unit.metric:
        sentences.append(
            "The scale of this scene is unknown: lengths are given in percent of its median depth, the median distance "
            f"from a camera to the landmarks before it ({length_unit.scene_depth:.3g} scene units)."
        )
    return header(evaluation.title, sentences)


def _tiles(evaluation: Evaluation) -> Markup:
    metrics, length_unit = evaluation.metrics, evaluation.length_unit
    entries = []
    if metrics["frames_with_truth"]:
        middle = length_unit.thresholds[2]
        entries.append((percent(metrics[middle.key]), f"recall at {middle.label}", ""))
        unit, of = (" cm", "") if length_unit.metric else (" %", " (share of scene depth)")
        entries.append((number(metrics[f"median_{length_unit.key}"], 2, unit), f"median distance{of}", ""))
        entries.append((number(metrics["median_deg"], 2, "°"), "median angle", ""))
        held = metrics["coverage_90"]
        poses = metrics["coverage_frames"]
        tone = coverage_tone(held, poses)
        entries.append((percent(held), f"of {poses} true poses inside the stated 90 % ellipsoid", tone))
    entries.append((percent(metrics["localized_share"]), "of frames localized", ""))
    entries.append((number(metrics["frame_ms_p50"], 0, " ms"), "a frame (median)", ""))
    entries.append((number(metrics["frame_ms_p99"], 0, " ms"), "a frame (p99)", ""))
    if "frames_published" in metrics:
        entries.append((percent(metrics["answered_share"]), "of published frames answered", ""))
        entries.append((count(metrics["frames_dropped"]), "of them dropped: no answer was begun", ""))
    return tiles(entries)


def _worst(evaluation: Evaluation) -> Markup:
    chosen = worst_frames(evaluation)
    if not chosen or evaluation.load_images is None:
        return Markup()
    images = evaluation.load_images([outcome.name for outcome in chosen])
    drawn = [
        picture(o.name, as_data_url(draw_detections(images[o.name], o)), _caption(o, evaluation))
        for o in chosen
        if o.name in images
    ]
    note = Markup(
        'Circles are detected landmarks: <span class="key ok">green</span> agrees with the pose, '
        '<span class="key no">red</span> does not. A <span class="key est">blue line</span> leads to where the '
        "estimated pose sees the landmark, a white dot is where the true pose does."
    )
    return section("The worst frames", note, pictures(drawn))


def _caption(outcome: FrameOutcome, evaluation: Evaluation) -> Markup:
    length_unit = evaluation.length_unit
    parts = []
    distance, degrees = outcome.error
    if np.isfinite(distance):
        parts.append(f"off by {distance * length_unit.factor:.1f} {length_unit.label} and {degrees:.1f}°")
    if not outcome.localized:
        parts.append(outcome.verdict + (f" ({outcome.detail})" if outcome.detail else ""))
    if outcome.localization is not None:
        found = outcome.localization
        parts.append(f"{int(found.detections.inlier_n.sum())} of {len(found.detections)} detections agree")
        if np.isfinite(found.reprojection_px):
            parts.append(f"median reprojection {found.reprojection_px:.1f} px")
    return Markup("<b>{}</b><br>{}").format(outcome.name, "; ".join(parts))


def _verdicts(evaluation: Evaluation) -> list[str]:
    return [outcome.verdict for outcome in evaluation.outcomes]


def _tables(evaluation: Evaluation) -> Markup:
    length_unit, unit = evaluation.length_unit, evaluation.length_unit.key
    columns = {"all": evaluation.metrics}
    if len(evaluation.by_sequence) > 1:
        columns |= evaluation.by_sequence
    lines = [
        ("frames", "frames", count), ("with a true pose", "frames_with_truth", count),
        ("of them without an estimate", "frames_missed", count), ("localized", "localized_share", percent),
        *((f"within {t.label}", t.key, percent) for t in length_unit.thresholds),
        (f"median distance ({length_unit.label})", f"median_{unit}", two), ("median angle (°)", "median_deg", two),
        (f"90th percentile distance ({length_unit.label})", f"p90_{unit}", two),
        ("90th percentile angle (°)", "p90_deg", two),
        (f"ATE ({length_unit.label})", f"ate_{unit}", two),
        (f"ATE after alignment ({length_unit.label})", f"ate_aligned_{unit}", two),
        (f"RPE, frame to frame ({length_unit.label})", f"rpe_{unit}", two),
        ("RPE, frame to frame (°)", "rpe_deg", two),
        ("localized frames", "localized_frames", count), ("and motions between two of them", "localized_pairs", count),
        (f"ATE of the localized ({length_unit.label})", f"localized_ate_{unit}", two),
        (f"ATE of the localized after alignment ({length_unit.label})", f"localized_ate_aligned_{unit}", two),
        (f"RPE of the localized ({length_unit.label})", f"localized_rpe_{unit}", two),
        ("RPE of the localized (°)", "localized_rpe_deg", two),
        ("median inliers", "median_inliers", count),
        ("poses whose ellipsoid was checked", "coverage_frames", count),
        ("inside the 90 % ellipsoid", "coverage_90", percent),
        ("median NEES (5.35 is right)", "nees_median", two),
        ("median NEES of the translation (2.37 is right)", "nees_median_translation", two),
        ("frames whose time is known", "timed_frames", count),
        ("ms a frame, p50", "frame_ms_p50", two), ("ms a frame, p99", "frame_ms_p99", two),
    ]  # fmt: skip
    shown = {key for _, key, _ in lines}
    rows = [[words, *(form(c.get(key, np.nan)) for c in columns.values())] for words, key, form in lines]
    extra = [key for key in evaluation.metrics if key not in shown and not _is_detail(key)]
    rows += [[key.replace("_", " "), short(evaluation.metrics[key])] + [""] * (len(columns) - 1)
             for key in extra]  # fmt: skip
    coverage_rows = [
        [number(100 * row["stated"], 0, " %"), *(percent(row[part]) for part in ("pose", "translation", "rotation"))]
        for row in evaluation.coverage_rows
    ]
    metrics_note = (
        "ATE, the absolute trajectory error, is the root mean square distance to the true path; RPE, the relative pose "
        "error, that of the motion from one frame to the next. A frame without a pose is infinitely far off (∞); what "
        "is said of the localized leaves such frames out. NEES is the squared error in units of the stated "
        "uncertainty."
    )
    coverage_note = (
        "How often the true pose (or only its translation or rotation) lies inside the ellipsoid that is stated to "
        "hold it."
    )
    return section("All figures", metrics_note, table(["", *columns], rows)) + section(
        "Stated and actual probability",
        coverage_note,
        table(["stated", "pose", "translation", "rotation"], coverage_rows),
    )


def _is_detail(key: str) -> bool:
    return key.endswith(("_rotation", "_translation")) or key.startswith("nees_mean")
