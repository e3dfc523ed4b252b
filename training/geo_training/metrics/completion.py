"""How good completed depth is, at pixels whose depth was hidden from the completion."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

NINE_TENTHS = 1.645  # standard deviations that hold nine tenths of a normal distribution
# Pixels to the nearest given depth: from each of these to the next.
AWAY_PX = (0.0, 2.0, 5.0, 10.0, 20.0, 50.0)


def score_hidden(
    true_n: np.ndarray, predicted_n: np.ndarray, sigma_n: np.ndarray | None, away_px_n: np.ndarray
) -> dict[str, float]:
    """Errors of N hidden depths: `mae` and `mse` in the depth's unit (and its square), `abs_rel`, `interval_90`: the
    share inside the stated 90 % interval of the logarithm (NaN without `sigma_n`), and `mae_from_<px>`: of those so far
    from the nearest given depth, up to the next of AWAY_PX (NaN where there is none)."""
    error_n = np.abs(np.asarray(predicted_n, np.float64) - true_n)
    scores = {
        "mae": _mean(error_n),
        "mse": _mean(error_n**2),
        "abs_rel": _mean(error_n / true_n),
        "interval_90": float("nan"),
    }
    if sigma_n is not None and len(error_n):
        off_n = np.abs(np.log(np.asarray(predicted_n, np.float64) / true_n))
        scores["interval_90"] = float(np.mean(off_n <= NINE_TENTHS * sigma_n))
    for low, high in zip(AWAY_PX, (*AWAY_PX[1:], np.inf), strict=True):
        scores[away_key(low)] = _mean(error_n[(away_px_n >= low) & (away_px_n < high)])
    return scores


def away_key(px: float) -> str:
    """The name of the error from that distance on."""
    return f"mae_from_{px:g}"


def mean_scores(scores: Sequence[dict[str, float]]) -> dict[str, float]:
    """Means over images, each by those that have a number; empty for none."""
    keys = list(dict.fromkeys(key for row in scores for key in row))
    return {key: _mean(np.array([row[key] for row in scores if np.isfinite(row.get(key, np.nan))])) for key in keys}


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
