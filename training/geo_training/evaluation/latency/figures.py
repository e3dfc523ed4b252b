"""What is made of the times of a node and of its bare estimator. Pure functions; seconds of one steady clock.

A node and the bare estimator take turns in short slices. What an image cost a node is counted from its publication, or
from the answer before where that came later: as long as the node was busy with another image, nothing was done for this
one. So waiting in line is in no cost, as in none of the bare estimator, and in every age.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from geo_perception.ros.frame_statistics import nearest_rank_percentile

Answers = Mapping[str, Mapping[int, float]]  # node -> stamp of an image -> when its result was received


@dataclass(frozen=True)
class BareFrame:
    """One image in the bare process: seconds to decode it, seconds of each estimator, and which of them had a result
    that a node would publish."""

    decode_s: float
    work_s: Mapping[str, float]
    good: frozenset[str]


@dataclass(frozen=True)
class Slice:
    """Some seconds of a node, and as many of the bare estimators on the same images: when the image of each stamp was
    published, what was answered, and what it took without a node."""

    published_s: Mapping[int, float]
    answers: Answers
    bare: Sequence[BareFrame]


def percentile(values: Iterable[float], percent: float) -> float:
    """By nearest rank; NaN of no values."""
    return nearest_rank_percentile(values, percent)


def costs_s(one: Slice) -> dict[tuple[str, int], float]:
    """What each answer (node, stamp) cost: from the publication of its image, or from the answer before, of any node of
    the process, where that came later."""
    received = sorted((at_s, node, stamp) for node, found in one.answers.items() for stamp, at_s in found.items())
    costs, free_s = {}, -math.inf
    for at_s, node, stamp in received:
        costs[node, stamp] = at_s - max(one.published_s[stamp], free_s)
        free_s = at_s
    return costs


def bare_s(one: Slice, node: str) -> list[float]:
    """Decoding and estimating each image that had a result."""
    return [frame.decode_s + frame.work_s[node] for frame in one.bare if node in frame.good]


def node_ratios(slices: Sequence[Slice], node: str) -> dict[str, float]:
    """Of one node alone: `ratio_p50`, the median over slices of the ratio of medians; `ratio_p99` of all answers
    against all of the bare estimator; and both medians in milliseconds. NaN where nothing was answered."""
    costs = [list(costs_s(one).values()) for one in slices]
    bare = [bare_s(one, node) for one in slices]
    ratios = [percentile(a, 50) / percentile(b, 50) for a, b in zip(costs, bare, strict=True) if a and b]
    costs_all, bare_all = [s for one in costs for s in one], [s for one in bare for s in one]
    return {
        "ratio_p50": median(ratios) if ratios else math.nan,
        "ratio_p99": percentile(costs_all, 99) / percentile(bare_all, 99),
        "p50_ms": 1e3 * percentile(costs_all, 50),
        "bare_p50_ms": 1e3 * percentile(bare_all, 50),
    }


def container_ratios(slices: Sequence[Slice]) -> dict[str, float]:
    """Of several nodes in one process, which decode an image once: for each image, what all its answers cost together
    against the medians, in the bare slice beside, of decoding once and of those estimators that answered it.
    `ratio_p50` is the median over slices of the median over images."""
    ratios, costs_all, bare_all = [], [], []
    for one in slices:
        spent: dict[int, float] = {}
        ran: dict[int, set[str]] = {}
        for (node, stamp), cost_s in costs_s(one).items():
            spent[stamp] = spent.get(stamp, 0.0) + cost_s
            ran.setdefault(stamp, set()).add(node)
        decode_s = percentile((frame.decode_s for frame in one.bare), 50)
        work_s = {node: percentile((f.work_s[node] for f in one.bare if node in f.good), 50) for node in one.answers}
        sums_s = {stamp: decode_s + sum(work_s[node] for node in nodes) for stamp, nodes in ran.items()}
        known = [stamp for stamp in spent if not math.isnan(sums_s[stamp])]
        if known:
            ratios.append(percentile((spent[stamp] / sums_s[stamp] for stamp in known), 50))
            costs_all += [spent[stamp] for stamp in known]
            bare_all += [sums_s[stamp] for stamp in known]
    return {
        "ratio_p50": median(ratios) if ratios else math.nan,
        "p50_ms": 1e3 * percentile(costs_all, 50),
        "bare_p50_ms": 1e3 * percentile(bare_all, 50),
    }


def ages_in_frames(slices: Sequence[Slice], rate_hz: float) -> list[float]:
    """How old each result was when it was received, from the publication of its image, in periods of its node's own
    rate: the median time between two of its results in that slice, and no less than between two images."""
    ages = []
    for one in slices:
        for found in one.answers.values():
            times_s = sorted(found.values())
            between_s = [later - sooner for sooner, later in pairwise(times_s)]
            period_s = max(1 / rate_hz, percentile(between_s, 50) if between_s else 0.0)
            ages += [(at_s - one.published_s[stamp]) / period_s for stamp, at_s in found.items()]
    return ages


def worst(values: Iterable[float]) -> float:
    """The largest that is known; NaN where none is."""
    return max((value for value in values if not math.isnan(value)), default=math.nan)
