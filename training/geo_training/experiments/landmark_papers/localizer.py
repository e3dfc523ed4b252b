"""A trained reference as a localizer: heatmaps, peaks, the house's pose; bearings where too few landmarks are seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from geo_perception.geometry import Camera
from geo_perception.localization.network_view import SIDE_MULTIPLE_PX, network_camera_at
from geo_perception.localization.pnp import reprojection_px, solve_pose
from geo_perception.localization.result import Detections, Localization, Verdict
from geo_perception.runtime.device import half_autocast, pick_device
from geo_perception.runtime.image import Resampler, image_problem
from geo_training.experiments.landmark_papers.bearing_pose import solve_bearings
from geo_training.experiments.landmark_papers.heatmaps import heatmap_peaks
from geo_training.experiments.landmark_papers.reference_file import Reference


class ReferenceLocalizer:
    """Localizes single images as a reference does, with the interface of the scene's own localizer."""

    def __init__(self, reference: Reference, device: str = "auto"):
        self.reference, self.config = reference, reference.config
        self.device = pick_device(device)
        self._network = reference.network.eval().to(self.device).to(memory_format=torch.channels_last)

    @classmethod
    def load(cls, path: str | Path, device: str = "auto") -> ReferenceLocalizer:
        """Reads a reference's file. Raises InputError when it or the device cannot be used."""
        return cls(Reference.load(path), device)

    @torch.no_grad()
    def estimate(self, image_rgb: np.ndarray, camera: Camera, seed: int = 0) -> Localization:
        """Where `camera` was when it took `image_rgb` (H, W, 3, uint8)."""
        problem = image_problem(image_rgb, SIDE_MULTIPLE_PX)
        if problem:
            return Localization(Verdict.BAD_IMAGE, problem)
        seen = network_camera_at(camera, self.reference.network_focal_px)
        view_hw3 = Resampler(camera, seen).image(image_rgb)
        image_b3hw = torch.from_numpy(view_hw3).to(self.device).permute(2, 0, 1)[None].float()
        with half_autocast(self.device, self.config.half):
            heatmap_blhw = self._network(image_b3hw)
        pixels_bl2, score_bl = heatmap_peaks(heatmap_blhw, self.config.peak_threshold)
        score_l = score_bl[0].double().cpu().numpy()
        landmark_n = np.flatnonzero(score_l > self.config.peak_threshold)
        landmark_n = landmark_n[np.argsort(-score_l[landmark_n], kind="stable")]
        pixels_n2, score_n = pixels_bl2[0].double().cpu().numpy()[landmark_n], score_l[landmark_n]
        points_n3 = self.reference.landmarks_map_l3[landmark_n]
        sigma_px_n = self.config.sigma_px / score_n  # so that an inlier weighs as the square of its score
        in_image_n2 = camera.project(seen.bearings(pixels_n2))
        to_image_scale = camera.fx_px / seen.fx_px
        detections = Detections(
            landmark_n, in_image_n2, points_n3, score_n, sigma_px_n * to_image_scale, np.zeros(len(score_n), bool)
        )
        bearing = self.config.bearing
        if bearing is not None and len(landmark_n) < bearing.fewer_than:
            return self._by_bearings(image_b3hw, seen, detections, pixels_n2, sigma_px_n, seed)
        if len(landmark_n) < self.config.min_inliers:
            return Localization(Verdict.TOO_FEW_LANDMARKS, f"{len(landmark_n)} landmarks seen", detections)
        solution = solve_pose(pixels_n2, points_n3, score_n, sigma_px_n, seen, seed=seed)
        if solution is None or solution.inlier_n.sum() < self.config.min_inliers:
            return Localization(Verdict.NO_CONSENSUS, f"{len(landmark_n)} landmarks seen", detections)
        detections.inlier_n[:] = solution.inlier_n
        detail = f"{int(solution.inlier_n.sum())} of {len(landmark_n)} landmarks agree"
        residual_px = float(np.median(solution.residual_px_n[solution.inlier_n])) * to_image_scale
        return Localization(
            Verdict.LOCALIZED, detail, detections, solution.T_map_camera, solution.covariance_66, residual_px
        )

    def _by_bearings(
        self, image_b3hw: torch.Tensor, seen: Camera, detections: Detections, pixels_n2, sigma_px_n, seed: int
    ) -> Localization:
        """From the directions of all landmarks: detected ones as they were detected, the others regressed."""
        bearings_l3 = self._network.bearing(image_b3hw)[0].double().cpu().numpy()
        sigma_rad_l = np.full(len(bearings_l3), np.radians(self.config.bearing.sigma_deg))
        bearings_l3[detections.landmark_n] = seen.bearings(pixels_n2)
        sigma_rad_l[detections.landmark_n] = sigma_px_n / seen.fx_px
        pose = solve_bearings(bearings_l3, self.reference.landmarks_map_l3, sigma_rad_l, seed)
        if pose is None:
            return Localization(Verdict.NO_CONSENSUS, f"no pose agrees with {len(bearings_l3)} bearings", detections)
        detections.inlier_n[:] = pose.inlier_n[detections.landmark_n]
        detail = f"{int(pose.inlier_n.sum())} of {len(bearings_l3)} bearings agree, {len(detections)} of them detected"
        residual_px_n = reprojection_px(pose.T_map_camera, pixels_n2, detections.points_map_n3, seen)
        residual_px = float(np.median(residual_px_n)) if len(residual_px_n) else float("nan")
        return Localization(Verdict.LOCALIZED, detail, detections, pose.T_map_camera, pose.covariance_66, residual_px)
