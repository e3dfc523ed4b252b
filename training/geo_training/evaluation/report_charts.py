"""The charts of a report, as plain Plotly data: {"data": [...], "layout": {...}}."""

from __future__ import annotations

import numpy as np

from geo_training.evaluation.calibration_check import PARTS, coverage, nees
from geo_training.evaluation.metrics import FrameOutcome, percentile
from geo_training.evaluation.summary import Evaluation

INK, MUTED, GRID = "#1f2933", "#8896a5", "#e4e9ee"
TRUE, GOOD, BAD, ACCENT, THIRD = "#7b8794", "#1a8a5a", "#d64545", "#2563a8", "#c98a1b"
_ERROR_SCALE = [[0.0, "#1a8a5a"], [0.5, "#e0b13c"], [1.0, "#d64545"]]
_LOG = {"type": "log", "dtick": "D2", "tickfont": {"size": 11}}  # ticks at 1, 2, 5 of each decade
_LEVELS = np.concatenate([np.arange(0.05, 0.96, 0.05), [0.99]])


def all_charts(evaluation: Evaluation) -> dict[str, dict]:
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
        charts["latency"] = latency_histogram(evaluation)
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


def from_above(evaluation: Evaluation) -> dict:
    """True and estimated positions seen from above, errors as lines and colours, misses as crosses."""
    right_3, forward_3, _ = ground_axes(evaluation)
    plane_23 = np.stack([right_3, forward_3])
    unit = "m" if evaluation.ruler.metric else "scene units"
    data = []
    if len(evaluation.landmarks_map_l3):
        flat_l2 = evaluation.landmarks_map_l3 @ plane_23.T
        data.append(_points(flat_l2, "landmarks", "#b8c4cf", 4, "circle"))
    for index, sequence in enumerate(_sequences(evaluation)):
        truths = [o for o in sequence if o.T_true is not None]
        if truths:
            path_n2 = _positions(truths, "T_true") @ plane_23.T
            data.append(_xy(path_n2) | {"type": "scatter", "mode": "lines", "name": "true path", "legendgroup": "true",
                                        "showlegend": index == 0, "hoverinfo": "skip",
                                        "line": {"color": TRUE, "width": 2}})  # fmt: skip
    both = [o for o in evaluation.outcomes if o.T_true is not None and o.localized]
    if both:
        true_n2, found_n2 = _positions(both, "T_true") @ plane_23.T, _positions(both, "T_estimated") @ plane_23.T
        gaps = np.full((3 * len(both), 2), np.nan)
        gaps[0::3], gaps[1::3] = true_n2, found_n2
        data.append(_xy(gaps) | {"type": "scatter", "mode": "lines", "name": "error", "hoverinfo": "skip",
                                 "line": {"color": BAD, "width": 1}})  # fmt: skip
        data.append(_error_markers(evaluation, both, found_n2) | {"type": "scatter"})
    elif any(o.localized for o in evaluation.outcomes):
        found = [o for o in evaluation.outcomes if o.localized]
        data.append(_points(_positions(found, "T_estimated") @ plane_23.T, "estimated", ACCENT, 6, "circle"))
    missed = [o for o in evaluation.outcomes if o.T_true is not None and not o.localized]
    if missed:
        names = [f"{o.name}<br>{o.verdict}" for o in missed]
        marks = _points(_positions(missed, "T_true") @ plane_23.T, "not localized", BAD, 9, "x")
        data.append(marks | {"text": names, "hovertemplate": "%{text}<extra></extra>"})
    # The view holds the path with a margin; landmarks beyond it are found by panning.
    path_n2 = np.array([T[:3, 3] for o in evaluation.outcomes for T in (o.T_true, o.T_estimated) if T is not None])
    low_2, high_2 = (path_n2 @ plane_23.T).min(axis=0), (path_n2 @ plane_23.T).max(axis=0)
    margin = 0.15 * float(np.max(high_2 - low_2)) + 1e-3
    ranges = [[round(float(a) - margin, 3), round(float(b) + margin, 3)] for a, b in zip(low_2, high_2, strict=True)]
    horizontal = _axis(f"right ({unit})") | {"range": ranges[0]}
    vertical = _axis(f"forward ({unit})") | {"range": ranges[1], "scaleanchor": "x"}
    return _figure(data, xaxis=horizontal, yaxis=vertical, height=520)


def error_over_time(evaluation: Evaluation) -> dict:
    """Distance and angle of every frame along the recording, logarithmic; misses along the top."""
    ruler = evaluation.ruler
    start_s = min(o.stamp_s for o in evaluation.outcomes)
    found = [o for o in evaluation.outcomes if o.T_true is not None and o.localized]
    missed = [o for o in evaluation.outcomes if o.T_true is not None and not o.localized]
    data = []
    for axis, index, name, factor, color in (("y", 0, f"distance ({ruler.unit_words})", ruler.factor, ACCENT),
                                             ("y2", 1, "angle (°)", 1.0, THIRD)):  # fmt: skip
        values = [max(o.error[index] * factor, 1e-3) for o in found]
        data.append({"type": "scatter", "mode": "markers", "x": _round([o.stamp_s - start_s for o in found]),
                     "y": _round(values), "yaxis": axis, "name": name, "text": [o.name for o in found],
                     "marker": {"color": color, "size": 5},
                     "hovertemplate": "%{text}<br>%{y:.3g}<extra></extra>"})  # fmt: skip
        if missed:
            top = 2 * max(values, default=1.0)
            data.append({"type": "scatter", "mode": "markers", "x": _round([o.stamp_s - start_s for o in missed]),
                         "y": [top] * len(missed), "yaxis": axis, "name": "not localized", "showlegend": index == 0,
                         "text": [f"{o.name}: {o.verdict}" for o in missed],
                         "marker": {"color": BAD, "size": 7, "symbol": "x"},
                         "hovertemplate": "%{text}<extra></extra>"})  # fmt: skip
    upper = _axis(f"distance ({ruler.unit_words})") | _LOG | {"domain": [0.55, 1.0]}
    lower = _axis("angle (°)") | _LOG | {"domain": [0.0, 0.43]}
    return _figure(data, xaxis=_axis("seconds since the first frame") | {"anchor": "y2"}, yaxis=upper, yaxis2=lower,
                   height=460)  # fmt: skip


def recall_curve(evaluation: Evaluation) -> dict:
    """For every limit, the share of all frames that are right within it: by distance, and by angle."""
    ruler = evaluation.ruler
    truths = [o for o in evaluation.outcomes if o.T_true is not None]
    limit_scene, limit_deg = ruler.thresholds[-1].distance * 2, 10.0
    data = []
    for axis, index, name, factor, limit, color in (
        ("", 0, "by distance", ruler.factor, limit_scene, ACCENT), ("2", 1, "by angle", 1.0, limit_deg, THIRD)
    ):  # fmt: skip
        values = np.sort([o.error[index] for o in truths])
        inside = values[values <= limit]
        steps = np.concatenate([[0.0], inside, [limit]]) * factor
        share = np.concatenate([[0.0], np.arange(1, len(inside) + 1), [len(inside)]]) / len(truths)
        data.append({"type": "scatter", "mode": "lines", "x": _round(steps), "y": _round(100 * share), "name": name,
                     "line": {"color": color, "width": 2.5, "shape": "hv"}, "xaxis": f"x{axis}",
                     "hovertemplate": "%{y:.1f} % within %{x:.2f}<extra></extra>"})  # fmt: skip
    left = _axis(f"limit ({ruler.unit_words})") | {"domain": [0.0, 0.47]}
    right = _axis("limit (°)") | {"domain": [0.53, 1.0]}
    return _figure(data, xaxis=left, xaxis2=right, yaxis=_axis("frames within the limit (%)") | {"range": [0, 101]})


def calibration_plot(evaluation: Evaluation) -> dict:
    """Stated against actual probability: on the diagonal the stated covariances are true."""
    data = [{"type": "scatter", "mode": "lines", "x": [0, 100], "y": [0, 100], "name": "perfect",
             "line": {"color": MUTED, "dash": "dash", "width": 1}, "hoverinfo": "skip"}]  # fmt: skip
    for part, color in zip(PARTS, (INK, ACCENT, THIRD), strict=True):
        nees_n, freedom = nees(evaluation.outcomes, part), PARTS[part].stop - PARTS[part].start
        share = [100 * coverage(nees_n, level, freedom) for level in _LEVELS]
        data.append({"type": "scatter", "mode": "lines+markers", "x": _round(100 * _LEVELS), "y": _round(share),
                     "name": part, "line": {"color": color, "width": 2}, "marker": {"size": 5},
                     "hovertemplate": "stated %{x:.0f} %, actual %{y:.1f} %<extra></extra>"})  # fmt: skip
    stated, actual = _axis("stated probability (%)"), _axis("true poses inside (%)")
    return _figure(data, xaxis=stated | {"range": [0, 100]}, yaxis=actual | {"range": [0, 101]})


def latency_histogram(evaluation: Evaluation) -> dict:
    """Milliseconds a frame, with the median and the 99th percentile."""
    latency_ms = [1e3 * o.latency_s for o in evaluation.outcomes if np.isfinite(o.latency_s)]
    counts, edges = np.histogram(latency_ms, bins=min(40, max(8, len(latency_ms) // 4)))
    data = [{"type": "bar", "x": _round((edges[:-1] + edges[1:]) / 2), "y": counts.tolist(),
             "width": _round(np.diff(edges)), "marker": {"color": ACCENT, "line": {"width": 1, "color": "white"}},
             "showlegend": False, "hovertemplate": "%{x:.0f} ms: %{y} frames<extra></extra>"}]  # fmt: skip
    marks = {f"p{p}": percentile(latency_ms, p) for p in (50, 99)}
    shapes = [{"type": "line", "x0": v, "x1": v, "yref": "paper", "y0": 0, "y1": 1,
               "line": {"color": BAD, "width": 1.5, "dash": "dot"}} for v in marks.values()]  # fmt: skip
    notes = [{"x": v, "yref": "paper", "y": 1.0, "yanchor": "bottom", "text": name, "showarrow": False,
              "font": {"color": BAD}} for name, v in marks.items()]  # fmt: skip
    return _figure(data, xaxis=_axis("milliseconds"), yaxis=_axis("frames"), shapes=shapes, annotations=notes)


def landmarks_3d(evaluation: Evaluation) -> dict:
    """The landmarks and the camera's path, to turn with the mouse."""
    turn_33 = np.stack(ground_axes(evaluation))
    points_l3 = evaluation.landmarks_map_l3 @ turn_33.T
    used_l = _times_used(evaluation, len(points_l3))
    data = [_xyz(points_l3) | {
        "type": "scatter3d", "mode": "markers", "name": "landmarks",
        "text": [f"landmark {i}: in {n} poses" for i, n in enumerate(used_l)],
        "hovertemplate": "%{text}<extra></extra>",
        "marker": {"size": 3, "color": used_l.tolist() if used_l.any() else ACCENT, "colorscale": "Viridis",
                   "reversescale": True, "showscale": bool(used_l.any()),
                   "colorbar": {"title": {"text": "poses"}, "thickness": 10, "len": 0.6}},
    }]  # fmt: skip
    for index, sequence in enumerate(_sequences(evaluation)):
        for what, name, color in (("T_true", "true path", TRUE), ("T_estimated", "estimated", GOOD)):
            placed = [o for o in sequence if getattr(o, what) is not None]
            if placed:
                data.append(_xyz(_positions(placed, what) @ turn_33.T) | {
                    "type": "scatter3d", "mode": "lines" if what == "T_true" else "markers", "name": name,
                    "legendgroup": name, "showlegend": index == 0, "line": {"color": color, "width": 4},
                    "marker": {"color": color, "size": 2}, "hoverinfo": "skip"})  # fmt: skip
    axes = {f"{a}axis": {"title": {"text": t}, "gridcolor": GRID, "backgroundcolor": "white"}
            for a, t in zip("xyz", ("right", "forward", "up"), strict=True)}  # fmt: skip
    return _figure(data, scene=axes | {"aspectmode": "data"}, height=560)


def _times_used(evaluation: Evaluation, count: int) -> np.ndarray:
    """In how many poses each landmark was an inlier, (L,)."""
    used_l = np.zeros(count, int)
    for outcome in evaluation.outcomes:
        if outcome.localization is not None and outcome.localized:
            found = outcome.localization.detections
            np.add.at(used_l, found.landmark_n[found.inlier_n], 1)
    return used_l


def _error_markers(evaluation: Evaluation, outcomes: list[FrameOutcome], xy_n2: np.ndarray) -> dict:
    ruler = evaluation.ruler
    error_n = np.array([o.error[0] for o in outcomes]) * ruler.factor
    texts = [f"{o.name}<br>{e:.2f} {ruler.unit_words}, {o.error[1]:.2f}°"
             for o, e in zip(outcomes, error_n, strict=True)]  # fmt: skip
    marker = {"size": 7, "color": _round(error_n), "cmin": 0, "cmax": ruler.thresholds[-1].distance * ruler.factor,
              "colorscale": _ERROR_SCALE, "showscale": True,
              "colorbar": {"title": {"text": ruler.unit_words}, "thickness": 10, "len": 0.6}}  # fmt: skip
    return _xy(xy_n2) | {"mode": "markers", "name": "estimated", "marker": marker, "text": texts,
                         "hovertemplate": "%{text}<extra></extra>"}  # fmt: skip


def _sequences(evaluation: Evaluation) -> list[list[FrameOutcome]]:
    return [
        sorted((o for o in evaluation.outcomes if o.sequence == name), key=lambda o: o.stamp_s)
        for name in evaluation.by_sequence
    ]


def _positions(outcomes: list[FrameOutcome], what: str) -> np.ndarray:
    return np.array([getattr(o, what)[:3, 3] for o in outcomes], np.float64).reshape(-1, 3)


def _points(xy_n2: np.ndarray, name: str, color: str, size: int, symbol: str) -> dict:
    return _xy(xy_n2) | {"type": "scatter", "mode": "markers", "name": name, "hoverinfo": "skip",
                         "marker": {"color": color, "size": size, "symbol": symbol}}  # fmt: skip


def _xy(xy_n2: np.ndarray) -> dict:
    return {"x": _round(xy_n2[:, 0]), "y": _round(xy_n2[:, 1])}


def _xyz(xyz_n3: np.ndarray) -> dict:
    return _xy(xyz_n3) | {"z": _round(xyz_n3[:, 2])}


def _round(values) -> list[float | None]:
    """Four digits after the point are enough for a chart and keep the page small; NaN breaks a line."""
    return [round(float(v), 4) if np.isfinite(v) else None for v in values]


def _axis(title: str) -> dict:
    return {"title": {"text": title}, "gridcolor": GRID, "zeroline": False, "linecolor": MUTED, "automargin": True}


def _figure(data: list[dict], height: int = 380, **layout) -> dict:
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
