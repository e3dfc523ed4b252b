"""Table 1 of "Towards Keypoint Guided Self-Supervised Depth Estimation" as trainings, and rows that it does not have.

The base config is the paper's model with the keypoint term at the base's weight. The paper's own rows leave open what
the keypoints do and what came with them (edge-aware smoothness, one scale, no mask), so that one row more has all of
that and no keypoints. Its future work, descriptors that are learned, needs true motion; a row of SIFT with true motion
stands beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from geo_perception.errors import InputError
from geo_training.datasets.scene import SceneDataset
from geo_training.depth.config import DepthTrainingConfig
from geo_training.experiments.depth_papers.experiment_table import Evaluate, Metrics, Row, RowResult, run_table

NO_DET_EXPL, DET_EXPL, NO_DET, DET, SFMLEARNER = "no_det_expl", "det_expl", "no_det", "det", "sfmlearner"
CONTROL, MULTI, KNOWN, LEARNED = "no_keypoints", "det_multi", "det_known", "learned"
METRICS = ("abs_rel", "sq_rel", "d1", "d2", "d3")
PAPER = {
    NO_DET_EXPL: (0.309, 3.813, 0.603, 0.818, 0.912),
    DET_EXPL: (0.284, 3.275, 0.620, 0.822, 0.914),
    NO_DET: (0.282, 3.160, 0.605, 0.815, 0.911),
    DET: (0.277, 3.275, 0.633, 0.829, 0.917),
    SFMLEARNER: (0.286, 3.072, 0.629, 0.829, 0.916),
}
MASK_WEIGHT = 0.2  # SfMLearner's
# SfMLearner's second-order smoothness against its photometric term of images in 0 to 1.
SECOND_ORDER_RATIO = 0.25
# Of the keypoint weight: a cross entropy pulls depth back less than a sum over 128 differences does (0.6 of it,
# on frames of an office with depth off by 10 %).
DESCRIPTOR_RATIO = 1.5


def table_rows(base: DepthTrainingConfig, known_motion: bool) -> list[Row]:
    """The paper's five rows, then ours; those of true motion only where the datasets have poses.

    Raises InputError when the base has no keypoint term, which every row would lack.
    """
    weights = base.losses.weights
    if not base.losses.weighs("keypoint") or not base.losses.weighs("photometric"):
        raise InputError("the config weighs no keypoint or no photometric term; give losses.weights one of each")
    masked = {"weights": {"mask": MASK_WEIGHT}, "explainability": True}
    plain = {"weights": {"mask": 0.0}, "explainability": False}
    smooth = {"smoothness": SECOND_ORDER_RATIO * weights["photometric"]}
    sfmlearner = {
        "weights": {"keypoint": 0.0, "mask": MASK_WEIGHT, **smooth},
        "explainability": True,
        "scales": "multi",
        "smoothness": "second_order",
    }
    learned = {"mask": 0.0, "keypoint": 0.0, "descriptor": DESCRIPTOR_RATIO * weights["keypoint"]}
    rows = [
        Row(NO_DET_EXPL, "no det + expl", {"losses": {**masked, "keypoint_detector": False}}),
        Row(DET_EXPL, "det + expl", {"losses": {**masked, "keypoint_detector": True}}),
        Row(NO_DET, "no det + no expl", {"losses": {**plain, "keypoint_detector": False}}),
        Row(DET, "det + no expl", {"losses": {**plain, "keypoint_detector": True}}),
        Row(SFMLEARNER, "SfMLearner", {"losses": sfmlearner}),
        Row(CONTROL, "no keypoints + no expl (ours)", {"losses": {**plain, "weights": {"mask": 0.0, "keypoint": 0.0}}}),
        Row(MULTI, "det + no expl, multi-scale (ours)", {"losses": {**plain, "scales": "multi"}}),
    ]
    if known_motion:
        known = {"motion": "known"}
        rows += [
            Row(KNOWN, "det + no expl, true motion (ours)", {**known, "losses": plain}),
            Row(LEARNED, "learned descriptors, true motion (ours)", {**known, "losses": {**plain, "weights": learned}}),
        ]
    return [Row(row.name, row.title, row.changes, _paper_metrics(row.name)) for row in rows]


def has_poses(config: DepthTrainingConfig) -> bool:
    """Whether the true motion of every frame of the datasets is known."""
    frames = [frame for folder in config.datasets for frame in SceneDataset(folder).frames]
    return bool(frames) and all(frame.T_world_camera is not None for frame in frames)


def run_keypoint_table(
    base: DepthTrainingConfig,
    out: str | Path,
    evaluate: Evaluate,
    seeds: Sequence[int] | None = None,
    after_row: Callable[[list[RowResult]], object] | None = None,
    names: Sequence[str] = (),
) -> list[RowResult]:
    """Trains and measures the rows (those of `names`, all where none is given); `after_row` gets all results so far.

    What is done in the folder `out` is kept, and what was interrupted goes on. Raises InputError for an unknown name.
    """
    rows = table_rows(base, has_poses(base))
    unknown = sorted(set(names) - {row.name for row in rows})
    if unknown:
        known = ", ".join(row.name for row in rows)
        raise InputError(f"there is no row '{unknown[0]}' for these datasets; choose among {known}")
    return run_table([row for row in rows if not names or row.name in names], base, out, evaluate, seeds, after_row)


def _paper_metrics(name: str) -> Metrics | None:
    return dict(zip(METRICS, PAPER[name], strict=True)) if name in PAPER else None
