"""The charts that every report shares, and the parts of which the others are made, in one style."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from geo_training.metrics.consistency import coverage
from geo_training.metrics.pose import percentile

INK, MUTED, GRID = "#1f2933", "#8896a5", "#e4e9ee"
TRUE, GOOD, BAD, ACCENT, THIRD = "#7b8794", "#1a8a5a", "#d64545", "#2563a8", "#c98a1b"
_LEVELS = np.concatenate([np.arange(0.05, 0.96, 0.05), [0.99]])
_AXIS = {"gridcolor": GRID, "zeroline": False, "linecolor": MUTED, "automargin": True}
_STYLE = go.layout.Template(
    layout={
        "autosize": True,
        "margin": {"l": 60, "r": 20, "t": 30, "b": 50},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "white",
        "font": {"family": "system-ui, sans-serif", "size": 13, "color": INK},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        "hovermode": "closest",
        "xaxis": _AXIS,
        "yaxis": _AXIS,
    }
)


def make_chart(traces: Sequence, height: int = 380, **layout) -> go.Figure:
    """A chart in the house's style; `layout` is that of Plotly."""
    return go.Figure(list(traces), layout={"template": _STYLE, "height": height, **layout})


def axis(title: str, **layout) -> dict:
    """An axis with its title; `layout` is that of Plotly."""
    return {"title": {"text": title}, **layout}


def line(x, y, name: str, color: str, hover: str = "", width: float = 2.5, **trace) -> go.Scatter:
    """A line through the points (x, y), broken where one is NaN. `hover` is Plotly's template of what is shown at a
    point, nothing where it is empty; `trace` are other properties of Plotly's trace."""
    style = {"mode": "lines", "line": {"color": color, "width": width}}
    return go.Scatter(x=rounded(x), y=rounded(y), name=name, **style | _hover(hover) | trace)


def points(x, y, name: str, color: str, hover: str = "", size: float = 6, **trace) -> go.Scatter:
    """Dots at (x, y), with `hover` and `trace` as in `line`."""
    style = {"mode": "markers", "marker": {"color": color, "size": size}}
    return go.Scatter(x=rounded(x), y=rounded(y), name=name, **style | _hover(hover) | trace)


def diagonal(low: float, high: float, **trace) -> go.Scatter:
    """The dashed line on which two values agree."""
    return line([low, high], [low, high], "perfect", MUTED, width=1, line_dash="dash", **trace)


def rounded(values) -> list[float | None]:
    """Four digits after the point are enough for a chart and keep the page small; NaN breaks a line."""
    return [round(float(v), 4) if np.isfinite(v) else None for v in values]


def recall_steps(errors: Sequence[float], limit: float) -> tuple[np.ndarray, np.ndarray]:
    """The limits at which the share of right frames grows, from 0 to `limit`, and that share (0..1) of all of them."""
    values = np.sort(np.asarray(errors, np.float64))
    inside = values[values <= limit]
    share = np.concatenate([[0.0], np.arange(1, len(inside) + 1), [len(inside)]]) / len(values)
    return np.concatenate([[0.0], inside, [limit]]), share


def reliability_plot(parts: dict[str, tuple[np.ndarray, int]], actual_label: str) -> go.Figure:
    """Stated against actual probability: on the diagonal the stated covariances are true.

    `parts` are, by name, squared errors over their variances (N,), and the degrees of freedom they have.
    """
    traces = [diagonal(0, 100)]
    hover = "stated %{x:.0f} %, actual %{y:.1f} %"
    for (part, (nees_n, freedom)), color in zip(parts.items(), (INK, ACCENT, THIRD, GOOD), strict=False):
        share = [100 * coverage(nees_n, level, freedom) for level in _LEVELS]
        marks = {"mode": "lines+markers", "marker_size": 5}
        traces.append(line(100 * _LEVELS, share, part, color, hover, width=2, **marks))
    stated, actual = axis("stated probability (%)", range=[0, 100]), axis(actual_label, range=[0, 101])
    return make_chart(traces, xaxis=stated, yaxis=actual)


def latency_histogram(latency_s: Sequence[float]) -> go.Figure:
    """Milliseconds a frame, with the median and the 99th percentile; what is not finite is left out."""
    # Rounded, since no bins fit between times that only their last binary digits tell apart.
    latency_ms = [round(1e3 * value, 6) for value in latency_s if np.isfinite(value)]
    counts, edges = np.histogram(latency_ms, bins=min(40, max(8, len(latency_ms) // 4)))
    middles, marker = (edges[:-1] + edges[1:]) / 2, {"color": ACCENT, "line": {"width": 1, "color": "white"}}
    bars = go.Bar(x=rounded(middles), y=counts.tolist(), width=rounded(np.diff(edges)), marker=marker,
                  showlegend=False, **_hover("%{x:.0f} ms: %{y} frames"))  # fmt: skip
    whole = {"dtick": 1} if counts.max() < 6 else {}  # no half frames
    chart = make_chart([bars], xaxis=axis("milliseconds"), yaxis=axis("frames", **whole), margin_r=35)
    for percent, side in ((50, "right"), (99, "left")):  # their names stay apart where the two are one
        value = percentile(latency_ms, percent)
        chart.add_shape(type="line", x0=value, x1=value, yref="paper", y0=0, y1=1,
                        line={"color": BAD, "width": 1.5, "dash": "dot"})  # fmt: skip
        chart.add_annotation(x=value, yref="paper", y=1.0, yanchor="bottom", text=f"p{percent}", showarrow=False,
                             xanchor=side, font_color=BAD)  # fmt: skip
    return chart


def _hover(template: str) -> dict:
    return {"hovertemplate": f"{template}<extra></extra>"} if template else {"hoverinfo": "skip"}
