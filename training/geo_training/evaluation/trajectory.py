"""Absolute and relative trajectory errors, by evo.

Poses are in the map's frame, so the plain ATE needs no alignment and shows a wrong map frame; the aligned one (SE(3),
no scale) shows what is left when that is taken away.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from geo_perception.geometry import pose_to_quaternion
from geo_training.evaluation.metrics import FrameOutcome, Ruler

# A pair of frames further apart than this many median intervals is not "one frame to the next".
_GAP_INTERVALS = 2.5


def trajectory_figures(outcomes: Sequence[FrameOutcome], ruler: Ruler) -> dict[str, float]:
    """RMSE of ATE (plain and aligned) and of RPE from one frame to the next, over localized frames with a true pose.

    `outcomes` may hold several sequences: the errors are made a sequence at a time and pooled. NaN where too few frames
    are localized (one for the ATE, three for the alignment, two neighbours for the RPE).
    """
    plain, aligned, steps, turns = [], [], [], []
    for sequence in dict.fromkeys(o.sequence for o in outcomes):
        ordered = sorted((o for o in outcomes if o.sequence == sequence), key=lambda o: o.stamp_s)
        usable = [o for o in ordered if o.T_true is not None and o.T_estimated is not None]
        plain.append(absolute_errors(usable))
        aligned.append(absolute_errors(usable, align=True))
        for run in neighbour_runs(ordered):
            step_n, turn_n = relative_errors(run)
            steps.append(step_n)
            turns.append(turn_n)
    return {
        f"ate_{ruler.unit}": _rmse(plain) * ruler.factor,
        f"ate_aligned_{ruler.unit}": _rmse(aligned) * ruler.factor,
        f"rpe_{ruler.unit}": _rmse(steps) * ruler.factor,
        "rpe_deg": _rmse(turns),
    }


def absolute_errors(outcomes: Sequence[FrameOutcome], align: bool = False) -> np.ndarray:
    """Distance (scene units) of each estimated position to the true one, (N,); aligned first by a rigid motion where
    asked (empty with fewer than three frames, or where they stand on one line and alignment has no single answer)."""
    from evo.core import geometry, metrics

    if not outcomes or (align and len(outcomes) < 3):
        return np.zeros(0)
    true, estimated = _trajectories(outcomes)
    if align:
        try:
            estimated.align(true, correct_scale=False)
        except geometry.GeometryException:
            return np.zeros(0)
    ape = metrics.APE(metrics.PoseRelation.translation_part)
    ape.process_data((true, estimated))
    return np.asarray(ape.error, np.float64)


def relative_errors(outcomes: Sequence[FrameOutcome]) -> tuple[np.ndarray, np.ndarray]:
    """Error of the motion from each frame to the next: distance (scene units) and angle (degrees), each (N - 1,)."""
    from evo.core import metrics

    if len(outcomes) < 2:
        return np.zeros(0), np.zeros(0)
    results = []
    for relation in (metrics.PoseRelation.translation_part, metrics.PoseRelation.rotation_angle_deg):
        rpe = metrics.RPE(relation, delta=1, delta_unit=metrics.Unit.frames, all_pairs=True)
        rpe.process_data(_trajectories(outcomes))
        results.append(np.asarray(rpe.error, np.float64))
    return results[0], results[1]


def neighbour_runs(ordered: Sequence[FrameOutcome]) -> list[list[FrameOutcome]]:
    """Cuts one sequence, in order of time, where a frame has no estimate or no truth, or where frames are missing."""
    intervals_s = np.diff([o.stamp_s for o in ordered])
    limit_s = _GAP_INTERVALS * float(np.median(intervals_s)) if len(intervals_s) else 0.0
    runs: list[list[FrameOutcome]] = [[]]
    before_s = None
    for outcome in ordered:
        usable = outcome.T_true is not None and outcome.T_estimated is not None
        if runs[-1] and (not usable or outcome.stamp_s - before_s > limit_s):
            runs.append([])
        if usable:
            runs[-1].append(outcome)
        before_s = outcome.stamp_s
    return [run for run in runs if run]


def _trajectories(outcomes: Sequence[FrameOutcome]):
    """The true and the estimated trajectory as evo's. Quaternions go in, since evo refuses a rounded matrix."""
    from evo.core.trajectory import PoseTrajectory3D

    stamps_s = np.array([o.stamp_s for o in outcomes])
    trajectories = []
    for poses in ([o.T_true for o in outcomes], [o.T_estimated for o in outcomes]):
        positions_n3, quaternions_n4 = map(np.array, zip(*map(pose_to_quaternion, poses), strict=True))
        trajectories.append(PoseTrajectory3D(positions_n3, np.roll(quaternions_n4, 1, axis=1), stamps_s))
    return tuple(trajectories)


def _rmse(parts: list[np.ndarray]) -> float:
    values = np.concatenate(parts) if parts else np.zeros(0)
    return float(np.sqrt(np.mean(values**2))) if len(values) else float("nan")
