"""Frames, landmarks and views of one mapped dataset, as the training of its head needs them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from geo_perception.errors import InputError
from geo_perception.geometry import Camera
from geo_perception.localization.network_view import network_camera_at
from geo_perception.localization.scene import NoiseModel
from geo_perception.runtime.image import Resampler
from geo_training.datasets.scene import SceneDataset, camera_to_dict
from geo_training.localization.config import HeadTrainingConfig
from geo_training.localization.views import View, make_view, scene_focal_px
from geo_training.mapping.landmark_set import SEEN, LandmarkSet
from geo_training.mapping.scene_map import SceneMap
from geo_training.storage.fingerprints import digest_of_files

_MIN_FRAMES = 8


class HeadData:
    """Frames, landmarks and views of one mapped dataset, as the head's training needs them.

    Raises InputError when too few of the landmarks' frames are mapped.
    """

    def __init__(self, dataset: SceneDataset, landmarks: LandmarkSet, scene_map: SceneMap, config: HeadTrainingConfig):
        self.dataset, self.landmarks, self.map, self.config = dataset, landmarks, scene_map, config
        by_name = {frame.name: frame for frame in dataset.frames}
        mapped = [
            (row, by_name[name])
            for row, name in enumerate(landmarks.frame_names)
            if name in by_name and name in scene_map.T_world_camera
        ]
        if len(mapped) < _MIN_FRAMES:
            raise InputError(
                f"{dataset.root}: only {len(mapped)} frames are mapped and have landmarks, {_MIN_FRAMES} are needed; "
                "map more of the recording"
            )
        self.rows, self.frames = [row for row, _ in mapped], [frame for _, frame in mapped]
        cameras = [scene_map.cameras[frame.name] for frame in self.frames]
        self.network_focal_px = scene_focal_px(cameras, config.network_width_px)
        # As on board: every camera at the one focal length of the scene.
        self._network_cameras = {camera: network_camera_at(camera, self.network_focal_px) for camera in set(cameras)}
        self.held_out = held_out_frames(len(self.frames), config.held_out)
        held = set(self.held_out)
        self.training = [index for index in range(len(self.frames)) if index not in held]

    @classmethod
    def open(cls, root: str | Path, config: HeadTrainingConfig) -> HeadData:
        """The data of a dataset on which `geo-train map` and `geo-train landmarks` have run."""
        return cls(SceneDataset(root), LandmarkSet.load(root), SceneMap.load(root), config)

    @property
    def usual_noise(self) -> NoiseModel:
        """The noise model before any held-out frame is looked at. Its floor is millimetres at three metres, so it is a
        share of the distance where the scale is unknown."""
        seen_fl = self.landmarks.visibility_fl[self.rows] == SEEN
        if self.map.metric or not seen_fl.any():
            return NoiseModel()
        centres_f3 = np.stack([self.map.T_world_camera[frame.name][:3, 3] for frame in self.frames])
        distance_fl = np.linalg.norm(self.landmarks.points_world_l3[None] - centres_f3[:, None], axis=2)
        return NoiseModel(floor_m=NoiseModel.floor_m / 3.0 * float(np.median(distance_fl[seen_fl])))

    @property
    def inputs(self) -> list:
        """What of the dataset a training depends on, for a fingerprint. Where it lies is not part of it."""
        frames = [
            [frame.name, self.map.T_world_camera[frame.name], camera_to_dict(self.map.cameras[frame.name])]
            for frame in self.frames
        ]
        images = digest_of_files(self.dataset.image_path(frame) for frame in self.frames)
        return [frames, images, [self.landmarks.points_world_l3, self.landmarks.visibility_fl[self.rows]]]

    def network_camera(self, frame_index: int) -> Camera:
        """The pinhole through which the network sees a frame where nothing is augmented."""
        return self._network_cameras[self.map.cameras[self.frames[frame_index].name]]

    def view(self, frame_index: int, view_index: int, generation: int) -> View:
        """View `view_index` of a frame; view 0 of generation 0 is the plain one."""
        frame = self.frames[frame_index]
        plain = view_index == 0 and generation == 0
        rng = np.random.default_rng([self.config.seed, frame_index, view_index, generation])
        camera = self.map.cameras[frame.name]
        return make_view(
            self.dataset.image(frame),
            camera,
            self.map.T_world_camera[frame.name],
            self.landmarks.points_world_l3.astype(float),
            self.landmarks.visibility_fl[self.rows[frame_index]],
            self.network_camera(frame_index),
            None if plain else self.config.augmentation,
            rng,
        )

    def close_up_hw3(self, frame_index: int, zoom: float, rng: np.random.Generator) -> np.ndarray:
        """A part of a frame, drawn at random, as the network would see it `zoom` times as large: an image of the plain
        view's size, from all the pixels that the frame has there."""
        frame, whole = self.frames[frame_index], self.network_camera(frame_index)
        width_px, height_px = round(whole.width_px / zoom), round(whole.height_px / zoom)
        left_px = rng.integers(whole.width_px - width_px + 1)
        top_px = rng.integers(whole.height_px - height_px + 1)
        part = whole.cropped(left_px, top_px, width_px, height_px).resized(whole.width_px, whole.height_px)
        return Resampler(self.map.cameras[frame.name], part).image(self.dataset.image(frame))


def held_out_frames(frames: int, share: float, blocks: int = 5) -> list[int]:
    """Indices of `share` of the frames, in up to `blocks` runs of neighbours spread over the recording."""
    count = round(frames * share)
    if count == 0:
        return []
    blocks = min(blocks, count)
    sizes = np.diff(np.linspace(0, count, blocks + 1).round().astype(int))
    middles = (np.arange(blocks) + 0.5) * frames / blocks
    return sorted(
        {int(middle - size / 2) + n for middle, size in zip(middles, sizes, strict=True) for n in range(size)}
    )
