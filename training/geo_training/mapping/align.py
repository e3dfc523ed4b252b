"""How a map relates to the recorded world: a robust similarity from poses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geo_perception.errors import InputError
from geo_perception.geometry import so3_exp, so3_log
from geo_training.metrics.similarity import Similarity, nearest_rotation

MIN_POSES = 3
TRIALS = 500
REFINED = 8  # of the best trials
GATE_SIGMAS = 3.5  # a pose further off agrees with nothing
# The least and the largest deviation of a pose, as shares of the walk's size.
LEAST_SIGMA, MAX_SIGMA, _SIGMAS = 1e-3, 0.15, 32
# Another scale, by more than this, on which so many agree for each that agrees on the best: nobody can tell.
OTHER_SCALE, ALTERNATIVE_SHARE = 0.03, 0.7
BOOTSTRAPS, RUNS = 100, 20  # how often, and into how many runs of neighbours, the poses are drawn anew


@dataclass(frozen=True)
class Alignment:
    """A similarity with what is known about it.

    `scale_spread` is the relative standard deviation of the scale over resampled poses, wrong ones included; `inlier_n`
    says which poses agree; the residuals are medians over those, `residual_p90` is the ninth decile over all.
    """

    similarity: Similarity
    scale_spread: float
    inlier_n: np.ndarray
    residual: float
    residual_rad: float
    residual_p90: float


def robust_similarity(T_a_n44: np.ndarray, T_b_n44: np.ndarray, seed: int = 0) -> Alignment:
    """The similarity that takes camera poses of frame a to the same cameras' poses in frame b, with outliers left out.

    Similarities through pairs of poses are scored by how likely they make all poses: normal around the similarity with
    a deviation that belongs to the score, or anywhere. So poses that agree closely beat many that agree roughly, and
    what is wrong does not widen what counts as agreement. Orientations take part, so a straight walk is enough.

    Raises InputError when there are fewer than MIN_POSES poses, when the cameras did not move, when no majority of the
    poses agrees on one similarity, or when two groups of like size agree on different scales.
    """
    count = len(T_a_n44)
    if count < MIN_POSES:
        raise InputError(f"{count} frames have both a recorded pose and a place in the map; {MIN_POSES} are needed")
    rng = np.random.default_rng(seed)
    poses = _Poses.of(T_a_n44, T_b_n44)
    if poses.extent_a <= 1e-9 or poses.extent_b <= 1e-9:
        raise InputError("the cameras did not move, so the scale cannot be seen; record a walk, or pass --scale-from")
    trials = _through_pairs(poses, rng)
    if not trials:
        raise InputError("the recorded positions hardly differ, so the scale cannot be seen; pass --scale-from")
    everything_n = np.ones(count)
    fits = [_score(similarity, poses, everything_n) for similarity in trials]
    order = np.argsort([fit.cost for fit in fits], kind="stable")
    best = min((_refine(fits[index], poses, everything_n) for index in order[:REFINED]), key=lambda fit: fit.cost)
    inlier_n = best.agrees(poses)
    agree = int(inlier_n.sum())
    if agree < MIN_POSES or 2 * agree <= count:
        raise InputError(
            f"only {agree} of {count} recorded poses agree with the map; are they poses of this camera? "
            "`geo-train dataset check` tells which convention would fit"
        )
    alternative = _alternative(best, inlier_n, fits, poses)
    if alternative is not None:
        others = int((alternative.agrees(poses) & ~inlier_n).sum())
        raise InputError(
            f"{agree} of {count} recorded poses say that a unit of the map is {best.similarity.scale:.4g}, {others} "
            f"others say {alternative.similarity.scale:.4g}; leave out the part of the recording whose poses are wrong"
        )
    residual_n, turn_n = poses.residuals(best.similarity)
    return Alignment(
        best.similarity,
        _scale_spread(best, fits, poses, rng),
        inlier_n,
        float(np.median(residual_n[inlier_n])),
        float(np.median(turn_n[inlier_n])),
        float(np.percentile(residual_n, 90)),
    )


@dataclass(frozen=True)
class _Poses:
    """The same cameras in both frames: positions (N, 3), R_b_a (N, 3, 3) by the orientations of each, and how far from
    their middle nine in ten of them are: a robot may stand still for most of a recording."""

    a_n3: np.ndarray
    b_n3: np.ndarray
    R_n33: np.ndarray
    extent_a: float
    extent_b: float

    @classmethod
    def of(cls, T_a_n44: np.ndarray, T_b_n44: np.ndarray) -> _Poses:
        a_n3, b_n3 = T_a_n44[:, :3, 3], T_b_n44[:, :3, 3]
        extents = (
            float(np.percentile(np.linalg.norm(p_n3 - np.median(p_n3, axis=0), axis=1), 90)) for p_n3 in (a_n3, b_n3)
        )
        return cls(a_n3, b_n3, np.einsum("nij,nkj->nik", T_b_n44[:, :3, :3], T_a_n44[:, :3, :3]), *extents)

    def distances(self, similarity: Similarity) -> np.ndarray:
        """Distances (N,) in frame b between where the similarity puts the cameras and where they are."""
        return np.linalg.norm(similarity.points(self.a_n3) - self.b_n3, axis=1)

    def residuals(self, similarity: Similarity) -> tuple[np.ndarray, np.ndarray]:
        """Those distances (N,), and the angles (N,) between the orientations."""
        return self.distances(similarity), np.linalg.norm(so3_log(similarity.R_33.T @ self.R_n33), axis=-1)


@dataclass(frozen=True)
class _Fit:
    """A similarity with the deviation (of each axis, in the unit of frame b) that suits it best, its cost, and the cost
    (N,) of every pose by itself: 0 for one that is anywhere, the further below the more it agrees."""

    similarity: Similarity
    sigma: float
    cost: float
    cost_n: np.ndarray

    def agrees(self, poses: _Poses) -> np.ndarray:
        """Which poses (N,) lie within GATE_SIGMAS."""
        return poses.distances(self.similarity) <= GATE_SIGMAS * self.sigma


def _through_pairs(poses: _Poses, rng: np.random.Generator) -> list[Similarity]:
    """Similarities that two poses at a time suggest. A good pair agrees on the rotation, of which the mean is taken;
    the middle of both fixes the translation."""
    trials = []
    for _ in range(TRIALS):
        pair = rng.choice(len(poses.a_n3), 2, replace=False)
        length_a, length_b = (float(np.linalg.norm(np.diff(p_n3[pair], axis=0))) for p_n3 in (poses.a_n3, poses.b_n3))
        if length_a < 0.2 * poses.extent_a or length_b < 1e-9:
            continue
        R_first_33, R_second_33 = poses.R_n33[pair]
        R_33 = R_first_33 @ so3_exp(0.5 * so3_log(R_first_33.T @ R_second_33))
        scale = length_b / length_a
        trials.append(Similarity(scale, R_33, (poses.b_n3[pair] - scale * poses.a_n3[pair] @ R_33.T).mean(axis=0)))
    return trials


def _score(similarity: Similarity, poses: _Poses, count_n: np.ndarray) -> _Fit:
    """The truncated cost of a similarity, each pose counted `count_n` times.

    A pose costs r^2 / 2 sigma^2 - L, with L how much more likely than anywhere it would be if it lay right there, and 0
    beyond GATE_SIGMAS; sigma is the one that makes the sum least. It is at most MAX_SIGMA of the walk's size in either
    frame: else a similarity that shrinks everything into one place would agree with all.
    """
    distance_n = poses.distances(similarity)
    size = min(similarity.scale * poses.extent_a, poses.extent_b)
    sigma_k = np.geomspace(LEAST_SIGMA, MAX_SIGMA, _SIGMAS) * size
    # "Anywhere" is a ball of twice the walk's size.
    log_ball = np.log(4 / 3 * np.pi * (2 * poses.extent_b) ** 3)
    likely_k = log_ball - 1.5 * np.log(2 * np.pi) - 3 * np.log(sigma_k)
    order = np.argsort(distance_n)
    counts = np.concatenate([[0.0], np.cumsum(count_n[order])])
    squares = np.concatenate([[0.0], np.cumsum((count_n * distance_n**2)[order])])
    within_k = np.searchsorted(distance_n[order], GATE_SIGMAS * sigma_k, side="right")
    cost_k = squares[within_k] / (2 * sigma_k**2) - likely_k * counts[within_k]
    best = int(np.argmin(cost_k))
    sigma = float(sigma_k[best])
    cost_n = np.where(distance_n <= GATE_SIGMAS * sigma, distance_n**2 / (2 * sigma**2) - likely_k[best], 0.0)
    return _Fit(similarity, sigma, float(cost_k[best]), cost_n)


def _refine(fit: _Fit, poses: _Poses, count_n: np.ndarray) -> _Fit:
    """Reweighted least squares on positions and orientations together (Cauchy weights), as long as the cost falls."""
    fit = _score(fit.similarity, poses, count_n)
    for _ in range(20):
        distance_n, turn_n = poses.residuals(fit.similarity)
        agrees_n = (distance_n <= GATE_SIGMAS * fit.sigma) & (count_n > 0)
        if agrees_n.sum() < 2:
            break
        sigma_rad = max(1.4826 * float(np.median(turn_n[agrees_n])), 1e-7)
        weight_n = count_n * agrees_n / (1 + (distance_n / (2 * fit.sigma)) ** 2) ** 2
        turn_weight_n = count_n * agrees_n / (1 + (turn_n / (2 * sigma_rad)) ** 2) ** 2
        share_n = weight_n / weight_n.sum()
        a_n3, b_n3 = poses.a_n3 - share_n @ poses.a_n3, poses.b_n3 - share_n @ poses.b_n3
        positions_33 = fit.similarity.scale * (weight_n[:, None] * b_n3).T @ a_n3 / fit.sigma**2
        orientations_33 = np.einsum("n,nij->ij", turn_weight_n, poses.R_n33) / sigma_rad**2
        R_33, _ = nearest_rotation(positions_33 + orientations_33)
        size = float(weight_n @ (a_n3**2).sum(axis=1))
        scale = float((weight_n * (b_n3 * (a_n3 @ R_33.T)).sum(axis=1)).sum() / size) if size > 0 else 0.0
        if scale <= 0:
            break
        t_3 = share_n @ poses.b_n3 - scale * R_33 @ (share_n @ poses.a_n3)
        refined = _score(Similarity(scale, R_33, t_3), poses, count_n)
        if not refined.cost < fit.cost - 1e-9 * abs(fit.cost):
            break
        fit = refined
    return fit


def _alternative(best: _Fit, inlier_n: np.ndarray, fits: list[_Fit], poses: _Poses) -> _Fit | None:
    """A fit of another scale on which nearly as many poses agree, hardly one of them among those of the best."""
    others_n = np.where(inlier_n, 0.0, 1.0)
    first = min(fits, key=lambda fit: float(fit.cost_n @ others_n))
    alternative = _refine(first, poses, others_n)
    of_its_own = int((alternative.agrees(poses) & ~inlier_n).sum())
    another = abs(np.log(alternative.similarity.scale / best.similarity.scale)) > OTHER_SCALE
    return alternative if another and of_its_own >= max(MIN_POSES, ALTERNATIVE_SHARE * inlier_n.sum()) else None


def _scale_spread(best: _Fit, fits: list[_Fit], poses: _Poses, rng: np.random.Generator) -> float:
    """The relative standard deviation of the scale over resampled recordings.

    Runs of neighbouring poses are drawn, since their errors are alike, and of all poses: each draw may prefer another
    of the similarities, and leave out others as wrong.
    """
    count = len(poses.a_n3)
    length = max(1, count // RUNS)
    starts = rng.integers(0, count, (BOOTSTRAPS, -(-count // length)))
    drawn = ((starts[:, :, None] + np.arange(length)) % count).reshape(BOOTSTRAPS, -1)[:, :count]
    candidates = [best, *fits]
    cost_cn = np.stack([fit.cost_n for fit in candidates])
    log_scales = []
    for index in drawn:
        count_n = np.bincount(index, minlength=count).astype(float)
        start = candidates[int(np.argmin(cost_cn @ count_n))]
        log_scales.append(np.log(_refine(start, poses, count_n).similarity.scale))
    return float(np.std(log_scales))
