"""Ego-motion against true poses: over short snippets, as SfMLearner reports it, and over the whole path.

The unit of an estimated path is not known, so lengths are only compared after one factor was taken away: one for each
snippet, one for the whole path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from geo_perception.errors import InputError
from geo_perception.geometry import invert_pose
from geo_training.console import track
from geo_training.evaluation.depth.set import DepthQuery
from geo_training.evaluation.predictions import EstimatedPath
from geo_training.metrics.pose import FrameOutcome, by_sequence, root_mean_square
from geo_training.metrics.trajectory import absolute_errors, align_positions, neighbour_runs, relative_errors

SNIPPET_LENGTH = 5


class MotionEstimator(Protocol):
    """What is measured. `views` is how many images it takes; the middle one is the target (of two: the first)."""

    @property
    def views(self) -> int: ...

    def motion(self, views: list[np.ndarray]) -> list[np.ndarray]: ...


@dataclass(frozen=True)
class OdometryPath:
    """One sequence: T_world_camera of every frame (N, 4, 4), true (metres) and estimated (its own unit and start)."""

    sequence: str
    true_n44: np.ndarray = field(repr=False)
    estimated_n44: np.ndarray = field(repr=False)

    @property
    def aligned_n44(self) -> np.ndarray:
        """The estimated path in the true one's world and unit, by `align_path`."""
        return align_path(self.true_n44, self.estimated_n44)

    @property
    def length_m(self) -> float:
        """The length of the true path."""
        return float(np.linalg.norm(np.diff(self.true_n44[:, :3, 3], axis=0), axis=1).sum())


def estimate_paths(estimator: MotionEstimator, queries: Sequence[DepthQuery]) -> list[OdometryPath]:
    """The path of every unbroken run of images with true poses.

    Raises InputError when there is no run long enough.
    """
    return paths_beside_truth(queries, follow_camera(estimator, queries))


def follow_camera(estimator: MotionEstimator, queries: Sequence[DepthQuery]) -> list[EstimatedPath]:
    """What the estimator makes of every unbroken run of images with true poses.

    Raises InputError when there is no run long enough.
    """
    runs = unbroken_runs(queries, max(SNIPPET_LENGTH, estimator.views))
    if not runs:
        raise InputError(
            f"there are no {SNIPPET_LENGTH} frames in a row with true poses in metres; leave out --odometry, or give a "
            "dataset with poses (and --split all)"
        )
    return [
        EstimatedPath(
            [query.name for query in run],
            chain_motions(estimate_motions(estimator, [query.load_image for query in run])),
        )
        for run in runs
    ]


def paths_beside_truth(queries: Sequence[DepthQuery], paths: Sequence[EstimatedPath]) -> list[OdometryPath]:
    """Estimated paths with the true poses of their frames."""
    by_name = {query.name: query for query in queries}
    return [
        OdometryPath(
            by_name[path.frames[0]].sequence,
            np.stack([by_name[name].T_world_camera for name in path.frames]),
            path.T_first_camera_n44,
        )
        for path in paths
    ]


def estimate_motions(estimator: MotionEstimator, loads: Sequence[Callable[[], np.ndarray]]) -> list[np.ndarray]:
    """T_before_after (4, 4) of each image and the next, N - 1 of them; each image is loaded once.

    The motion between two frames is taken from the window whose target is the earlier one; that out of the first frame
    from the first window. Needs at least as many images as the estimator views at once.
    """
    views, motions, window = estimator.views, [], []
    target = (views - 1) // 2
    for index, load in enumerate(track(loads, "following the camera")):
        window = [*window, load()][-views:]
        if len(window) < views:
            continue
        found = estimator.motion(window)
        found.insert(target, np.eye(4))  # so that found[k] is T_k_target
        first = target if motions else 0
        last = views - 1 if index == len(loads) - 1 else target + 1
        motions += [found[k] @ invert_pose(found[k + 1]) for k in range(first, last)]
    return motions


def chain_motions(motions: Iterable[np.ndarray]) -> np.ndarray:
    """T_first_camera (N + 1, 4, 4) of N motions T_before_after."""
    poses = [np.eye(4)]
    for T_before_after in motions:
        poses.append(poses[-1] @ T_before_after)
    return np.stack(poses)


def unbroken_runs(queries: Sequence[DepthQuery], least: int = SNIPPET_LENGTH) -> list[list[DepthQuery]]:
    """The queries with a true pose, by sequence, cut where a frame has none or frames are missing; runs of fewer than
    `least` are left out."""
    runs = []
    for sequence, found in by_sequence(queries).items():
        members = sorted(found, key=lambda q: q.stamp_s)
        by_name = {query.name: query for query in members}
        outcomes = [
            FrameOutcome(q.name, sequence, round(q.stamp_s * 1e9), "", q.T_world_camera, np.eye(4)) for q in members
        ]
        runs += [[by_name[outcome.name] for outcome in run] for run in neighbour_runs(outcomes)]
    return [run for run in runs if len(run) >= least]


def snippet_errors_m(true_n44: np.ndarray, estimated_n44: np.ndarray, length: int = SNIPPET_LENGTH) -> np.ndarray:
    """The ATE of every snippet of `length` frames (M,), in metres, exactly as SfMLearner (Zhou et al. 2017) reports it.

    Both snippets are put into the frame of their first pose, the estimate is multiplied by the one factor that fits
    positions best, and what is left is sqrt(sum of squared distances) / length (not sqrt(sum / length), which is
    sqrt(length) times as much).
    """
    errors_m = []
    for start in range(len(true_n44) - length + 1):
        true_k3, estimated_k3 = (
            (invert_pose(path_n44[start]) @ path_n44[start : start + length])[:, :3, 3]
            for path_n44 in (true_n44, estimated_n44)
        )
        if not np.isfinite(estimated_k3).all():
            errors_m.append(np.inf)
            continue
        norm = float((estimated_k3**2).sum())
        scale = float((true_k3 * estimated_k3).sum()) / norm if norm > 0 else 0.0
        errors_m.append(np.sqrt(((scale * estimated_k3 - true_k3) ** 2).sum()) / length)
    return np.array(errors_m, np.float64)


def align_path(true_n44: np.ndarray, estimated_n44: np.ndarray) -> np.ndarray:
    """The estimated path moved, turned and scaled as one (Sim(3), Umeyama's method) onto the true one.

    A path along one exact line leaves the turn about it open: then first poses are laid on each other and only the
    scale is fitted.
    """
    known_n = np.isfinite(estimated_n44).all(axis=(1, 2))
    if not known_n.all():  # what is no number stays none, and the rest is aligned
        aligned_n44 = np.full(estimated_n44.shape, np.nan)
        if known_n.any():
            aligned_n44[known_n] = align_path(true_n44[known_n], estimated_n44[known_n])
        return aligned_n44
    alignment = align_positions(estimated_n44[:, :3, 3], true_n44[:, :3, 3], with_scale=True)
    return _align_first(true_n44, estimated_n44) if alignment is None else alignment.poses(estimated_n44)


def odometry_metrics(paths: Sequence[OdometryPath]) -> dict[str, float]:
    """All figures, over the snippets and frames of all paths, and over how many of both (`ate5_snippets`,
    `odometry_frames`). A path with a pose that is no number is infinitely far off.

    `ate5_m` and `ate5_std_m` over snippets; `ate_m` the RMSE of positions of the aligned paths; `rpe_m` and `rpe_deg`
    the RMSE of the motion from one frame to the next, after the same alignment; `path_m` how long the true paths are.
    NaN where no path is long enough.
    """
    snippets_m = np.concatenate([np.zeros(0), *(snippet_errors_m(p.true_n44, p.estimated_n44) for p in paths)])
    absolute, steps, turns = [np.zeros(0)], [np.zeros(0)], [np.zeros(0)]
    for path in paths:
        if not np.isfinite(path.estimated_n44).all():
            for parts in (absolute, steps, turns):
                parts.append(np.array([np.inf]))
            continue
        outcomes = _as_outcomes(path)
        absolute.append(absolute_errors(outcomes))
        step_n, turn_n = relative_errors(outcomes)
        steps.append(step_n)
        turns.append(turn_n)
    nothing = float("nan")
    return {
        "ate5_m": float(snippets_m.mean()) if len(snippets_m) else nothing,
        "ate5_std_m": float(snippets_m.std()) if np.isfinite(snippets_m).all() and len(snippets_m) else nothing,
        **{
            name: root_mean_square(np.concatenate(parts))
            for name, parts in (("ate_m", absolute), ("rpe_m", steps), ("rpe_deg", turns))
        },
        "ate5_snippets": len(snippets_m),
        "path_m": float(sum(path.length_m for path in paths)),
        "odometry_frames": sum(len(path.true_n44) for path in paths),
    }


def _align_first(true_n44: np.ndarray, estimated_n44: np.ndarray) -> np.ndarray:
    local_n44 = invert_pose(estimated_n44[0]) @ estimated_n44
    wanted_n3 = (invert_pose(true_n44[0]) @ true_n44)[:, :3, 3]
    norm = float((local_n44[:, :3, 3] ** 2).sum())
    local_n44[:, :3, 3] *= float((wanted_n3 * local_n44[:, :3, 3]).sum()) / norm if norm > 0 else 0.0
    return true_n44[0] @ local_n44


def _as_outcomes(path: OdometryPath) -> list[FrameOutcome]:
    pairs = zip(path.true_n44, path.aligned_n44, strict=True)
    return [FrameOutcome("", path.sequence, index, "", *pair) for index, pair in enumerate(pairs)]
