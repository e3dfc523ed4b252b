"""How far off a completion is, learned from the errors at depth that was hidden for it."""

from __future__ import annotations

import numpy as np

from geo_training.metrics.completion import NINE_TENTHS

_BINS, _BIN_PIXELS = 6, 40
_ERROR_FLOOR, _ERROR_UNKNOWN = 0.0002, 0.5


class ErrorModel:
    """The standard deviation of predictions by how far away known depth is and how neighbours contradict each other:
    in bins of both, what holds nine tenths of the errors found there."""

    def __init__(self, error_n: np.ndarray, away_n: np.ndarray, spread_n: np.ndarray):
        bins = int(np.clip(np.sqrt(len(error_n) / _BIN_PIXELS), 1, _BINS))
        share_b = np.arange(1, bins) / bins
        self._away_b = np.quantile(away_n, share_b) if len(error_n) else np.zeros(0)
        self._spread_b = np.quantile(spread_n, share_b) if len(error_n) else np.zeros(0)
        overall = float(np.quantile(error_n, 0.9)) if len(error_n) else _ERROR_UNKNOWN
        self._error_ab = np.full((bins, bins), overall)
        row_n, column_n = np.searchsorted(self._away_b, away_n), np.searchsorted(self._spread_b, spread_n)
        for row in range(bins):
            for column in range(bins):
                own_n = error_n[(row_n == row) & (column_n == column)]
                if len(own_n):
                    # Few errors say little of their tail.
                    believed = len(own_n) / (len(own_n) + _BIN_PIXELS)
                    own = float(np.quantile(own_n, 0.9))
                    self._error_ab[row, column] = believed * own + (1 - believed) * overall
        # Farther away, or more in contradiction, is never surer.
        self._error_ab = np.maximum.accumulate(np.maximum.accumulate(self._error_ab, axis=0), axis=1)

    def sigma(self, away_m: np.ndarray, spread_m: np.ndarray) -> np.ndarray:
        """The standard deviation (M,) of predictions so far away, whose neighbours contradict each other so much."""
        row_m, column_m = np.searchsorted(self._away_b, away_m), np.searchsorted(self._spread_b, spread_m)
        return np.maximum(self._error_ab[row_m, column_m], _ERROR_FLOOR) / NINE_TENTHS
