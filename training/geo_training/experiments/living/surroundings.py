"""What a recording shows that a scene does not know: new points and landmarks, in the scene's own frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial import cKDTree

from geo_perception.errors import InputError
from geo_perception.geometry import Camera
from geo_perception.localization.keypoints import KeypointDetector, Keypoints
from geo_perception.localization.map_points import MapPoints
from geo_training.console import say
from geo_training.datasets.scene import Frame, SceneDataset
from geo_training.evaluation.scene_health.observe import Observation, SceneEye, Sight
from geo_training.mapping.landmark_set import LandmarkSet
from geo_training.mapping.landmarks import SelectionOptions, select_landmarks
from geo_training.mapping.new_points import PosedKeypoints, new_points
from geo_training.mapping.pairs import view_overlap
from geo_training.mapping.scene_map import SceneMap, Tracks

EXPLAINED_PX = 3.0  # a keypoint this near to a map point that should be seen is that one
_NEIGHBOURS, _OVERLAPPING, _MIN_OVERLAP = (1, 2, 3), 6, 0.3


@dataclass(frozen=True)
class SeenFrame:
    """A frame of a new recording that the scene has placed: what is kept of it to learn from."""

    dataset: SceneDataset
    frame: Frame
    observation: Observation
    camera: Camera  # of the dataset; that of the network is the observation's
    features: list[torch.Tensor]  # half precision
    keypoints: Keypoints

    @property
    def name(self) -> str:
        """Unique over several recordings."""
        return f"{self.observation.recording}/{self.frame.name}"

    @property
    def T_map_camera(self) -> np.ndarray:
        assert self.observation.T_map_camera is not None  # the scene has placed it
        return self.observation.T_map_camera


class Keeper:
    """Keeps what is needed of every frame that the scene places."""

    def __init__(self, eye: SceneEye, recordings: Sequence[tuple[SceneDataset, Sequence[Frame]]]):
        described = eye.scene.points is not None and eye.scene.points.keypoints is not None
        self._eye, self._detector = eye, None if described else KeypointDetector(described=True)
        self._frames = {(n, frame.name): (dataset, frame)
                        for n, (dataset, frames) in enumerate(recordings) for frame in frames}  # fmt: skip
        self.kept: dict[int, SeenFrame] = {}
        self._shown = 0

    def __call__(self, observation: Observation, sight: Sight) -> None:
        number, self._shown = self._shown, self._shown + 1
        if observation.T_map_camera is None:
            return
        if self._detector is not None:
            keypoints = self._detector.detect(sight.image_hw3)
        else:
            assert self._eye.looker is not None
            self._eye.looker.begin_keypoints(sight.levels)
            assert sight.levels.keypoints is not None
            keypoints = sight.levels.keypoints.result()
        dataset, frame = self._frames[observation.recording, observation.name]
        features = [feature.half().cpu() for feature in sight.features]
        self.kept[number] = SeenFrame(dataset, frame, observation, dataset.camera(frame), features, keypoints)


@dataclass(frozen=True)
class NewSurroundings:
    """The new points as a map of the frames that see them, `descriptors_nd` how they look as keypoints, and the
    landmarks chosen among them; None where there are too few for any."""

    scene_map: SceneMap
    descriptors_nd: np.ndarray
    landmarks: LandmarkSet | None


def new_surroundings(
    eye: SceneEye, frames: Sequence[SeenFrame], known: MapPoints | None, distance: float, count: int
) -> NewSurroundings:
    """Points that the frames show and `known` does not explain, and up to `count` landmarks among them. `distance`: how
    far the frames look, about."""
    posed = [_unexplained(eye, frame, known) for frame in frames]
    found = new_points(posed, _pairs(frames, distance))
    say(f"{len(found)} new points in {len(frames)} frames")
    tracks = Tracks(
        found.point_m.astype(np.int32), found.frame_m.astype(np.int32), _in_own_camera(frames, posed, found)
    )  # fmt: skip
    scene_map = SceneMap(
        {frame.name: frame.T_map_camera for frame in frames}, {frame.name: frame.camera for frame in frames},
        found.points_n3, found.error_px_n, tracks, eye.scene.metric,
    )  # fmt: skip
    descriptors_nd = np.zeros((len(found), posed[0].descriptors_kd.shape[1] if posed else 0), np.float32)
    for frame, one in enumerate(posed):
        rows = found.frame_m == frame
        np.add.at(descriptors_nd, found.point_m[rows], one.descriptors_kd[found.keypoint_m[rows]])
    descriptors_nd /= np.maximum(np.bincount(found.point_m, minlength=len(found)), 1)[:, None]
    landmarks, by_name = None, {frame.name: frame for frame in frames}
    if count and len(found):

        def depth_of(name: str) -> np.ndarray | None:
            return by_name[name].dataset.depth_m(by_name[name].frame)

        try:
            landmarks = select_landmarks(scene_map, SelectionOptions(count=count), depth_of)
        except InputError as problem:
            say(f"no new landmarks: {problem}")
    return NewSurroundings(scene_map, descriptors_nd, landmarks)


def _unexplained(eye: SceneEye, frame: SeenFrame, known: MapPoints | None) -> PosedKeypoints:
    """The keypoints of a frame where no known point should be seen; one a place."""
    camera, T = frame.observation.camera, frame.T_map_camera
    _, first = np.unique(frame.keypoints.place_k, return_index=True)
    pixels_k2 = frame.keypoints.pixels_k2[first]
    if known is not None and len(known) and len(pixels_k2):
        local_a3 = (known.points_map_a3 - T[:3, 3]) @ T[:3, :3]
        projected_a2 = camera.project(local_a3)
        inside_a = (local_a3[:, 2] > 1e-6) & camera.contains(np.nan_to_num(projected_a2, nan=-1e6))
        ray_a3 = T[:3, 3] - known.points_map_a3
        range_a = np.maximum(np.linalg.norm(ray_a3, axis=1), 1e-9)
        turn_a = np.arccos(np.clip((ray_a3 * known.direction_a3).sum(axis=1) / range_a, -1, 1)) - known.cone_rad_a
        inside_a &= turn_a < eye.localizer.options.look.cone_slack_rad
        if inside_a.any():
            away_k, _ = cKDTree(projected_a2[inside_a]).query(pixels_k2)
            first, pixels_k2 = first[away_k > EXPLAINED_PX], pixels_k2[away_k > EXPLAINED_PX]
    assert frame.keypoints.descriptors_kc is not None  # the detector describes them
    return PosedKeypoints(frame.name, T, camera, pixels_k2, frame.keypoints.descriptors_kc[first])


def _pairs(frames: Sequence[SeenFrame], distance: float) -> list[tuple[int, int]]:
    """Each frame with its neighbours in time, and with those that see most of what it sees."""
    pairs = {
        (i, i + step)
        for step in _NEIGHBOURS
        for i in range(len(frames) - step)
        if frames[i].observation.recording == frames[i + step].observation.recording
    }
    T_f44 = np.stack([frame.T_map_camera for frame in frames])
    cameras = [frame.observation.camera for frame in frames]
    overlap_ff = view_overlap(T_f44, cameras, np.full(len(frames), distance))
    for i in range(len(frames)):
        for j in np.argsort(-overlap_ff[i])[:_OVERLAPPING]:
            if overlap_ff[i, j] > _MIN_OVERLAP:
                pairs.add((min(i, int(j)), max(i, int(j))))
    return sorted(pairs)


def _in_own_camera(frames: Sequence[SeenFrame], posed: Sequence[PosedKeypoints], found) -> np.ndarray:
    """Pixels (M, 2) of the observations in the datasets' cameras."""
    pixels_m2 = np.zeros((len(found.point_m), 2))
    for number, (frame, one) in enumerate(zip(frames, posed, strict=True)):
        rows = found.frame_m == number
        if rows.any():
            bearings_m3 = one.camera.bearings(one.pixels_k2[found.keypoint_m[rows]])
            pixels_m2[rows] = frame.camera.project(bearings_m3)
    return pixels_m2
