"""Stated uncertainty, fitted on held-out data so that it is as large as the errors are.

Normal errors e of D values with covariance C have e^T C^-1 e distributed as chi-square with D degrees of freedom.
Held-out data are nearer to what was learned than what a robot meets: standard deviations are widened by a `margin`. It
differs between the capabilities because weights that exist were made with it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import chi2


def fit_scale_and_floor(
    error_nd: np.ndarray,
    covariance_ndd: np.ndarray,
    floors_kd: Sequence[np.ndarray],
    scales: np.ndarray,
    levels: np.ndarray,
    margin: float,
    start: tuple[float, np.ndarray],
) -> tuple[float, np.ndarray]:
    """The scale s of the covariances and the floor f (D,), a standard deviation, for which e^T (s C + diag f^2)^-1 e of
    N errors has the quantiles of a chi-square at `levels`; widened by `margin`.

    The best pair of the K floors and of `scales` by the squared logarithms of the quantiles' ratios; `start` where the
    errors give none (some are not finite).
    """
    wanted = chi2.ppf(levels, error_nd.shape[1])
    (scale, floor_d), best_cost = start, np.inf
    for tried_d in floors_kd:
        for tried in scales:
            total_ndd = covariance_ndd * tried + np.diag(np.square(tried_d))
            squared_n = np.einsum("ni,nij,nj->n", error_nd, np.linalg.inv(total_ndd), error_nd)
            cost = float(np.sum(np.log(np.quantile(squared_n, levels) / wanted) ** 2))
            if cost < best_cost:
                scale, floor_d, best_cost = float(tried), tried_d, cost
    return scale * margin**2, np.asarray(floor_d) * margin


def fit_mean_scale(mean_ratio: float, margin: float) -> float:
    """The factor on stated mean absolute errors, where |error| / stated has the mean `mean_ratio` on held-out data:
    errors too many and too far from normal for quantiles; widened by `margin`."""
    return mean_ratio * margin
