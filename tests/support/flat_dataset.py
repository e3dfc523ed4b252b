"""Datasets whose frames are flat grey: for what looks at frames, files and poses and not at pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from geo_training.datasets.scene import SceneDataset
from geo_training.datasets.scene_writer import SceneWriter

from geo_perception.geometry import Camera, make_pose

FLAT_CAMERA = Camera(32, 24, 30.0, 30.0, 15.5, 11.5)


def make_flat_dataset(root: Path, step_m: float | None = None, **sequences: int) -> SceneDataset:
    """Sequences of so many frames, ten a second, each 40 levels brighter than the one before; with `step_m` their
    cameras go along x."""
    with SceneWriter(root, sources=["test"]) as writer:
        camera_id = writer.add_camera(FLAT_CAMERA)
        for sequence, count in sequences.items():
            for index in range(count):
                image = np.full((FLAT_CAMERA.height_px, FLAT_CAMERA.width_px, 3), 40 * index % 256, np.uint8)
                pose = None if step_m is None else make_pose(np.eye(3), [index * step_m, 0.0, 0.0])
                writer.add_frame(sequence, index * 10**8, camera_id, image_rgb=image, T_world_camera=pose)
    return SceneDataset(root)
