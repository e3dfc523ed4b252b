"""Which old crops are kept: herding (Rebuffi et al. 2017, algorithm 4) within quantile bins instead of classes."""

from __future__ import annotations

import numpy as np

from geo_training.experiments.incremental.strategies.base import ContinualContext, StrategyOptions


def quantile_bins(targets_n3: np.ndarray, bins: int) -> np.ndarray:
    """The bin of each row, (N,) int: each column is cut at its quantiles into `bins` parts of about equal number, and a
    bin is one part of each column."""
    label_n = np.zeros(len(targets_n3), int)
    for values_n in targets_n3.T:
        edges = np.quantile(values_n, np.arange(1, bins) / bins)
        label_n = label_n * bins + np.searchsorted(edges, values_n, side="right")
    return label_n


def herd(features_nc: np.ndarray, count: int) -> np.ndarray:
    """Rows of `count` features, in the order chosen: each brings the mean of those chosen nearest to that of all."""
    mean_c, sum_c = features_nc.mean(axis=0), np.zeros(features_nc.shape[1])
    squared_n = (features_nc**2).sum(axis=1)
    free_n = np.ones(len(features_nc), bool)
    chosen = []
    for number in range(1, count + 1):
        # |number * mean - sum - f|^2 without what all f share.
        cost_n = squared_n - 2 * features_nc @ (number * mean_c - sum_c)
        row = int(np.argmin(np.where(free_n, cost_n, np.inf)))
        chosen.append(row)
        free_n[row] = False
        sum_c += features_nc[row]
    return np.array(chosen, int)


def quotas(sizes: np.ndarray, total: int) -> np.ndarray:
    """`total` dealt out in proportion to `sizes`, in whole numbers, the largest remainders first."""
    exact = sizes * total / sizes.sum()
    dealt = np.floor(exact).astype(int)
    first = np.argsort(dealt - exact, kind="stable")[: total - dealt.sum()]
    dealt[first] += 1
    return dealt


def choose_exemplars(context: ContinualContext, options: StrategyOptions) -> np.ndarray:
    """Sorted rows of the old source: `exemplar_share` of it, herded in each bin by its normalized features."""
    old = context.old
    total = round(options.exemplar_share * len(old))
    if total == 0 or total == len(old):
        return np.arange(total)
    features_nc = context.record(old).features_nc.astype(float)
    features_nc /= np.linalg.norm(features_nc, axis=1, keepdims=True).clip(1e-12)
    label_n = quantile_bins(old.targets_n3, options.bins)
    labels, sizes = np.unique(label_n, return_counts=True)
    chosen = []
    for label, quota in zip(labels, quotas(sizes, total), strict=True):
        rows = np.flatnonzero(label_n == label)
        chosen.append(rows[herd(features_nc[rows], int(quota))])
    return np.sort(np.concatenate(chosen))
