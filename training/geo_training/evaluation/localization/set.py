"""What a scene is measured on: the frames of a dataset, with the poses that count as true."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from geo_perception.errors import InputError
from geo_perception.geometry import Camera
from geo_training.datasets.scene import Frame, SceneDataset, camera_is_known
from geo_training.evaluation.predictions import Seen

Truth = Literal["auto", "poses", "map"]


@dataclass(frozen=True)
class Query:
    """One image to localize. `load` gives its RGB pixels (H, W, 3); it is not part of the latency."""

    name: str
    sequence: str
    stamp_ns: int
    camera: Camera
    load: Callable[[], np.ndarray]
    T_true: np.ndarray | None = None
    image_path: Path | None = None

    @property
    def seen(self) -> Seen:
        return Seen(self.name, self.image_path, asdict(self.camera))


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
            dataset.image_path(frame),
        )
        for frame in frames
    ]
