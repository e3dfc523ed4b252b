"""One image to one pose, without ROS: what a node, a notebook, a test and the replay tool all use."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
import torch

from geo_perception.errors import InputError
from geo_perception.geometry import Camera
from geo_perception.localization.network import Peaks
from geo_perception.localization.network_view import SIDE_MULTIPLE_PX, network_camera_at
from geo_perception.localization.pnp import PoseOptions, PoseSolution, reprojection_px, solve_pose
from geo_perception.localization.result import Detections, Localization, Verdict
from geo_perception.localization.scene import NoiseModel, Scene
from geo_perception.localization.second_look import LEVELS, PointSearch, SecondLook, SecondLookOptions
from geo_perception.runtime.device import half_precision, pick_device
from geo_perception.runtime.folding import fold_normalization
from geo_perception.runtime.image import Resampler, image_problem


@dataclass(frozen=True)
class LocalizerOptions:
    """What counts as localized."""

    min_score: float = 0.05  # detections below are not used at all
    min_inliers: int = 10
    max_sigma_m: float = 0.5  # of the worst direction; in a scene of unknown scale a tenth of its extent counts instead
    max_sigma_rad: float = 0.15
    pose: PoseOptions = field(default_factory=PoseOptions)
    second_look: bool = True  # where the scene carries map points for it
    look: SecondLookOptions = field(default_factory=SecondLookOptions)


@dataclass(frozen=True)
class _FirstLook:
    """What was found in the whole image: detections, their pixels in the network's camera, the pose they agree on."""

    detections: Detections
    pixels_n2: np.ndarray
    camera: Camera
    solution: PoseSolution


class Localizer:
    """Localizes single images in one scene. Not safe to call from several threads at once."""

    def __init__(self, scene: Scene, device: str = "auto", options: LocalizerOptions | None = None):
        self.scene = scene
        self.options = options or LocalizerOptions()
        self.device = pick_device(device)
        self._half = half_precision(self.device)
        # The scene keeps the weights that it is saved with.
        self._backbone = fold_normalization(scene.backbone).to(self.device)
        self._head = fold_normalization(scene.head).to(self.device)
        self._resamplers: dict[tuple[Camera, int], Resampler] = {}
        self._search = None
        if scene.points is not None and self.options.second_look:
            self._search = PointSearch(scene.points, scene.backbone.strides, self.device, self.options.look)
        self.size_bytes = 0
        spread_l = np.linalg.norm(scene.landmarks_map_l3 - np.median(scene.landmarks_map_l3, axis=0), axis=1)
        self._scene_extent = float(np.median(spread_l))

    @classmethod
    def load(
        cls,
        path: str | Path,
        device: str = "auto",
        options: LocalizerOptions | None = None,
        backbone_file: str | Path | None = None,
    ) -> Localizer:
        """Reads a scene file. Raises InputError when it or the device cannot be used."""
        localizer = cls(Scene.load(path, backbone_file), device, options)
        localizer.size_bytes = Path(path).stat().st_size
        return localizer

    def warm_up(self) -> None:
        """Runs once, so that the first image does not pay for set-up."""
        width_px, height_px = self.scene.network_size_px
        self._find(self._features(np.zeros((height_px, width_px, 3), np.uint8)))

    @torch.inference_mode()
    def estimate(self, image_hw3: np.ndarray, camera: Camera, seed: int = 0) -> Localization:
        """Where `camera` was when it took `image_hw3` (RGB uint8, as it came, with its distortion).

        Never raises on any image: what cannot be used comes back as `Verdict.BAD_IMAGE`. The same image, camera and
        seed give the same answer.
        """
        started_s = time.perf_counter()
        problem = image_problem(image_hw3, SIDE_MULTIPLE_PX)
        if problem:
            return Localization(Verdict.BAD_IMAGE, problem)
        height_px, width_px = image_hw3.shape[:2]
        try:
            camera = camera.fitted(width_px, height_px)
            levels = [self._resampler_of(camera, level) for level in range(LEVELS)]
            view_hw3 = levels[0].image(image_hw3)
        except (InputError, cv2.error) as error:
            return Localization(Verdict.BAD_IMAGE, f"its camera cannot be used: {error}")
        prepared_s = time.perf_counter()
        features = self._features(view_hw3)
        peaks = self._find(features)
        pixels_l2 = peaks.pixels_bl2[0].double().cpu().numpy()
        score_l = peaks.score_bl[0].double().cpu().numpy()
        detected_s = time.perf_counter()
        first = self._first_look(pixels_l2, score_l, camera, levels[0].target, seed)
        solved_s = time.perf_counter()

        def maps_of(level: int) -> tuple[Camera, list[torch.Tensor]]:
            maps = features if level == 0 else self._features(levels[level].image(image_hw3))
            return levels[level].target, maps

        look = None
        if self._search is not None and isinstance(first, _FirstLook):
            look = self._search.look(first.solution.T_map_camera, maps_of, self.scene.look_noise.sigma_of, seed)
        looked_s = time.perf_counter()
        to_image_scale = camera.fx_px / levels[0].target.fx_px
        if isinstance(first, Localization):
            result = first
        elif look is None:
            result = self._assess(first, to_image_scale)
        else:
            result = self._assess_look(look, first, to_image_scale)
        finished_s = time.perf_counter()
        timings_s = {
            "prepare": prepared_s - started_s,
            "network": detected_s - prepared_s,
            "pose": solved_s - detected_s,
            "second_look": looked_s - solved_s,
            "total": finished_s - started_s,
        }
        return replace(result, timings_s=timings_s)

    def network_camera(self, camera: Camera) -> Camera:
        """The pinhole that the network looks through: the scene's focal length, the live camera's field of view."""
        return network_camera_at(camera, self.scene.network_focal_px)

    def _resampler_of(self, camera: Camera, level: int) -> Resampler:
        """What makes the image of a level: at the scene's focal length, at half of it, and so on."""
        if (camera, level) not in self._resamplers:
            if len(self._resamplers) > 8 * LEVELS:  # a camera whose K changes with every frame must not fill the memory
                self._resamplers.clear()
            target = network_camera_at(camera, self.scene.network_focal_px / 2**level)
            self._resamplers[camera, level] = Resampler(camera, target)
        return self._resamplers[camera, level]

    def _features(self, view_hw3: np.ndarray) -> list[torch.Tensor]:
        image_b3hw = (
            torch.from_numpy(np.ascontiguousarray(view_hw3)).to(self.device).permute(2, 0, 1)[None].float().contiguous()
        )
        with self._autocast():
            return self._backbone(image_b3hw)

    def _find(self, features: list[torch.Tensor]) -> Peaks:
        with self._autocast():
            maps = self._head(features)
        return self._head.find(maps)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self._half or torch.bfloat16, enabled=self._half is not None)

    def _first_look(
        self, pixels_l2: np.ndarray, score_l: np.ndarray, camera: Camera, network_camera: Camera, seed: int
    ) -> _FirstLook | Localization:
        """The landmarks found in the whole image and the pose on which they agree, or why there is none."""
        options = self.options
        landmark_n = np.flatnonzero(score_l >= options.min_score)
        landmark_n = landmark_n[np.argsort(-score_l[landmark_n], kind="stable")]
        score_n = score_l[landmark_n]
        sigma_px_n = self.scene.noise.sigma_of(score_n)
        points_n3 = self.scene.landmarks_map_l3[landmark_n]
        pixels_n2 = pixels_l2[landmark_n]
        detections = Detections(
            landmark_n,
            camera.project(network_camera.bearings(pixels_n2)),
            points_n3,
            score_n,
            sigma_px_n * camera.fx_px / network_camera.fx_px,
            np.zeros(len(landmark_n), bool),
        )
        if len(landmark_n) < options.min_inliers:
            detail = f"{len(landmark_n)} landmarks seen, {options.min_inliers} are needed"
            return Localization(Verdict.TOO_FEW_LANDMARKS, detail, detections)
        solution = solve_pose(pixels_n2, points_n3, score_n, sigma_px_n, network_camera, options.pose, seed)
        if solution is None:
            return Localization(
                Verdict.NO_CONSENSUS, f"no pose agrees with the {len(landmark_n)} landmarks seen", detections
            )
        return _FirstLook(replace(detections, inlier_n=solution.inlier_n), pixels_n2, network_camera, solution)

    def _assess(self, first: _FirstLook, to_image_scale: float) -> Localization:
        inliers = int(first.solution.inlier_n.sum())
        detail = f"{inliers} of {len(first.detections)} landmarks agree"
        if inliers < self.options.min_inliers:
            detail = f"only {detail}, {self.options.min_inliers} are needed"
            return Localization(Verdict.NO_CONSENSUS, detail, first.detections)
        return self._stated(first.solution, self.scene.noise, first.detections, detail, to_image_scale)

    def _assess_look(self, look: SecondLook, first: _FirstLook, to_image_scale: float) -> Localization:
        T_map_camera, detections = look.solution.T_map_camera, first.detections
        residual_px_n = reprojection_px(T_map_camera, first.pixels_n2, detections.points_map_n3, first.camera)
        limit_px_n = self.options.pose.max_error_sigmas * detections.sigma_px_n / to_image_scale
        agrees_n = residual_px_n <= np.clip(limit_px_n, 1.0, self.options.pose.max_error_px)
        detail = f"{look.agreeing} of {look.searched} map points and {int(agrees_n.sum())} landmarks agree"
        detections = replace(detections, inlier_n=agrees_n)
        result = self._stated(look.solution, self.scene.look_noise, detections, detail, to_image_scale)
        return replace(result, searched_points=look.searched, agreeing_points=look.agreeing)

    def _stated(
        self, solution: PoseSolution, noise: NoiseModel, detections: Detections, detail: str, to_image_scale: float
    ) -> Localization:
        """The pose with its calibrated covariance, unless that is too wide."""
        covariance_66 = solution.covariance_66 * noise.covariance_scale
        covariance_66 = covariance_66 + np.diag([noise.floor_m**2] * 3 + [noise.floor_rad**2] * 3)
        sigma_m = float(np.sqrt(np.linalg.eigvalsh(covariance_66[:3, :3])[-1]))
        sigma_rad = float(np.sqrt(np.linalg.eigvalsh(covariance_66[3:, 3:])[-1]))
        if sigma_m > self._sigma_limit() or sigma_rad > self.options.max_sigma_rad:
            unit = "m" if self.scene.metric else "scene units"
            detail = f"standard deviation {sigma_m:.2f} {unit} and {np.degrees(sigma_rad):.1f} degrees"
            return Localization(Verdict.TOO_UNCERTAIN, detail, detections)
        reprojection_px = float(np.median(solution.residual_px_n[solution.inlier_n]) * to_image_scale)
        return Localization(
            Verdict.LOCALIZED, detail, detections, solution.T_map_camera, covariance_66, reprojection_px
        )

    def _sigma_limit(self) -> float:
        return self.options.max_sigma_m if self.scene.metric else 0.1 * self._scene_extent
