"""Tables of figures over seeds, in Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

Table = tuple[list[str], list[list[str]]]  # header, lines


def mean_and_std(values: Sequence[float]) -> tuple[float, float]:
    """Over seeds; the deviation is that of a sample (n - 1), nan for a single seed."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


def markdown_table(table: Table) -> str:
    header, lines = table
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
