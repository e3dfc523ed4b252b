"""One HTML file that shows how good depth is: it loads nothing and opens from disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import plotly.graph_objects as go
from markupsafe import Markup

from geo_training.evaluation.depth.charts import depth_charts
from geo_training.evaluation.depth.evaluate import DepthEvaluation
from geo_training.evaluation.depth.pictures import ERROR_LIMIT, chosen_frames, draw_frame
from geo_training.metrics.depth import METRICS, SCALINGS
from geo_training.metrics.edges import EVALUATION_PX, TOLERANCE_PX
from geo_training.report.numbers import count, number, percent, short, three, two
from geo_training.report.page import (
    PICTURE_TITLES,
    chart_section,
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

_CHART_TEXTS = {
    "distance": (
        "Error over distance",
        "The mean relative error of all pixels at a true distance, each image by its own scale; the bars say how many "
        "pixels there are. Images without an answer are not among them.",
    ),
    "scale": (
        "One scale for all?",
        "By which factor each image has to be multiplied, over the median of them; one without an answer has none. A "
        "robot that found the scale once is off by this much on the other images.",
    ),
    "sparsification": (
        "Are the doubtful pixels the wrong ones?",
        "The error of what is left when the most uncertain pixels are taken away first. The uncertainty tells right "
        "from wrong as far as its curve lies below the grey one; the green one is the best there can be.",
    ),
    "reliability": (
        "Does the stated confidence hold?",
        "The stated probability that a depth is within 25 % of the truth, against how many are. Below the diagonal the "
        "estimate is overconfident, above it too cautious.",
    ),
    "latency": (
        "Time per image",
        "How long one answer took. p50 is the median; one image in a hundred takes longer than p99.",
    ),
}
_SCALING_LABELS = {"median": "its own scale", "one_scale": "one scale for all", "unscaled": "as it comes"}
_METRIC_LABELS = {
    "abs_rel": "abs_rel", "sq_rel": "sq_rel (m)", "rms": "rms (m)", "log_rms": "log rms", "d1": "δ < 1.25",
    "d2": "δ < 1.25²", "d3": "δ < 1.25³",
}  # fmt: skip
_PANELS = {"image": "image", "predicted": "estimated", "true": "true", "error": "error", "confidence": "confidence"}
_PICTURE_NOTE = Markup(
    "Estimated depth by its own scale and true depth, in the same colours: near is bright, far is dark, grey is "
    'unknown. Error: <span class="key" style="color:#c83228">red</span> is estimated too far, '
    '<span class="key" style="color:#235fbe">blue</span> too near, white is right; full colour at a factor of '
    f"{ERROR_LIMIT:g}. Confidence: dark is 0, yellow is 1."
)
_KIND_NOTES = {"typical": "About the median of abs_rel.", "worst": "Those without an answer first, if there are any."}


def write_depth_report(evaluation: DepthEvaluation, path: str | Path, command: str = "") -> Path:
    """Writes the report to `path` (its folder is made) and returns it. `command` is the line that made it."""
    return write_page(path, render_depth_report(evaluation, command))


def render_depth_report(evaluation: DepthEvaluation, command: str = "") -> str:
    """The whole page as text."""
    charts = depth_charts(evaluation)
    verdicts = [row["verdict"] for row in evaluation.rows]
    answered = bool(verdicts) and evaluation.metrics["failed"] == 0
    sections = (
        header(evaluation.title, _sentences(evaluation)),
        tiles(_tile_entries(evaluation)),
        _scalings_table(evaluation) if verdicts else "",
        *_pictures(evaluation),
        pair(chart_section(charts, "distance", _CHART_TEXTS), chart_section(charts, "scale", _CHART_TEXTS)),
        pair(chart_section(charts, "sparsification", _CHART_TEXTS), chart_section(charts, "reliability", _CHART_TEXTS)),
        _others_table(evaluation) if verdicts else "",
        *_paths(evaluation, charts),
        pair(
            chart_section(charts, "latency", _CHART_TEXTS),
            "" if answered or not verdicts else verdict_table(verdicts, "Whether there is an answer, and why not."),
        ),
        provenance(evaluation.metadata, evaluation.config, command),
    )
    return page(evaluation.title, sections, charts)


def _sentences(evaluation: DepthEvaluation) -> list[str]:
    metrics, protocol = evaluation.metrics, evaluation.options.protocol
    if not metrics["frames"]:
        return ["No image has true depth; only the motion of the camera was measured."]
    crop = ", in the part of the image that lidar reaches (Garg's crop)" if protocol.crop == "garg" else ""
    if not metrics["frames_with_truth"]:
        return ["No image has true depth in the range that is compared, so there is no error."]
    sentences = [
        f"{metrics['frames_with_truth']} images with true depth, compared from {protocol.min_m:g} to "
        f"{protocol.cap_m:g} m{crop}.",
        Markup(
            "A depth is off by <b>{}</b> on average when each image is scaled by its own truth, by {} with one scale "
            "for all."
        ).format(percent(metrics["abs_rel"]), percent(metrics["abs_rel_one_scale"])),
    ]
    if metrics["failed"]:
        sentences.append(f"{metrics['failed']} images got no answer; they count as a flat map.")
    return sentences


def _tile_entries(evaluation: DepthEvaluation) -> list[tuple[str, str, str]]:
    metrics, entries = evaluation.metrics, []
    if metrics["frames"]:
        entries += [
            (number(metrics["abs_rel"], 3), "abs_rel, each image by its own scale", ""),
            (number(metrics["abs_rel_one_scale"], 3), "abs_rel, one scale for all", ""),
            (percent(metrics["d1"]), "of pixels within 25 %", ""),
            (number(100 * metrics["scale_spread"], 0, " %"), "spread of the scales of the images", ""),
        ]
        if np.isfinite(metrics.get("edge", np.nan)):
            entries.append((number(metrics["edge"], 3), "edges: F1 against the true ones", ""))
        if metrics["ause_random"] > 0:  # no number without confidence, 0 where every depth is right
            gain = 1 - metrics["ause"] / metrics["ause_random"]
            tone = "good" if gain > 0 else "bad"
            entries.append((number(100 * gain, 0, " %"), "of the best possible order of errors is known", tone))
        entries.append((number(metrics["frame_ms_p50"], 0, " ms"), "an image (median)", ""))
    if evaluation.paths:
        entries.append((number(metrics["ate5_m"], 3, " m"), "ATE of 5 frames", ""))
        entries.append((number(metrics["ate_m"], 3, " m"), f"ATE of {metrics['path_m']:.3g} m of path", ""))
    return entries


def _scalings_table(evaluation: DepthEvaluation) -> Markup:
    metrics = evaluation.metrics
    rows = [
        [label, *(number(metrics[f"{name}{SCALINGS[key]}"], 3) for name in METRICS)]
        for key, label in _SCALING_LABELS.items()
    ]
    if evaluation.options.points:
        label = f"a field, by {evaluation.options.points} true depths"
        rows.append([label, *(number(metrics[f"field_{name}"], 3) for name in METRICS)])
    note = (
        "Means over images. abs_rel, sq_rel and both rms are better when small, δ (the share of pixels within a "
        "factor) when large. Papers report the first row; a robot lives with the second, once it has found the scale. "
        f"The scale is {number(metrics['scale'], 3)} (median of {metrics['scaled_frames']})."
    )
    return section("Depth", note, table(["scaled by", *_METRIC_LABELS.values()], rows))


def _others_table(evaluation: DepthEvaluation) -> Markup:
    metrics = evaluation.metrics
    lines = [
        ("images with true depth", "frames_with_truth", count),
        ("images without an answer", "failed", count),
        ("pixels with an answer", "coverage", percent),
        ("images that have a scale", "scaled_frames", count),
        ("spread of the scales of the images", "scale_spread", percent),
        ("images with edges to compare", "edge_frames", count),
        *_edge_lines("edge", "depth edges"),
        *_edge_lines("object_edge", "borders of objects"),
        ("images with a stated uncertainty", "confidence_frames", count),
        ("uncertainty: area under the sparsification error (0 is best)", "ause", three),
        ("the same in random order", "ause_random", three),
        ("uncertainty: rank correlation with the error", "rank_correlation", three),
        ("of the field: true depths inside the stated 90 % interval", "field_coverage_90", percent),
        ("mean stated confidence", "confidence", percent),
        ("pixels within 25 %", "confidence_actual", percent),
        ("ms an image, p50", "frame_ms_p50", two),
        ("ms an image, p99", "frame_ms_p99", two),
    ]
    rows = [[label, form(metrics[key])] for label, key, form in lines if np.isfinite(metrics.get(key, np.nan))]
    note = (
        "Edges are where depth jumps by more than a ratio; they are right within "
        f"{TOLERANCE_PX} pixel of a true one, with the image {EVALUATION_PX} pixels large. They are not known where "
        "true depth is sparse."
    )
    return section("Edges, confidence, time", note, table(["", "mean over images"], rows))


def _edge_lines(key: str, label: str) -> list[tuple]:
    precision, recall, width = (key.replace("edge", f"edge_{end}") for end in ("precision", "recall", "width_px"))
    return [
        (f"{label}: F1", key, three),
        (f"{label}: precision", precision, three),
        (f"{label}: recall", recall, three),
        (f"{label}: width of the estimated transition (px)", width, three),
    ]


def _pictures(evaluation: DepthEvaluation) -> list[Markup]:
    rows_by_name = {row["name"]: row for row in evaluation.rows}
    sections = []
    for kind, names in chosen_frames(evaluation).items():
        rows = Markup()
        for name in names:
            drawn = draw_frame(evaluation, name)
            panels = [picture(f"{name}: {label}", as_data_url(drawn[key]), label)
                      for key, label in _PANELS.items() if key in drawn]  # fmt: skip
            rows += Markup('<p class="note">{}</p>').format(_caption(rows_by_name[name])) + pictures(panels, "panels")
        if rows:
            sections.append(section(PICTURE_TITLES[kind], _KIND_NOTES.get(kind, _PICTURE_NOTE), rows))
    return sections


def _caption(row: dict) -> Markup:
    caption = f": abs_rel {row['abs_rel']:.3f}, δ < 1.25 {percent(row['d1'])}"
    if np.isfinite(row["scale"]):
        caption += f"; with one scale for all {row['abs_rel_one_scale']:.3f}"
    else:
        caption += f"; no answer: {row['verdict']}"
    return Markup("<b>{}</b>{}").format(row["name"], caption)


def _paths(evaluation: DepthEvaluation, charts: dict[str, go.Figure]) -> list[Markup]:
    if not evaluation.paths:
        return []
    metrics = evaluation.metrics
    rows = [
        ["frames", count(metrics["odometry_frames"])],
        ["frames with a true pose in runs too short, left out", count(metrics["odometry_left_out"])],
        ["length of the true paths (m)", short(metrics["path_m"])],
        ["snippets of 5 frames", count(metrics["ate5_snippets"])],
        ["ATE of 5 frames, mean (m)", number(metrics["ate5_m"], 4)],
        ["ATE of 5 frames, standard deviation (m)", number(metrics["ate5_std_m"], 4)],
        ["ATE of the whole path (m)", number(metrics["ate_m"], 3)],
        ["from one frame to the next: RPE (m)", number(metrics["rpe_m"], 4)],
        ["from one frame to the next: RPE (°)", number(metrics["rpe_deg"], 3)],
    ]
    note = (
        "Snippets of 5 frames are laid on each other at their first frame, with one factor each; the ATE of one is the "
        "root of the summed squares over 5, as SfMLearner reports it. Whole paths are aligned by one motion and one "
        "factor."
    )
    sections = [section("Motion of the camera", note, table(["", ""], rows))]
    for index, path in enumerate(evaluation.paths):
        title = f"Path: {path.sequence}, {len(path.true_n44)} frames, {path.length_m:.3g} m"
        texts = {f"path{index}": (title, "The true path and the estimated one, aligned to it.")}
        sections.append(chart_section(charts, f"path{index}", texts))
    return sections
