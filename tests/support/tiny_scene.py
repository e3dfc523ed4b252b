"""A small scene, trained for real in seconds: one wall of a rendered room, seen from close by.

Landmarks come from exact depth, so no COLMAP is needed. The result is kept in pytest's cache for as long as the sources
that made it do not change.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from geo_training.datasets.scene import SceneDataset
from geo_training.datasets.scene_writer import SceneWriter
from geo_training.mapping.landmark_set import LandmarkSet
from geo_training.mapping.scene_map import SceneMap, Tracks
from geo_training.mapping.visibility import compare_depth
from geo_training.synthetic.lighting import Lighting
from geo_training.synthetic.paths import camera_pose
from geo_training.synthetic.render import render
from geo_training.synthetic.room import Room

from geo_perception.geometry import Camera, invert_pose

CAMERA = Camera(320, 224, 210.0, 210.0, 159.5, 111.5)
FRAMES, LANDMARKS = 44, 64
_ROOT = Path(__file__).resolve().parents[2]
_MAKERS = (
    "tests/support/tiny_scene.py",
    "src/geo_perception/localization/network.py",
    "src/geo_perception/localization/network_view.py",
    "src/geo_perception/localization/scene.py",
    "src/geo_perception/runtime/weights.py",
    "training/geo_training/localization/fit.py",
    "training/geo_training/localization/views.py",
    "training/geo_training/localization/config.py",
    "training/geo_training/localization/noise.py",
)


@dataclass(frozen=True)
class TinyScene:
    """A dataset whose last frames (split `test`) were not trained on, and the scene file of the others."""

    dataset_root: Path
    scene_path: Path

    @property
    def dataset(self) -> SceneDataset:
        return SceneDataset(self.dataset_root)


def fingerprint() -> str:
    """Changes when a source that makes the scene changes."""
    return hashlib.sha256(b"".join((_ROOT / name).read_bytes() for name in _MAKERS)).hexdigest()[:16]


def tiny_poses() -> list[np.ndarray]:
    """Poses (T_world_camera) within a cube of 0.8 m, all looking at one wall."""
    rng = np.random.default_rng(5)
    poses = []
    for _ in range(FRAMES):
        position_3 = np.array([0.0, 0.0, 1.4]) + rng.uniform(-0.4, 0.4, 3)
        yaw, pitch, roll = np.radians([65, 0, 0]) + np.radians([12, 6, 4]) * rng.uniform(-1, 1, 3)
        poses.append(camera_pose(position_3, yaw, pitch, roll))
    return poses


def make_dataset(root: Path) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Renders the frames into a dataset at `root`; returns poses and depth images."""
    room = Room.generate(4)
    lighting = Lighting.daylight(room)
    poses, depths = tiny_poses(), []
    with SceneWriter(root, sources=["synthetic room 4"], overwrite=True) as writer:
        camera_id = writer.add_camera(CAMERA)
        for index, T_world_camera in enumerate(poses):
            shown = render(room, CAMERA, T_world_camera, lighting, supersample=1)
            depths.append(shown.depth_m)
            writer.add_frame(
                "walk", index * 250_000_000, camera_id, image_rgb=shown.image_rgb, T_world_camera=T_world_camera,
                depth_m=shown.depth_m, split="train" if index < FRAMES - 6 else "test",
            )  # fmt: skip
        writer.describe(scale="metric", scale_source="rendered", gravity_world=(0.0, 0.0, -1.0))
    return poses, depths


def landmarks_of(dataset: SceneDataset, poses, depths) -> tuple[LandmarkSet, SceneMap]:
    """Corners of the pictures, put into space by exact depth, apart from each other; and who sees them, exactly."""
    frames = dataset.of_split("train")
    points: list[np.ndarray] = []
    for index in range(0, len(frames), 4):
        grey = cv2.cvtColor(dataset.image(frames[index]), cv2.COLOR_RGB2GRAY)
        for column, row in cv2.goodFeaturesToTrack(grey, 60, 0.05, 12).reshape(-1, 2):
            z_m = float(depths[index][round(float(row)), round(float(column))])
            xy_2 = CAMERA.normalize(np.array([[column, row]]))[0]
            point_3 = poses[index][:3, :3] @ (np.array([*xy_2, 1.0]) * z_m) + poses[index][:3, 3]
            if z_m > 0 and all(np.linalg.norm(point_3 - other) > 0.12 for other in points):
                points.append(point_3)
    points_l3 = np.array(points[:LANDMARKS])
    pixels_fl2 = np.full((len(frames), len(points_l3), 2), np.nan, np.float32)
    visibility_fl = np.full((len(frames), len(points_l3)), -1, np.int8)
    for index in range(len(frames)):
        T_camera_world = invert_pose(poses[index])
        local_l3 = points_l3 @ T_camera_world[:3, :3].T + T_camera_world[:3, 3]
        pixels_fl2[index] = CAMERA.project(local_l3)
        inside_l = CAMERA.contains(pixels_fl2[index])
        seen_l, _, _ = compare_depth(depths[index], CAMERA, pixels_fl2[index].astype(float), local_l3[:, 2], inside_l)
        visibility_fl[index][inside_l & seen_l] = 1
    names = [frame.name for frame in frames]
    landmarks = LandmarkSet(
        points_l3.astype(np.float32), np.ones(len(points_l3), np.float32), names, visibility_fl, pixels_fl2
    )
    nothing = np.zeros(0, np.int32)
    scene_map = SceneMap(
        dict(zip(names, poses, strict=False)), dict.fromkeys(names, CAMERA), points_l3, np.zeros(len(points_l3)),
        Tracks(nothing, nothing, np.zeros((0, 2))), True,
    )  # fmt: skip
    return landmarks, scene_map


def make_tiny_scene(root: Path) -> TinyScene:
    """Renders, trains and keeps the scene below `root`, or takes what an earlier run has kept there."""
    from geo_training.localization.config import HeadTrainingConfig
    from geo_training.localization.data import HeadData
    from geo_training.localization.fit import fit_head

    place = TinyScene(root / "dataset", root / "tiny.safetensors")
    if place.scene_path.is_file():
        return place
    poses, depths = make_dataset(place.dataset_root)
    config = HeadTrainingConfig(
        width=96, dilations=(1, 2), network_width_px=320, views=3, steps=200, learning_rate=4e-3, held_out=0.1,
        evaluations=1, device="cpu",
    )  # fmt: skip
    landmarks, scene_map = landmarks_of(place.dataset, poses, depths)
    landmarks.save(place.dataset_root / "landmarks.safetensors")
    fit_head(HeadData(place.dataset, landmarks, scene_map, config), place.scene_path, config)
    return place
