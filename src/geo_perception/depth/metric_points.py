"""Points of a depth map whose true depth was measured, with what is uncertain about it: what a scale, and what a field
of corrections is made from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class MetricPoints:
    """Pixels (N, 2) of a depth map, and metres along z (N,) there.

    `sigma_n` (N,) is the standard deviation of the logarithm of each depth, as far as the points err independently.
    `shared_nk` (N, K) says by how much each of K errors that all points have in common (of the pose they were seen
    from, say) moves the logarithm of each, one standard deviation of that error; with columns b_k the points have the
    covariance diag(sigma^2) + sum b_k b_k^T.
    """

    source: str
    pixels_n2: np.ndarray
    depth_m_n: np.ndarray
    sigma_n: np.ndarray
    shared_nk: np.ndarray

    def __len__(self) -> int:
        return len(self.depth_m_n)

    def part(self, chosen: np.ndarray) -> MetricPoints:
        """The points with these indices, or those that are True."""
        return MetricPoints(
            self.source, self.pixels_n2[chosen], self.depth_m_n[chosen], self.sigma_n[chosen], self.shared_nk[chosen]
        )


def spread(pixels_n2: np.ndarray, sigma_n: np.ndarray, size_px: tuple[int, int], count: int) -> np.ndarray:
    """Indices, ascending, of at most `count` points spread over a map of this (width, height): about as many cells as
    points are wanted, and of each cell first its most certain point, then its next one, and so on."""
    if len(pixels_n2) <= count:
        return np.arange(len(pixels_n2))
    width, height = size_px
    cell_px = np.sqrt(width * height / count)
    across_n, down_n = np.floor((np.asarray(pixels_n2) + 0.5) / cell_px).astype(np.int64).T
    cell_n = down_n * (int(width / cell_px) + 2) + across_n
    order = np.lexsort((sigma_n, cell_n))
    first_n = np.concatenate([[True], np.diff(cell_n[order]) != 0])
    starts_n = np.maximum.accumulate(np.where(first_n, np.arange(len(order)), 0))
    rank_n = np.empty(len(order), np.int64)
    rank_n[order] = np.arange(len(order)) - starts_n
    return np.sort(np.lexsort((sigma_n, rank_n))[:count])
