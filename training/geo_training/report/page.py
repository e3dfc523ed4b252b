"""The parts of which every report page is put together, from the templates: a page loads nothing and opens from disk.

Text is escaped; what is HTML is a `Markup`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2
from markupsafe import Markup

from geo_perception.runtime.files import replace_text
from geo_training.console import json_text
from geo_training.report.machine import describe_machine, describe_versions, machine_label
from geo_training.report.numbers import percent
from geo_training.report.tables import TableSection

if TYPE_CHECKING:
    import plotly.graph_objects as go

PICTURE_TITLES = {"best": "The best", "typical": "Typical", "worst": "The worst"}
# Fewer frames say nothing about a share near 90 %.
_ENOUGH_FRAMES = 30
_COVERED_WELL = 0.80, 0.97  # of stated 90 % intervals
_UNIT_GAP = re.compile(r"(?<=\d) (?=(?:%|cm|m|ms|px)(?!\w))")
_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=jinja2.select_autoescape(["html"]),
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
)


def _with_units(text: str) -> str:
    """The text, or Markup, with every number and its unit kept on one line."""
    return type(text)(_UNIT_GAP.sub("\N{NO-BREAK SPACE}", text))


_TEMPLATES.filters["with_units"] = _with_units


def page(title: str, sections: Iterable[Markup | str], charts: Mapping[str, go.Figure]) -> str:
    """The whole page as text. Empty sections are left out; `charts` are those that `chart_section` gives a place."""
    from plotly.offline import get_plotlyjs  # loads slowly

    content = {name: chart.to_plotly_json() for name, chart in charts.items()}
    # "</" would end the script element early.
    charts_json = json_text(content, indent=None, separators=(",", ":")).replace("</", "<\\/")
    return _TEMPLATES.get_template("page.html").render(
        title=title, sections=list(sections), charts_json=Markup(charts_json), plotly_js=Markup(get_plotlyjs())
    )


def write_page(path: str | Path, content: str) -> Path:
    """Writes a page to `path` (its folder is made) and returns it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_text(path, content)
    return path


def header(title: str, sentences: Sequence[str]) -> Markup:
    """The top of the page."""
    return _part("header", title, sentences)


def tiles(entries: Iterable[tuple[str, str, str]]) -> Markup:
    """The large numbers: (value, label, tone), tone one of good, bad or nothing."""
    return _part("tiles", list(entries))


def coverage_tone(coverage_90: float, frames: int) -> str:
    """The tone of a tile: whether 90 % intervals hold about as often as they state, where enough frames tell."""
    low, high = _COVERED_WELL
    return "" if frames < _ENOUGH_FRAMES else "good" if low <= coverage_90 <= high else "bad"


def section(title: str, note: str, content: Markup) -> Markup:
    """A section with a sentence on how to read it."""
    return _part("section", title, note, content)


def chart_section(charts: Mapping[str, go.Figure], name: str, texts: Mapping[str, tuple[str, str]]) -> Markup:
    """A chart with its title and its sentence from `texts`; nothing where there is no such chart."""
    return section(*texts[name], chart_place(name)) if name in charts else Markup()


def chart_place(name: str) -> Markup:
    """Where the chart of that name is drawn."""
    return _part("chart", name)


def pair(*sections: Markup) -> Markup:
    """Sections side by side, where the screen is wide enough."""
    there = [part for part in sections if part]
    return _part("pair", there) if there else Markup()


def picture(name: str, data_url: str, caption: str) -> Markup:
    """A picture with its caption."""
    return _part("picture", name, data_url, caption)


def pictures(parts: Sequence[Markup], kind: str = "frames") -> Markup:
    """Pictures or charts in a grid, or, as `panels`, in one row."""
    return _part("pictures", parts, kind)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    return _part("table", header, rows)


def verdict_table(verdicts: Sequence[str], note: str) -> Markup:
    """How often each verdict was given, the most frequent first."""
    counts = {verdict: verdicts.count(verdict) for verdict in dict.fromkeys(verdicts)}
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    rows = [[verdict, str(count), percent(count / len(verdicts))] for verdict, count in ordered]
    return section("Verdicts", note, table(["verdict", "frames", "share"], rows))


def provenance(metadata: Mapping[str, str], config: dict, command: str = "") -> Markup:
    """What the report is about, the machine, the versions, the command and the configuration."""
    metadata = {
        **metadata,
        "machine": machine_label(describe_machine()),
        "versions": ", ".join(f"{name} {version}" for name, version in describe_versions().items()),
    }
    return _part("provenance", metadata, command, json_text(config, default=str) if config else "")


def tables_page(title: str, sentences: Sequence[str], sections: Sequence[TableSection], config: dict) -> str:
    """The whole page of an experiment: sections of a chart, a table, or both."""
    parts, charts = [header(title, sentences)], {}
    for index, part in enumerate(sections):
        content = Markup()
        if part.chart is not None:
            charts[f"chart_{index}"] = part.chart
            content += chart_place(f"chart_{index}")
        if part.table is not None:
            content += table(*part.table)
        parts.append(section(part.title, part.note, content))
    return page(title, [*parts, provenance({}, config)], charts)


def _part(name: str, *arguments) -> Markup:
    return getattr(_TEMPLATES.get_template("parts.html").module, name)(*arguments)
