"""The charts that every report shares, and of what the others are made: plain Plotly data, {"data": [...], "layout":
{...}}."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from geo_training.metrics.consistency import coverage
from geo_training.metrics.pose import percentile

INK, MUTED, GRID = "#1f2933", "#8896a5", "#e4e9ee"
TRUE, GOOD, BAD, ACCENT, THIRD = "#7b8794", "#1a8a5a", "#d64545", "#2563a8", "#c98a1b"
_LEVELS = np.concatenate([np.arange(0.05, 0.96, 0.05), [0.99]])


def make_chart(data: list[dict], height: int = 380, **layout) -> dict:
    """A chart in the house's style; `layout` is laid over it."""
    base = {
        "height": height,
        "autosize": True,
        "margin": {"l": 60, "r": 20, "t": 30, "b": 50},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "white",
        "font": {"family": "system-ui, sans-serif", "size": 13, "color": INK},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        "hovermode": "closest",
    }
    return {"data": data, "layout": base | layout}


def axis_style(title: str) -> dict:
    return {"title": {"text": title}, "gridcolor": GRID, "zeroline": False, "linecolor": MUTED, "automargin": True}


def rounded(values) -> list[float | None]:
    """Four digits after the point are enough for a chart and keep the page small; NaN breaks a line."""
    return [round(float(v), 4) if np.isfinite(v) else None for v in values]


def recall_steps(errors: Sequence[float], limit: float) -> tuple[np.ndarray, np.ndarray]:
    """The limits at which the share of right frames grows, from 0 to `limit`, and that share (0..1) of all of them."""
    values = np.sort(np.asarray(errors, np.float64))
    inside = values[values <= limit]
    share = np.concatenate([[0.0], np.arange(1, len(inside) + 1), [len(inside)]]) / len(values)
    return np.concatenate([[0.0], inside, [limit]]), share


def reliability_plot(parts: dict[str, tuple[np.ndarray, int]], actual_words: str) -> dict:
    """Stated against actual probability: on the diagonal the stated covariances are true.

    `parts` are, by name, squared errors over their variances (N,), and the degrees of freedom they have.
    """
    data = [{"type": "scatter", "mode": "lines", "x": [0, 100], "y": [0, 100], "name": "perfect",
             "line": {"color": MUTED, "dash": "dash", "width": 1}, "hoverinfo": "skip"}]  # fmt: skip
    for (part, (nees_n, freedom)), color in zip(parts.items(), (INK, ACCENT, THIRD, GOOD), strict=False):
        share = [100 * coverage(nees_n, level, freedom) for level in _LEVELS]
        data.append({"type": "scatter", "mode": "lines+markers", "x": rounded(100 * _LEVELS), "y": rounded(share),
                     "name": part, "line": {"color": color, "width": 2}, "marker": {"size": 5},
                     "hovertemplate": "stated %{x:.0f} %, actual %{y:.1f} %<extra></extra>"})  # fmt: skip
    stated, actual = axis_style("stated probability (%)"), axis_style(actual_words)
    return make_chart(data, xaxis=stated | {"range": [0, 100]}, yaxis=actual | {"range": [0, 101]})


def latency_histogram(latency_s: Sequence[float]) -> dict:
    """Milliseconds a frame, with the median and the 99th percentile; what is not finite is left out."""
    latency_ms = [1e3 * value for value in latency_s if np.isfinite(value)]
    counts, edges = np.histogram(latency_ms, bins=min(40, max(8, len(latency_ms) // 4)))
    data = [{"type": "bar", "x": rounded((edges[:-1] + edges[1:]) / 2), "y": counts.tolist(),
             "width": rounded(np.diff(edges)), "marker": {"color": ACCENT, "line": {"width": 1, "color": "white"}},
             "showlegend": False, "hovertemplate": "%{x:.0f} ms: %{y} frames<extra></extra>"}]  # fmt: skip
    marks = {f"p{p}": percentile(latency_ms, p) for p in (50, 99)}
    shapes = [{"type": "line", "x0": v, "x1": v, "yref": "paper", "y0": 0, "y1": 1,
               "line": {"color": BAD, "width": 1.5, "dash": "dot"}} for v in marks.values()]  # fmt: skip
    notes = [{"x": v, "yref": "paper", "y": 1.0, "yanchor": "bottom", "text": name, "showarrow": False,
              "font": {"color": BAD}} for name, v in marks.items()]  # fmt: skip
    axes = {"xaxis": axis_style("milliseconds"), "yaxis": axis_style("frames")}
    return make_chart(data, **axes, shapes=shapes, annotations=notes)
