"""A walk along a flat, patterned wall as a dataset: exact depth, poses and pictures, made in a blink."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from geo_training.datasets.scene import SceneDataset
from geo_training.datasets.scene_writer import SceneWriter
from geo_training.depth.data.boundaries import boundary_path

from geo_perception.geometry import Camera

CAMERA = Camera(64, 64, 60.0, 60.0, 31.5, 31.5)
STEP_M, WALL_M = 0.1, 2.0


def walk_pose(index: int) -> np.ndarray:
    """T_world_camera of a frame: one step to the right and a little forward each."""
    T_world_camera = np.eye(4)
    T_world_camera[:3, 3] = index * STEP_M, 0.0, 0.2 * index * STEP_M
    return T_world_camera


def wall_at(x_hw: np.ndarray, y_hw: np.ndarray) -> np.ndarray:
    """The colour of the wall at (x, y) in metres, RGB in 0 to 255."""
    waves = [np.sin(9 * x_hw + p) * np.cos(7 * y_hw - p) + np.sin(23 * x_hw + 19 * y_hw + p) for p in (0.0, 1.0, 2.0)]
    return 127 + 55 * np.stack(waves, -1)


def walk_view(index: int) -> tuple[np.ndarray, np.ndarray]:
    """Picture (RGB uint8) and depth in metres of a frame."""
    T_world_camera = walk_pose(index)
    z_m = WALL_M - T_world_camera[2, 3]
    x_hw, y_hw = np.meshgrid(np.arange(CAMERA.width_px), np.arange(CAMERA.height_px))
    x_m = (x_hw - CAMERA.cx_px) / CAMERA.fx_px * z_m + T_world_camera[0, 3]
    y_m = (y_hw - CAMERA.cy_px) / CAMERA.fy_px * z_m
    return wall_at(x_m, y_m).clip(0, 255).astype(np.uint8), np.full(x_hw.shape, z_m, np.float32)


def make_walk(
    root: Path, frames: int = 8, poses: bool = True, depth: bool = True, grey: bool = False, boundaries: bool = False,
    held_out: int = 0,
) -> SceneDataset:  # fmt: skip
    """Writes the dataset. `held_out`: how many of the last frames are `val`. Boundaries are two upright lines."""
    with SceneWriter(root, sources=["a patterned wall"], jpeg_quality=100) as writer:
        camera_id = writer.add_camera(CAMERA)
        for index in range(frames):
            image_rgb, depth_m = walk_view(index)
            if grey:
                image_rgb = np.repeat(image_rgb[..., :1], 3, axis=2)
            writer.add_frame(
                "walk", index * 100_000_000, camera_id, image_rgb=image_rgb,
                T_world_camera=walk_pose(index) if poses else None, depth_m=depth_m if depth else None,
                split="val" if index >= frames - held_out else "train",
            )  # fmt: skip
        writer.describe(scale="metric" if poses else "unknown", scale_source="made so")
    dataset = SceneDataset(root)
    for frame in dataset.frames if boundaries else ():
        lines_hw = np.zeros((CAMERA.height_px, CAMERA.width_px), np.uint8)
        lines_hw[:, (21, 40)] = 255
        path = boundary_path(dataset, frame)
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), lines_hw)
    return dataset
