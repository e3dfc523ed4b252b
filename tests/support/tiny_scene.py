"""A small scene, trained for real in seconds: one wall of a rendered room, seen from close by.

Landmarks and map points come from exact depth, so no COLMAP is needed. The result is kept in pytest's cache for as long
as the sources that made it do not change.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
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
from scipy.spatial import cKDTree

from geo_perception.geometry import Camera
from geo_perception.localization.keypoints import KeypointDetector

CAMERA = Camera(320, 224, 210.0, 210.0, 159.5, 111.5)
FRAMES, LANDMARKS = 44, 64
_ROOM, _YAW_DEG = 4, 65.0
_ROOT = Path(__file__).resolve().parents[2]
_MAKERS = (
    "tests/support/tiny_scene.py",
    "tests/support/two_scenes.py",
    "src/geo_perception/localization/network.py",
    "src/geo_perception/localization/network_view.py",
    "src/geo_perception/localization/scene.py",
    "src/geo_perception/localization/map_points.py",
    "src/geo_perception/localization/places.py",
    "src/geo_perception/localization/view_descriptors.py",
    "src/geo_perception/localization/second_look.py",
    "src/geo_perception/localization/point_search.py",
    "src/geo_perception/localization/keypoints.py",
    "src/geo_perception/runtime/weights.py",
    "training/geo_training/localization/closed_form.py",
    "training/geo_training/localization/fit.py",
    "training/geo_training/localization/map_points.py",
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


def tiny_poses(yaw_deg: float = _YAW_DEG) -> list[np.ndarray]:
    """Poses in the room (T_room_camera) within a cube of 0.8 m, all looking at one wall."""
    rng = np.random.default_rng(5)
    poses = []
    for _ in range(FRAMES):
        position_3 = np.array([0.0, 0.0, 1.4]) + rng.uniform(-0.4, 0.4, 3)
        yaw, pitch, roll = np.radians([yaw_deg, 0, 0]) + np.radians([12, 6, 4]) * rng.uniform(-1, 1, 3)
        poses.append(camera_pose(position_3, yaw, pitch, roll))
    return poses


def tiny_pose(forward_m: float) -> np.ndarray:
    """From the middle of where the scene was seen, so far towards the wall."""
    T_world_camera = camera_pose(np.array([0.0, 0.0, 1.4]), np.radians(_YAW_DEG), 0.0, 0.0)
    T_world_camera[:3, 3] += forward_m * T_world_camera[:3, 2]
    return T_world_camera


def tiny_view(T_world_camera: np.ndarray) -> np.ndarray:
    """What the scene's camera sees from anywhere (RGB)."""
    room, lighting = _lit_room()
    return render(room, CAMERA, T_world_camera, lighting, supersample=1).image_rgb


@cache
def _lit_room() -> tuple[Room, Lighting]:
    room = Room.generate(_ROOM)
    return room, Lighting.daylight(room)


def make_dataset(root: Path, yaw_deg: float = _YAW_DEG, T_scene_room: np.ndarray | None = None) -> None:
    """Renders the frames into a dataset at `root`; its world is the room, unless `T_scene_room` says another one."""
    room = Room.generate(_ROOM)
    lighting = Lighting.daylight(room)
    T_scene_room = np.eye(4) if T_scene_room is None else T_scene_room
    with SceneWriter(root, sources=[f"synthetic room {_ROOM}"], overwrite=True) as writer:
        camera_id = writer.add_camera(CAMERA)
        for index, T_room_camera in enumerate(tiny_poses(yaw_deg)):
            shown = render(room, CAMERA, T_room_camera, lighting, supersample=1)
            writer.add_frame(
                "walk", index * 250_000_000, camera_id, image_rgb=shown.image_rgb,
                T_world_camera=T_scene_room @ T_room_camera, depth_m=shown.depth_m,
                split="train" if index < FRAMES - 6 else "test",
            )  # fmt: skip
        writer.describe(scale="metric", scale_source="rendered", gravity_world=(0.0, 0.0, -1.0))


def landmarks_of(dataset: SceneDataset) -> LandmarkSet:
    """Corners of the pictures, put into space by exact depth, apart from each other; and who sees them, exactly."""
    frames = dataset.of_split("train")
    points: list[np.ndarray] = []
    for frame in frames[::4]:
        grey = cv2.cvtColor(dataset.image(frame), cv2.COLOR_RGB2GRAY)
        corners_n2 = cv2.goodFeaturesToTrack(grey, 60, 0.05, 12).reshape(-1, 2)
        for point_3 in _into_space(dataset, frame, corners_n2):
            if all(np.linalg.norm(point_3 - other) > 0.12 for other in points):
                points.append(point_3)
    points_l3 = np.array(points[:LANDMARKS])
    seen_fl, pixels_fl2 = _seen(dataset, points_l3)
    return LandmarkSet(
        points_l3.astype(np.float32), np.ones(len(points_l3), np.float32), [frame.name for frame in frames],
        np.where(seen_fl, 1, -1).astype(np.int8), pixels_fl2.astype(np.float32),
    )  # fmt: skip


def map_of(dataset: SceneDataset) -> SceneMap:
    """The map that COLMAP would make, exact: keypoints of the pictures, and every frame that sees one observes it."""
    frames, detector = dataset.of_split("train"), KeypointDetector()
    points_n3 = np.concatenate(
        [_into_space(dataset, frame, detector.detect(dataset.image(frame)).places_n2) for frame in frames[::4]]
    )
    twins = cKDTree(points_n3).query_pairs(0.02, output_type="ndarray")
    points_n3 = np.delete(points_n3, twins.max(axis=1), axis=0)
    seen_fn, pixels_fn2 = _seen(dataset, points_n3)
    point_m, frame_m = np.nonzero(seen_fn.T)
    tracks = Tracks(point_m.astype(np.int32), frame_m.astype(np.int32), pixels_fn2[frame_m, point_m])
    poses = {frame.name: frame.T_world_camera for frame in frames}
    return SceneMap(poses, dict.fromkeys(poses, CAMERA), points_n3, np.zeros(len(points_n3)), tracks, True)


def _into_space(dataset: SceneDataset, frame, pixels_n2: np.ndarray) -> np.ndarray:
    column_n, row_n = np.rint(pixels_n2).astype(int).T
    z_n = dataset.depth_m(frame)[row_n, column_n].astype(float)
    local_n3 = np.c_[CAMERA.normalize(pixels_n2), np.ones(len(z_n))] * z_n[:, None]
    return (local_n3 @ frame.T_world_camera[:3, :3].T + frame.T_world_camera[:3, 3])[z_n > 0]


def _seen(dataset: SceneDataset, points_n3: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which frame sees which point (F, N), and its pixels (F, N, 2)."""
    seen, pixels = [], []
    for frame in dataset.of_split("train"):
        local_n3 = (points_n3 - frame.T_world_camera[:3, 3]) @ frame.T_world_camera[:3, :3]
        pixels.append(CAMERA.project(local_n3))
        inside_n = CAMERA.contains(pixels[-1])
        agrees_n, _, _ = compare_depth(dataset.depth_m(frame), CAMERA, pixels[-1], local_n3[:, 2], inside_n)
        seen.append(inside_n & agrees_n)
    return np.stack(seen), np.stack(pixels)


def make_tiny_scene(root: Path) -> TinyScene:
    """Renders, trains and keeps the scene below `root`, or takes what an earlier run has kept there."""
    from geo_training.localization.config import HeadTrainingConfig
    from geo_training.localization.data import HeadData
    from geo_training.localization.fit import fit_head

    place = TinyScene(root / "dataset", root / "tiny.safetensors")
    if place.scene_path.is_file():
        return place
    make_dataset(place.dataset_root)
    config = HeadTrainingConfig(
        width=96, dilations=(1, 2), network_width_px=320, views=3, steps=200, learning_rate=4e-3, held_out=0.1,
        evaluations=1, max_bytes=900_000, device="cpu",
    )  # fmt: skip
    landmarks = landmarks_of(place.dataset)
    landmarks.save(place.dataset_root / "landmarks.safetensors")
    fit_head(HeadData(place.dataset, landmarks, map_of(place.dataset), config), place.scene_path, config)
    return place
