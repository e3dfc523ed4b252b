"""One image to one pose, without ROS: what a node, a notebook, a test and the replay tool all use."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
import torch

from geo_perception.errors import InputError
from geo_perception.geometry import Camera
from geo_perception.localization.network import Peaks
from geo_perception.localization.network_view import SIDE_MULTIPLE_PX, network_camera_at
from geo_perception.localization.places import places_by_votes
from geo_perception.localization.pnp import PoseOptions, PoseSolution, reprojection_px, solve_pose
from geo_perception.localization.result import Detections, Localization, Verdict
from geo_perception.localization.scene import NoiseModel, Scene
from geo_perception.localization.second_look import (
    LEVELS,
    ImageLevels,
    LevelView,
    PointSearch,
    SecondLook,
    SecondLookOptions,
)
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
    min_share: float = 0.25  # of the map points that should be seen from a pose, those that must be, or it is refused
    places: int = 4  # in which a pose is looked for where the whole scene gives none
    look: SecondLookOptions = field(default_factory=SecondLookOptions)


@dataclass(frozen=True)
class _Detected:
    """Every landmark's best place in an image, in pixels of the network's `camera`, though found in pixels `scale` as
    large."""

    pixels_l2: np.ndarray
    score_l: np.ndarray
    camera: Camera
    scale: float


@dataclass(frozen=True)
class _FirstLook:
    """Landmarks that were found, their pixels in the network's camera, and the pose on which they agree."""

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
        # Copies: the scene keeps the weights that it is saved with. Channels last, as images come: that is faster.
        layout = torch.channels_last
        self._backbone = fold_normalization(scene.backbone).to(self.device).to(memory_format=layout)
        self._head = fold_normalization(scene.head).to(self.device).to(memory_format=layout)
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
        black_hw3 = np.zeros((height_px, width_px, 3), np.uint8)
        self._find(self._features(black_hw3))
        if self._search is not None:
            focal_px = self.scene.network_focal_px
            middle = Camera(width_px, height_px, focal_px, focal_px, (width_px - 1) / 2, (height_px - 1) / 2)
            half = network_camera_at(middle, focal_px / 2)
            self._features(np.zeros((half.height_px, half.width_px, 3), np.uint8))
            self._search.warm_up(black_hw3)

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

        def view_of(level: int) -> LevelView:
            seen_hw3 = levels[level].image(image_hw3) if level else view_hw3
            return LevelView(levels[level].target, seen_hw3, self._features(seen_hw3))

        image = ImageLevels(view_of)
        whole = self._detect(image, 0)
        detected_s = time.perf_counter()
        first = self._solve(whole, whole.score_l >= self.options.min_score, camera, seed)
        solved_s = time.perf_counter()
        to_image_scale = camera.fx_px / levels[0].target.fx_px
        if self._search is not None:
            result = self._confirmed(first, whole, image, camera, seed)
        elif isinstance(first, Localization):
            result = first
        else:
            result = self._assess(first, to_image_scale)
        finished_s = time.perf_counter()
        timings_s = {
            "prepare": prepared_s - started_s,
            "network": detected_s - prepared_s,
            "pose": solved_s - detected_s,
            "second_look": finished_s - solved_s,
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
        image_b3hw = torch.from_numpy(np.ascontiguousarray(view_hw3)).to(self.device).permute(2, 0, 1)[None].float()
        with self._autocast():
            return self._backbone(image_b3hw)

    def _find(self, features: list[torch.Tensor]) -> Peaks:
        with self._autocast():
            maps = self._head(features)
        return self._head.find(maps)

    def _detect(self, image: ImageLevels, level: int) -> _Detected:
        peaks = self._find(image.view(level).maps)
        pixels_l2 = peaks.pixels_bl2[0].double().cpu().numpy()
        score_l = peaks.score_bl[0].double().cpu().numpy()
        camera, own = image.camera(0), image.camera(level)
        if level:
            pixels_l2 = camera.project(own.bearings(pixels_l2))
        return _Detected(pixels_l2, score_l, camera, camera.fx_px / own.fx_px)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self._half or torch.bfloat16, enabled=self._half is not None)

    def _solve(self, found: _Detected, chosen_l: np.ndarray, camera: Camera, seed: int) -> _FirstLook | Localization:
        """The pose on which the chosen ones of the landmarks found agree, or why there is none."""
        options = self.options
        landmark_n = np.flatnonzero(chosen_l)
        landmark_n = landmark_n[np.argsort(-found.score_l[landmark_n], kind="stable")]
        score_n, pixels_n2 = found.score_l[landmark_n], found.pixels_l2[landmark_n]
        sigma_px_n = self.scene.noise.sigma_of(score_n) * found.scale
        points_n3 = self.scene.landmarks_map_l3[landmark_n]
        detections = Detections(
            landmark_n,
            camera.project(found.camera.bearings(pixels_n2)),
            points_n3,
            score_n,
            sigma_px_n * camera.fx_px / found.camera.fx_px,
            np.zeros(len(landmark_n), bool),
        )
        if len(landmark_n) < options.min_inliers:
            detail = f"{len(landmark_n)} landmarks seen, {options.min_inliers} are needed"
            return Localization(Verdict.TOO_FEW_LANDMARKS, detail, detections)
        solution = solve_pose(pixels_n2, points_n3, score_n, sigma_px_n, found.camera, options.pose, seed)
        if solution is None:
            return Localization(
                Verdict.NO_CONSENSUS, f"no pose agrees with the {len(landmark_n)} landmarks seen", detections
            )
        return _FirstLook(replace(detections, inlier_n=solution.inlier_n), pixels_n2, found.camera, solution)

    def _confirmed(
        self, first: _FirstLook | Localization, whole: _Detected, image: ImageLevels, camera: Camera, seed: int
    ) -> Localization:
        """The first pose, of those that the landmarks allow, from which the map points are seen as they should be.

        All landmarks are asked first; then those of the places for which they speak most, since a few right detections
        are lost among many false ones elsewhere; then those found in the smaller image, where what is nearer than it
        was in the map looks as it did.
        """
        assert self._search is not None
        options, best = self.options, None
        for candidate in self._candidates(first, whole, image, camera, seed):
            if isinstance(candidate, Localization):
                continue
            T_map_camera = candidate.solution.T_map_camera
            look = self._search.look(T_map_camera, image, self.scene.look_noise.sigma_of, seed)
            if look is not None and (best is None or look.share > best[0].share):
                best = look, candidate
            if best is not None and best[0].share >= options.min_share:
                look, candidate = best
                exact = self._search.exact(look, image)
                return self._assess_look(exact, candidate, camera.fx_px / image.camera(0).fx_px)
        if isinstance(first, Localization):
            return first
        agreeing, searched = (best[0].agreeing, best[0].searched) if best is not None else (0, 0)
        detail = f"only {agreeing} of {searched} map points" if searched else "no map points"
        detail += " are seen where the landmarks have the camera"
        return Localization(
            Verdict.NO_CONSENSUS, detail, first.detections, searched_points=searched, agreeing_points=agreeing
        )

    def _candidates(
        self, first: _FirstLook | Localization, whole: _Detected, image: ImageLevels, camera: Camera, seed: int
    ) -> Iterator[_FirstLook | Localization]:
        yield first
        if self.scene.places_kl is not None:
            for chosen_l in places_by_votes(self.scene.places_kl, whole.score_l, self.options.places):
                yield self._solve(whole, chosen_l, camera, seed)
        for level in range(1, LEVELS):
            found = self._detect(image, level)
            yield self._solve(found, found.score_l >= self.options.min_score, camera, seed)

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
