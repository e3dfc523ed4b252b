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
from geo_perception.localization.pnp import PoseOptions, PoseSolution, solve_pose
from geo_perception.localization.result import Detections, Localization, Verdict
from geo_perception.localization.scene import Scene
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
        self._resamplers: dict[Camera, Resampler] = {}
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
        self._network(np.zeros((height_px, width_px, 3), np.uint8))

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
            resampler = self._resampler_of(camera)
            view_hw3 = resampler.image(image_hw3)
        except (InputError, cv2.error) as error:
            return Localization(Verdict.BAD_IMAGE, f"its camera cannot be used: {error}")
        prepared_s = time.perf_counter()
        peaks = self._network(view_hw3)
        pixels_l2 = peaks.pixels_bl2[0].double().cpu().numpy()
        score_l = peaks.score_bl[0].double().cpu().numpy()
        detected_s = time.perf_counter()
        result = self._pose_of(pixels_l2, score_l, camera, resampler.target, seed)
        finished_s = time.perf_counter()
        timings_s = {
            "prepare": prepared_s - started_s,
            "network": detected_s - prepared_s,
            "pose": finished_s - detected_s,
            "total": finished_s - started_s,
        }
        return replace(result, timings_s=timings_s)

    def network_camera(self, camera: Camera) -> Camera:
        """The pinhole that the network looks through: the scene's focal length, the live camera's field of view."""
        return network_camera_at(camera, self.scene.network_focal_px)

    def _resampler_of(self, camera: Camera) -> Resampler:
        if camera not in self._resamplers:
            if len(self._resamplers) > 8:  # a camera whose K changes with every frame must not fill the memory
                self._resamplers.clear()
            self._resamplers[camera] = Resampler(camera, self.network_camera(camera))
        return self._resamplers[camera]

    def _network(self, view_hw3: np.ndarray) -> Peaks:
        image_b3hw = (
            torch.from_numpy(np.ascontiguousarray(view_hw3)).to(self.device).permute(2, 0, 1)[None].float().contiguous()
        )
        with torch.autocast(self.device.type, self._half or torch.bfloat16, enabled=self._half is not None):
            maps = self._head(self._backbone(image_b3hw))
        return self._head.find(maps)

    def _pose_of(
        self, pixels_l2: np.ndarray, score_l: np.ndarray, camera: Camera, network_camera: Camera, seed: int
    ) -> Localization:
        options = self.options
        landmark_n = np.flatnonzero(score_l >= options.min_score)
        landmark_n = landmark_n[np.argsort(-score_l[landmark_n], kind="stable")]
        score_n = score_l[landmark_n]
        sigma_px_n = self.scene.noise.sigma_of(score_n)
        points_n3 = self.scene.landmarks_map_l3[landmark_n]
        image_pixels_n2 = camera.project(network_camera.bearings(pixels_l2[landmark_n]))
        to_image_scale = camera.fx_px / network_camera.fx_px
        detections = Detections(
            landmark_n,
            image_pixels_n2,
            points_n3,
            score_n,
            sigma_px_n * to_image_scale,
            np.zeros(len(landmark_n), bool),
        )
        if len(landmark_n) < options.min_inliers:
            detail = f"{len(landmark_n)} landmarks seen, {options.min_inliers} are needed"
            return Localization(Verdict.TOO_FEW_LANDMARKS, detail, detections)
        solution = solve_pose(pixels_l2[landmark_n], points_n3, score_n, sigma_px_n, network_camera, options.pose, seed)
        if solution is None:
            return Localization(
                Verdict.NO_CONSENSUS, f"no pose agrees with the {len(landmark_n)} landmarks seen", detections
            )
        detections = replace(detections, inlier_n=solution.inlier_n)
        return self._assess(solution, detections, to_image_scale)

    def _assess(self, solution: PoseSolution, detections: Detections, to_image_scale: float) -> Localization:
        options, noise = self.options, self.scene.noise
        inliers = int(solution.inlier_n.sum())
        covariance_66 = solution.covariance_66 * noise.covariance_scale
        covariance_66 = covariance_66 + np.diag([noise.floor_m**2] * 3 + [noise.floor_rad**2] * 3)
        sigma_m = float(np.sqrt(np.linalg.eigvalsh(covariance_66[:3, :3])[-1]))
        sigma_rad = float(np.sqrt(np.linalg.eigvalsh(covariance_66[3:, 3:])[-1]))
        verdict, detail = Verdict.LOCALIZED, f"{inliers} of {len(detections)} landmarks agree"
        if inliers < options.min_inliers:
            verdict, detail = Verdict.NO_CONSENSUS, f"only {detail}, {options.min_inliers} are needed"
        elif sigma_m > self._sigma_limit() or sigma_rad > options.max_sigma_rad:
            unit = "m" if self.scene.metric else "scene units"
            detail = f"standard deviation {sigma_m:.2f} {unit} and {np.degrees(sigma_rad):.1f} degrees"
            verdict = Verdict.TOO_UNCERTAIN
        if verdict is not Verdict.LOCALIZED:
            return Localization(verdict, detail, detections)
        reprojection_px = float(np.median(solution.residual_px_n[solution.inlier_n]) * to_image_scale)
        return Localization(verdict, detail, detections, solution.T_map_camera, covariance_66, reprojection_px)

    def _sigma_limit(self) -> float:
        return self.options.max_sigma_m if self.scene.metric else 0.1 * self._scene_extent
