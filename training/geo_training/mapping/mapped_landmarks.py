"""The landmarks of a mapped dataset: which of its frames and whose depth they are chosen with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from geo_perception.errors import InputError
from geo_training.console import say
from geo_training.datasets.fused import completed_depth, fused_metadata
from geo_training.datasets.scene import SceneDataset
from geo_training.datasets.tally import Tally
from geo_training.mapping.landmark_set import LandmarkSet
from geo_training.mapping.landmarks import SelectionOptions, select_landmarks
from geo_training.mapping.scene_map import SceneMap


def choose_landmarks(
    dataset: SceneDataset,
    options: SelectionOptions,
    depth: str = "auto",
    fused_sigma: float = 0.05,
    all_frames: bool = False,
) -> tuple[LandmarkSet, str]:
    """The landmarks of the dataset's map, not saved yet, and the unit of the map: `m` or `units`.

    `depth` (auto, measured, fused, none) says who sees a landmark; of `fused` what states a deviation of at most
    `fused_sigma` counts. Frames of the splits test and val are left out unless `all_frames` is set. Raises InputError
    when there is no map, no such depth, or too few points.
    """
    by_name = {frame.name: frame for frame in dataset.frames}
    scene = SceneMap.load(dataset.root)
    allowed = [
        name
        for name in scene.frame_names
        if name in by_name and (all_frames or by_name[name].split not in ("test", "val"))
    ]
    frames = Tally(f"{dataset.root / 'map.json'}", "mapped frames", len(scene.frame_names), len(allowed))
    missing = sum(name not in by_name for name in scene.frame_names)
    frames.leave_out("of the splits test and val", len(scene.frame_names) - len(allowed) - missing)
    frames.leave_out("that are not in frames.csv", missing)
    say(frames.sentence)
    landmarks = select_landmarks(scene.restricted_to(allowed), options, _depth_of(dataset, depth, fused_sigma))
    return landmarks, "m" if scene.metric else "units"


def _depth_of(dataset: SceneDataset, choice: str, fused_sigma: float) -> Callable[[str], np.ndarray | None] | None:
    """Depth by a frame's name; None for none. Raises InputError where completed depth is asked for and not there."""
    if choice == "none":
        return None
    by_name = {frame.name: frame for frame in dataset.frames}
    completed = fused_metadata(dataset.root) is not None
    if choice == "fused" and not completed:
        raise InputError(f"{dataset.root} has no completed depth; run `geo-train fuse {dataset.root}` first")
    if completed and choice != "measured":
        return lambda name: completed_depth(dataset, by_name[name], fused_sigma)
    return lambda name: dataset.depth_m(by_name[name])
