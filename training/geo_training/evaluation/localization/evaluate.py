"""A scene against a dataset with known poses: every frame localized on its own, in process."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from geo_perception.errors import InputError
from geo_perception.localization.result import Localization
from geo_training.console import warn
from geo_training.datasets.scene import SceneDataset
from geo_training.datasets.splits import frames_of_split
from geo_training.evaluation.localization.predictions import FORMAT, Estimator, predict_queries
from geo_training.evaluation.localization.set import Query, Truth, dataset_queries, true_poses
from geo_training.evaluation.localization.summary import Evaluation, make_evaluation
from geo_training.evaluation.localization.woken import Woken
from geo_training.evaluation.predictions import Prediction, Predictions, PredictionStore
from geo_training.metrics.pose import FrameOutcome, LengthUnit, scene_depth


def evaluate_dataset(
    estimator: Estimator,
    dataset: SceneDataset,
    landmarks_map_l3: np.ndarray,
    metric: bool = True,
    split: str | None = None,
    truth: Truth = "auto",
    seed: int = 0,
    title: str = "Localization",
    extra_metadata: dict[str, str] | None = None,
    store: PredictionStore[Localization] | None = None,
) -> Evaluation:
    """Localizes the frames of a split, or takes what `store` holds of them, and measures them against their true poses.

    Raises InputError when there is no such frame, none of them has a true pose, or the store is of something else.
    """
    frames, split_label = frames_of_split(dataset, split)
    poses, cameras, truth_label = true_poses(dataset, truth)
    if not any(frame.name in poses for frame in frames):
        raise InputError(f"no frame of {dataset.root} ({split_label}) has a true pose in {truth_label}")
    queries = dataset_queries(dataset, frames, poses, cameras)
    length_unit = length_unit_of(metric, [q.T_true for q in queries if q.T_true is not None], landmarks_map_l3)
    data = f"{dataset.root} ({split_label})"
    answer = partial(predict_queries, estimator, queries, seed)
    predictions = (store or PredictionStore()).obtain(FORMAT, [query.seen for query in queries], data, answer)
    metadata = {"data": data, "true poses": truth_label, **(extra_metadata or {})}
    config = {"split": split_label, "truth": truth, "seed": seed}
    gravity = dataset.info.gravity_world
    up_map_3 = None if gravity is None else -np.asarray(gravity)
    return score(queries, predictions, title, length_unit, landmarks_map_l3, metadata, config, up_map_3)


def evaluate_scene(
    scene_path: Path,
    dataset: SceneDataset,
    split: str | None = None,
    truth: Truth = "auto",
    device: str = "auto",
    seed: int = 0,
    store: PredictionStore[Localization] | None = None,
) -> Evaluation:
    """`evaluate_dataset` with the localizer of a scene file, or of a folder of scenes. Raises InputError as that does,
    and when the file cannot be used."""
    localizer = load_localizer(scene_path, device)
    return evaluate_dataset(
        Woken(localizer) if hasattr(localizer, "standing") else localizer, dataset, localizer.landmarks_map_l3,
        localizer.metric, split, truth, seed,
        title=f"Localization in {scene_path.stem}", extra_metadata=scene_metadata(scene_path, localizer), store=store,
    )  # fmt: skip


def load_localizer(scene_path: Path, device: str):
    """The localizer of a scene file, or of a folder of them, of which it warns where some cannot be used. Raises
    InputError when nothing can be used."""
    from geo_perception.localization import scene_set  # torch: seconds

    localizer = scene_set.load_localizer(scene_path, device)
    for problem in getattr(localizer, "problems", {}).values():
        warn(problem)
    return localizer


def scene_metadata(scene_path: Path, localizer) -> dict[str, str]:
    """What a report says of the scene."""
    return {
        "scene": f"{scene_path} ({localizer.size_bytes / 1e6:.2f} MB)",
        "landmarks": str(len(localizer.landmarks_map_l3)),
        "scale": "metres" if localizer.metric else "unknown",
    }


def score(
    queries: Sequence[Query],
    predictions: Predictions[Localization],
    title: str,
    length_unit: LengthUnit,
    landmarks_map_l3: np.ndarray,
    metadata: dict[str, str],
    config: dict,
    up_map_3: np.ndarray | None = None,
) -> Evaluation:
    """Measures what was answered to the queries, in their order."""
    by_name = {query.name: query for query in queries}
    outcomes = [outcome_of(query, answer) for query, answer in zip(queries, predictions.answers, strict=True)]
    return make_evaluation(
        title, outcomes, length_unit, landmarks_map_l3,
        metadata=metadata | predictions.metadata, config=config, up_map_3=up_map_3,
        load_images=lambda names: {name: by_name[name].load() for name in names},
    )  # fmt: skip


def outcome_of(query: Query, prediction: Prediction[Localization]) -> FrameOutcome:
    """The outcome of one query. A pose that was not called localized does not count as one."""
    result = prediction.result
    return FrameOutcome(
        query.name,
        query.sequence,
        query.stamp_ns,
        result.verdict.value,
        query.T_true,
        result.T_map_camera if result.localized else None,
        result.covariance_66 if result.localized else None,
        int(np.sum(result.detections.inlier_n)),
        result.detail,
        prediction.latency_s,
        query.camera,
        result,
        result.scene if result.localized else "",
    )


def length_unit_of(metric: bool, true_poses_T: list[np.ndarray], landmarks_map_l3: np.ndarray) -> LengthUnit:
    """Centimetres for a metric scene, else percent of the median distance from the cameras to the landmarks."""
    if metric:
        return LengthUnit()
    depth = scene_depth(true_poses_T, np.asarray(landmarks_map_l3, np.float64).reshape(-1, 3))
    if not (np.isfinite(depth) and depth > 0):
        raise InputError("the scale of this scene is unknown and no camera sees a landmark, so nothing can be measured")
    return LengthUnit(metric=False, scene_depth=depth)
