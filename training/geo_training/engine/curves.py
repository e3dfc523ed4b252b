"""A training's curves as one page."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from geo_perception.errors import InputError
from geo_training.report.page import chart_section, header, page, pair, write_page


def check_charts() -> None:
    """Raises InputError when what draws charts is not installed: to be called before the work, whose end they are."""
    if find_spec("plotly") is None:
        raise InputError("plotly, which draws the charts, is not installed; run `pip install plotly`")


def write_curves(path: Path, history: list[dict], title: str) -> None:
    """Draws every metric of the history over the steps, a chart each, into a page that needs nothing else."""
    import plotly.graph_objects as go

    from geo_training.report.charts import ACCENT, axis, make_chart

    seen = dict.fromkeys(name for record in history for name in record)  # a metric may come later than the first look
    names = [name for name in seen if name not in ("step", "seconds")]
    if not names:
        return
    steps, charts, labels = [record["step"] for record in history], {}, {}
    for name in names:
        labels[name] = name.replace("held_out", "held-out").replace("_", " "), ""
        values = [record.get(name) for record in history]
        curve = go.Scatter(x=steps, y=values, mode="lines+markers", name=name, line_color=ACCENT)
        charts[name] = make_chart([curve], height=260, xaxis=axis("step"), yaxis=axis(""))
    sections = [chart_section(charts, name, labels) for name in names]
    rows = [pair(*sections[start : start + 2]) for start in range(0, len(sections), 2)]
    write_page(path, page(title, [header(title, ()), *rows], charts))
