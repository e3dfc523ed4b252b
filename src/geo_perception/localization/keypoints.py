"""Keypoints that make a pose exact: a map point is an extremum of the difference of Gaussians, so in another image it
is one, too, and that one's place is known to a tenth of a pixel. No descriptor is needed where the place is nearly
known."""

from __future__ import annotations

import cv2
import numpy as np
from scipy.spatial import cKDTree

from geo_perception.geometry import Camera
from geo_perception.localization.pnp import PoseSolution, refine_solution

# Pixels around a projection in which its keypoint may lie, and around the place where its features were found.
_RADII_PX, _FOUND_PX = (4.0, 2.5, 1.5, 1.5), 4.0
_MIN_KEYPOINTS = 15
_SIGMA_SHARE, _MIN_SIGMA_PX = 1 / 3, 0.5  # of the radius
_CONTRAST = 0.02  # of the extrema: about as many as a map is made of
# Without precise upscaling OpenCV places keypoints a quarter of a pixel to the right of and below where they are.
_UPSCALING_BIAS_PX = 0.25


class KeypointDetector:
    """Places of SIFT's keypoints, without their descriptors."""

    def __init__(self) -> None:
        try:
            self._sift, self._bias_px = cv2.SIFT_create(0, 3, _CONTRAST, 10, 1.6, True), 0.0
        except (TypeError, cv2.error):  # OpenCV before 4.8
            self._sift, self._bias_px = cv2.SIFT_create(0, 3, _CONTRAST, 10, 1.6), _UPSCALING_BIAS_PX

    def detect(self, image_hw3: np.ndarray) -> np.ndarray:
        """Pixels (K, 2) of the keypoints of an RGB image, each once however many orientations it has."""
        found = self._sift.detect(cv2.cvtColor(image_hw3, cv2.COLOR_RGB2GRAY), None)
        pixels_k2 = np.asarray(cv2.KeyPoint.convert(found), np.float64).reshape(-1, 2).round(3) - self._bias_px
        return pixels_k2[np.unique(pixels_k2 @ [1, 1j], return_index=True)[1]]


def snap_to_keypoints(
    T_map_camera: np.ndarray,
    pixels_m2: np.ndarray,
    points_map_m3: np.ndarray,
    keypoints_k2: np.ndarray,
    camera: Camera,
) -> tuple[PoseSolution, np.ndarray, np.ndarray] | None:
    """The pose by the keypoints nearest to the projections of M points, which were found at about `pixels_m2`.

    Search and refinement take turns, in ever smaller surroundings. Returns the pose, which of the points have a
    keypoint (N,) and its pixels (N, 2); None where too few have one.
    """
    if len(keypoints_k2) < _MIN_KEYPOINTS:
        return None
    tree, solution = cKDTree(keypoints_k2), None
    for radius_px in _RADII_PX:
        projected_m2 = camera.project((points_map_m3 - T_map_camera[:3, 3]) @ T_map_camera[:3, :3])
        distance_m, nearest_m = tree.query(np.nan_to_num(projected_m2, nan=-1e6), distance_upper_bound=radius_px)
        index = np.flatnonzero(np.isfinite(distance_m))
        index = index[np.linalg.norm(keypoints_k2[nearest_m[index]] - pixels_m2[index], axis=1) < _FOUND_PX]
        # A keypoint is that of the point nearest to it.
        index = index[np.argsort(distance_m[index], kind="stable")]
        _, first = np.unique(nearest_m[index], return_index=True)
        index = index[first]
        if len(index) < _MIN_KEYPOINTS:
            return None
        snapped_n2 = keypoints_k2[nearest_m[index]]
        sigma_px_n = np.full(len(index), max(_MIN_SIGMA_PX, radius_px * _SIGMA_SHARE))
        solution = refine_solution(T_map_camera, snapped_n2, points_map_m3[index], sigma_px_n, camera)
        if solution is None or solution.inlier_n.sum() < _MIN_KEYPOINTS:
            return None
        T_map_camera = solution.T_map_camera
    assert solution is not None  # there are radii
    return solution, index, snapped_n2
