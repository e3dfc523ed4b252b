"""Whether stated covariances are true: how large the errors are against them (NEES), how often the truth lies inside.

The error is e = [t - t_true ; Log(R R_true^T)] along the axes of the map, as `Localization.covariance_66` states it.
NEES is e^T C^-1 e: chi-square with 6 degrees of freedom where C is right (3 for the translation or rotation alone).
Bar-Shalom, Li, Kirubarajan, "Estimation with Applications to Tracking and Navigation", section 5.4.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import gammaincinv

from geo_perception.geometry import so3_log
from geo_training.metrics.pose import FrameOutcome, percentile

LEVELS = (0.50, 0.68, 0.90, 0.95, 0.99)
# Which part of the error each check looks at.
PARTS = {"pose": slice(0, 6), "translation": slice(0, 3), "rotation": slice(3, 6)}


def map_error_6(T_true: np.ndarray, T_estimated: np.ndarray) -> np.ndarray:
    """(6,): translation error in the map's units, then rotation error in radians, both along the map's axes."""
    rotation_3 = so3_log(T_estimated[:3, :3] @ T_true[:3, :3].T)
    return np.concatenate([T_estimated[:3, 3] - T_true[:3, 3], rotation_3])


def normalized_error_squared(error: np.ndarray, covariance: np.ndarray) -> float:
    """e^T C^-1 e; infinite where C is not positive definite or no number, since such an ellipsoid holds nothing."""
    try:
        lower = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        return float("inf")
    squared = float(np.sum(np.linalg.solve(lower, error) ** 2))
    return squared if np.isfinite(squared) else float("inf")


def nees(outcomes: Sequence[FrameOutcome], part: str = "pose") -> np.ndarray:
    """One value a localized frame with a true pose, (N,). A localized frame without a covariance counts as infinite."""
    chosen = PARTS[part]
    values = []
    for outcome in outcomes:
        if outcome.T_true is None or outcome.T_estimated is None:
            continue
        error = map_error_6(outcome.T_true, outcome.T_estimated)[chosen]
        covariance = outcome.covariance_66
        values.append(np.inf if covariance is None else normalized_error_squared(error, covariance[chosen, chosen]))
    return np.array(values, np.float64)


def coverage(nees_n: np.ndarray, level: float, degrees_of_freedom: int) -> float:
    """Share of frames whose true pose lies inside the ellipsoid that is stated to hold it with probability `level`."""
    return float((nees_n <= chi2_quantile(level, degrees_of_freedom)).mean()) if len(nees_n) else float("nan")


def chi2_quantile(level: float, degrees_of_freedom: int) -> float:
    """The value that a chi-square variable stays below with probability `level`; as `scipy.stats.chi2.ppf`, which takes
    a second to load."""
    return float(2 * gammaincinv(degrees_of_freedom / 2, level))


def coverage_table(outcomes: Sequence[FrameOutcome]) -> list[dict[str, float]]:
    """Rows of {stated, pose, translation, rotation}: the stated and the actual share, for each level."""
    values = {part: nees(outcomes, part) for part in PARTS}
    return [
        {"stated": level} | {part: coverage(values[part], level, _freedom(part)) for part in PARTS} for level in LEVELS
    ]


def calibration_metrics(outcomes: Sequence[FrameOutcome]) -> dict[str, float]:
    """`coverage_90` and the NEES over the localized frames with a true pose, and how many those are
    (`coverage_frames`): a miss states nothing. A pose without a covariance counts as infinite.

    The median NEES of a calibrated pose is 5.35, of its translation 2.37.
    """
    metrics: dict[str, float] = {"coverage_frames": len(nees(outcomes))}
    for part in PARTS:
        nees_n, tail = nees(outcomes, part), "" if part == "pose" else f"_{part}"
        metrics[f"coverage_90{tail}"] = coverage(nees_n, 0.90, _freedom(part))
        metrics[f"nees_median{tail}"] = percentile(nees_n, 50)
        metrics[f"nees_mean{tail}"] = float(nees_n.mean()) if len(nees_n) else float("nan")
    return metrics


def _freedom(part: str) -> int:
    return PARTS[part].stop - PARTS[part].start
