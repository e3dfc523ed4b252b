"""A scene against a dataset with known poses: every frame localized on its own, in process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from geo_perception.errors import InputError
from geo_perception.geometry import Camera
from geo_perception.localization.result import Localization
from geo_training.console import track
from geo_training.datasets.scene import Frame, SceneDataset, camera_is_known
from geo_training.datasets.splits import frames_of_split
from geo_training.evaluation.localization.summary import Evaluation, make_evaluation
from geo_training.metrics.pose import FrameOutcome, LengthUnit, scene_depth

Truth = Literal["auto", "poses", "map"]


class Estimator(Protocol):
    """What is measured: anything that localizes one image."""

    def estimate(self, image_rgb: np.ndarray, camera: Camera, seed: int = 0) -> Localization: ...


@dataclass(frozen=True)
class Query:
    """One image to localize. `load` gives its RGB pixels (H, W, 3); it is not part of the latency."""

    name: str
    sequence: str
    stamp_ns: int
    camera: Camera
    load: Callable[[], np.ndarray]
    T_true: np.ndarray | None = None


def run_queries(
    estimator: Estimator, queries: Iterable[Query], total: int | None = None, seed: int = 0, title: str = "localizing"
) -> list[FrameOutcome]:
    """Localizes every query, in order, with the same seed for each: the same input gives the same answer."""
    outcomes = []
    for query in track(queries, title, total):
        outcomes.append(outcome_of(query, *timed_estimate(estimator, query.load(), query.camera, seed)))
    return outcomes


def timed_estimate(
    estimator: Estimator, image_rgb: np.ndarray, camera: Camera, seed: int = 0
) -> tuple[Localization, float]:
    """The estimator's answer and the seconds it took."""
    started = time.perf_counter()
    result = estimator.estimate(image_rgb, camera, seed=seed)
    return result, time.perf_counter() - started


def outcome_of(query: Query, result: Localization, latency_s: float) -> FrameOutcome:
    """The outcome of one query. A pose that was not called localized does not count as one."""
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
        latency_s,
        query.camera,
        result,
    )


def true_poses(dataset: SceneDataset, truth: Truth = "auto") -> tuple[dict[str, np.ndarray], dict[str, Camera], str]:
    """T_map_camera of each frame that has a true pose and the camera of every frame, by frame name, and in words where
    the poses are from.

    `poses` are the recorded ones (poses.csv), `map` those of the COLMAP map; `auto` takes the recorded ones where there
    are any. Cameras are the dataset's, but a camera that was only guessed, and every camera where the map is the truth,
    is the one the map found. Raises InputError when there is no true pose.
    """
    recorded = {f.name: f.T_world_camera for f in dataset.frames if f.T_world_camera is not None}
    cameras = {frame.name: dataset.camera(frame) for frame in dataset.frames}
    use_map = truth == "map" or (truth == "auto" and not recorded)
    if not recorded and not use_map:
        raise InputError(f"{dataset.root} has no poses.csv, so there is no truth; pass --truth map to use its map")
    guessed = {camera_id for camera_id in dataset.cameras if not camera_is_known(dataset.root, camera_id)}
    has_map = (dataset.root / "colmap").is_dir()
    if use_map and not has_map:
        raise InputError(f"{dataset.root} has neither true poses nor a map; run `geo-train map {dataset.root}` first")
    if not has_map or not (use_map or guessed):
        return recorded, cameras, "poses.csv"
    from geo_training.mapping.scene_map import SceneMap

    scene_map = SceneMap.load(dataset.root)
    # Frames that were not mapped have the camera that the map found for others of theirs.
    found = {f.camera_id: scene_map.cameras[f.name] for f in dataset.frames if f.name in scene_map.cameras}
    for frame in dataset.frames:
        if (use_map or frame.camera_id in guessed) and frame.camera_id in found:
            cameras[frame.name] = found[frame.camera_id]
    if use_map:
        return dict(scene_map.T_world_camera), cameras, "the COLMAP map"
    return recorded, cameras, "poses.csv"


def dataset_queries(
    dataset: SceneDataset, frames: list[Frame], poses: dict[str, np.ndarray], cameras: dict[str, Camera]
) -> list[Query]:
    """One query for each frame, in order. Images are read when they are needed."""
    return [
        Query(
            frame.name,
            frame.sequence,
            frame.stamp_ns,
            cameras[frame.name],
            lambda frame=frame: dataset.image(frame),
            poses.get(frame.name),
        )
        for frame in frames
    ]


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
) -> Evaluation:
    """Localizes the frames of a split and measures them against their true poses.

    Raises InputError when there is no such frame, or none of them has a true pose.
    """
    frames, split_label = frames_of_split(dataset, split)
    poses, cameras, truth_label = true_poses(dataset, truth)
    if not any(frame.name in poses for frame in frames):
        raise InputError(f"no frame of {dataset.root} ({split_label}) has a true pose in {truth_label}")
    queries = dataset_queries(dataset, frames, poses, cameras)
    length_unit = make_ruler(metric, [q.T_true for q in queries if q.T_true is not None], landmarks_map_l3)
    warm_up = getattr(estimator, "warm_up", None)
    if warm_up is not None:
        warm_up()
    outcomes = run_queries(estimator, queries, len(queries), seed)
    metadata = {"data": f"{dataset.root} ({split_label})", "true poses": truth_label, **(extra_metadata or {})}
    by_name = {frame.name: frame for frame in frames}
    gravity = dataset.info.gravity_world
    config = {"split": split_label, "truth": truth, "seed": seed}
    return make_evaluation(
        title, outcomes, length_unit, landmarks_map_l3, metadata=metadata, config=config,
        up_map_3=None if gravity is None else -np.asarray(gravity),
        load_images=lambda names: {name: dataset.image(by_name[name]) for name in names},
    )  # fmt: skip


def make_ruler(metric: bool, true_poses_T: list[np.ndarray], landmarks_map_l3: np.ndarray) -> LengthUnit:
    """Centimetres for a metric scene, else percent of the median distance from the cameras to the landmarks."""
    if metric:
        return LengthUnit()
    depth = scene_depth(true_poses_T, np.asarray(landmarks_map_l3, np.float64).reshape(-1, 3))
    if not (np.isfinite(depth) and depth > 0):
        raise InputError("the scale of this scene is unknown and no camera sees a landmark, so nothing can be measured")
    return LengthUnit(metric=False, scene_depth=depth)
