"""A folder of two scenes of one room that overlap, made in seconds, and a walk that leads from one into the other.

The left one's frame is the room's; the right one has its own, and `scenes.yaml` says how it lies.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tiny_scene
from geo_training.datasets.scene import SceneDataset
from geo_training.synthetic.paths import camera_pose

from geo_perception.geometry import invert_pose, make_pose, pose_to_quaternion, so3_exp

LEFT, RIGHT = "left", "right"
_YAW_DEG = {LEFT: 65.0, RIGHT: 5.0}
T_ROOM_RIGHT = make_pose(so3_exp(np.array([0.02, -0.03, 0.9])), [3.0, -1.5, 0.4])
STEP_DEG = 2.0


@dataclass(frozen=True)
class TwoScenes:
    """`folder` holds left.safetensors and right.safetensors, and no `scenes.yaml`."""

    folder: Path

    def dataset(self, scene: str) -> SceneDataset:
        return SceneDataset(self.folder / "datasets" / scene)

    def copied(self, to: Path, placed: bool = True) -> Path:
        """A folder of its own for a test, with `scenes.yaml` where the scenes are to be placed."""
        to.mkdir(parents=True, exist_ok=True)
        for name in (LEFT, RIGHT):
            shutil.copy(self.folder / f"{name}.safetensors", to)
        if placed:
            (to / "scenes.yaml").write_text(placed_text())
        return to


def placed_text(T_room_right: np.ndarray = T_ROOM_RIGHT) -> str:
    """A `scenes.yaml` by which the left scene's frame is the map."""
    t_3, q_4 = (values.tolist() for values in pose_to_quaternion(T_room_right))
    own = "{translation: [0, 0, 0], rotation: [0, 0, 0, 1], sigma_m: 0.001, sigma_rad: 0.0002}"
    other = f"{{translation: {t_3}, rotation: {q_4}, sigma_m: 0.001, sigma_rad: 0.0002}}"
    return f"T_map_scene:\n  {LEFT}: {own}\n  {RIGHT}: {other}\n"


def walk_poses() -> list[np.ndarray]:
    """T_room_camera from the middle of what the left scene saw to the middle of what the right one saw."""
    count = round((_YAW_DEG[LEFT] - _YAW_DEG[RIGHT]) / STEP_DEG) + 1
    poses = []
    for share in np.linspace(0, 1, count):
        position_3 = np.array([0.25 * np.sin(3 * share), 0.2 * share, 1.4 + 0.05 * share])
        yaw_deg = _YAW_DEG[LEFT] + share * (_YAW_DEG[RIGHT] - _YAW_DEG[LEFT])
        poses.append(camera_pose(position_3, np.radians(yaw_deg), np.radians(1.5 * np.sin(9 * share)), 0.0))
    return poses


def walk_views() -> list[tuple[np.ndarray, np.ndarray]]:
    """Pictures (RGB) and poses (T_room_camera) of the walk."""
    return [(tiny_scene.tiny_view(T), T) for T in walk_poses()]


def make_two_scenes(root: Path) -> TwoScenes:
    """Renders and fills the scenes below `root`, or takes what an earlier run has kept there."""
    from geo_training.localization.config import HeadTrainingConfig
    from geo_training.localization.data import HeadData
    from geo_training.localization.fit import fit_head

    two = TwoScenes(root)
    config = HeadTrainingConfig(steps=0, network_width_px=320, held_out=0.1, max_bytes=900_000, device="cpu")
    for name, T_scene_room in ((LEFT, np.eye(4)), (RIGHT, invert_pose(T_ROOM_RIGHT))):
        path, folder = root / f"{name}.safetensors", root / "datasets" / name
        if path.is_file():
            continue
        tiny_scene.make_dataset(folder, _YAW_DEG[name], T_scene_room)
        dataset = two.dataset(name)
        landmarks = tiny_scene.landmarks_of(dataset)
        landmarks.save(folder / "landmarks.safetensors")
        fit_head(HeadData(dataset, landmarks, tiny_scene.map_of(dataset), config), path, config)
    return two
