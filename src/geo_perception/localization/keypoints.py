"""Keypoints that make a pose exact: a map point is an extremum of the difference of Gaussians, so in another image it
is one, too, and that one's place is known to a tenth of a pixel. No descriptor is needed where the place is nearly
known."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.spatial import cKDTree

from geo_perception.geometry import Camera
from geo_perception.localization.pnp import PoseSolution, refine_solution

# Pixels around a projection in which its keypoint may lie, and around the place where its features were found.
_RADII_PX, _FOUND_PX = (4.0, 2.5, 1.5, 1.5), 4.0
# The same where others are known already, and how exact the place of a known keypoint is.
_KNOWN_RADII_PX, KNOWN_SIGMA_PX = (2.5, 1.5, 1.5), 0.6
MIN_KEYPOINTS = 15
_SIGMA_SHARE, _MIN_SIGMA_PX = 1 / 3, 0.5  # of the radius
_CONTRAST = 0.02  # of the extrema: about as many as a map is made of
# Without precise upscaling OpenCV places keypoints a quarter of a pixel to the right of and below where they are.
_UPSCALING_BIAS_PX = 0.25


@dataclass(frozen=True)
class Keypoints:
    """K keypoints of an image at N places `places_n2` (pixels): one for each orientation that a place has.

    `place_k` is the place of each, `descriptors_kc` (K, C) how it looks: the square roots of SIFT's 128 histograms,
    unit vectors, or what a map makes of them. Without descriptors there is one keypoint a place.
    """

    places_n2: np.ndarray
    place_k: np.ndarray
    descriptors_kc: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.place_k)

    @property
    def pixels_k2(self) -> np.ndarray:
        return self.places_n2[self.place_k]


class KeypointDetector:
    """Finds SIFT's keypoints; with `described`, their descriptors, too, which doubles the time."""

    def __init__(self, described: bool = False) -> None:
        self._described = described
        try:
            self._sift, self._bias_px = cv2.SIFT_create(0, 3, _CONTRAST, 10, 1.6, True), 0.0
        except (TypeError, cv2.error):  # OpenCV before 4.8
            self._sift, self._bias_px = cv2.SIFT_create(0, 3, _CONTRAST, 10, 1.6), _UPSCALING_BIAS_PX

    def detect(self, image_hw3: np.ndarray) -> Keypoints:
        """The keypoints of an RGB image."""
        grey_hw = cv2.cvtColor(image_hw3, cv2.COLOR_RGB2GRAY)
        descriptors_kc = None
        if self._described:
            found, descriptors_kc = self._sift.detectAndCompute(grey_hw, None)
        else:
            found = self._sift.detect(grey_hw, None)
        pixels_k2 = np.asarray(cv2.KeyPoint.convert(found), np.float64).reshape(-1, 2).round(3) - self._bias_px
        _, first, place_k = np.unique(pixels_k2 @ [1, 1j], return_index=True, return_inverse=True)
        if not self._described:
            return Keypoints(pixels_k2[first], np.arange(len(first)))
        if descriptors_kc is None:  # there are no keypoints
            descriptors_kc = np.zeros((0, 128), np.float32)
        return Keypoints(pixels_k2[first], place_k.reshape(-1), root_descriptors(descriptors_kc))


def root_descriptors(histograms_kc: np.ndarray) -> np.ndarray:
    """Unit vectors (K, 128): the square roots of SIFT's histograms as shares, after which Euclidean distances tell
    places apart better (Arandjelovic and Zisserman, 2012)."""
    histograms_kc = histograms_kc.astype(np.float32)
    return np.sqrt(histograms_kc / np.maximum(histograms_kc.sum(axis=1, keepdims=True), 1e-9))


def snap_to_keypoints(
    T_map_camera: np.ndarray,
    pixels_m2: np.ndarray,
    points_map_m3: np.ndarray,
    keypoints_k2: np.ndarray,
    camera: Camera,
    known: tuple[np.ndarray, np.ndarray] | None = None,
) -> tuple[PoseSolution, np.ndarray, np.ndarray] | None:
    """The pose by the keypoints nearest to the projections of M points, which were found at about `pixels_m2`.

    Search and refinement take turns, in ever smaller surroundings. `known` are pixels (A, 2) and places (A, 3) of other
    points whose keypoints are known already: then the pose is nearly right, and these take part in it. Returns the
    pose, which of the M points have a keypoint (N,) and its pixels (N, 2); None where too few have one. What the pose
    says of its points is of the known ones first, then of these.
    """
    if len(keypoints_k2) < MIN_KEYPOINTS:
        return None
    known_a2, known_a3 = known or (np.zeros((0, 2)), np.zeros((0, 3)))
    tree, solution = cKDTree(keypoints_k2), None
    for radius_px in _RADII_PX if known is None else _KNOWN_RADII_PX:
        projected_m2 = camera.project((points_map_m3 - T_map_camera[:3, 3]) @ T_map_camera[:3, :3])
        distance_m, nearest_m = tree.query(np.nan_to_num(projected_m2, nan=-1e6), distance_upper_bound=radius_px)
        index = np.flatnonzero(np.isfinite(distance_m))
        index = index[np.linalg.norm(keypoints_k2[nearest_m[index]] - pixels_m2[index], axis=1) < _FOUND_PX]
        # A keypoint is that of the point nearest to it.
        index = index[np.argsort(distance_m[index], kind="stable")]
        _, first = np.unique(nearest_m[index], return_index=True)
        index = index[first]
        if len(index) + len(known_a2) < MIN_KEYPOINTS:
            return None
        snapped_n2 = keypoints_k2[nearest_m[index]]
        sigma_px = max(_MIN_SIGMA_PX, radius_px * _SIGMA_SHARE)
        sigma_px_n = np.r_[np.full(len(known_a2), min(sigma_px, KNOWN_SIGMA_PX)), np.full(len(index), sigma_px)]
        all_n2, all_n3 = np.concatenate([known_a2, snapped_n2]), np.concatenate([known_a3, points_map_m3[index]])
        solution = refine_solution(T_map_camera, all_n2, all_n3, sigma_px_n, camera)
        if solution is None or solution.inlier_n.sum() < MIN_KEYPOINTS:
            return None
        T_map_camera = solution.T_map_camera
    assert solution is not None  # there are radii
    return solution, index, snapped_n2
