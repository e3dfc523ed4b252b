"""Whether what the papers say of their losses shows in ours: metrics over seeds, claims, and the table."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path

from geo_training.experiments.depth_papers.experiment_report import Column, TableReport, write_table
from geo_training.experiments.depth_papers.experiment_table import Row, RowResult
from geo_training.report.tables import mean_and_std

TITLES = {
    "start": "the common start",
    "baseline": "SfMLearner's losses",
    "boundary": "and boundaries, no mask",
    "keypoint": "and keypoints, no mask, one scale",
    "default": "our default",
    "default_both": "our default with both",
}
METRICS = ("abs_rel", "d1", "edge")
DETAILS = ("rooms_abs_rel", "office_abs_rel", "rooms_d1", "office_d1", "object_edge")


@dataclass(frozen=True)
class Claim:
    """What a paper says of a loss: `variant` is better than `against` in `metric`."""

    variant: str
    against: str
    metric: str
    higher_is_better: bool


CLAIMS = (
    Claim("boundary", "baseline", "edge", True),
    Claim("boundary", "baseline", "abs_rel", False),
    Claim("keypoint", "baseline", "abs_rel", False),
    Claim("default_both", "default", "edge", True),
    Claim("default_both", "default", "abs_rel", False),
)


def named_metrics(by_name: dict[str, list[dict[str, float]]]) -> dict[str, float]:
    """`<variant>_<metric>` and its `_std` over the seeds (that of a sample; NaN for one seed)."""
    metrics = {}
    for name, own in by_name.items():
        for key in (*METRICS, *DETAILS):
            mean, deviation = mean_and_std([found[key] for found in own])
            metrics |= {f"{name}_{key}": mean, f"{name}_{key}_std": deviation}
    return metrics


def gain(claim: Claim, by_seed: dict[str, list[dict[str, float]]]) -> dict:
    """Whether a claim shows. `by_seed` are metrics by variant; those of one seed have the same start and are compared.
    It shows where every seed gains, and the mean gain is more than the deviation of the gains."""
    sign = 1 if claim.higher_is_better else -1
    pairs = zip(by_seed[claim.variant], by_seed[claim.against], strict=True)
    gains = [sign * (with_it[claim.metric] - without[claim.metric]) for with_it, without in pairs]
    mean, deviation = mean_and_std(gains)
    sentence = f"{claim.variant} against {claim.against}, {claim.metric}: "
    if not math.isfinite(mean):
        sentence += "not known, since a training has no such metric"
        return {**asdict(claim), "gain": mean, "std": deviation, "shows": None, "sentence": sentence}
    sentence += f"{'better' if mean > 0 else 'worse'} by {abs(mean):.4f}"
    if len(gains) == 1:
        verdict = "one seed, so how much of it is chance is not known"
        return {**asdict(claim), "gain": mean, "std": None, "shows": None, "sentence": f"{sentence}; {verdict}"}
    shows = min(gains) > 0 and mean > deviation
    better = sum(value > 0 for value in gains)
    verdict = "the gain shows" if shows else "no gain shows"
    sentence = f"{sentence} ± {deviation:.4f}, better at {better} of {len(gains)} seeds: {verdict}"
    return {**asdict(claim), "gain": mean, "std": deviation, "shows": shows, "sentence": sentence}


def write_results(
    results: dict[str, list[dict]], sentences: list[str], seeds: tuple[int, ...], configs: dict, out: Path
) -> None:
    """table.md, table.json and table.html, with `sentences` above them. `results` has `figures` and `train_s` of every
    seed, by the name of the variant."""
    rows = []
    for name, own in results.items():
        changes = {"losses": configs[name].losses.model_dump(mode="json")} if name in configs else {}
        found = tuple(result["figures"] for result in own), tuple(result["train_s"] for result in own)
        rows.append(RowResult(Row(name, TITLES[name], changes), seeds, *found))
    columns = (
        Column("abs_rel", "Abs Rel"),
        Column("d1", "δ < 1.25", 3, "higher"),
        Column("edge", "edges (rooms)", 3, "higher"),
        Column("object_edge", "edges of objects", 3, "higher"),
        Column("rooms_abs_rel", "Abs Rel (rooms)"),
        Column("office_abs_rel", "Abs Rel (office)"),
    )
    write_table(rows, TableReport("The effect of each loss", sentences, columns, "baseline"), configs["baseline"], out)
