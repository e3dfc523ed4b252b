"""The tables of `experiment_table` as Markdown, JSON and a page, our metrics beside the paper's."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import plotly.graph_objects as go

from geo_perception.runtime.files import replace_text
from geo_training.console import write_json
from geo_training.depth.config import DepthTrainingConfig
from geo_training.experiments.depth_papers.experiment_table import RowResult, table_content
from geo_training.report.charts import ACCENT, THIRD, axis, make_chart, rounded
from geo_training.report.numbers import number, signed
from geo_training.report.page import tables_page, write_page
from geo_training.report.tables import Table, TableSection, markdown_document


@dataclass(frozen=True)
class Column:
    """A metric of the table: its key, its heading, its digits after the point, and which way is better."""

    metric: str
    title: str
    digits: int = 3
    better: Literal["lower", "higher"] = "lower"


DEPTH_COLUMNS = {
    column.metric: column
    for column in (
        Column("abs_rel", "Abs Rel"),
        Column("sq_rel", "Sq Rel"),
        Column("rms", "RMS"),
        Column("log_rms", "log RMS"),
        Column("d1", "δ < 1.25", 3, "higher"),
        Column("d2", "δ < 1.25²", 3, "higher"),
        Column("d3", "δ < 1.25³", 3, "higher"),
    )
}
_CHANGE_NOTE = (
    "Our metric less the reference's, and the same of the paper's. A change within the deviation over seeds is chance."
)


@dataclass(frozen=True)
class TableReport:
    """What a table says beside its metrics: title, sentences above it, columns, and the row that the others are
    compared with."""

    title: str
    sentences: Sequence[str]
    columns: Sequence[Column]
    reference: str


@dataclass(frozen=True)
class WrittenTable:
    """Where a table was written."""

    markdown: Path
    json: Path
    page: Path


def write_table(
    results: Sequence[RowResult],
    report: TableReport,
    base_config: DepthTrainingConfig,
    out: str | Path,
    more: Sequence[TableSection] = (),
) -> WrittenTable:
    """Writes table.md, table.json and table.html into the folder `out`; `more` sections come after the tables."""
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    paths = WrittenTable(out / "table.md", out / "table.json", out / "table.html")
    sections = [TableSection("Metrics", _seeds_note(results), metric_table(results, report.columns))]
    reference = find_result(results, report.reference)
    if reference is not None and len(results) > 1:
        table = change_table(results, reference, report.columns)
        sections.append(TableSection(f"Against {reference.row.title}", _CHANGE_NOTE, table))
    sections += more
    replace_text(paths.markdown, markdown_document(report.title, " ".join(report.sentences), sections))
    write_json(paths.json, {"title": report.title} | table_content(results, base_config))
    charts = [TableSection(column.title, "", None, column_chart(results, column)) for column in report.columns]
    config = base_config.model_dump(mode="json")
    write_page(paths.page, tables_page(report.title, report.sentences, [*sections, *charts], config))
    return paths


def find_result(results: Sequence[RowResult], name: str) -> RowResult | None:
    """The row of that name, where it is done."""
    return next((result for result in results if result.row.name == name), None)


def metric_table(results: Sequence[RowResult], columns: Sequence[Column]) -> Table:
    """A line for each row: our metrics, then the paper's, then how long a training took."""
    has_paper = any(result.row.paper for result in results)
    header = ["row", *(column.title for column in columns)]
    header += [f"{column.title} (paper)" for column in columns] if has_paper else []
    lines = []
    for result in results:
        cells = [number(result.mean(c.metric), c.digits, deviation=result.deviation(c.metric)) for c in columns]
        paper = [number(_paper(result, c), c.digits) for c in columns] if has_paper else []
        lines.append([result.row.title, *cells, *paper, number(float(np.mean(result.train_s)), 0)])
    return [*header, "training (s)"], lines


def change_table(results: Sequence[RowResult], reference: RowResult, columns: Sequence[Column]) -> Table:
    """What each row changes against the reference, ours and the paper's."""
    has_paper = reference.row.paper is not None
    header = ["row", *(column.title for column in columns)]
    header += [f"{column.title} (paper)" for column in columns] if has_paper else []
    lines = []
    for result in results:
        if result is reference:
            continue
        cells = [signed(result.mean(c.metric) - reference.mean(c.metric), c.digits) for c in columns]
        paper = [signed(_paper(result, c) - _paper(reference, c), c.digits) for c in columns] if has_paper else []
        lines.append([result.row.title, *cells, *paper])
    return header, lines


def column_chart(results: Sequence[RowResult], column: Column) -> go.Figure:
    """A bar for each row, ours and the paper's, with the deviation over seeds where there is one."""
    # The titles are long: they stand before horizontal bars, the first row on top.
    titles = ["<br>".join(textwrap.wrap(result.row.title, 22)) for result in results]
    style = {"y": titles, "orientation": "h"}
    ours = go.Bar(name="ours", x=rounded(r.mean(column.metric) for r in results), marker_color=ACCENT, **style)
    deviations = rounded(result.deviation(column.metric) for result in results)
    if any(deviation is not None for deviation in deviations):
        ours.error_x = {"type": "data", "array": deviations}
    bars = [ours]
    if any(result.row.paper for result in results):
        theirs = rounded(_paper(result, column) for result in results)
        bars.append(go.Bar(name="paper", x=theirs, marker_color=THIRD, **style))
    axes = {"xaxis": axis(f"{column.better} is better", rangemode="tozero"), "yaxis": axis("", autorange="reversed")}
    return make_chart(bars, height=100 + 44 * len(bars[0].x), barmode="group", **axes)


def _paper(result: RowResult, column: Column) -> float:
    return (result.row.paper or {}).get(column.metric, math.nan)


def _seeds_note(results: Sequence[RowResult]) -> str:
    seeds = results[0].seeds if results else ()
    if len(seeds) > 1:
        return f"Means over {len(seeds)} seeds; ± is the deviation over them."
    return "One training of each row: how much chance there is in a metric is not known."
