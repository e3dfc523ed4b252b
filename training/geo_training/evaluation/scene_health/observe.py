"""What a scene's head and map points say of the frames of a recording."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch

from geo_perception.geometry import Camera
from geo_perception.localization.confidence import evidence_of
from geo_perception.localization.estimator import Localizer
from geo_perception.localization.look import ImageLevels, LevelView, Proposal, SecondLook
from geo_perception.localization.network_view import network_camera_at
from geo_perception.localization.pnp import PoseSolution, solve_pose
from geo_perception.localization.scene import Scene
from geo_perception.localization.second_look import SecondLooker
from geo_perception.runtime.folding import fold_normalization
from geo_perception.runtime.image import Resampler
from geo_training.console import track
from geo_training.datasets.scene import Frame, SceneDataset
from geo_training.evaluation.scene_health.answers import Answers, answers_at
from geo_training.evaluation.scene_health.expected import Visibility
from geo_training.evaluation.scene_health.leave_out import Anchors, group_points, predict_without_own

PosesFrom = Literal["landmarks", "recorded"]
OBJECT_SHARE = 0.1  # of the middle distance of landmarks from where they were seen: about as far an object reaches
_KNOWN_SIGMA_PX = 0.5  # of what is predicted by a recorded pose


@dataclass(frozen=True)
class Observation:
    """One frame. `T_map_camera` None where the robot was lost; `answers` of the landmarks that should be seen, by poses
    without them; `peak_l2`, `score_l` each landmark's best place anywhere in the image, in pixels of the network's
    `camera`; `light` the mean brightness (0 to 1) and `contrast` its deviation. `point_asked_p`, `point_found_p`: map
    points that were looked for, and those that were where the pose has them (indices of appearances)."""

    name: str
    recording: int
    stamp_s: float
    camera: Camera
    T_map_camera: np.ndarray | None
    answers: Answers
    predicted_l2: np.ndarray
    peak_l2: np.ndarray
    score_l: np.ndarray
    light: float = 0.5
    contrast: float = 0.2
    point_asked_p: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    point_found_p: np.ndarray = field(default_factory=lambda: np.zeros(0, int))


@dataclass(frozen=True)
class Sight:
    """A frame through the network: the backbone's maps (1, C, h, w), the image that they are of, and its levels."""

    camera: Camera
    image_hw3: np.ndarray
    features: list[torch.Tensor]
    levels: ImageLevels


class SceneEye:
    """Looks at frames with the parts of a scene, so that poses can be told without the landmark that is judged."""

    def __init__(self, scene: Scene, device: str = "auto"):
        self.scene = scene
        self.localizer = Localizer(scene, device)
        self._head = fold_normalization(scene.head).to(self.localizer.device)
        self.looker: SecondLooker | None = None
        if scene.points is not None:
            strides = scene.backbone.strides
            self.looker = SecondLooker(scene.points, strides, self.localizer.device, self.localizer.options.look)
        self.object_radius = OBJECT_SHARE * usual_distance(scene)
        self.group_l = group_points(scene.landmarks_map_l3, self.object_radius)
        self.visibility = Visibility.of_places(scene.landmarks_map_l3, scene.places)
        self._resamplers: dict[tuple[Camera, int], Resampler] = {}

    def sight(self, image_hw3: np.ndarray, camera: Camera) -> Sight:
        """The frame (RGB) as the network sees it."""

        def level(number: int) -> LevelView:
            key = camera, number
            if key not in self._resamplers:
                target = network_camera_at(camera, self.scene.network_focal_px / 2**number)
                self._resamplers[key] = Resampler(camera, target)
            seen_hw3 = self._resamplers[key].image(image_hw3)
            return LevelView(self._resamplers[key].target, seen_hw3, self.localizer.frozen(seen_hw3))

        levels = ImageLevels(level)
        first = levels.view(0)
        return Sight(first.camera, first.image_hw3, first.maps, levels)

    @torch.inference_mode()
    def observe(
        self, image_hw3: np.ndarray, camera: Camera, frame: Frame, recording: int, poses: PosesFrom = "landmarks"
    ) -> tuple[Observation, Sight]:
        """What the scene says of one frame."""
        sight = self.sight(image_hw3, camera)
        if self.looker is not None and poses == "landmarks":
            self.looker.begin_keypoints(sight.levels)
        maps = self._head(sight.features)
        peaks = self._head.find(maps)
        peak_l2, score_l = peaks.pixels_bl2[0].double().cpu().numpy(), peaks.score_bl[0].double().cpu().numpy()
        landmarks_l3 = self.scene.landmarks_map_l3
        asked_p, found_p = np.zeros(0, int), np.zeros(0, int)
        if poses == "recorded":
            T_map_camera = frame.T_world_camera
            predicted_l2 = _projected(T_map_camera, sight.camera, landmarks_l3)
        else:
            T_map_camera, anchors, asked_p, found_p = self._pose(sight, peak_l2, score_l, image_hw3, camera)
            predicted_l2 = np.full((len(landmarks_l3), 2), np.nan)
            if T_map_camera is not None:
                predicted_l2 = predict_without_own(
                    T_map_camera, sight.camera, anchors, landmarks_l3, self.group_l, self.object_radius
                )
        expected_l = np.zeros(len(landmarks_l3), bool)
        if T_map_camera is not None:
            expected_l = self.visibility.expected(T_map_camera[:3, 3])
        answers = answers_at(maps.logits_blhw[0], predicted_l2, expected_l)
        grey_hw = sight.image_hw3[::4, ::4].mean(axis=2) / 255
        return Observation(
            frame.name, recording, frame.stamp_s, sight.camera, T_map_camera, answers, predicted_l2, peak_l2, score_l,
            float(grey_hw.mean()), float(grey_hw.std()), asked_p, found_p,
        ), sight  # fmt: skip

    def _pose(
        self, sight: Sight, peak_l2, score_l, image_hw3: np.ndarray, camera: Camera
    ) -> tuple[np.ndarray | None, Anchors, np.ndarray, np.ndarray]:
        """The pose, what it is made of, and the map points looked for and found. None where the robot is lost."""
        scene, options = self.scene, self.localizer.options
        seen = np.flatnonzero(score_l >= options.min_score)
        sigma_px_n = scene.noise.sigma_of(score_l[seen])
        solution = None
        if len(seen) >= options.min_inliers:
            solution = solve_pose(
                peak_l2[seen], scene.landmarks_map_l3[seen], score_l[seen], sigma_px_n, sight.camera, options.pose
            )
        nobody = Anchors(np.zeros((0, 2)), np.zeros((0, 3)), np.zeros(0)), np.zeros(0, int), np.zeros(0, int)
        if self.looker is None:
            if solution is None or solution.inlier_n.sum() < options.min_inliers:
                return None, *nobody
            agrees = seen[solution.inlier_n]
            anchors = Anchors(peak_l2[agrees], scene.landmarks_map_l3[agrees], sigma_px_n[solution.inlier_n])
            return solution.T_map_camera, anchors, *nobody[1:]
        look = self._confirmed(solution, sight, score_l[seen], image_hw3, camera)
        if look is None:
            return None, *nobody
        chosen = look.solution.inlier_n
        places_m3 = self.looker.points.points_map_a3[look.matches.index_m[chosen]]
        anchors = Anchors(look.matches.pixels_m2[chosen], places_m3, look.sigma_px_m[chosen])
        return look.solution.T_map_camera, anchors, look.expected_e, look.matches.index_m[chosen]

    def _confirmed(
        self, first: PoseSolution | None, sight: Sight, score_n: np.ndarray, image_hw3: np.ndarray, camera: Camera
    ) -> SecondLook | None:
        """The second look from the landmarks' pose where it is sure at once; else from that of the whole localizer,
        which asks everything it has."""
        assert self.looker is not None
        options, sigma_of = self.localizer.options, self.scene.look_noise.sigma_of
        if first is not None:
            look = self.looker.look(Proposal(first.T_map_camera), sight.levels, sigma_of)
            if look is not None:
                evidence = evidence_of(look, score_n, first.inlier_n)
                if options.confidence.probability(evidence) >= options.sure:
                    return look
        found = self.localizer.estimate(image_hw3, camera)
        if not found.localized:
            return None
        return self.looker.look(Proposal(found.T_map_camera), sight.levels, sigma_of)


def observe_recordings(
    eye: SceneEye,
    recordings: Sequence[tuple[SceneDataset, Sequence[Frame]]],
    poses: PosesFrom = "landmarks",
    keep: Callable[[Observation, Sight], None] | None = None,
) -> list[Observation]:
    """Every frame of the recordings, in the order given, then of time. `keep` is shown each frame, too."""
    asked = [(number, dataset, frame) for number, (dataset, frames) in enumerate(recordings) for frame in frames]
    observations = []
    for number, dataset, frame in track(asked, "looking"):
        observation, sight = eye.observe(dataset.image(frame), dataset.camera(frame), frame, number, poses)
        observations.append(observation)
        if keep is not None:
            keep(observation, sight)
    return observations


def usual_distance(scene: Scene) -> float:
    """From where its places were seen to the landmarks that they show: the middle of all. Without places the extent of
    the landmarks stands in for it."""
    landmarks_l3, places = scene.landmarks_map_l3, scene.places
    if places is None or not places.visible_kl.any():
        return float(np.median(np.linalg.norm(landmarks_l3 - np.median(landmarks_l3, axis=0), axis=1)))
    distance_kl = np.linalg.norm(places.T_map_camera_k44[:, None, :3, 3] - landmarks_l3[None], axis=2)
    return float(np.median(distance_kl[places.visible_kl]))


def _projected(T_map_camera: np.ndarray | None, camera: Camera, points_l3: np.ndarray) -> np.ndarray:
    pixels_l2 = np.full((len(points_l3), 2), np.nan)
    if T_map_camera is None:
        return pixels_l2
    local_l3 = (points_l3 - T_map_camera[:3, 3]) @ T_map_camera[:3, :3]
    found_l2 = camera.project(local_l3)
    inside_l = (local_l3[:, 2] > 1e-6) & camera.contains(np.nan_to_num(found_l2, nan=-1e6))
    pixels_l2[inside_l] = found_l2[inside_l]
    return pixels_l2
