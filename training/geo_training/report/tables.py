"""Tables of metrics over seeds, and their Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import plotly.graph_objects as go

Table = tuple[list[str], list[list[str]]]  # header, lines


@dataclass(frozen=True)
class TableSection:
    """A section of an experiment's report: a table, a chart of it, or both. Markdown has no charts."""

    title: str
    note: str
    table: Table | None
    chart: go.Figure | None = None


def mean_and_std(values: Sequence[float]) -> tuple[float, float]:
    """Over seeds; the deviation is that of a sample (n - 1), nan for a single seed."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


def markdown_document(title: str, lead: str, sections: Sequence[TableSection]) -> str:
    """A title, its sentences, and a heading, a note and a table for each section that has one."""
    parts = [f"# {title}", lead]
    for section in sections:
        if section.table is not None:
            parts += [f"## {section.title}", section.note, markdown_table(section.table)]
    return "\n\n".join(part for part in parts if part) + "\n"


def markdown_table(table: Table) -> str:
    header, lines = table
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
