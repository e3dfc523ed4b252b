"""One HTML file that shows an evaluation to a person: it loads nothing and opens from disk."""

from __future__ import annotations

import html
import json
from pathlib import Path

import numpy as np

from geo_training.datasets.scene import write_text_atomically
from geo_training.evaluation.machine import describe_machine, describe_versions
from geo_training.evaluation.metrics import FrameOutcome
from geo_training.evaluation.report_charts import all_charts
from geo_training.evaluation.report_pictures import as_data_url, draw_detections, worst_frames
from geo_training.evaluation.report_style import CSS, SCRIPT
from geo_training.evaluation.summary import Evaluation

# Fewer frames say nothing about a share near 90 %.
_ENOUGH_FRAMES = 30
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


def write_report(evaluation: Evaluation, path: str | Path, command: str = "") -> Path:
    """Writes the report to `path` (its folder is made) and returns it. `command` is the line that made it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text_atomically(path, render_report(evaluation, command))
    return path


def render_report(evaluation: Evaluation, command: str = "") -> str:
    """The whole page as text."""
    from plotly.offline import get_plotlyjs

    charts = all_charts(evaluation)
    body = "\n".join(
        part
        for part in (
            _header(evaluation),
            _tiles(evaluation),
            _chart(charts, "above"),
            _chart(charts, "time"),
            _pair(_chart(charts, "recall"), _chart(charts, "calibration")),
            _worst(evaluation),
            _chart(charts, "landmarks"),
            _pair(_chart(charts, "latency"), _verdicts(evaluation)),
            _tables(evaluation),
            _provenance(evaluation, command),
        )
        if part
    )
    # "</" would end the script element early.
    chart_json = json.dumps(charts, separators=(",", ":")).replace("</", "<\\/")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(evaluation.title)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n"
        f'<script type="application/json" id="charts">{chart_json}</script>\n'
        f"<script>{get_plotlyjs()}</script>\n<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )


def _header(evaluation: Evaluation) -> str:
    figures, ruler = evaluation.figures, evaluation.ruler
    middle = ruler.thresholds[2]
    sentences = [f"{figures['localized_share']:.1%} of {figures['frames']} frames were localized."]
    if figures["frames_with_truth"]:
        sentences.append(f"<b>{figures[middle.key]:.1%}</b> are right within {_text(middle.words)}.")
    if np.isfinite(figures["median_deg"]):
        sentences.append(
            f"Half of the poses are closer than {figures[f'median_{ruler.unit}']:.2f} {ruler.unit_words} and "
            f"{figures['median_deg']:.2f}° to the truth."
        )
    if not figures["frames_with_truth"]:
        sentences.append("The recording holds no true poses, so errors cannot be given.")
    if not ruler.metric:
        sentences.append(
            "The scale of this scene is unknown: lengths are given in percent of its median depth, the median distance "
            f"from a camera to the landmarks before it ({ruler.scene_depth:.3g} scene units)."
        )
    return f'<header><h1>{_text(evaluation.title)}</h1><p class="lead">{" ".join(sentences)}</p></header>'


def _tiles(evaluation: Evaluation) -> str:
    figures, ruler = evaluation.figures, evaluation.ruler
    tiles = []
    if figures["frames_with_truth"]:
        middle = ruler.thresholds[2]
        tiles.append((_percent(figures[middle.key]), f"recall at {middle.words}", ""))
        short, of = (" cm", "") if ruler.metric else (" %", " (share of scene depth)")
        tiles.append((_number(figures[f"median_{ruler.unit}"], 2, short), f"median distance{of}", ""))
        tiles.append((_number(figures["median_deg"], 2, "°"), "median angle", ""))
        held = figures["coverage_90"]
        enough = figures["localized_share"] * figures["frames"] >= _ENOUGH_FRAMES
        tone = "" if not enough else "good" if 0.8 <= held <= 0.97 else "bad"
        tiles.append((_percent(held), "of true poses inside the stated 90 % ellipsoid", tone))
    tiles.append((_percent(figures["localized_share"]), "of frames localized", ""))
    tiles.append((_number(figures["frame_ms_p50"], 0, " ms"), "a frame (median)", ""))
    tiles.append((_number(figures["frame_ms_p99"], 0, " ms"), "a frame (p99)", ""))
    if "frames_published" in figures:
        tiles.append((_percent(figures["answered_share"]), "of published frames answered", ""))
    cells = (
        f'<div class="tile {tone}"><b>{value}</b><span>{_text(words)}</span></div>' for value, words, tone in tiles
    )
    return f'<div class="tiles">{"".join(cells)}</div>'


def _chart(charts: dict, name: str) -> str:
    if name not in charts:
        return ""
    title, words = _CHART_TEXTS[name]
    return (
        f'<section><h2>{title}</h2><p class="note">{words}</p><div class="chart" data-chart="{name}"></div></section>'
    )


def _pair(*sections: str) -> str:
    there = [section for section in sections if section]
    return f'<div class="pair">{"".join(there)}</div>' if there else ""


def _worst(evaluation: Evaluation) -> str:
    chosen = worst_frames(evaluation)
    if not chosen or evaluation.load_images is None:
        return ""
    images = evaluation.load_images([outcome.name for outcome in chosen])
    figures = "".join(
        f'<figure><img alt="{_text(o.name)}" src="{as_data_url(draw_detections(images[o.name], o))}">'
        f"<figcaption>{_caption(o, evaluation)}</figcaption></figure>"
        for o in chosen
        if o.name in images
    )
    return (
        '<section><h2>The worst frames</h2><p class="note">Circles are detected landmarks: '
        '<span class="key ok">green</span> agrees with the pose, <span class="key no">red</span> does not. A '
        '<span class="key est">blue line</span> leads to where the estimated pose sees the landmark, a white dot is '
        f'where the true pose does.</p><div class="frames">{figures}</div></section>'
    )


def _caption(outcome: FrameOutcome, evaluation: Evaluation) -> str:
    ruler = evaluation.ruler
    parts = []
    distance, degrees = outcome.error
    if np.isfinite(distance):
        parts.append(f"off by {distance * ruler.factor:.1f} {_text(ruler.unit_words)} and {degrees:.1f}°")
    if not outcome.localized:
        parts.append(_text(outcome.verdict + (f" ({outcome.detail})" if outcome.detail else "")))
    if outcome.localization is not None:
        found = outcome.localization
        parts.append(f"{int(found.detections.inlier_n.sum())} of {len(found.detections)} detections agree")
        if np.isfinite(found.reprojection_px):
            parts.append(f"median reprojection {found.reprojection_px:.1f} px")
    return f"<b>{_text(outcome.name)}</b><br>{'; '.join(parts)}"


def _verdicts(evaluation: Evaluation) -> str:
    counts: dict[str, int] = {}
    for outcome in evaluation.outcomes:
        counts[outcome.verdict] = counts.get(outcome.verdict, 0) + 1
    rows = [[_text(v), str(n), f"{n / len(evaluation.outcomes):.1%}"] for v, n in sorted(counts.items(), key=_by_count)]
    note = "Why a frame has a pose or has none. A pose that would be a guess is not given."
    return (
        f'<section><h2>Verdicts</h2><p class="note">{note}</p>{_table(["verdict", "frames", "share"], rows)}</section>'
    )


def _by_count(item: tuple[str, int]) -> int:
    return -item[1]


def _tables(evaluation: Evaluation) -> str:
    ruler, unit = evaluation.ruler, evaluation.ruler.unit
    columns = {"all": evaluation.figures}
    if len(evaluation.by_sequence) > 1:
        columns |= evaluation.by_sequence
    lines = [
        ("frames", "frames", _count), ("localized", "localized_share", _percent),
        *((f"within {t.words}", t.key, _percent) for t in ruler.thresholds),
        (f"median distance ({ruler.unit_words})", f"median_{unit}", _two), ("median angle (°)", "median_deg", _two),
        (f"90th percentile distance ({ruler.unit_words})", f"p90_{unit}", _two),
        ("90th percentile angle (°)", "p90_deg", _two),
        (f"ATE ({ruler.unit_words})", f"ate_{unit}", _two),
        (f"ATE after alignment ({ruler.unit_words})", f"ate_aligned_{unit}", _two),
        (f"RPE, frame to frame ({ruler.unit_words})", f"rpe_{unit}", _two),
        ("RPE, frame to frame (°)", "rpe_deg", _two),
        ("median inliers", "median_inliers", _count), ("inside the 90 % ellipsoid", "coverage_90", _percent),
        ("median NEES (5.35 is right)", "nees_median", _two),
        ("median NEES of the translation (2.37 is right)", "nees_median_translation", _two),
        ("ms a frame, p50", "frame_ms_p50", _two), ("ms a frame, p99", "frame_ms_p99", _two),
    ]  # fmt: skip
    shown = {key for _, key, _ in lines}
    rows = [[_text(words), *(form(c.get(key, np.nan)) for c in columns.values())] for words, key, form in lines]
    extra = [key for key in evaluation.figures if key not in shown and not _is_detail(key)]
    rows += [[_text(key.replace("_", " ")), _short(evaluation.figures[key])] + [""] * (len(columns) - 1)
             for key in extra]  # fmt: skip
    coverage_rows = [
        [f"{row['stated']:.0%}", *(_percent(row[part]) for part in ("pose", "translation", "rotation"))]
        for row in evaluation.coverage_rows
    ]
    return (
        "<section><h2>All figures</h2>"
        '<p class="note">ATE, the absolute trajectory error, is the root mean square distance to the true path; RPE, '
        "the relative pose error, that of the motion from one frame to the next. NEES is the squared error in units of "
        "the stated uncertainty.</p>"
        f"{_table(['', *map(_text, columns)], rows)}</section>"
        '<section><h2>Stated and actual probability</h2><p class="note">How often the true pose (or only its '
        "translation or rotation) lies inside the ellipsoid that is stated to hold it.</p>"
        f"{_table(['stated', 'pose', 'translation', 'rotation'], coverage_rows)}</section>"
    )


def _is_detail(key: str) -> bool:
    return key == "frames_with_truth" or key.endswith(("_rotation", "_translation")) or key.startswith("nees_mean")


def _provenance(evaluation: Evaluation, command: str) -> str:
    facts = {
        **evaluation.facts,
        "machine": ", ".join(f"{key} {value}" for key, value in describe_machine().items()),
        "versions": ", ".join(f"{name} {version}" for name, version in describe_versions().items()),
    }
    pairs = "".join(f"<dt>{_text(key)}</dt><dd>{_text(str(value))}</dd>" for key, value in facts.items())
    command_html = f"<p class='note'>Made by</p><pre>{_text(command)}</pre>" if command else ""
    config = _text(json.dumps(evaluation.config, indent=2, default=str))
    config_html = f"<p class='note'>Configuration</p><pre>{config}</pre>" if evaluation.config else ""
    return f"<section><h2>Where this comes from</h2><dl>{pairs}</dl>{command_html}{config_html}</section>"


def _table(header: list[str], rows: list[list[str]]) -> str:
    head = "".join(f"<th>{cell}</th>" for cell in header)
    lines = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>'


def _text(words: str) -> str:
    return html.escape(words)


def _number(value: float, digits: int, unit: str = "") -> str:
    return f"{value:.{digits}f}{html.escape(unit)}" if np.isfinite(value) else "–"


def _percent(value: float) -> str:
    return _number(100 * value, 1, " %")


def _two(value: float) -> str:
    return _number(value, 2)


def _count(value: float) -> str:
    return _number(value, 0)


def _short(value: float) -> str:
    return f"{value:.4g}" if np.isfinite(value) else "–"
