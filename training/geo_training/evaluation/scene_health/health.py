"""A scene's health by recordings of its place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from geo_perception.errors import InputError
from geo_training.datasets.scene import SPLITS, Frame, SceneDataset
from geo_training.evaluation.scene_health.ground import ground_axes
from geo_training.evaluation.scene_health.judge import judge
from geo_training.evaluation.scene_health.observe import (
    Observation,
    PosesFrom,
    SceneEye,
    Sight,
    observe_recordings,
)
from geo_training.evaluation.scene_health.verdict import SceneHealth, recording_health, verdict_of

MIN_FRAMES = 10


def frames_of(roots: Sequence[Path], split: str | None, poses: PosesFrom) -> list[tuple[SceneDataset, list[Frame]]]:
    """The frames that are asked of each recording, in order of time: all of them, those of a split, or as `learned`
    those that are not held out (val and test).

    Raises InputError where a recording has too few, or none of the poses that are asked for.
    """
    recordings = []
    for root in roots:
        dataset = SceneDataset(root)
        if split == "learned":
            frames = [frame for frame in dataset.frames if frame.split not in ("val", "test")]
        else:
            frames = [frame for frame in dataset.frames if split in (None, "all", frame.split)]
        if poses == "recorded":
            frames = [frame for frame in frames if frame.T_world_camera is not None]
        if len(frames) < MIN_FRAMES:
            what = " with a recorded pose" if poses == "recorded" else ""
            of = f" of the split {split}" if split and split in SPLITS else ""
            of = " outside the splits val and test" if split == "learned" else of
            raise InputError(
                f"{root} has {len(frames)} frames{of}{what}, {MIN_FRAMES} are needed to judge anything; record more"
            )
        recordings.append((dataset, sorted(frames, key=lambda frame: frame.stamp_ns)))
    return recordings


def scene_health(
    eye: SceneEye,
    recordings: Sequence[tuple[SceneDataset, Sequence[Frame]]],
    poses: PosesFrom = "landmarks",
    keep: Callable[[Observation, Sight], None] | None = None,
) -> tuple[SceneHealth, list[Observation]]:
    """Asks the frames of all recordings, in order, and judges."""
    observations = observe_recordings(eye, recordings, poses, keep)
    return judged(eye, [dataset.root.name for dataset, _ in recordings], observations), observations


def judged(eye: SceneEye, names: Sequence[str], observations: Sequence[Observation]) -> SceneHealth:
    """The health by what was observed."""
    scene = eye.scene
    ground_23 = ground_axes(scene)
    min_score = eye.localizer.options.min_score
    judgement = judge(
        observations, scene.landmarks_map_l3, eye.object_radius, ground_23, min_score, points=scene.points
    )
    found = recording_health(names, observations, judgement)
    visible_kl = None if scene.places is None else scene.places.visible_kl
    verdict, reasons = verdict_of(judgement, found, visible_kl, scene.metric)
    return SceneHealth(verdict, reasons, judgement, found, scene.landmarks_map_l3, scene.metric, ground_23)
