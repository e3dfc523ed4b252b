"""The charts of a calibration report, as plain Plotly data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from geo_training.metrics.calibration import CalibrationOutcome, freedom, median, normalized_squares
from geo_training.report.charts import (
    ACCENT,
    BAD,
    GOOD,
    INK,
    MUTED,
    THIRD,
    axis_style,
    latency_histogram,
    make_chart,
    recall_steps,
    reliability_plot,
    rounded,
)

_LIMIT_DEG = 15.0
_PARTS = {"focal": "focal length", "pitch": "pitch", "roll": "roll", "joint": "all three"}
_ANGLES = {"roll": ("roll", ACCENT), "pitch": ("pitch", THIRD), "fov": ("vertical field of view", INK)}


def calibration_charts(outcomes: Sequence[CalibrationOutcome]) -> dict[str, dict]:
    """Every chart there is data for, by name."""
    charts = {"recall": recall_curves(outcomes)}
    if any(outcome.answered for outcome in outcomes):
        charts["values"] = true_against_estimated(outcomes)
        squares = normalized_squares(outcomes)
        parts = {words: (squares[part], freedom(part)) for part, words in _PARTS.items()}
        charts["reliability"] = reliability_plot(parts, "true cameras inside (%)")
        charts["trust"] = error_by_certainty(outcomes)
    if any(np.isfinite(outcome.latency_s) for outcome in outcomes):
        charts["latency"] = latency_histogram([outcome.latency_s for outcome in outcomes])
    return charts


def recall_curves(outcomes: Sequence[CalibrationOutcome]) -> dict:
    """For every limit, the share of all images that are right within it: roll, pitch, field of view."""
    data = []
    for name, (words, color) in _ANGLES.items():
        steps_deg, share = recall_steps([outcome.errors_deg[name] for outcome in outcomes], _LIMIT_DEG)
        data.append({"type": "scatter", "mode": "lines", "x": rounded(steps_deg), "y": rounded(100 * share),
                     "name": words, "line": {"color": color, "width": 2.5, "shape": "hv"},
                     "hovertemplate": "%{y:.1f} % within %{x:.2f}°<extra></extra>"})  # fmt: skip
    share_axis = axis_style("images within the limit (%)") | {"range": [0, 101]}
    return make_chart(data, xaxis=axis_style("limit (°)") | {"range": [0, _LIMIT_DEG]}, yaxis=share_axis)


def true_against_estimated(outcomes: Sequence[CalibrationOutcome]) -> dict:
    """The estimated values over the true ones, side by side; on the diagonal they agree."""
    values = {
        "roll": [(o.truth.roll_rad, o.result.roll_rad) for o in outcomes],
        "pitch": [(o.truth.pitch_rad, o.result.pitch_rad) for o in outcomes],
        "vertical field of view": [(o.truth.vfov_rad, o.result.vfov_rad) for o in outcomes],
    }
    trusted = np.array([o.result.trusted for o in outcomes])
    answered = np.array([o.answered for o in outcomes])
    names = np.array([o.name for o in outcomes], object)
    data, layout = [], {}
    for index, (words, pairs) in enumerate(values.items()):
        pairs_n2, tail = np.degrees(np.array(pairs, np.float64)), str(index + 1) if index else ""
        seen_n2 = pairs_n2[answered]
        low, high = float(seen_n2.min()), float(seen_n2.max())
        data.append({"type": "scatter", "mode": "lines", "x": [low, high], "y": [low, high], "xaxis": f"x{tail}",
                     "yaxis": f"y{tail}", "showlegend": False, "hoverinfo": "skip",
                     "line": {"color": MUTED, "dash": "dash", "width": 1}})  # fmt: skip
        for kind, chosen, color in (("trusted", answered & trusted, GOOD), ("not trusted", answered & ~trusted, BAD)):
            data.append({"type": "scatter", "mode": "markers", "name": kind, "legendgroup": kind,
                         "showlegend": index == 0, "x": rounded(pairs_n2[chosen, 0]), "y": rounded(pairs_n2[chosen, 1]),
                         "xaxis": f"x{tail}", "yaxis": f"y{tail}", "text": list(names[chosen]),
                         "marker": {"color": color, "size": 4, "opacity": 0.6},
                         "hovertemplate": "%{text}<br>true %{x:.1f}°, estimated %{y:.1f}°<extra></extra>"})  # fmt: skip
        span = {"domain": [0.36 * index, 0.36 * index + 0.28], "anchor": f"y{tail}"}
        layout[f"xaxis{tail}"] = axis_style(f"true {words} (°)") | span
        layout[f"yaxis{tail}"] = axis_style("estimated (°)" if index == 0 else "") | {"anchor": f"x{tail}"}
    return make_chart(data, **layout)


def error_by_certainty(outcomes: Sequence[CalibrationOutcome]) -> dict:
    """The median error of the surest share of the images: where the stated uncertainty is worth something, the curves
    rise from left to right. Images without an answer are the least sure and infinitely wrong."""
    sigmas = {"roll": "sigma_roll_rad", "pitch": "sigma_pitch_rad", "fov": "sigma_vfov_rad"}
    shares = np.linspace(0.05, 1.0, 20)
    data = []
    for name, (words, color) in _ANGLES.items():
        errors = [o.errors_deg[name] for o in outcomes]
        # Sorted by sigma, then by error: a miss comes behind an answer that states no sigma.
        sigma_n = np.nan_to_num([getattr(o.result, sigmas[name]) for o in outcomes], nan=np.inf)
        error_n = np.array(errors)[np.lexsort((np.isinf(errors), sigma_n))]
        counts = np.maximum(1, np.round(shares * len(error_n)).astype(int))
        medians = [median(error_n[:count]) for count in counts]
        data.append({"type": "scatter", "mode": "lines", "x": rounded(100 * shares), "y": rounded(medians),
                     "name": words, "line": {"color": color, "width": 2.5},
                     "hovertemplate": "surest %{x:.0f} %: %{y:.2f}°<extra></extra>"})  # fmt: skip
    share_axis = axis_style("surest share of the images (%)") | {"range": [0, 101]}
    return make_chart(data, xaxis=share_axis, yaxis=axis_style("median error (°)") | {"rangemode": "tozero"})
