"""Whether stated confidence is informative: does it put the errors in order, and does it say how large they are."""

from __future__ import annotations

import numpy as np

from geo_perception.depth.result import CONFIDENT_RATIO

BINS = 10
_STEPS = 50
_MOST_PIXELS = 20_000  # of one image; a rank correlation does not need more


def confidence_metrics(
    true_n: np.ndarray, predicted_n: np.ndarray, sigma_n: np.ndarray, confidence_n: np.ndarray
) -> dict[str, float]:
    """The metrics of the stated uncertainty of one image, from the pixels that count (each (N,); `predicted_n` is in
    metres).

    ause              area between the sparsification curve and the best there could be, in units of abs_rel (Ilg et al.
                      2018): 0 is perfect order
    ause_random       the same for pixels in random order: stated uncertainty is informative below it
    rank_correlation  Spearman's, of the stated sigma with |log(predicted / true)|
    confidence        mean stated probability to be within CONFIDENT_RATIO
    confidence_actual how many are
    All NaN without a pixel.
    """
    if len(true_n) == 0:
        nothing = ("ause", "ause_random", "rank_correlation", "confidence", "confidence_actual")
        return {name: float("nan") for name in nothing}
    by_stated_s, best_s, random_s = sparsification_curves(true_n, predicted_n, sigma_n)
    log_error_n = np.abs(np.log(predicted_n / true_n))
    return {
        "ause": float(np.mean(by_stated_s - best_s)),
        "ause_random": float(np.mean(random_s - best_s)),
        "rank_correlation": rank_correlation(sigma_n, log_error_n),
        "confidence": float(confidence_n.mean()),
        "confidence_actual": float(np.mean(log_error_n < np.log(CONFIDENT_RATIO))),
    }


def sparsification_curves(true_n: np.ndarray, predicted_n: np.ndarray, sigma_n: np.ndarray) -> np.ndarray:
    """The `sparsification` of abs_rel (3, S): by the stated sigma, by the error itself (the best there can be), and in
    random order (which changes nothing)."""
    error_n = np.abs(predicted_n - true_n) / true_n
    best_s = sparsification(error_n, error_n)
    return np.stack([sparsification(error_n, sigma_n), best_s, np.full_like(best_s, error_n.mean())])


def sparsification(error_n: np.ndarray, doubt_n: np.ndarray) -> np.ndarray:
    """The mean error of what is left when the most doubtful pixels are taken away: `removed_shares()` of them, (S,).

    Of pixels that are equally doubtful any may go first: each counts with the mean error of them all.
    """
    _, place_n, count_m = np.unique(doubt_n, return_inverse=True, return_counts=True)
    shared_m = np.bincount(place_n, weights=error_n) / count_m
    mean_n = np.cumsum(np.repeat(shared_m, count_m)) / np.arange(1, len(error_n) + 1)
    left_s = np.maximum(1, np.rint((1 - removed_shares()) * len(error_n)).astype(int))
    return mean_n[left_s - 1]


def removed_shares() -> np.ndarray:
    """0, 0.02, ... 0.98: the shares of pixels taken away in a sparsification curve."""
    return np.arange(_STEPS) / _STEPS


def rank_correlation(first_n: np.ndarray, second_n: np.ndarray) -> float:
    """Spearman's rank correlation of at most 20 000 pixels, evenly taken; NaN where either is constant."""
    from scipy.stats import spearmanr  # loads slowly

    step = max(1, len(first_n) // _MOST_PIXELS)
    first_n, second_n = first_n[::step], second_n[::step]
    if len(first_n) < 2 or np.ptp(first_n) == 0 or np.ptp(second_n) == 0:
        return float("nan")
    return float(spearmanr(first_n, second_n).statistic)


def reliability_sums(true_n: np.ndarray, predicted_n: np.ndarray, confidence_n: np.ndarray) -> np.ndarray:
    """For each of BINS equal bins of stated confidence (BINS, 3): pixels, the sum of their confidence, and how many are
    within CONFIDENT_RATIO. Those of several images add up."""
    right_n = np.maximum(true_n / predicted_n, predicted_n / true_n) < CONFIDENT_RATIO
    weights = (np.ones(len(true_n)), confidence_n.astype(np.float64), right_n.astype(np.float64))
    sums = [np.histogram(confidence_n, BINS, range=(0.0, 1.0), weights=weight_n)[0] for weight_n in weights]
    return np.stack(sums, 1)
