"""The charts of a depth report."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from geo_training.evaluation.depth.evaluate import DepthEvaluation
from geo_training.evaluation.depth.odometry import OdometryPath
from geo_training.report.charts import (
    ACCENT,
    BAD,
    GOOD,
    INK,
    MUTED,
    THIRD,
    TRUE,
    axis,
    diagonal,
    latency_histogram,
    line,
    make_chart,
    points,
    rounded,
)

_FACTOR_TICKS = (0.1, 0.2, 0.33, 0.5, 0.67, 0.8, 1, 1.25, 1.5, 2, 3, 5, 10)


def depth_charts(evaluation: DepthEvaluation) -> dict[str, go.Figure]:
    """Every chart there is data for, by name."""
    charts = {}
    if evaluation.distance_rows:
        charts["distance"] = error_by_distance(evaluation)
    if any(np.isfinite(row["scale"]) for row in evaluation.rows):
        charts["scale"] = scale_by_frame(evaluation)
    if evaluation.curves:
        charts["sparsification"] = sparsification_plot(evaluation.curves)
        charts["reliability"] = confidence_plot(evaluation.reliability_rows)
    if evaluation.rows:
        charts["latency"] = latency_histogram([row["latency_ms"] / 1e3 for row in evaluation.rows])
    for index, path in enumerate(evaluation.paths):
        charts[f"path{index}"] = path_plot(path)
    return charts


def error_by_distance(evaluation: DepthEvaluation) -> go.Figure:
    """abs_rel over true distance, and how many pixels there are."""
    rows = evaluation.distance_rows
    middle_m = [(row["from_m"] + row["to_m"]) / 2 for row in rows]
    width_m = [row["to_m"] - row["from_m"] for row in rows]
    pixels = np.array([row["pixels"] for row in rows], float)
    bars = go.Bar(
        x=rounded(middle_m), y=rounded(100 * pixels / pixels.sum()), width=rounded(width_m), name="pixels", yaxis="y2",
        marker={"color": "#dfe6ee", "line": {"width": 1, "color": "white"}},
        hovertemplate="%{x:.1f} m: %{y:.1f} % of the pixels<extra></extra>",
    )  # fmt: skip
    errors = line(middle_m, [row["abs_rel"] for row in rows], "abs_rel", ACCENT, "%{x:.1f} m: abs_rel %{y:.3f}",
                  mode="lines+markers")  # fmt: skip
    distance_axis = axis("true distance (m)", range=[0, rows[-1]["to_m"]])
    # The line lies on the axis that is drawn over the other, so that the bars do not hide it.
    error_axis = axis("abs_rel", rangemode="tozero", overlaying="y2", tickmode="auto")
    share_axis = axis("pixels (%)", side="right", showgrid=False, rangemode="tozero")
    return make_chart([bars, errors], xaxis=distance_axis, yaxis=error_axis, yaxis2=share_axis, margin_r=60)


def scale_by_frame(evaluation: DepthEvaluation) -> go.Figure:
    """The factor of each image over the median factor, in the order of the images."""
    rows = [row for row in evaluation.rows if np.isfinite(row["scale"])]
    middle = evaluation.metrics["scale"]
    ratio = [row["scale"] / middle for row in rows]
    shown = {"text": [row["name"] for row in rows], "showlegend": False, "marker_opacity": 0.75}
    dots = points(range(len(rows)), ratio, "an image", ACCENT, "%{text}<br>%{y:.2f} times the median", **shown)
    largest = max(max(ratio), 1 / min(ratio), 1.25) * 1.05
    ticks = [tick for tick in _FACTOR_TICKS if 1 / largest <= tick <= largest]
    reach = float(np.log10(largest))
    factor = axis("factor / median factor", type="log", range=[-reach, reach], tickvals=ticks,
                  ticktext=[f"{tick:g}" for tick in ticks])  # fmt: skip
    chart = make_chart([dots], xaxis=axis("image", dtick=max(1, len(rows) // 5)), yaxis=factor)
    chart.add_shape(type="line", xref="paper", x0=0, x1=1, y0=1, y1=1,
                    line={"color": MUTED, "width": 1, "dash": "dash"})  # fmt: skip
    return chart


def sparsification_plot(curves: dict[str, list[float]]) -> go.Figure:
    """What is left of abs_rel when the most uncertain pixels are taken away."""
    kinds = (("random", "in random order", MUTED, "dash"), ("by_stated", "by stated uncertainty", ACCENT, "solid"),
             ("best", "by the error itself", GOOD, "dot"))  # fmt: skip
    removed_pct, hover = 100 * np.array(curves["removed"]), "%{x:.0f} % taken away: abs_rel %{y:.3f}"
    traces = [line(removed_pct, curves[key], label, color, hover, line_dash=dash) for key, label, color, dash in kinds]
    return make_chart(traces, xaxis=axis("pixels taken away (%)", range=[0, 100]),
                      yaxis=axis("abs_rel of the rest", rangemode="tozero"))  # fmt: skip


def confidence_plot(rows: list[dict[str, float]]) -> go.Figure:
    """Stated against actual share of pixels within 25 %; the larger a dot, the more pixels."""
    most = max(row["pixels"] for row in rows)
    sizes = [4 + 10 * np.sqrt(row["pixels"] / most) for row in rows]
    stated, actual = ([100 * row[key] for row in rows] for key in ("stated", "actual"))
    marks = {"mode": "lines+markers", "marker": {"size": rounded(sizes), "color": ACCENT},
             "text": [f"{row['pixels']:,} pixels" for row in rows]}  # fmt: skip
    shares = line(stated, actual, "pixels", ACCENT, "stated %{x:.0f} %, actual %{y:.1f} %<br>%{text}", 2, **marks)
    return make_chart([diagonal(0, 100), shares], xaxis=axis("stated confidence (%)", range=[0, 100]),
                      yaxis=axis("pixels within 25 % (%)", range=[0, 103]))  # fmt: skip


def path_plot(path: OdometryPath) -> go.Figure:
    """The true path and the aligned estimate, seen along the axis of the world in which the true one extends least."""
    true_n3, found_n3 = path.true_n44[:, :3, 3], path.aligned_n44[:, :3, 3]
    first, second = sorted(np.argsort(np.ptp(true_n3, axis=0), kind="stable")[1:])
    traces = []
    for name, points_n3, color, width in (("true", true_n3, TRUE, 3), ("estimated", found_n3, THIRD, 2)):
        hover = {"hovertemplate": "%{x:.2f}, %{y:.2f} m<extra>" + name + "</extra>", "hoverinfo": None}
        traces.append(line(points_n3[:, first], points_n3[:, second], name, color, width=width, **hover))
    for label, color, place in (("start", INK, 0), ("end of the true path", BAD, -1)):
        x, y = true_n3[place, [first, second]]
        traces.append(points([x], [y], label, color, size=9, hoverinfo="name"))
    return make_chart(traces, height=440, xaxis=axis(f"{'xyz'[first]} (m)"),
                      yaxis=axis(f"{'xyz'[second]} (m)", scaleanchor="x"))  # fmt: skip
