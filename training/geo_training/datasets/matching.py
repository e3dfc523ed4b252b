"""Feature matches between two frames, and how well a relative pose explains them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from geo_perception.geometry import Camera, essential_matrix, sampson_distance

MATCH_SIDE_PX = 640
FEATURES = 800
RATIO = 0.8
RANSAC_PX = 1.5


@dataclass(frozen=True)
class Matches:
    """Matched pixels (N, 2) of frames a and b, in pixels of the stored images."""

    name_a: str
    name_b: str
    pixels_a_n2: np.ndarray
    pixels_b_n2: np.ndarray

    def __len__(self) -> int:
        return len(self.pixels_a_n2)

    @property
    def displacement_px(self) -> float:
        """Median motion of a feature; 0 where there are none."""
        return float(np.median(np.linalg.norm(self.pixels_b_n2 - self.pixels_a_n2, axis=1))) if len(self) else 0.0


@dataclass(frozen=True)
class Features:
    pixels_n2: np.ndarray
    descriptors_nd: np.ndarray | None


def features_of(image_rgb: np.ndarray) -> Features:
    """SIFT features of an image, at most `FEATURES`; the pixels are those of the image as given."""
    grey = cv2.cvtColor(image_rgb, cv2.COLOR_RGB2GRAY)
    scale = min(1.0, MATCH_SIDE_PX / max(grey.shape))
    if scale < 1:
        grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    keypoints, descriptors_nd = cv2.SIFT_create(FEATURES).detectAndCompute(grey, None)
    pixels_n2 = np.array([keypoint.pt for keypoint in keypoints], np.float64).reshape(-1, 2)
    return Features((pixels_n2 + 0.5) / scale - 0.5, descriptors_nd)


def match(name_a: str, features_a: Features, name_b: str, features_b: Features) -> Matches:
    """Mutual nearest neighbours that pass the ratio test and agree on one fundamental matrix: no K and no pose is used,
    so neither can hide its own mistake."""
    matches = putative_matches(name_a, features_a, name_b, features_b)
    _, inlier_n = fit_fundamental(matches.pixels_a_n2, matches.pixels_b_n2)
    return Matches(name_a, name_b, matches.pixels_a_n2[inlier_n], matches.pixels_b_n2[inlier_n])


def fit_fundamental(pixels_a_n2: np.ndarray, pixels_b_n2: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
    """The fundamental matrix (3, 3) that most matches agree on, and which do (N,); None where there is none."""
    if len(pixels_a_n2) < 16:
        return None, np.zeros(len(pixels_a_n2), bool)
    cv2.setRNGSeed(0)
    F, inlier_n1 = cv2.findFundamentalMat(pixels_a_n2, pixels_b_n2, cv2.USAC_MAGSAC, RANSAC_PX, 0.999, 2000)
    if F is None or inlier_n1 is None:
        return None, np.zeros(len(pixels_a_n2), bool)
    return F, inlier_n1[:, 0].astype(bool)


def putative_matches(name_a: str, features_a: Features, name_b: str, features_b: Features) -> Matches:
    """Mutual nearest neighbours that pass the ratio test, wrong ones among them."""
    none = Matches(name_a, name_b, np.zeros((0, 2)), np.zeros((0, 2)))
    descriptors = features_a.descriptors_nd, features_b.descriptors_nd
    if any(d is None or len(d) < 16 for d in descriptors):
        return none
    forward = cv2.BFMatcher(cv2.NORM_L2).knnMatch(*descriptors, k=2)
    back = {m.queryIdx: m.trainIdx for m in cv2.BFMatcher(cv2.NORM_L2).match(*descriptors[::-1])}
    pairs = [
        (best.queryIdx, best.trainIdx)
        for best, second in forward
        if best.distance < RATIO * second.distance and back.get(best.trainIdx) == best.queryIdx
    ]
    if len(pairs) < 16:
        return none
    index_a, index_b = np.array(pairs).T
    return Matches(name_a, name_b, features_a.pixels_n2[index_a], features_b.pixels_n2[index_b])


def epipolar_px(T_b_a: np.ndarray, camera_a: Camera, camera_b: Camera, matches: Matches) -> np.ndarray:
    """The Sampson distance (N,) of each match from what the relative pose allows, in pixels."""
    F = np.linalg.inv(camera_b.K).T @ essential_matrix(T_b_a) @ np.linalg.inv(camera_a.K)
    return sampson_distance(F, matches.pixels_a_n2, matches.pixels_b_n2)


def triangulated_depths(T_b_a: np.ndarray, camera_a: Camera, camera_b: Camera, matches: Matches):
    """Depths (N,) along each ray's z in a and in b where the two rays pass closest, and the angle (N,) in radians
    between them. Negative: behind the camera."""
    ray_a_n3 = np.hstack([camera_a.normalize(matches.pixels_a_n2), np.ones((len(matches), 1))])
    ray_b_n3 = np.hstack([camera_b.normalize(matches.pixels_b_n2), np.ones((len(matches), 1))])
    turned_n3, t_3 = ray_a_n3 @ T_b_a[:3, :3].T, T_b_a[:3, 3]
    # Least squares for z_b ray_b = z_a turned + t, by the 2x2 normal equations of each match.
    aa, bb, ab = (turned_n3**2).sum(1), (ray_b_n3**2).sum(1), (turned_n3 * ray_b_n3).sum(1)
    ta, tb = turned_n3 @ t_3, ray_b_n3 @ t_3
    determinant = np.maximum(aa * bb - ab**2, 1e-15)
    z_a, z_b = (ab * tb - bb * ta) / determinant, (aa * tb - ab * ta) / determinant
    angle_n = np.arccos(np.clip(ab / np.sqrt(aa * bb), -1, 1))
    return z_a, z_b, angle_n


def agreement(T_b_a: np.ndarray, camera_a: Camera, camera_b: Camera, matches: Matches, limit_px: float) -> float:
    """The share of the matches that lie within `limit_px` of what the relative pose allows, in front of both
    cameras. 0 where the pose does not move: without a baseline it allows everything."""
    if len(matches) == 0 or np.linalg.norm(T_b_a[:3, 3]) < 1e-9:
        return 0.0
    close_n = epipolar_px(T_b_a, camera_a, camera_b, matches) < limit_px
    z_a, z_b, _ = triangulated_depths(T_b_a, camera_a, camera_b, matches)
    return float((close_n & (z_a > 0) & (z_b > 0)).mean())
