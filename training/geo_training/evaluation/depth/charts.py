"""The charts of a depth report, as plain Plotly data."""

from __future__ import annotations

import numpy as np

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
    axis_style,
    latency_histogram,
    make_chart,
    rounded,
)


def depth_charts(evaluation: DepthEvaluation) -> dict[str, dict]:
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


def error_by_distance(evaluation: DepthEvaluation) -> dict:
    """abs_rel over true distance, and how many pixels there are."""
    rows = evaluation.distance_rows
    middle_m = [(row["from_m"] + row["to_m"]) / 2 for row in rows]
    width_m = [row["to_m"] - row["from_m"] for row in rows]
    pixels = np.array([row["pixels"] for row in rows], float)
    bars = {"type": "bar", "x": rounded(middle_m), "y": rounded(100 * pixels / pixels.sum()), "width": rounded(width_m),
            "name": "pixels", "yaxis": "y2", "marker": {"color": "#dfe6ee", "line": {"width": 1, "color": "white"}},
            "hovertemplate": "%{x:.1f} m: %{y:.1f} % of the pixels<extra></extra>"}  # fmt: skip
    line = {"type": "scatter", "mode": "lines+markers", "x": rounded(middle_m),
            "y": rounded([row["abs_rel"] for row in rows]), "name": "abs_rel", "line": {"color": ACCENT, "width": 2.5},
            "hovertemplate": "%{x:.1f} m: abs_rel %{y:.3f}<extra></extra>"}  # fmt: skip
    distance = axis_style("true distance (m)") | {"range": [0, rows[-1]["to_m"]]}
    # The line lies on the axis that is drawn over the other, so that the bars do not hide it.
    errors = axis_style("abs_rel") | {"rangemode": "tozero", "overlaying": "y2", "tickmode": "auto"}
    shares = axis_style("pixels (%)") | {"side": "right", "showgrid": False, "rangemode": "tozero"}
    return make_chart([bars, line], xaxis=distance, yaxis=errors, yaxis2=shares,
                      margin={"l": 60, "r": 60, "t": 30, "b": 50})  # fmt: skip


def scale_by_frame(evaluation: DepthEvaluation) -> dict:
    """The factor of each image over the median factor, in the order of the images."""
    rows = [row for row in evaluation.rows if np.isfinite(row["scale"])]
    middle = evaluation.figures["scale"]
    ratio = [row["scale"] / middle for row in rows]
    data = [{"type": "scatter", "mode": "markers", "x": list(range(len(rows))),
             "y": rounded(ratio), "text": [row["name"] for row in rows], "name": "an image", "showlegend": False,
             "marker": {"color": ACCENT, "size": 6, "opacity": 0.75},
             "hovertemplate": "%{text}<br>%{y:.2f} times the median<extra></extra>"}]  # fmt: skip
    shapes = [{"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": 1, "y1": 1,
               "line": {"color": MUTED, "width": 1, "dash": "dash"}}]  # fmt: skip
    largest = max(max(ratio), 1 / min(ratio), 1.25)
    ticks = [value for value in (0.1, 0.2, 0.33, 0.5, 0.67, 0.8, 1, 1.25, 1.5, 2, 3, 5, 10)
             if 1 / largest / 1.05 <= value <= largest * 1.05]  # fmt: skip
    reach = float(np.log10(largest * 1.05))
    factor = axis_style("factor / median factor") | {
        "type": "log", "range": [-reach, reach], "tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks],
    }  # fmt: skip
    return make_chart(data, xaxis=axis_style("image"), yaxis=factor, shapes=shapes)


def sparsification_plot(curves: dict[str, list[float]]) -> dict:
    """What is left of abs_rel when the most doubtful pixels are taken away."""
    kinds = (("random", "in random order", MUTED, "dash"), ("by_stated", "by stated uncertainty", ACCENT, "solid"),
             ("best", "by the error itself", GOOD, "dot"))  # fmt: skip
    data = [{"type": "scatter", "mode": "lines", "x": rounded(100 * np.array(curves["removed"])),
             "y": rounded(curves[key]), "name": words, "line": {"color": color, "width": 2.5, "dash": dash},
             "hovertemplate": "%{x:.0f} % taken away: abs_rel %{y:.3f}<extra></extra>"}
            for key, words, color, dash in kinds]  # fmt: skip
    return make_chart(data, xaxis=axis_style("pixels taken away (%)") | {"range": [0, 100]},
                      yaxis=axis_style("abs_rel of the rest") | {"rangemode": "tozero"})  # fmt: skip


def confidence_plot(rows: list[dict[str, float]]) -> dict:
    """Stated against actual share of pixels within 25 %; the larger a dot, the more pixels."""
    most = max(row["pixels"] for row in rows)
    sizes = [4 + 10 * np.sqrt(row["pixels"] / most) for row in rows]
    stated, actual = ([100 * row[key] for row in rows] for key in ("stated", "actual"))
    data = [
        {"type": "scatter", "mode": "lines", "x": [0, 100], "y": [0, 100], "name": "perfect", "hoverinfo": "skip",
         "line": {"color": MUTED, "dash": "dash", "width": 1}},
        {"type": "scatter", "mode": "lines+markers", "x": rounded(stated), "y": rounded(actual), "name": "pixels",
         "line": {"color": ACCENT, "width": 2}, "marker": {"size": rounded(sizes), "color": ACCENT},
         "text": [f"{row['pixels']:,} pixels" for row in rows],
         "hovertemplate": "stated %{x:.0f} %, actual %{y:.1f} %<br>%{text}<extra></extra>"},
    ]  # fmt: skip
    return make_chart(data, xaxis=axis_style("stated confidence (%)") | {"range": [0, 100]},
                      yaxis=axis_style("pixels within 25 % (%)") | {"range": [0, 103]})  # fmt: skip


def path_plot(path: OdometryPath) -> dict:
    """The true path and the aligned estimate, seen along the axis of the world in which the true one extends least."""
    true_n3, found_n3 = path.true_n44[:, :3, 3], path.aligned_n44[:, :3, 3]
    first, second = sorted(np.argsort(np.ptp(true_n3, axis=0), kind="stable")[1:])
    data = []
    for name, points_n3, color, width in (("true", true_n3, TRUE, 3), ("estimated", found_n3, THIRD, 2)):
        data.append({"type": "scatter", "mode": "lines", "x": rounded(points_n3[:, first]),
                     "y": rounded(points_n3[:, second]), "name": name, "line": {"color": color, "width": width},
                     "hovertemplate": "%{x:.2f}, %{y:.2f} m<extra>" + name + "</extra>"})  # fmt: skip
    for words, color, place in (("start", INK, 0), ("end of the true path", BAD, -1)):
        data.append({"type": "scatter", "mode": "markers", "x": rounded([true_n3[place, first]]),
                     "y": rounded([true_n3[place, second]]), "name": words, "marker": {"color": color, "size": 9},
                     "hoverinfo": "name"})  # fmt: skip
    names = "xyz"
    return make_chart(data, height=440, xaxis=axis_style(f"{names[first]} (m)"),
                      yaxis=axis_style(f"{names[second]} (m)") | {"scaleanchor": "x"})  # fmt: skip
