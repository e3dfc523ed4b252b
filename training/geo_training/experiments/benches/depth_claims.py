"""Whether what the papers say of their losses shows in ours: metrics over seeds, claims, and the table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from geo_training.experiments.depth_papers.experiment_report import Column, TableReport, write_table
from geo_training.experiments.depth_papers.experiment_table import Row, RowResult
from geo_training.metrics.paired import PairedDifference, PairedSet, paired_difference
from geo_training.report.numbers import signed
from geo_training.report.tables import TableSection, mean_and_std

FLAT = "flat"  # in the place of a variant: a map that says the same everywhere
TITLES = {
    "start": "the common start",
    "baseline": "SfMLearner's losses",
    "boundary": "and boundaries, no mask",
    "keypoint": "and keypoints, no mask, one scale",
    "default": "our default",
    "default_both": "our default with both",
    FLAT: "a flat map",
}
METRICS = ("abs_rel", "d1", "edge")
DETAILS = ("object_edge", *(f"{name}_{key}" for name in ("rooms", "house") for key in METRICS))
FRAME_METRICS = (*METRICS, "object_edge")  # of every frame
Frames = dict[str, dict[str, list[float]]]  # of one training: by set, by metric, of every frame


@dataclass(frozen=True)
class Claim:
    """What a paper says of a loss: `variant` is better than `against` in `metric`."""

    variant: str
    against: str
    metric: str
    higher_is_better: bool


CLAIMS = (
    Claim("baseline", FLAT, "abs_rel", False),
    Claim("boundary", "baseline", "edge", True),
    Claim("boundary", "baseline", "abs_rel", False),
    Claim("keypoint", "baseline", "abs_rel", False),
    Claim("default", "baseline", "abs_rel", False),
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


def gain(claim: Claim, frames: dict[str, list[Frames]], blocks: dict[str, Sequence[int]]) -> dict:
    """Whether a claim shows: `frames` are those of every seed, by variant; `blocks` the block of each frame, by set.

    Trainings of one seed have the same start and are compared frame by frame; the gain is the mean over the frames,
    then over the sets, then over the seeds. It shows where both of its 95 % intervals (`paired_difference`) lie above
    0, the one of seeds and blocks of frames drawn again and the one of the seeds alone.
    """
    sign = 1 if claim.higher_is_better else -1
    sets = []
    for name, block_f in blocks.items():
        with_it, without = (
            np.array([own[name][claim.metric] for own in frames[variant]], np.float64)
            for variant in (claim.variant, claim.against)
        )
        sets.append(PairedSet(sign * (with_it - without), np.array(block_f)))
    found = paired_difference(sets)
    numbers = {key: value if np.isfinite(value).all() else None for key, value in asdict(found).items()}
    shows, sentence = _verdict(found)
    words = f"{claim.variant} against {claim.against}, {claim.metric}: {sentence}"
    return {**asdict(claim), **numbers, "shows": shows, "sentence": words}


def _verdict(found: PairedDifference) -> tuple[bool | None, str]:
    """Whether a gain shows (None: it cannot be known), and in words."""
    if not math.isfinite(found.mean):
        return None, "not known, since no frame has such a metric"
    sentence = f"{'better' if found.mean > 0 else 'worse'} by {abs(found.mean):.4f}, "
    sentence += f"95 % of draws in {found.low:+.4f} .. {found.high:+.4f}"
    seeds = len(found.by_seed)
    if seeds == 1:
        return None, f"{sentence}; one seed, so how much of it is chance of the training is not known"
    better = sum(value > 0 for value in found.by_seed)
    sentence += f", by the seeds alone {found.seeds_low:+.4f} .. {found.seeds_high:+.4f}"
    sentence += f", better at {better} of {seeds} seeds: "
    if min(found.low, found.seeds_low) > 0:
        return True, f"{sentence}the gain shows"
    if max(found.high, found.seeds_high) < 0:
        return False, f"{sentence}the opposite shows"
    if found.low > 0 or found.high < 0:
        return False, f"{sentence}more than chance in the draws, but the seeds are too few or too far apart"
    return False, f"{sentence}no difference shows"


def write_results(
    results: dict[str, list[dict]],
    gains: list[dict],
    sentences: list[str],
    seeds: tuple[int, ...],
    configs: dict,
    out: Path,
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
        Column("edge", "edges", 3, "higher"),
        Column("object_edge", "edges of objects", 3, "higher"),
        Column("rooms_abs_rel", "Abs Rel (rooms)"),
        Column("house_abs_rel", "Abs Rel (house)"),
    )
    report = TableReport("The effect of each loss", sentences, columns, "baseline")
    write_table(rows, report, configs["baseline"], out, [paired_section(gains)])


def paired_section(gains: list[dict]) -> TableSection:
    """The paired differences as a table."""

    def between(found: dict, low: str, high: str) -> str:
        ends = [math.nan if found[key] is None else found[key] for key in (low, high)]
        return f"{signed(ends[0], 4)} .. {signed(ends[1], 4)}"

    header = ["", "against", "metric", "gain", "of each seed", "95 %, frames and seeds", "95 %, seeds alone", "shows"]
    lines = []
    for found in gains:
        by_seed = ", ".join(signed(math.nan if v is None else v, 4) for v in found["by_seed"] or ())
        mean = math.nan if found["mean"] is None else found["mean"]
        shows = {True: "yes", False: "no", None: "not known"}[found["shows"]]
        lines.append([
            TITLES[found["variant"]], TITLES[found["against"]], found["metric"], signed(mean, 4), by_seed,
            between(found, "low", "high"), between(found, "seeds_low", "seeds_high"), shows,
        ])  # fmt: skip
    note = "Differences on the same frames from the same start, above 0 where the variant is better. Frames are drawn "
    note += "in blocks of neighbours."
    return TableSection("Paired differences", note, (header, lines))
