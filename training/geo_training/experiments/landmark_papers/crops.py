"""What references learn from: crops around landmarks and from anywhere for the detectors, whole turned frames for the
bearings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from geo_perception.errors import InputError
from geo_perception.geometry import Camera, invert_pose, so3_exp
from geo_training.engine.loader import MemoryCache
from geo_training.experiments.landmark_papers.config import CropConfig
from geo_training.localization.data import HeadData
from geo_training.localization.views import View, seen_through
from geo_training.mapping.landmark_set import SEEN

_CACHE_BYTES = 2 << 30  # of decoded images
_MOST_OUTSIDE = 0.25  # of a turned crop; with more it is taken as the frame is


class FrameCrops:
    """Makes the views of training frames. Frames are numbers among `data.training`."""

    def __init__(self, data: HeadData, config: CropConfig):
        self.data, self.config = data, config
        self._images = MemoryCache(_CACHE_BYTES)
        rows = [data.rows[index] for index in data.training]
        self.seen_fl = data.landmarks.visibility_fl[rows] == SEEN

    def check_sizes(self) -> None:
        """Raises InputError when a frame is smaller than a crop."""
        for index in self.data.training:
            camera, name = self.data.network_camera(index), self.data.frames[index].name
            side_px = self.config.size_px
            if min(camera.width_px, camera.height_px) < side_px:
                raise InputError(
                    f"the networks see {name} in {camera.width_px} x {camera.height_px} pixels, "
                    f"less than a crop of {side_px}; lower crops.size_px, or raise network_width_px"
                )

    def around(self, landmark: int, rng: np.random.Generator) -> View:
        """A turned crop with the landmark anywhere in it, of a frame that sees it (of any where none does)."""
        seeing = np.flatnonzero(self.seen_fl[:, landmark])
        number = int(rng.choice(seeing)) if len(seeing) else int(rng.integers(len(self.seen_fl)))
        side_px, frame = self.config.size_px, self.data.training[number]
        whole = self.data.network_camera(frame)
        zoom = 1 + self.config.zoom * rng.uniform(-1, 1)
        zoomed = replace(whole, fx_px=whole.fx_px * zoom, fy_px=whole.fy_px * zoom)
        R_camera_view = so3_exp(np.radians(self.config.turn_deg) * rng.uniform(-1, 1, 3))
        offset_2 = rng.uniform(0, side_px, 2)
        place_2 = self._place(frame, landmark, zoomed, R_camera_view)
        if np.isfinite(place_2).all():
            target = zoomed.cropped(*np.floor(place_2 - offset_2), side_px, side_px)
            if _outside(whole, target, R_camera_view) <= _MOST_OUTSIDE:
                return self._lit(self._view(frame, target, R_camera_view), rng)
        place_2 = np.nan_to_num(self._place(frame, landmark, whole, np.eye(3)))
        low_2 = np.clip(np.floor(place_2 - offset_2), 0, [whole.width_px - side_px, whole.height_px - side_px])
        return self._lit(self._view(frame, whole.cropped(*low_2, side_px, side_px)), rng)

    def anywhere(self, number: int, rng: np.random.Generator) -> View:
        """A plain crop of a frame."""
        side_px, frame = self.config.size_px, self.data.training[number]
        whole = self.data.network_camera(frame)
        low_2 = rng.integers(0, [whole.width_px - side_px + 1, whole.height_px - side_px + 1])
        return self._lit(self._view(frame, whole.cropped(*low_2.astype(float), side_px, side_px)), rng)

    def turned(self, number: int, turn_deg: float, rng: np.random.Generator) -> View:
        """A whole frame, turned."""
        frame = self.data.training[number]
        R_camera_view = so3_exp(np.radians(turn_deg) * rng.uniform(-1, 1, 3))
        return self._lit(self._view(frame, self.data.network_camera(frame), R_camera_view), rng)

    def bearings_l3(self, view: View) -> np.ndarray:
        """The true directions of all landmarks from a view, seen or not."""
        offset_l3 = self.data.landmarks.points_world_l3 - view.T_world_camera[:3, 3]
        return offset_l3 @ view.T_world_camera[:3, :3] / np.linalg.norm(offset_l3, axis=1, keepdims=True)

    def _place(self, frame: int, landmark: int, camera: Camera, R_camera_view: np.ndarray) -> np.ndarray:
        T_camera_world = invert_pose(self.data.map.T_world_camera[self.data.frames[frame].name])
        point_3 = self.data.landmarks.points_world_l3[landmark].astype(float)
        return camera.project((T_camera_world[:3, :3] @ point_3 + T_camera_world[:3, 3]) @ R_camera_view)[0]

    def _view(self, frame: int, target: Camera, R_camera_view: np.ndarray | None = None) -> View:
        data, name = self.data, self.data.frames[frame].name
        camera, T_world_camera = data.map.cameras[name], data.map.T_world_camera[name]
        image_hw3 = self._images.get(name, lambda: data.dataset.image(data.frames[frame]))
        points_l3 = data.landmarks.points_world_l3.astype(float)
        visibility_l = data.landmarks.visibility_fl[data.rows[frame]]
        return seen_through(image_hw3, camera, T_world_camera, points_l3, visibility_l, target, R_camera_view)

    def _lit(self, view: View, rng: np.random.Generator) -> View:
        """Brighter or darker, or of another colour."""
        if rng.random() < 0.5:
            shift_3 = self.config.colour * rng.uniform(-1, 1, 3)
        else:
            shift_3 = np.repeat(self.config.brightness * rng.uniform(-1, 1), 3)
        lit_hw3 = np.clip(view.image_hw3 + np.float32(255) * shift_3.astype(np.float32), 0, 255)
        return replace(view, image_hw3=lit_hw3.astype(np.uint8))


def _outside(camera: Camera, target: Camera, R_camera_target: np.ndarray) -> float:
    """The share of a target's pixels that the camera does not see, of every eighth."""
    columns, rows = np.meshgrid(np.arange(4, target.width_px, 8), np.arange(4, target.height_px, 8))
    rays_n3 = target.bearings(np.stack([columns.ravel(), rows.ravel()], axis=1)) @ R_camera_target.T
    return 1 - float(camera.contains(camera.project(rays_n3)).mean())
