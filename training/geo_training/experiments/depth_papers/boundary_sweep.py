"""The sweep of "Deep Structure From Motion" (figure 8): how much boundaries should weigh.

A baseline is trained once. Every row goes on from its weights with the mask branch off, as the paper did. The paper
compares with the baseline as it was; here one row more goes on without the boundary term, so that what the term does
is separated from what training longer does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from geo_training.depth.config import DepthTrainingConfig
from geo_training.depth.data.clip_data import clip_sources
from geo_training.experiments.depth_papers.experiment_table import (
    WEIGHTS,
    Evaluate,
    Metrics,
    Row,
    RowResult,
    changed_config,
    run_table,
)

FINETUNE_STEPS = 35_000  # the paper's
BASELINE, CONTROL = "baseline", "longer"
METRICS = ("abs_rel", "sq_rel", "rms", "log_rms", "d1", "d2", "d3")


@dataclass(frozen=True)
class SweepRow:
    """A fine-tuning: weights of the boundary and the smoothness term, learning rate, whether Adam's momentum was
    restarted, the order of the disparity's gradient, and the paper's metrics in the order of METRICS."""

    name: str
    boundary: float
    smoothness: float
    learning_rate: float
    restart: bool = False
    order: int = 1
    paper: tuple[float, ...] | None = None

    @property
    def title(self) -> str:
        """With the paper's marks: * momentum restarted, ** second order."""
        marks = "*" if self.restart else "", "**" if self.order == 2 else ""
        return f"{self.boundary:g}{marks[1]}, smoothness {self.smoothness:g}, rate {self.learning_rate:g}{marks[0]}"


PAPER_BASELINE = (0.1978, 1.8363, 6.5645, 0.2750, 0.7176, 0.9010, 0.9606)
PAPER_ROWS = (
    SweepRow("w0.4", 0.4, 0.5, 2e-4, paper=(0.1935, 2.1848, 6.7514, 0.2750, 0.7358, 0.9022, 0.9584)),
    SweepRow("w100", 100, 0.5, 2e-4, paper=(0.2956, 3.7963, 9.3848, 0.5501, 0.5764, 0.8159, 0.8821)),
    SweepRow("w7", 7, 2, 2e-4, paper=(0.1970, 2.4229, 6.7349, 0.2724, 0.7338, 0.9033, 0.9591)),
    SweepRow("w10_second", 10, 0.5, 2e-4, False, 2, (0.2220, 3.6638, 7.2546, 0.2905, 0.7176, 0.8967, 0.9542)),
    SweepRow("w10_second_restart", 10, 0.5, 1e-4, True, 2, (0.2126, 3.1303, 7.1322, 0.2846, 0.7225, 0.8993, 0.9553)),
    SweepRow("w5", 5, 0.75, 2e-4, paper=(0.2079, 3.0404, 7.0396, 0.2811, 0.7283, 0.8996, 0.9558)),
    SweepRow("w2.5_fast", 2.5, 0.75, 4e-4, paper=(0.2071, 2.9243, 7.0231, 0.2849, 0.7263, 0.8967, 0.9554)),
    SweepRow("w2.5_restart", 2.5, 0.75, 2e-4, True, paper=(0.1851, 1.8053, 6.4903, 0.2658, 0.7436, 0.9073, 0.9618)),
)
PAPER_BEST, TOO_MUCH = "w2.5_restart", "w100"
# What the paper's best row is, but for the boundary term.
CONTROL_ROW = SweepRow(CONTROL, 0, 0.75, 2e-4, restart=True)


def table_rows(
    baseline_weights: Path, finetune_steps: int = FINETUNE_STEPS, sweep: Sequence[SweepRow] = PAPER_ROWS
) -> list[Row]:
    """The baseline, the sweep, and the row that goes on without the boundary term, for `run_table`.

    `baseline_weights` is the file that the baseline's training writes; the others start from it.
    """
    rows = [Row(BASELINE, "0 (baseline)", {}, _paper_metrics(PAPER_BASELINE))]
    for row in (*sweep, CONTROL_ROW):
        title = f"{row.title} (ours)" if row.paper is None else row.title
        rows.append(Row(row.name, title, _changes(row, baseline_weights, finetune_steps), _paper_metrics(row.paper)))
    return rows


def run_sweep(
    baseline: DepthTrainingConfig,
    out: str | Path,
    evaluate: Evaluate,
    finetune_steps: int = FINETUNE_STEPS,
    seeds: Sequence[int] | None = None,
    after_row: Callable[[list[RowResult]], object] | None = None,
    sweep: Sequence[SweepRow] = PAPER_ROWS,
) -> list[RowResult]:
    """Trains and measures all rows, seed after seed; `after_row` is given all results so far after every row.

    What is done in the folder `out` is kept, and what was interrupted goes on. Raises InputError, before anything is
    trained, when the datasets have no boundary maps.
    """
    out = Path(out)
    results: list[RowResult] = []
    for seed in tuple(seeds) if seeds else (baseline.seed,):
        rows = table_rows(out / BASELINE / f"seed_{seed}" / WEIGHTS, finetune_steps, sweep)
        if not results:
            clip_sources(changed_config(baseline, rows[1].changes))
        report = None if after_row is None else lambda found, earlier=results: after_row(over_seeds(earlier, found))
        results = over_seeds(results, run_table(rows, baseline, out, evaluate, (seed,), report))
    return results


def over_seeds(earlier: Sequence[RowResult], found: Sequence[RowResult]) -> list[RowResult]:
    """The results of earlier seeds with those of one more, which may not have come to all rows yet."""
    by_name = {result.row.name: result for result in earlier}
    for new in found:
        old = by_name.get(new.row.name)
        if old is not None:
            new = replace(
                old, seeds=old.seeds + new.seeds, metrics=old.metrics + new.metrics, train_s=old.train_s + new.train_s
            )
        by_name[new.row.name] = new
    return list(by_name.values())


def _changes(row: SweepRow, baseline_weights: Path, steps: int) -> dict[str, Any]:
    weights = {"boundary": row.boundary, "smoothness": row.smoothness, "mask": 0.0}
    return {
        "start_from": baseline_weights,
        "keep_momentum": not row.restart,
        "learning_rate": row.learning_rate,
        "steps": steps,
        "losses": {"weights": weights, "boundary_order": row.order, "explainability": False},
    }


def _paper_metrics(values: tuple[float, ...] | None) -> Metrics | None:
    return None if values is None else dict(zip(METRICS, values, strict=True))
