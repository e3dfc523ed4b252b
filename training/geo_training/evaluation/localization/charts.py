"""The charts of a localization report."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from geo_training.evaluation.localization.summary import Evaluation
from geo_training.metrics.consistency import PARTS, nees
from geo_training.metrics.pose import FrameOutcome
from geo_training.report.charts import (
    ACCENT,
    BAD,
    GOOD,
    GRID,
    THIRD,
    TRUE,
    axis,
    latency_histogram,
    line,
    make_chart,
    points,
    recall_steps,
    reliability_plot,
    rounded,
)

_ERROR_SCALE = [[0.0, "#1a8a5a"], [0.5, "#e0b13c"], [1.0, "#d64545"]]


def all_charts(evaluation: Evaluation) -> dict[str, go.Figure]:
    """Every chart there is data for, by name."""
    charts = {}
    truths = [o for o in evaluation.outcomes if o.T_true is not None]
    placed = [o for o in evaluation.outcomes if o.T_true is not None or o.localized]
    if placed:
        charts["above"] = from_above(evaluation)
    if truths:
        charts["time"] = error_over_time(evaluation)
        charts["recall"] = recall_curve(evaluation)
    if any(o.localized and o.T_true is not None for o in evaluation.outcomes):
        charts["calibration"] = calibration_plot(evaluation)
    if any(np.isfinite(o.latency_s) for o in evaluation.outcomes):
        charts["latency"] = latency_histogram([o.latency_s for o in evaluation.outcomes])
    if len(evaluation.landmarks_map_l3) and placed:
        charts["landmarks"] = landmarks_3d(evaluation)
    return charts


def ground_axes(evaluation: Evaluation) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Right, forward and up of the view from above: unit vectors (3,) in the map.

    Without a known gravity, up is where the tops of the images point on average.
    """
    up_3 = evaluation.up_map_3
    if up_3 is None:
        poses = [p for o in evaluation.outcomes for p in (o.T_true, o.T_estimated) if p is not None]
        up_3 = -np.mean([T[:3, 1] for T in poses], axis=0)
    up_3 = np.asarray(up_3, np.float64)
    up_3 = up_3 / np.linalg.norm(up_3) if np.linalg.norm(up_3) > 1e-6 else np.array([0.0, 0.0, 1.0])
    axis_3 = np.eye(3)[int(np.argmin(np.abs(up_3[:2])))]
    right_3 = axis_3 - up_3 * (axis_3 @ up_3)
    right_3 /= np.linalg.norm(right_3)
    return right_3, np.cross(up_3, right_3), up_3


def from_above(evaluation: Evaluation) -> go.Figure:
    """True and estimated positions seen from above, errors as lines and colours, misses as crosses."""
    right_3, forward_3, _ = ground_axes(evaluation)
    plane_23 = np.stack([right_3, forward_3])
    unit = "m" if evaluation.length_unit.metric else "scene units"
    traces = []
    if len(evaluation.landmarks_map_l3):
        flat_2l = plane_23 @ evaluation.landmarks_map_l3.T
        traces.append(points(*flat_2l, "landmarks", "#b8c4cf", size=4))
    for index, sequence in enumerate(_sequences(evaluation)):
        truths = [o for o in sequence if o.T_true is not None]
        if truths:
            path_2n = plane_23 @ _positions(truths, "T_true").T
            once = {"legendgroup": "true", "showlegend": index == 0}
            traces.append(line(*path_2n, "true path", TRUE, width=2, **once))
    both = [o for o in evaluation.outcomes if o.T_true is not None and o.localized]
    if both:
        true_n2, found_n2 = _positions(both, "T_true") @ plane_23.T, _positions(both, "T_estimated") @ plane_23.T
        gaps = np.full((3 * len(both), 2), np.nan)
        gaps[0::3], gaps[1::3] = true_n2, found_n2
        traces.append(line(*gaps.T, "error", BAD, width=1))
        traces.append(_error_markers(evaluation, both, found_n2))
    elif any(o.localized for o in evaluation.outcomes):
        found = [o for o in evaluation.outcomes if o.localized]
        traces.append(points(*(plane_23 @ _positions(found, "T_estimated").T), "estimated", ACCENT))
    missed = [o for o in evaluation.outcomes if o.T_true is not None and not o.localized]
    if missed:
        names = [f"{o.name}<br>{o.verdict}" for o in missed]
        missed_2n = plane_23 @ _positions(missed, "T_true").T
        traces.append(points(*missed_2n, "not localized", BAD, "%{text}", 9, marker_symbol="x", text=names))
    # The view holds the path with a margin; landmarks beyond it are found by panning.
    path_n2 = np.array([T[:3, 3] for o in evaluation.outcomes for T in (o.T_true, o.T_estimated) if T is not None])
    low_2, high_2 = (path_n2 @ plane_23.T).min(axis=0), (path_n2 @ plane_23.T).max(axis=0)
    margin = 0.15 * float(np.max(high_2 - low_2)) + 1e-3
    ranges = [[round(float(a) - margin, 3), round(float(b) + margin, 3)] for a, b in zip(low_2, high_2, strict=True)]
    horizontal = axis(f"right ({unit})", range=ranges[0])
    vertical = axis(f"forward ({unit})", range=ranges[1], scaleanchor="x")
    return make_chart(traces, xaxis=horizontal, yaxis=vertical, height=520)


def error_over_time(evaluation: Evaluation) -> go.Figure:
    """Distance and angle of every frame along the recording, logarithmic; misses along the top."""
    length_unit = evaluation.length_unit
    start_s = min(o.stamp_s for o in evaluation.outcomes)
    found = [o for o in evaluation.outcomes if o.T_true is not None and o.localized]
    missed = [o for o in evaluation.outcomes if o.T_true is not None and not o.localized]
    found_s, missed_s = ([o.stamp_s - start_s for o in group] for group in (found, missed))
    traces, axes = [], {}
    for yaxis, index, name, factor, color in (("y", 0, f"distance ({length_unit.label})", length_unit.factor, ACCENT),
                                              ("y2", 1, "angle (°)", 1.0, THIRD)):  # fmt: skip
        values = [max(o.error[index] * factor, 1e-3) for o in found]
        axes[yaxis] = _log_axis(name, values)
        hover, names = "%{text}<br>%{y:.3g}", [o.name for o in found]
        traces.append(points(found_s, values, name, color, hover, 5, text=names, yaxis=yaxis))
        if missed:
            top = [2 * max(values, default=1.0)] * len(missed)
            shown = {"text": [f"{o.name}: {o.verdict}" for o in missed], "showlegend": index == 0}
            traces.append(points(missed_s, top, "not localized", BAD, "%{text}", 7, marker_symbol="x", yaxis=yaxis,
                                 **shown))  # fmt: skip
    upper, lower = axes["y"] | {"domain": [0.55, 1.0]}, axes["y2"] | {"domain": [0.0, 0.43]}
    seconds = axis("seconds since the first frame", anchor="y2")
    return make_chart(traces, xaxis=seconds, yaxis=upper, yaxis2=lower, height=460)


def recall_curve(evaluation: Evaluation) -> go.Figure:
    """For every limit, the share of all frames that are right within it: by distance, and by angle."""
    length_unit = evaluation.length_unit
    truths = [o for o in evaluation.outcomes if o.T_true is not None]
    limit_scene, limit_deg = length_unit.thresholds[-1].distance * 2, 10.0
    traces, hover = [], "%{y:.1f} % within %{x:.2f}"
    for xaxis, index, name, factor, limit, color in (
        ("x", 0, "by distance", length_unit.factor, limit_scene, ACCENT), ("x2", 1, "by angle", 1.0, limit_deg, THIRD)
    ):  # fmt: skip
        steps, share = recall_steps([o.error[index] for o in truths], limit)
        traces.append(line(steps * factor, 100 * share, name, color, hover, line_shape="hv", xaxis=xaxis))
    left = axis(f"limit ({length_unit.label})", domain=[0.0, 0.47])
    right = axis("limit (°)", domain=[0.53, 1.0])
    return make_chart(traces, xaxis=left, xaxis2=right, yaxis=axis("frames within the limit (%)", range=[0, 101]))


def calibration_plot(evaluation: Evaluation) -> go.Figure:
    """Stated against actual probability of the poses and of their parts."""
    parts = {part: (nees(evaluation.outcomes, part), span.stop - span.start) for part, span in PARTS.items()}
    return reliability_plot(parts, "true poses inside (%)")


def landmarks_3d(evaluation: Evaluation) -> go.Figure:
    """The landmarks and the camera's path, to turn with the mouse."""
    turn_33 = np.stack(ground_axes(evaluation))
    points_l3 = evaluation.landmarks_map_l3 @ turn_33.T
    used_l = _times_used(evaluation, len(points_l3))
    colorbar = {"title": {"text": "poses"}, "thickness": 10, "len": 0.6, "orientation": "h", "y": 0,
                "yanchor": "bottom"}  # fmt: skip
    marker = {"size": 3, "color": used_l.tolist() if used_l.any() else ACCENT, "colorscale": "Viridis",
              "reversescale": True, "showscale": bool(used_l.any()), "colorbar": colorbar}  # fmt: skip
    uses = [f"landmark {i}: in {n} poses" for i, n in enumerate(used_l)]
    traces = [go.Scatter3d(**_xyz(points_l3), mode="markers", name="landmarks", text=uses, marker=marker,
                           hovertemplate="%{text}<extra></extra>")]  # fmt: skip
    for index, sequence in enumerate(_sequences(evaluation)):
        for pose, name, color in (("T_true", "true path", TRUE), ("T_estimated", "estimated", GOOD)):
            placed = [o for o in sequence if getattr(o, pose) is not None]
            if placed:
                traces.append(go.Scatter3d(
                    **_xyz(_positions(placed, pose) @ turn_33.T), mode="lines" if pose == "T_true" else "markers",
                    name=name, legendgroup=name, showlegend=index == 0, line={"color": color, "width": 4},
                    marker={"color": color, "size": 2}, hoverinfo="skip",
                ))  # fmt: skip
    axes = {f"{a}axis": {"title": {"text": t}, "gridcolor": GRID, "backgroundcolor": "white"}
            for a, t in zip("xyz", ("right", "forward", "up"), strict=True)}  # fmt: skip
    eye = {"x": 1.6, "y": 1.6, "z": 1.3}  # far enough that a narrow screen shows all
    scene = axes | {"aspectmode": "data", "domain": {"y": [0.15, 1.0]}, "camera": {"eye": eye}}
    return make_chart(traces, scene=scene, height=560, margin={"l": 10, "r": 10, "t": 30, "b": 10})


def _log_axis(title: str, values: list[float]) -> dict:
    """Ticks at 1, 2 and 5 of each decade where there are few, none shortened to its digit."""
    few = max(values, default=1.0) < 1e3 * min(values, default=1.0)
    return axis(title, type="log", dtick="D2" if few else 1, minorloglabels="complete", tickfont_size=11)


def _times_used(evaluation: Evaluation, count: int) -> np.ndarray:
    """In how many poses each landmark was an inlier, (L,)."""
    used_l = np.zeros(count, int)
    for outcome in evaluation.outcomes:
        if outcome.localization is not None and outcome.localized:
            found = outcome.localization.detections
            np.add.at(used_l, found.landmark_n[found.inlier_n], 1)
    return used_l


def _error_markers(evaluation: Evaluation, outcomes: list[FrameOutcome], xy_n2: np.ndarray) -> go.Scatter:
    length_unit = evaluation.length_unit
    error_n = np.array([o.error[0] for o in outcomes]) * length_unit.factor
    texts = [f"{o.name}<br>{e:.2f} {length_unit.label}, {o.error[1]:.2f}°"
             for o, e in zip(outcomes, error_n, strict=True)]  # fmt: skip
    colorbar = {"title": {"text": length_unit.label}, "thickness": 10, "len": 0.6}
    largest = length_unit.thresholds[-1].distance * length_unit.factor
    marker = {"size": 7, "color": rounded(error_n), "cmin": 0, "cmax": largest,
              "colorscale": _ERROR_SCALE, "showscale": True, "colorbar": colorbar}  # fmt: skip
    return points(*xy_n2.T, "estimated", ACCENT, "%{text}", text=texts, marker=marker)


def _sequences(evaluation: Evaluation) -> list[list[FrameOutcome]]:
    return [
        sorted((o for o in evaluation.outcomes if o.sequence == name), key=lambda o: o.stamp_s)
        for name in evaluation.by_sequence
    ]


def _positions(outcomes: list[FrameOutcome], pose: str) -> np.ndarray:
    return np.array([getattr(o, pose)[:3, 3] for o in outcomes], np.float64).reshape(-1, 3)


def _xyz(xyz_n3: np.ndarray) -> dict[str, list]:
    return {name: rounded(values_n) for name, values_n in zip("xyz", xyz_n3.T, strict=True)}
