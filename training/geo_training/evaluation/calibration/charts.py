"""The charts of a calibration report."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from geo_training.metrics.calibration import CalibrationOutcome, freedom, median, normalized_squares
from geo_training.report.charts import (
    ACCENT,
    BAD,
    GOOD,
    INK,
    THIRD,
    axis,
    diagonal,
    latency_histogram,
    line,
    make_chart,
    points,
    recall_steps,
    reliability_plot,
)

_LIMIT_DEG = 15.0
_PARTS = {"focal": "focal length", "pitch": "pitch", "roll": "roll", "joint": "all three"}
_ANGLES = {"roll": ("roll", ACCENT), "pitch": ("pitch", THIRD), "fov": ("vertical field of view", INK)}


def calibration_charts(outcomes: Sequence[CalibrationOutcome]) -> dict[str, go.Figure]:
    """Every chart there is data for, by name."""
    charts = {"recall": recall_curves(outcomes)}
    if any(outcome.answered for outcome in outcomes):
        charts |= true_against_estimated(outcomes)
        squares = normalized_squares(outcomes)
        parts = {label: (squares[part], freedom(part)) for part, label in _PARTS.items()}
        charts["reliability"] = reliability_plot(parts, "true cameras inside (%)")
        charts["trust"] = error_by_certainty(outcomes)
    if any(np.isfinite(outcome.latency_s) for outcome in outcomes):
        charts["latency"] = latency_histogram([outcome.latency_s for outcome in outcomes])
    return charts


def recall_curves(outcomes: Sequence[CalibrationOutcome]) -> go.Figure:
    """For every limit, the share of all images that are right within it: roll, pitch, field of view."""
    traces = []
    for name, (label, color) in _ANGLES.items():
        steps_deg, share = recall_steps([outcome.errors_deg[name] for outcome in outcomes], _LIMIT_DEG)
        traces.append(line(steps_deg, 100 * share, label, color, "%{y:.1f} % within %{x:.2f}°", line_shape="hv"))
    share_axis = axis("images within the limit (%)", range=[0, 101])
    return make_chart(traces, xaxis=axis("limit (°)", range=[0, _LIMIT_DEG]), yaxis=share_axis)


def true_against_estimated(outcomes: Sequence[CalibrationOutcome]) -> dict[str, go.Figure]:
    """The estimated values over the true ones, a chart each; on the diagonal they agree."""
    values = {
        "roll": [(o.truth.roll_rad, o.result.roll_rad) for o in outcomes],
        "pitch": [(o.truth.pitch_rad, o.result.pitch_rad) for o in outcomes],
        "fov": [(o.truth.vfov_rad, o.result.vfov_rad) for o in outcomes],
    }
    trusted = np.array([o.result.trusted for o in outcomes])
    answered = np.array([o.answered for o in outcomes])
    names = np.array([o.name for o in outcomes], object)
    hover = "%{text}<br>true %{x:.1f}°, estimated %{y:.1f}°"
    charts = {}
    for value, pairs in values.items():
        pairs_n2 = np.degrees(np.array(pairs, np.float64))
        seen_n2 = pairs_n2[answered]
        traces = [diagonal(float(seen_n2.min()), float(seen_n2.max()), showlegend=False)]
        for kind, chosen, color in (("trusted", answered & trusted, GOOD), ("not trusted", answered & ~trusted, BAD)):
            shown = {"text": list(names[chosen]), "marker_opacity": 0.6}
            traces.append(points(*pairs_n2[chosen].T, kind, color, hover, 4, **shown))
        axes = {"xaxis": axis(f"true {_ANGLES[value][0]} (°)"), "yaxis": axis("estimated (°)")}
        charts[f"values_{value}"] = make_chart(traces, height=340, **axes)
    return charts


def error_by_certainty(outcomes: Sequence[CalibrationOutcome]) -> go.Figure:
    """The median error of the surest share of the images: where the stated uncertainty tells right from wrong, the
    curves rise from left to right. Images without an answer are the least sure and infinitely wrong."""
    sigmas = {"roll": "sigma_roll_rad", "pitch": "sigma_pitch_rad", "fov": "sigma_vfov_rad"}
    shares = np.linspace(0.05, 1.0, 20)
    traces = []
    for name, (label, color) in _ANGLES.items():
        errors = [o.errors_deg[name] for o in outcomes]
        # Sorted by sigma, then by error: a miss comes behind an answer that states no sigma.
        sigma_n = np.nan_to_num([getattr(o.result, sigmas[name]) for o in outcomes], nan=np.inf)
        error_n = np.array(errors)[np.lexsort((np.isinf(errors), sigma_n))]
        counts = np.maximum(1, np.round(shares * len(error_n)).astype(int))
        medians = [median(error_n[:count]) for count in counts]
        traces.append(line(100 * shares, medians, label, color, "surest %{x:.0f} %: %{y:.2f}°"))
    share_axis = axis("surest share of the images (%)", range=[0, 101])
    return make_chart(traces, xaxis=share_axis, yaxis=axis("median error (°)", rangemode="tozero"))
