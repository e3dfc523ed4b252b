"""One HTML file that shows the health of a scene to a person: it loads nothing and opens from disk."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
from markupsafe import Markup

from geo_training.evaluation.scene_health.judge import SECTORS, LandmarkHealth, State
from geo_training.evaluation.scene_health.verdict import SceneHealth, Verdict
from geo_training.report.charts import ACCENT, BAD, GOOD, MUTED, THIRD, axis, line, make_chart, points
from geo_training.report.numbers import count, number, percent, two
from geo_training.report.page import (
    chart_section,
    header,
    page,
    pair,
    provenance,
    section,
    table,
    tiles,
    write_page,
)

_COLORS = {State.ALIVE: GOOD, State.UNKNOWN: MUTED, State.DRIFTED: THIRD, State.MOVED: ACCENT, State.VANISHED: BAD}
_LISTED = 60
_TEXTS = {
    "above": (
        "The scene from above",
        "Every dot is a landmark where the map has it: green is there, red is not found any more, blue was found "
        "elsewhere, with a line to where; yellow is a little off, grey was not seen often enough.",
    ),
    "recall": (
        "How often landmarks answer",
        "The share of the frames that should show a landmark in which it answers. What is gone answers about as often "
        "as chance has it.",
    ),
    "light": (
        "Recordings and their light",
        "Blue: of the landmarks that are there, how many of those asked answer. Yellow: the mean brightness of the "
        "images. Where both fall, it is the light.",
    ),
}


def write_report(health: SceneHealth, path: str | Path, command: str = "") -> Path:
    """Writes the report to `path` (its folder is made) and returns it. `command` is the line that made it."""
    return write_page(path, render_report(health, command))


def render_report(health: SceneHealth, command: str = "") -> str:
    """The whole page as text."""
    charts = {"above": _from_above(health), "recall": _recall(health)}
    if len(health.recordings) > 1:
        charts["light"] = _light(health)
    sections = (
        header(f"Scene health: {health.verdict.value}", [f"{reason}." for reason in health.reasons]),
        _tiles(health),
        chart_section(charts, "above", _TEXTS),
        pair(chart_section(charts, "recall", _TEXTS), chart_section(charts, "light", _TEXTS)),
        _recordings(health),
        _listed(health),
        provenance({"recordings": ", ".join(one.name for one in health.recordings)}, {}, command),
    )
    return page("Scene health", sections, charts)


def _tiles(health: SceneHealth) -> Markup:
    figures = health.figures()
    tone = {Verdict.GOOD: "good", Verdict.REFRESH: "", Verdict.REMAP: "bad"}[health.verdict]
    return tiles([
        (health.verdict.value, "verdict", tone),
        (count(figures["alive"]), f"of {figures['landmarks']} landmarks are there", ""),
        (count(figures["moved"] + figures["drifted"]), "are elsewhere", ""),
        (count(figures["vanished"]), "are not found any more", ""),
        (count(figures["unknown"]), "were not seen often enough", ""),
        (percent(figures["living_recall"]), "recall of those that are there", ""),
        (percent(figures["living_precision"]), "precision of those that are there", ""),
        (count(figures["lost_frames"]), f"of {figures['frames']} frames say nothing: the robot was lost", ""),
    ])  # fmt: skip


def _from_above(health: SceneHealth) -> go.Figure:
    flat_l2 = health.landmarks_l3 @ health.ground_23.T
    traces = []
    for state, color in _COLORS.items():
        chosen = health.of_state(state)
        if chosen:
            size = 4 if state in (State.ALIVE, State.UNKNOWN) else 7
            traces.append(points(*flat_l2[chosen].T, state.value, color, size=size))
    went = [one for one in health.judgement.landmarks if one.to_3 is not None]
    if went:
        ends_n2 = np.stack([one.to_3 for one in went]) @ health.ground_23.T
        starts_n2 = flat_l2[[one.landmark for one in went]]
        gap_n = np.full(len(went), np.nan)
        x, y = (np.column_stack([starts_n2[:, k], ends_n2[:, k], gap_n]).ravel() for k in (0, 1))
        traces.append(line(x, y, "to where", ACCENT, width=1))
    unit = health.unit
    flat = {"yaxis_scaleanchor": "x", "xaxis": axis(f"right ({unit})"), "yaxis": axis(f"forward ({unit})")}
    return make_chart(traces, 560, **flat)


def _recall(health: SceneHealth) -> go.Figure:
    edges = np.linspace(0, 1, 21)
    traces = []
    for name, color, gone in (("there", GOOD, False), ("gone", BAD, True)):
        recall = [one.recall for one in health.judgement.landmarks
                  if one.state.gone == gone and one.state is not State.UNKNOWN]  # fmt: skip
        counts, _ = np.histogram(np.nan_to_num(recall), edges)
        traces.append(go.Bar(x=(100 * (edges[:-1] + edges[1:]) / 2).tolist(), y=counts.tolist(), name=name,
                             marker_color=color))  # fmt: skip
    return make_chart(traces, barmode="stack", xaxis=axis("answers (% of its frames)"), yaxis=axis("landmarks"))


def _light(health: SceneHealth) -> go.Figure:
    numbers = np.arange(1, len(health.recordings) + 1)
    rate = [100 * one.living_answer_rate for one in health.recordings]
    light = [100 * one.light for one in health.recordings]
    marks = {"mode": "lines+markers"}
    hover = "recording %{x}: %{y:.0f} %"
    traces = [
        line(numbers, rate, "landmarks that answer", ACCENT, hover, **marks),
        line(numbers, light, "brightness", THIRD, hover, **marks),
    ]
    return make_chart(traces, xaxis=axis("recording", dtick=1), yaxis=axis("%", range=[0, 101]))


def _recordings(health: SceneHealth) -> Markup:
    rows = [
        [one.name, count(one.frames), count(one.lost), percent(one.answer_rate), percent(one.living_answer_rate),
         percent(one.light), percent(one.contrast)]
        for one in health.recordings
    ]  # fmt: skip
    titles = ["recording", "frames", "of them lost", "landmarks that answer", "of those that are there", "brightness",
              "contrast"]  # fmt: skip
    return section("Recordings", "A frame in which the robot is lost says nothing of any landmark.",
                   table(titles, rows))  # fmt: skip


def _listed(health: SceneHealth) -> Markup:
    gone = [one for one in health.judgement.landmarks if one.state.gone]
    gone.sort(key=lambda one: -one.evidence)
    rows = [_row(one, health) for one in gone[:_LISTED]]
    titles = ["landmark", "what became of it", "since", "recording", f"by ({health.unit})", "frames", "recall",
              "precision", "evidence", *(f"from side {k + 1}" for k in range(SECTORS))]  # fmt: skip
    more = f" The {_LISTED} surest of {len(gone)}." if len(gone) > _LISTED else ""
    note = (
        "Evidence is the logarithm of how much likelier the answers are if the landmark is gone. The last columns are "
        f"its recall by the quarter of the compass that it is seen from.{more}"
    )
    return section("Landmarks that are not where they were", note, table(titles, rows)) if rows else Markup()


def _row(one: LandmarkHealth, health: SceneHealth) -> list[str]:
    since = "–" if one.since_s is None else stamp_label(one.since_s)
    recording = "–" if one.since_recording is None else health.recordings[one.since_recording].name
    by = number(one.moved, 2) if one.moved else "–"
    views = [percent(value) for value in one.recall_by_view]
    return [str(one.landmark), one.state.value, since, recording, by, count(one.told), percent(one.recall),
            percent(one.precision), two(one.evidence), *views]  # fmt: skip


def stamp_label(stamp_s: float) -> str:
    """A stamp as a date where it is one, else as seconds."""
    if stamp_s > 1e9:
        return datetime.fromtimestamp(stamp_s, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"{stamp_s:.1f} s"
