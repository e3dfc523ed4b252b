"""A training's curves as one page."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from geo_perception.errors import InputError
from geo_perception.runtime.files import replace_text


def check_charts() -> None:
    """Raises InputError when what draws charts is not installed: to be called before the work, whose end they are."""
    if find_spec("plotly") is None:
        raise InputError("plotly, which draws the charts, is not installed; run `pip install plotly`")


def write_curves(path: Path, history: list[dict], title: str) -> None:
    """Draws every figure of the history over the steps, one panel each, into a page that needs nothing else."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    seen = dict.fromkeys(name for record in history for name in record)  # a figure may come later than the first look
    names = [name for name in seen if name not in ("step", "seconds")]
    if not names:
        return
    labels = [name.replace("held_out", "held-out").replace("_", " ") for name in names]
    rows = -(-len(names) // 2)
    figure = make_subplots(rows=rows, cols=2, subplot_titles=labels)
    steps = [record["step"] for record in history]
    for index, name in enumerate(names):
        values = [record.get(name) for record in history]
        line = go.Scatter(x=steps, y=values, mode="lines+markers", name=name, showlegend=False)
        figure.add_trace(line, row=index // 2 + 1, col=index % 2 + 1)
    figure.update_layout(title=title, height=260 * rows, template="plotly_white")
    replace_text(path, figure.to_html(include_plotlyjs=True, full_html=True))
