"""Map points among the keypoints of an image, by SIFT descriptors: in the whole map, or around a pose.

A keypoint looks alike from twice as near or as far, and when the image turns, where the backbone's features do not; and
its place is exact to a tenth of a pixel.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.spatial import cKDTree

from geo_perception.geometry import Camera
from geo_perception.localization.keypoints import KNOWN_SIGMA_PX, MIN_KEYPOINTS, Keypoints
from geo_perception.localization.map_points import MapPoints
from geo_perception.localization.pnp import PoseOptions, PoseSolution, refine_solution, reprojection_px, solve_pose

_RATIO = 0.85  # of the distance of the best point to that of the second best
_STRONG_RATIO, _STRAY_PX = 0.7, 8.0  # of those that count as strays; how far off they are
_ANYWHERE = PoseOptions(ranked_iterations=300, min_iterations=1000, max_iterations=10_000)
_ANYWHERE_SIGMA_PX = 2.0
_CHUNK = 8192  # points that are compared with all keypoints at once
_AROUND = PoseOptions(ranked_iterations=50, min_iterations=100, max_iterations=1000)
_AROUND_SIGMA_PX = 1.0
_RADII_PX = (24.0, 4.0, 2.5)  # around the projections, by the pose that the one before gave
_SIGMA_SHARE = 0.25  # of a radius
_MAX_DISTANCE = 0.25  # squared, of descriptors: four fifths of the true pairs are nearer


@dataclass(frozen=True)
class KeypointMatches:
    """The pose on which N keypoints of an image agree that are those of map points: index of each in `MapPoints`
    and pixels."""

    solution: PoseSolution
    index_n: np.ndarray
    pixels_n2: np.ndarray

    def __len__(self) -> int:
        return len(self.index_n)


@dataclass(frozen=True)
class StandingOut:
    """M keypoints of an image that look like one map point much more than like any other, the best first: index of each
    in `MapPoints`, pixels, and how near it is in distances of the second best point."""

    index_m: np.ndarray
    pixels_m2: np.ndarray
    ratio_m: np.ndarray

    def __len__(self) -> int:
        return len(self.index_m)


class KeypointSearch:
    """Finds the points of a map, which have keypoints, among those of an image."""

    def __init__(self, points: MapPoints, device: torch.device):
        assert points.keypoints is not None
        self._points, self._map = points, points.keypoints
        # One appearance of every point: all have its place.
        _, self._appearance_p = np.unique(points.point_a, return_index=True)
        self._wanted_pd = torch.from_numpy(self._map.wanted_pd).to(device)
        self._half_norm_p = (self._wanted_pd**2).sum(dim=1) / 2

    def compared(self, keypoints: Keypoints) -> Keypoints:
        """Keypoints as a detector gives them, with descriptors as the map has them: what all else here asks for."""
        assert keypoints.descriptors_kc is not None
        return replace(keypoints, descriptors_kc=self._map.project(keypoints.descriptors_kc))

    def anywhere(self, found: StandingOut, camera: Camera, seed: int = 0) -> KeypointMatches | None:
        """The pose on which the keypoints agree that stand out as those of some point; None where too few do."""
        if len(found) < MIN_KEYPOINTS:
            return None
        places_m3 = self._points.points_map_a3[found.index_m]
        sigma_px_m = np.full(len(found), _ANYWHERE_SIGMA_PX)
        solution = solve_pose(found.pixels_m2, places_m3, 1 - found.ratio_m, sigma_px_m, camera, _ANYWHERE, seed)
        return solution and KeypointMatches(solution, found.index_m, found.pixels_m2)

    def strays(self, found: StandingOut, T_map_camera: np.ndarray, camera: Camera) -> int:
        """How many of those that stand out most are elsewhere in the image than a pose has their points."""
        strong = found.ratio_m < _STRONG_RATIO
        places_n3 = self._points.points_map_a3[found.index_m[strong]]
        off_px_n = reprojection_px(T_map_camera, found.pixels_m2[strong], places_n3, camera)
        return int((off_px_n > _STRAY_PX).sum())

    def standing_out(self, keypoints: Keypoints) -> StandingOut:
        """The keypoints that stand out as those of some point of the map, each point and each place once."""
        described_kd = torch.from_numpy(keypoints.descriptors_kc).to(self._wanted_pd.device)
        K = len(described_kd)
        if K == 0 or len(self._wanted_pd) < 2:
            return StandingOut(np.zeros(0, int), np.zeros((0, 2)), np.zeros(0))
        best_k2 = torch.full((K, 2), -torch.inf, device=described_kd.device)
        point_k = torch.zeros(K, dtype=torch.long, device=described_kd.device)
        for start in range(0, len(self._wanted_pd), _CHUNK):
            chunk = slice(start, start + _CHUNK)
            near_kn = torch.addmm(-self._half_norm_p[None, chunk], described_kd, self._wanted_pd[chunk].T)
            value_k, index_k = near_kn.max(dim=1)
            near_kn.scatter_(1, index_k[:, None], -torch.inf)
            second_k = near_kn.amax(dim=1)
            better_k = value_k > best_k2[:, 0]
            point_k = torch.where(better_k, index_k + start, point_k)
            second_k = torch.maximum(torch.minimum(value_k, best_k2[:, 0]), torch.maximum(second_k, best_k2[:, 1]))
            best_k2 = torch.stack([torch.maximum(value_k, best_k2[:, 0]), second_k], dim=1)
        distance_k2 = ((described_kd**2).sum(dim=1, keepdim=True) - 2 * best_k2).clamp(min=1e-9).sqrt()
        ratio_k = (distance_k2[:, 0] / distance_k2[:, 1]).double().cpu().numpy()
        point_k = point_k.cpu().numpy()
        order = np.flatnonzero(ratio_k < _RATIO)
        order = order[np.argsort(ratio_k[order], kind="stable")]
        order = order[_first_of_each(point_k[order])]
        order = order[_first_of_each(keypoints.place_k[order])]
        return StandingOut(self._appearance_p[point_k[order]], keypoints.pixels_k2[order], ratio_k[order])

    def around(
        self, T_map_camera: np.ndarray, keypoints: Keypoints, camera: Camera, index_m: np.ndarray, seed: int = 0
    ) -> KeypointMatches | None:
        """The pose near `T_map_camera` on which the keypoints of those of the points `index_m` agree that look like
        them and lie around their projections; None where too few do."""
        if len(keypoints) < MIN_KEYPOINTS or len(index_m) < MIN_KEYPOINTS:
            return None
        places_m3 = self._points.points_map_a3[index_m]
        wanted_md = self._map.descriptors_pd[self._points.point_a[index_m]].astype(np.float32) * self._map.step
        described_kd, tree = keypoints.descriptors_kc, cKDTree(keypoints.pixels_k2)
        solution: PoseSolution | None = None
        m_n = k_n = np.zeros(0, int)
        for radius_px in _RADII_PX:
            projected_m2 = camera.project((places_m3 - T_map_camera[:3, 3]) @ T_map_camera[:3, :3])
            near = _near(projected_m2, tree, radius_px)
            distance_j = ((wanted_md[near["i"]] - described_kd[near["j"]]) ** 2).sum(axis=1)
            order = np.flatnonzero(distance_j < _MAX_DISTANCE)
            order = order[np.argsort(distance_j[order], kind="stable")]
            order = order[_first_of_each(near["i"][order])]
            order = order[_first_of_each(keypoints.place_k[near["j"][order]])]
            if len(order) < MIN_KEYPOINTS:
                return None
            m_n, k_n = near["i"][order], near["j"][order]
            pixels_n2, places_n3 = keypoints.pixels_k2[k_n], places_m3[m_n]
            if solution is None:  # among so many others that they would pull the pose towards themselves
                sigma_px_n = np.full(len(order), _AROUND_SIGMA_PX)
                score_n = 1 - distance_j[order]
                solution = solve_pose(pixels_n2, places_n3, score_n, sigma_px_n, camera, _AROUND, seed)
            else:
                sigma_px_n = np.full(len(order), max(KNOWN_SIGMA_PX, radius_px * _SIGMA_SHARE))
                solution = refine_solution(T_map_camera, pixels_n2, places_n3, sigma_px_n, camera)
            if solution is None or solution.inlier_n.sum() < MIN_KEYPOINTS:
                return None
            T_map_camera = solution.T_map_camera
        assert solution is not None  # there are radii
        return KeypointMatches(solution, index_m[m_n], keypoints.pixels_k2[k_n])


def _near(projected_m2: np.ndarray, tree: cKDTree, radius_px: float) -> np.ndarray:
    """Pairs of a projection `i` and a keypoint `j` of the tree that are near each other."""
    projected_m2 = np.where(np.isfinite(projected_m2), projected_m2, -1e6)
    return cKDTree(projected_m2).sparse_distance_matrix(tree, radius_px, output_type="ndarray")


def _first_of_each(value_n: np.ndarray) -> np.ndarray:
    """Where each value comes first, in order."""
    return np.sort(np.unique(value_n, return_index=True)[1])
