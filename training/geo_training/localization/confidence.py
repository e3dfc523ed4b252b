"""Fits how likely a pose is right on poses that are known to be right or wrong."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from geo_perception.geometry import Camera, pose_error
from geo_perception.localization.confidence import EVIDENCE, ConfidenceModel, Evidence, terms
from geo_perception.localization.estimator import Localizer

_SPEAKS_FOR = np.array([1, -1, -1, -1, 1, 1, -1])  # what each term means: a weight of the other sign is none
_RIDGE = 1e-3
RIGHT_M, RIGHT_RAD = 0.25, 0.17  # a pose is right where it is no farther off than this
PRIOR_RIGHT = 0.8  # share of right poses, of those that a robot's images give: it is mostly where its map is


@dataclass(frozen=True)
class Witness:
    """What spoke for one of the poses from which an image was looked at, and whether that pose was right."""

    evidence: Evidence
    right: bool


def witnesses_of(
    localizer: Localizer, images: Iterable[tuple[np.ndarray, Camera, np.ndarray | None]], seed: int = 0
) -> list[list[Witness]]:
    """For each image (H, W, 3) those of all its poses, by the true pose (4, 4); None where no pose is right, since what
    it shows is not in the map."""

    def right(T_true: np.ndarray | None, T_estimated: np.ndarray) -> bool:
        if T_true is None:
            return False
        distance_m, angle_rad = pose_error(T_true, T_estimated)
        return distance_m <= RIGHT_M and angle_rad <= RIGHT_RAD

    return [
        [
            Witness(evidence, right(T_true, look.solution.T_map_camera))
            for look, evidence in localizer.looks(*given, seed)
        ]
        for *given, T_true in images
    ]


def telling(frames: Sequence[Sequence[Witness]]) -> list[Witness]:
    """Of each image the right pose and the wrong one that most points speak for: those that must be told apart."""
    chosen = []
    for witnesses in frames:
        for right in (True, False):
            alike = [witness for witness in witnesses if witness.right == right]
            chosen += [max(alike, key=lambda witness: witness.evidence.agreeing)] if alike else []
    return chosen


def fit_confidence(
    evidence: Sequence[Evidence], right_n: np.ndarray, weight_n: np.ndarray | None = None
) -> ConfidenceModel:
    """Logistic regression on N poses; right and wrong ones count the same in all, `weight_n` among themselves. Then
    right ones are taken for as frequent as PRIOR_RIGHT says.

    Raises ValueError unless there are both.
    """
    right_n = np.asarray(right_n, bool)
    if right_n.all() or not right_n.any():
        raise ValueError("a fit needs right poses and wrong ones")
    weight_n = np.ones(len(right_n)) if weight_n is None else np.asarray(weight_n, float)
    weight_n = np.where(right_n, weight_n / weight_n[right_n].sum(), weight_n / weight_n[~right_n].sum()) / 2
    terms_nk = np.array([terms(one) for one in evidence])
    mean_k = weight_n @ terms_nk
    scale_k = np.maximum(np.sqrt(weight_n @ (terms_nk - mean_k) ** 2), 1e-9)
    standard_nc = np.column_stack([(terms_nk - mean_k) / scale_k, np.ones(len(terms_nk))])
    sign_n = np.where(right_n, 1.0, -1.0)

    def cost(weights_c: np.ndarray) -> tuple[float, np.ndarray]:
        margin_n = sign_n * (standard_nc @ weights_c)
        slope_n = -weight_n * sign_n / (1 + np.exp(margin_n))
        ridge_c = np.append(weights_c[:-1], 0.0)
        value = weight_n @ np.logaddexp(0, -margin_n) + _RIDGE * ridge_c @ ridge_c
        return float(value), slope_n @ standard_nc + 2 * _RIDGE * ridge_c

    bounds = [(0.0, None) if sign > 0 else (None, 0.0) for sign in _SPEAKS_FOR] + [(None, None)]
    found_c = minimize(cost, np.zeros(len(EVIDENCE) + 1), jac=True, method="L-BFGS-B", bounds=bounds).x
    weights_k = found_c[:-1] / scale_k
    offset = found_c[-1] - weights_k @ mean_k + np.log(PRIOR_RIGHT / (1 - PRIOR_RIGHT))
    return ConfidenceModel(float(offset), **{name: float(w) for name, w in zip(EVIDENCE, weights_k, strict=True)})
