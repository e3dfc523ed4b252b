"""One HTML file that shows how well a calibrator does: it loads nothing and opens from disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
from markupsafe import Markup

from geo_training.evaluation.calibration.charts import calibration_charts
from geo_training.evaluation.calibration.evaluate import CalibrationEvaluation, auc_label
from geo_training.evaluation.calibration.pictures import chosen_frames, draw_horizons
from geo_training.metrics.calibration import HORIZON_LIMIT, CalibrationOutcome, TrueCamera, horizon_in_image
from geo_training.report.numbers import count, number, percent, two
from geo_training.report.page import (
    PICTURE_TITLES,
    chart_place,
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

_CHART_TEXTS = {
    "recall": (
        "Recall",
        "The share of all images that are right within a limit. An image without an answer never is. The area under "
        "these curves, up to a limit and divided by it, is the AUC.",
    ),
    "reliability": (
        "Does the stated uncertainty hold?",
        "Each answer states an interval that should hold the truth with a given probability. On the diagonal it does; "
        "below it the answer is overconfident, above it too cautious.",
    ),
    "trust": (
        "Are the sure ones right?",
        "The median error of the surest images only, from the surest 5 % to all. Those without an answer come last and "
        "are infinitely wrong: a curve ends where they are half. The uncertainty tells right from wrong where the "
        "curves rise.",
    ),
    "latency": (
        "Time per image",
        "How long one answer took. p50 is the median; one image in a hundred takes longer than p99.",
    ),
}
_VALUES_TEXT = (
    "True and estimated",
    "Every dot is one image; on the dashed line the answer is right. Red ones are not trusted by the calibrator "
    "itself; images without an answer have no dot.",
)
_LINES_NOTE = Markup(
    '<span class="key" style="color:#1a9a4a">Green</span> is the true horizon, '
    '<span class="key" style="color:#d07000">orange</span> the estimated one; an arrow points to one outside '
    "the image. Images are ordered by the largest of the errors of roll, pitch and vertical field of view, each in "
    "units of its median."
)
_VERDICT_NOTE = "Whether the calibrator trusts its answer, and why not. An answer that is not trusted is a best guess."


def write_calibration_report(evaluation: CalibrationEvaluation, path: str | Path, command: str = "") -> Path:
    """Writes the report to `path` (its folder is made) and returns it. `command` is the line that made it."""
    return write_page(path, render_calibration_report(evaluation, command))


def render_calibration_report(evaluation: CalibrationEvaluation, command: str = "") -> str:
    """The whole page as text."""
    charts = calibration_charts(evaluation.outcomes)
    verdicts = [outcome.result.verdict.value for outcome in evaluation.outcomes]
    sections = (
        header(evaluation.title, _sentences(evaluation)),
        tiles(_tile_entries(evaluation)),
        pair(chart_section(charts, "recall", _CHART_TEXTS), chart_section(charts, "reliability", _CHART_TEXTS)),
        _values(charts),
        *_pictures(evaluation),
        pair(chart_section(charts, "trust", _CHART_TEXTS), verdict_table(verdicts, _VERDICT_NOTE)),
        _metrics_table(evaluation),
        _reliability(evaluation),
        chart_section(charts, "latency", _CHART_TEXTS),
        provenance(evaluation.metadata, evaluation.config, command),
    )
    return page(evaluation.title, sections, charts)


def _values(charts: Mapping[str, go.Figure]) -> Markup:
    places = [chart_place(name) for name in charts if name.startswith("values_")]
    return section(*_VALUES_TEXT, pictures(places)) if places else Markup()


def _sentences(evaluation: CalibrationEvaluation) -> list[str]:
    metrics = evaluation.metrics
    trusted = Markup("<b>{}</b>").format(percent(metrics["trusted_share"]))
    sentences = [Markup("{} images, {} of the answers are trusted.").format(metrics["frames"], trusted)]
    if np.isfinite(metrics["roll_median_deg"]):
        sentences.append(
            f"Half of the images are told more closely than {metrics['roll_median_deg']:.2f}° in roll, "
            f"{two(metrics['pitch_median_deg'])}° in pitch and {two(metrics['fov_median_deg'])}° in the vertical field "
            "of view."
        )
    else:
        share = "Less than" if metrics["answered_share"] < 0.5 else "Only"
        sentences.append(f"{share} half of the images are answered, so there is no median error.")
    if "principal point" in evaluation.metadata:
        sentences.append(f"The principal point lies {evaluation.metadata['principal point']}.")
    return sentences


def _tile_entries(evaluation: CalibrationEvaluation) -> list[tuple[str, str, str]]:
    metrics = evaluation.metrics
    held = metrics["coverage_90"]
    return [
        (number(metrics["roll_median_deg"], 2, "°"), "median roll error", ""),
        (number(metrics["pitch_median_deg"], 2, "°"), "median pitch error", ""),
        (number(metrics["fov_median_deg"], 2, "°"), "median error of the vertical field of view", ""),
        (number(metrics["focal_median_pct"], 1, " %"), "median error of the focal length", ""),
        (number(metrics["horizon_median_pct"], 1, " %"), "median horizon error, of the image's height", ""),
        (
            percent(held),
            f"of true values inside the 90 % intervals that {metrics['coverage_frames']} answers state",
            coverage_tone(held, metrics["coverage_frames"]),
        ),
        (percent(metrics["trusted_share"]), "of answers trusted", ""),
        (number(metrics["frame_ms_p50"], 0, " ms"), "an image (median)", ""),
    ]


def _pictures(evaluation: CalibrationEvaluation) -> list[Markup]:
    if evaluation.load_images is None:
        return []
    sections = []
    for kind, outcomes in chosen_frames(evaluation.outcomes).items():
        if not outcomes:
            continue
        images = evaluation.load_images([outcome.name for outcome in outcomes])
        drawn = [picture(o.name, as_data_url(draw_horizons(images[o.name], o)), _caption(o)) for o in outcomes]
        sections.append(section(PICTURE_TITLES[kind], _LINES_NOTE, pictures(drawn)))
    return sections


def _caption(outcome: CalibrationOutcome) -> Markup:
    found, domain = outcome.result, f" ({outcome.domain})" if outcome.domain else ""
    lines = [Markup("<b>{}</b>{}").format(outcome.name, domain), f"true: {_camera_label(outcome.truth)}"]
    if outcome.answered:
        lines.append(f"estimated: {_camera_label(outcome.estimated)}")
        errors = outcome.errors_deg
        lines.append(f"off by roll {errors['roll']:.1f}°, pitch {errors['pitch']:.1f}°, view {errors['fov']:.1f}°")
    if not found.trusted:
        lines.append(found.verdict.value + (f" ({found.detail})" if found.detail and not outcome.answered else ""))
    return Markup("<br>").join(lines)


def _camera_label(camera: TrueCamera) -> str:
    roll_deg, pitch_deg, vfov_deg = np.degrees([camera.roll_rad, camera.pitch_rad, camera.vfov_rad])
    label = f"roll {roll_deg:.1f}°, pitch {pitch_deg:.1f}°, view {vfov_deg:.1f}° high"
    if not horizon_in_image(camera):
        label += f", horizon {'below' if pitch_deg > 0 else 'above'} the image"
    return label


def _metrics_table(evaluation: CalibrationEvaluation) -> Markup:
    columns = {"all": evaluation.metrics}
    if len(evaluation.by_domain) > 1:
        columns |= evaluation.by_domain
    angles = {"roll": "roll", "pitch": "pitch", "fov": "vertical field of view", "gravity": "direction of gravity"}
    rows = [["images", *(count(c["frames"]) for c in columns.values())]]
    for name, label in angles.items():
        rows.append([f"{label}: AUC at 1/5/10° (%)", *(auc_label(c, name) for c in columns.values())])
        rows.append([f"{label}: median error (°)", *(two(c[f"{name}_median_deg"]) for c in columns.values())])
    limit_pct = f"{100 * HORIZON_LIMIT:.0f}"
    lines = [
        ("focal length: median error (%)", "focal_median_pct", two),
        ("images with a horizon in view", "horizon_frames", count),
        ("horizon: median error (% of the height)", "horizon_median_pct", two),
        (f"horizon: AUC at {limit_pct} % of the height (%)", f"horizon_auc_{limit_pct}", two),
        ("answers whose intervals were checked", "coverage_frames", count),
        ("inside the stated 90 % intervals", "coverage_90", percent),
        ("inside the stated 90 % ellipsoid", "coverage_90_joint", percent),
        ("median NEES (2.37 is right)", "nees_median", two),
        ("without an answer", "frames_missed", count),
        ("answered", "answered_share", percent),
        ("trusted", "trusted_share", percent),
        ("trusted answers", "trusted_frames", count),
        ("answers that are not trusted", "doubted_frames", count),
        *(
            (f"{label}: median error of the {kind} (°)", f"{key}_{name}_median_deg", two)
            for name, label in list(angles.items())[:3]
            for key, kind in (("trusted", "trusted"), ("doubted", "not trusted"))
        ),
        ("ms an image, p50", "frame_ms_p50", two),
        ("ms an image, p99", "frame_ms_p99", two),
    ]
    rows += [[label, *(form(c[key]) for c in columns.values())] for label, key, form in lines]
    note = (
        "AUC is the area under the recall curve up to the limit, divided by the limit. Medians are over all images, "
        "those without an answer counted as infinitely wrong (∞). NEES is the squared error in units of the stated "
        "uncertainty, of the logarithm of the focal length, pitch and roll together."
    )
    return section("All figures", note, table(["", *columns], rows))


def _reliability(evaluation: CalibrationEvaluation) -> Markup:
    parts = {"focal": "focal length", "pitch": "pitch", "roll": "roll", "joint": "all three"}
    rows = [
        [number(100 * row["stated"], 0, " %"), *(percent(row[part]) for part in parts)]
        for row in evaluation.reliability_rows
    ]
    note = (
        "How often the true value lies inside the interval that is stated to hold it, and, for all three, the true "
        "camera inside the stated ellipsoid."
    )
    return section("Stated and actual probability", note, table(["stated", *parts.values()], rows))
