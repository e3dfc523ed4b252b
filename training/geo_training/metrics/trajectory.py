"""Absolute and relative trajectory errors (ATE and RPE), as Sturm et al. (IROS 2012) define them.

Poses are in the map's frame, so the plain ATE needs no alignment and shows a wrong map frame; the aligned one (SE(3),
no scale) shows what is left when that is taken away.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from geo_perception.geometry import invert_pose, pose_error
from geo_training.metrics.pose import FrameOutcome, LengthUnit, by_sequence, root_mean_square
from geo_training.metrics.similarity import Similarity, umeyama

# A pair of frames further apart than this many median intervals is not "one frame to the next".
_GAP_INTERVALS = 2.5
# Points whose second largest spread is below this share of the largest lie on one line, within rounding.
_ON_A_LINE = 1e-9


def trajectory_metrics(outcomes: Sequence[FrameOutcome], length_unit: LengthUnit) -> dict[str, float]:
    """RMSE of ATE (plain and aligned) and of RPE from one frame to the next, over the frames with a true pose.

    A miss is infinitely far off, and so is any motion to or from it: with one miss the RMSE is infinite. The same over
    what was localized alone stands beside it with `localized_` before its name; `localized_frames` and
    `localized_pairs` say of how many frames and motions.

    `outcomes` may hold several sequences: the errors are made a sequence at a time and pooled. NaN where there is
    nothing to measure: no frame with a truth; no two neighbours for the RPE; for the alignment, a sequence with fewer
    than three localized frames, or along one line, is left out.
    """
    plain, aligned, steps, turns, missed, missed_pairs = [], [], [], [], 0, 0
    for members in by_sequence(outcomes).values():
        ordered = sorted(members, key=lambda o: o.stamp_s)
        usable = [o for o in ordered if o.T_true is not None and o.T_estimated is not None]
        missed += sum(o.T_true is not None and o.T_estimated is None for o in ordered)
        plain.append(absolute_errors(usable))
        aligned.append(absolute_errors(usable, align=True))
        pairs = 0
        for run in neighbour_runs(ordered):
            step_n, turn_n = relative_errors(run)
            steps.append(step_n)
            turns.append(turn_n)
            pairs += len(step_n)
        missed_pairs += sum(len(run) - 1 for run in neighbour_runs(ordered, localized=False)) - pairs
    metrics: dict[str, float] = {}
    for name, parts, lost, factor in (
        (f"ate_{length_unit.key}", plain, missed, length_unit.factor),
        (f"ate_aligned_{length_unit.key}", aligned, missed, length_unit.factor),
        (f"rpe_{length_unit.key}", steps, missed_pairs, length_unit.factor),
        ("rpe_deg", turns, missed_pairs, 1.0),
    ):
        found = root_mean_square(np.concatenate([np.zeros(0), *parts])) * factor
        metrics |= {name: float("inf") if lost else found, f"localized_{name}": found}
    counts = {"localized_frames": sum(map(len, plain)), "localized_pairs": sum(map(len, steps))}
    return metrics | counts


def absolute_errors(outcomes: Sequence[FrameOutcome], align: bool = False) -> np.ndarray:
    """Distance (scene units) of each estimated position to the true one, (N,); aligned first by a rigid motion where
    asked (empty with fewer than three frames, or where they stand on one line and alignment has no single answer)."""
    true_n3, estimated_n3 = (
        np.array([T[:3, 3] for T in poses if T is not None], np.float64).reshape(-1, 3)
        for poses in ([o.T_true for o in outcomes], [o.T_estimated for o in outcomes])
    )
    if align:
        alignment = align_positions(estimated_n3, true_n3, with_scale=False)
        if alignment is None:
            return np.zeros(0)
        estimated_n3 = alignment.points(estimated_n3)
    return np.linalg.norm(estimated_n3 - true_n3, axis=1)


def align_positions(a_n3: np.ndarray, b_n3: np.ndarray, with_scale: bool) -> Similarity | None:
    """The least-squares motion from positions a to b, with a factor (Sim(3)) or without (SE(3)); Umeyama 1991.

    None where there is no single answer: fewer than three positions, or either on one line.
    """
    if len(a_n3) < 3:
        return None
    across_33 = (b_n3 - b_n3.mean(axis=0)).T @ (a_n3 - a_n3.mean(axis=0))
    spread_3 = np.linalg.svd(across_33, compute_uv=False)
    if not spread_3[1] > _ON_A_LINE * spread_3[0]:
        return None
    found = umeyama(a_n3, b_n3)
    if with_scale:
        return found
    return Similarity(1.0, found.R_33, b_n3.mean(axis=0) - found.R_33 @ a_n3.mean(axis=0))


def relative_errors(outcomes: Sequence[FrameOutcome]) -> tuple[np.ndarray, np.ndarray]:
    """Error of the motion from each frame to the next: distance (scene units) and angle (degrees), each (N - 1,)."""
    errors = []
    for before, after in itertools.pairwise(outcomes):
        true, estimated = (
            invert_pose(getattr(before, what)) @ getattr(after, what) for what in ("T_true", "T_estimated")
        )
        errors.append(pose_error(true, estimated))
    distance_n, angle_rad_n = np.array(errors, np.float64).reshape(-1, 2).T
    return distance_n, np.degrees(angle_rad_n)


def neighbour_runs(ordered: Sequence[FrameOutcome], localized: bool = True) -> list[list[FrameOutcome]]:
    """Cuts one sequence, in order of time, where a frame has no truth or (unless `localized` is False) no estimate, or
    where frames are missing."""
    intervals_s = np.diff([o.stamp_s for o in ordered])
    limit_s = _GAP_INTERVALS * float(np.median(intervals_s)) if len(intervals_s) else 0.0
    runs: list[list[FrameOutcome]] = [[]]
    before_s = math.inf
    for outcome in ordered:
        usable = outcome.T_true is not None and (outcome.T_estimated is not None or not localized)
        if runs[-1] and (not usable or outcome.stamp_s - before_s > limit_s):
            runs.append([])
        if usable:
            runs[-1].append(outcome)
        before_s = outcome.stamp_s
    return [run for run in runs if run]
