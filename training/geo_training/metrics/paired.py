"""How sure a difference between two methods is that were trained with several seeds and measured on the same frames.

Frames of one recording are not independent, and neither are those of one seed. So frames are taken together in blocks,
and two intervals are given: one by drawing seeds and blocks again (bootstrap), one by the seeds alone (Student's t).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

LEVEL = 0.95
DRAWS = 4000
_SEED = 0


@dataclass(frozen=True)
class PairedSet:
    """Differences of one set of frames: `difference_sf` by seed and frame, NaN where a frame has none; `block_f` the
    number of the block that each frame belongs to."""

    difference_sf: np.ndarray
    block_f: np.ndarray


@dataclass(frozen=True)
class PairedDifference:
    """`mean` over the seeds and frames, of all sets alike; `by_seed` the same of each seed. `low` and `high` bound the
    bootstrap's interval, `seeds_low` and `seeds_high` that of the seeds (infinite for a single one). `blocks` and
    `frames` are what was compared; `mean` is NaN where that is nothing."""

    mean: float
    by_seed: tuple[float, ...]
    low: float
    high: float
    seeds_low: float
    seeds_high: float
    blocks: int
    frames: int


def paired_difference(sets: Sequence[PairedSet], draws: int = DRAWS) -> PairedDifference:
    """Of sets that have the same seeds, each weighing the same however many frames it has.

    Every draw takes as many seeds as there are and, within each set, as many blocks, with replacement; the interval
    holds the middle 95 % of the means drawn. With few seeds it is too narrow (by sqrt((n - 1) / n) for their share of
    the spread), which is why that of the seeds stands beside it: mean ± t(n - 1) deviation / sqrt(n).
    """
    totals = [_block_totals(own) for own in sets]
    frames = [int(count_b.sum()) for _, count_b in totals]
    seeds = sets[0].difference_sf.shape[0]
    if not all(frames):
        return PairedDifference(np.nan, (np.nan,) * seeds, np.nan, np.nan, np.nan, np.nan, 0, sum(frames))
    by_seed = np.mean([sum_sb.sum(1) / count_b.sum() for sum_sb, count_b in totals], axis=0)
    rng, drawn_d = np.random.default_rng(_SEED), np.zeros(draws)
    seed_ds = rng.multinomial(seeds, np.full(seeds, 1 / seeds), draws) / seeds
    for sum_sb, count_b in totals:
        block_db = rng.multinomial(len(count_b), np.full(len(count_b), 1 / len(count_b)), draws)
        drawn_d += np.einsum("ds,sb,db->d", seed_ds, sum_sb, block_db) / (block_db @ count_b) / len(totals)
    low, high = np.quantile(drawn_d, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    mean, half = by_seed.mean(), np.inf
    if seeds > 1:
        half = student.ppf((1 + LEVEL) / 2, seeds - 1) * by_seed.std(ddof=1) / np.sqrt(seeds)
    return PairedDifference(
        float(mean), tuple(by_seed.tolist()), float(low), float(high), float(mean - half), float(mean + half),
        sum(len(count_b) for _, count_b in totals), sum(frames),
    )  # fmt: skip


def _block_totals(own: PairedSet) -> tuple[np.ndarray, np.ndarray]:
    """Sums of the differences by seed and block (S, B), and the frames of each block (B,). A frame counts where every
    seed has it; a block without any is none."""
    known_f = np.isfinite(own.difference_sf).all(0)
    _, block_f = np.unique(own.block_f[known_f], return_inverse=True)
    blocks = int(block_f.max()) + 1 if len(block_f) else 0
    sums = [np.bincount(block_f, row_f[known_f], minlength=blocks) for row_f in own.difference_sf]
    return np.array(sums), np.bincount(block_f, minlength=blocks)
