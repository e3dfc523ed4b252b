"""What the boundary sweep found, beside what its paper found: sentences and a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from geo_training.depth.config import DepthTrainingConfig
from geo_training.experiments.depth_papers.boundary_sweep import BASELINE, CONTROL, PAPER_BEST, PAPER_ROWS, TOO_MUCH
from geo_training.experiments.depth_papers.experiment_report import (
    DEPTH_COLUMNS,
    Column,
    TableReport,
    WrittenTable,
    find_result,
    write_table,
)
from geo_training.experiments.depth_papers.experiment_table import RowResult
from geo_training.report.numbers import number, signed

TITLE = "Object boundaries: the sweep"
EDGE_COLUMN = Column("edge", "Edges (F1)", 3, "higher")
_HOW = (
    "Rows are the weight of the boundary term, that of the smoothness term, and Adam's learning rate.",
    "* Adam's momentum was restarted. ** Second order of the disparity's gradient.",
    "All but the baseline go on from its weights with the mask branch off; (ours) has no boundary term.",
    "The boundary term is a mean over pixels here and a sum in the paper's equation, so a weight need not mean the "
    "same.",
)


def sweep_findings(results: Sequence[RowResult]) -> dict[str, bool | float | str]:
    """Whether what the paper found shows here; only what the rows so far can tell.

    `best` is the row with the lowest abs_rel. `boundary_abs_rel`, `boundary_d1`, `boundary_edge`: what the paper's best
    row changes against the one trained as long without the term. `beats_baseline`, `beats_longer`: whether its abs_rel
    is lower. `too_much_is_worst`: whether the weight 100 is the worst of all, as in the paper.
    """
    abs_rel = {result.row.name: result.mean("abs_rel") for result in results}
    abs_rel = {name: value for name, value in abs_rel.items() if math.isfinite(value)}
    findings: dict[str, bool | float | str] = {}
    if abs_rel:
        findings["best"] = min(abs_rel, key=abs_rel.__getitem__)
    if {PAPER_BEST, BASELINE} <= set(abs_rel):
        findings["beats_baseline"] = abs_rel[PAPER_BEST] < abs_rel[BASELINE]
    if {PAPER_BEST, CONTROL} <= set(abs_rel):
        best, control = find_result(results, PAPER_BEST), find_result(results, CONTROL)
        findings["beats_longer"] = abs_rel[PAPER_BEST] < abs_rel[CONTROL]
        findings |= {f"boundary_{name}": best.mean(name) - control.mean(name) for name in ("abs_rel", "d1", "edge")}
    if {TOO_MUCH, BASELINE, *(row.name for row in PAPER_ROWS)} <= set(abs_rel):
        findings["too_much_is_worst"] = max(abs_rel, key=abs_rel.__getitem__) == TOO_MUCH
    return findings


def finding_sentences(results: Sequence[RowResult]) -> list[str]:
    """The findings in words."""
    findings, sentences = sweep_findings(results), []
    if "best" in findings:
        best = find_result(results, findings["best"])
        theirs = next(row for row in PAPER_ROWS if row.name == PAPER_BEST)
        sentences.append(
            f"Lowest Abs Rel: {best.row.title} ({number(best.mean('abs_rel'), 3)}); in the paper {theirs.title} "
            f"({number(theirs.paper[0], 3)})."
        )
    if "beats_baseline" in findings:
        better = "better" if findings["beats_baseline"] else "no better"
        sentences.append(f"The paper's best row is {better} than the baseline here; in the paper it is better.")
    if "beats_longer" in findings:
        changes = [("Abs Rel", "boundary_abs_rel"), ("δ < 1.25", "boundary_d1"), (EDGE_COLUMN.title, "boundary_edge")]
        found = [f"{label} {signed(findings[key], 4)}" for label, key in changes if math.isfinite(findings[key])]
        sentences.append(f"Against the same training without the boundary term it changes {', '.join(found)}.")
    if "too_much_is_worst" in findings:
        worst = "is the worst" if findings["too_much_is_worst"] else "is not the worst"
        sentences.append(f"The weight 100 {worst} of all rows; in the paper it is.")
    return sentences


def write_sweep_report(results: Sequence[RowResult], baseline: DepthTrainingConfig, out: str | Path) -> WrittenTable:
    """Writes table.md, table.json and table.html into `out`, with the paper's metrics beside ours."""
    edges = any(math.isfinite(result.mean(EDGE_COLUMN.metric)) for result in results)
    columns = [*DEPTH_COLUMNS.values(), *([EDGE_COLUMN] if edges else [])]
    sentences = (*_HOW, *finding_sentences(results))
    return write_table(results, TableReport(TITLE, sentences, columns, BASELINE), baseline, out)
