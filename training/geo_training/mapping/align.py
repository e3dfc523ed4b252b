"""How a map relates to the recorded world: a robust similarity from poses, or a scale from known distances."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geo_perception.errors import InputError
from geo_perception.geometry import so3_exp, so3_log

MIN_POSES = 3
TRIALS = 1000
BOOTSTRAPS = 200
DISTANCES_AGREE = 0.05  # relative; tapes and phones do better


@dataclass(frozen=True)
class Similarity:
    """x_b = scale R x_a + t."""

    scale: float
    R_33: np.ndarray
    t_3: np.ndarray

    def points(self, points_n3: np.ndarray) -> np.ndarray:
        """Points (N, 3) of frame a in frame b."""
        return self.scale * points_n3 @ self.R_33.T + self.t_3

    def poses(self, T_a_camera_n44: np.ndarray) -> np.ndarray:
        """Camera poses (N, 4, 4) of frame a in frame b."""
        T_n44 = np.array(T_a_camera_n44, np.float64)
        T_n44[:, :3, 3] = self.points(T_a_camera_n44[:, :3, 3])
        T_n44[:, :3, :3] = self.R_33 @ T_a_camera_n44[:, :3, :3]
        return T_n44


@dataclass(frozen=True)
class Alignment:
    """A similarity with what is known about it.

    `scale_spread` is the relative standard deviation of the scale over resampled poses; `inlier_n` says which poses
    agree; the residuals are medians over those, `residual_p90` is the ninth decile over all.
    """

    similarity: Similarity
    scale_spread: float
    inlier_n: np.ndarray
    residual: float
    residual_rad: float
    residual_p90: float


def umeyama(a_n3: np.ndarray, b_n3: np.ndarray, weight_n: np.ndarray | None = None) -> Similarity:
    """The least-squares similarity from points a to points b (Umeyama 1991), optionally weighted."""
    weight_n = np.ones(len(a_n3)) if weight_n is None else weight_n
    weight_n = weight_n / weight_n.sum()
    centre_a, centre_b = weight_n @ a_n3, weight_n @ b_n3
    a_n3, b_n3 = a_n3 - centre_a, b_n3 - centre_b
    R_33, gain = _nearest_rotation((weight_n[:, None] * b_n3).T @ a_n3)
    scale = gain / (weight_n @ (a_n3**2).sum(axis=1))
    return Similarity(float(scale), R_33, centre_b - scale * R_33 @ centre_a)


def robust_similarity(T_a_n44: np.ndarray, T_b_n44: np.ndarray, seed: int = 0) -> Alignment:
    """The similarity that takes camera poses of frame a to the same cameras' poses in frame b, with outliers left out.

    Orientations take part, so a straight walk is enough. Raises InputError when there are fewer than MIN_POSES poses,
    when the cameras did not move, or when fewer than a third of the poses agree with each other.
    """
    count = len(T_a_n44)
    if count < MIN_POSES:
        raise InputError(f"{count} frames have both a recorded pose and a place in the map; {MIN_POSES} are needed")
    rng = np.random.default_rng(seed)
    positions_a, positions_b = T_a_n44[:, :3, 3], T_b_n44[:, :3, 3]
    extent_a, extent_b = (np.linalg.norm(p - np.median(p, axis=0), axis=1) for p in (positions_a, positions_b))
    if np.median(extent_a) <= 1e-9 or np.median(extent_b) <= 1e-9:
        raise InputError("the cameras did not move, so the scale cannot be seen; record a walk, or pass --scale-from")
    R_n33 = np.einsum("nij,nkj->nik", T_b_n44[:, :3, :3], T_a_n44[:, :3, :3])
    best, best_cost = None, np.inf
    for _ in range(TRIALS):
        i, j = rng.choice(count, 2, replace=False)
        length_a = np.linalg.norm(positions_a[j] - positions_a[i])
        length_b = np.linalg.norm(positions_b[j] - positions_b[i])
        if length_a < 0.3 * np.median(extent_a) or length_b < 1e-9:
            continue
        scale = length_b / length_a
        # A good pair agrees on the rotation; the mean of both takes part, and the middle of both fixes the translation.
        R_33 = R_n33[i] @ so3_exp(0.5 * so3_log(R_n33[i].T @ R_n33[j]))
        t_3 = (positions_b[[i, j]] - scale * positions_a[[i, j]] @ R_33.T).mean(axis=0)
        residual_n = np.linalg.norm(scale * positions_a @ R_33.T + t_3 - positions_b, axis=1)
        cost = np.partition(residual_n, count // 2)[count // 2]
        if cost < best_cost:
            best, best_cost = Similarity(scale, R_33, t_3), cost
    if best is None:
        raise InputError("the recorded positions hardly differ, so the scale cannot be seen; pass --scale-from")
    similarity, inlier_n = _refine(best, T_a_n44, T_b_n44, R_n33)
    if inlier_n.sum() < max(MIN_POSES, count / 3):
        raise InputError(
            f"only {int(inlier_n.sum())} of {count} recorded poses agree with the map; are they poses of this camera? "
            "`geo-train dataset check` tells which convention would fit"
        )
    residual_n, turn_n = _residuals(similarity, T_a_n44, T_b_n44, R_n33)
    index = np.flatnonzero(inlier_n)
    scales = []
    for _ in range(BOOTSTRAPS):
        drawn = rng.choice(index, len(index))
        scale = _scale(similarity.R_33, positions_a[drawn], positions_b[drawn])
        if scale is not None:
            scales.append(scale)
    spread = float(np.std(scales) / similarity.scale) if scales else float("nan")
    residual, residual_rad = float(np.median(residual_n[index])), float(np.median(turn_n[index]))
    return Alignment(similarity, spread, inlier_n, residual, residual_rad, float(np.percentile(residual_n, 90)))


@dataclass(frozen=True)
class KnownDistance:
    """The distance between the camera's places at two frames."""

    frame_a: str
    frame_b: str
    distance_m: float


def parse_known_distance(text: str) -> KnownDistance:
    """Reads `FRAME_A FRAME_B METRES`. Raises InputError when it is not that."""
    words = text.split()
    try:
        frame_a, frame_b, distance_m = words[0], words[1], float(words[2])
        if len(words) != 3 or not distance_m > 0 or frame_a == frame_b:
            raise ValueError
    except (IndexError, ValueError):
        raise InputError(
            f"--scale-from '{text}' is not two frames and a distance; write for example "
            '--scale-from "walk/000010.jpg walk/000042.jpg 2.35"'
        ) from None
    return KnownDistance(frame_a, frame_b, distance_m)


def scale_from_distances(T_world_camera: dict[str, np.ndarray], known: list[KnownDistance]) -> tuple[float, float]:
    """Metres in a unit of the map, and the relative disagreement of the distances: half the widest difference.

    Raises InputError for fewer than two distances, a frame that is not in the map, two frames at one place, or
    distances that disagree by more than DISTANCES_AGREE.
    """
    if len(known) < 2:
        raise InputError("one known distance cannot be checked; pass --scale-from twice, with two different distances")
    scales = []
    for item in known:
        a_3, b_3 = (
            T_world_camera[find_frame(name, list(T_world_camera))][:3, 3] for name in (item.frame_a, item.frame_b)
        )
        length = float(np.linalg.norm(a_3 - b_3))
        if length < 1e-9:
            raise InputError(f"{item.frame_a} and {item.frame_b} were taken from one place; choose frames apart")
        scales.append(item.distance_m / length)
    scale = float(np.exp(np.mean(np.log(scales))))
    disagreement = (max(scales) - min(scales)) / (2 * scale)
    if disagreement > DISTANCES_AGREE:
        stated = ", ".join(f"{s:.4g}" for s in scales)
        raise InputError(
            f"the known distances disagree: they give {stated} metres a unit of the map, {2 * disagreement:.0%} apart; "
            "measure again, or choose frames further apart"
        )
    return scale, disagreement


def find_frame(name: str, names: list[str]) -> str:
    """The frame that is meant by its whole name, or by the end of it without the suffix.

    Raises InputError when none or several fit.
    """
    if name in names:
        return name
    fitting = [full for full in names if full.endswith("/" + name) or full.rsplit(".", 1)[0].endswith("/" + name)]
    if len(fitting) != 1:
        what = "is not in the map" if not fitting else f"could be {' or '.join(fitting[:3])}"
        raise InputError(f"frame '{name}' {what}; give it as it stands in frames.csv, such as {names[0]}")
    return fitting[0]


def _refine(similarity: Similarity, T_a_n44, T_b_n44, R_n33) -> tuple[Similarity, np.ndarray]:
    """Reweighted least squares on positions and orientations together (Cauchy weights, scales from the residuals)."""
    positions_a, positions_b = T_a_n44[:, :3, 3], T_b_n44[:, :3, 3]
    extent = np.median(np.linalg.norm(positions_b - np.median(positions_b, axis=0), axis=1))
    for _ in range(20):
        residual_n, turn_n = _residuals(similarity, T_a_n44, T_b_n44, R_n33)
        sigma = max(1.4826 * float(np.median(residual_n)), 1e-6 * extent)
        sigma_rad = max(1.4826 * float(np.median(turn_n)), 1e-7)
        weight_n = 1 / (1 + (residual_n / (2 * sigma)) ** 2) ** 2
        turn_weight_n = 1 / (1 + (turn_n / (2 * sigma_rad)) ** 2) ** 2
        share_n = weight_n / weight_n.sum()
        a_n3, b_n3 = positions_a - share_n @ positions_a, positions_b - share_n @ positions_b
        across = similarity.scale * (weight_n[:, None] * b_n3).T @ a_n3 / sigma**2
        turning = np.einsum("n,nij->ij", turn_weight_n, R_n33) / sigma_rad**2
        R_33, _ = _nearest_rotation(across + turning)
        scale = float((weight_n * (b_n3 * (a_n3 @ R_33.T)).sum(axis=1)).sum() / (weight_n @ (a_n3**2).sum(axis=1)))
        if scale <= 0:
            break
        similarity = Similarity(scale, R_33, share_n @ positions_b - scale * R_33 @ (share_n @ positions_a))
    residual_n, turn_n = _residuals(similarity, T_a_n44, T_b_n44, R_n33)
    sigma = max(1.4826 * float(np.median(residual_n)), 1e-6 * extent)
    # A median residual as large as the walk itself is no agreement, however alike the residuals are.
    return similarity, (residual_n < 3.5 * sigma) & (residual_n < 0.5 * extent)


def _residuals(similarity: Similarity, T_a_n44, T_b_n44, R_n33) -> tuple[np.ndarray, np.ndarray]:
    residual_n = np.linalg.norm(similarity.points(T_a_n44[:, :3, 3]) - T_b_n44[:, :3, 3], axis=1)
    return residual_n, np.linalg.norm(so3_log(similarity.R_33.T @ R_n33), axis=-1)


def _scale(R_33: np.ndarray, a_n3: np.ndarray, b_n3: np.ndarray) -> float | None:
    a_n3, b_n3 = a_n3 - a_n3.mean(axis=0), b_n3 - b_n3.mean(axis=0)
    size = float((a_n3**2).sum())
    return float((b_n3 * (a_n3 @ R_33.T)).sum() / size) if size > 0 else None


def _nearest_rotation(M_33: np.ndarray) -> tuple[np.ndarray, float]:
    """The rotation R with the greatest trace(R^T M), and that trace."""
    U, D, Vt = np.linalg.svd(M_33)
    sign_3 = np.array([1.0, 1.0, np.sign(np.linalg.det(U @ Vt))])
    return (U * sign_3) @ Vt, float(D @ sign_3)
