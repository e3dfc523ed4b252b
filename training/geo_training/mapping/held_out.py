"""Matches that a map does not see, to judge poses by: whole tracks, so that no other match tells of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pycolmap
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from geo_perception.geometry import Camera, invert_pose
from geo_training.datasets.colmap_model import PIXEL_CENTRE
from geo_training.mapping.pose_check import epipolar_distance

SHARE = 0.1  # of the tracks
LARGEST_TRACK = 0.01  # of all features: a larger one is many tracks that wrong matches join, and stays
SEED = 0


@dataclass(frozen=True)
class HeldOutMatches:
    """For each pair of frames (names a and b) the matched keypoints, each (M, 2) in our pixels."""

    pairs: list[tuple[str, str, np.ndarray, np.ndarray]]

    @classmethod
    def take_from(cls, database_path: Path) -> HeldOutMatches:
        """Takes verified matches out of a COLMAP database; the same ones every time."""
        with pycolmap.Database.open(database_path) as database:
            name_of = {image.image_id: image.name for image in database.read_all_images()}
            keypoints = {number: np.asarray(database.read_keypoints(number))[:, :2] for number in name_of}
            start_of, total = {}, 0
            for number, keypoints_k2 in keypoints.items():
                start_of[number], total = total, total + len(keypoints_k2)
            pair_ids, geometries = database.read_two_view_geometries()
            found = []
            for pair_id, geometry in zip(pair_ids, geometries, strict=True):
                a, b = pycolmap.pair_id_to_image_pair(pair_id)
                found.append((a, b, geometry, np.asarray(geometry.inlier_matches, np.int64).reshape(-1, 2)))
            links_m2 = np.concatenate(
                [np.zeros((0, 2), np.int64), *(m + [start_of[a], start_of[b]] for a, b, _, m in found)]
            )
            graph = coo_matrix((np.ones(len(links_m2)), links_m2.T), (total, total))
            count, track_n = connected_components(graph, directed=False)
            judges = np.random.default_rng(SEED).random(count) < SHARE
            judges &= np.bincount(track_n, minlength=count) < max(LARGEST_TRACK * total, 3)
            pairs = []
            with pycolmap.DatabaseTransaction(database):
                for a, b, geometry, matches_m2 in found:
                    out_m = judges[track_n[start_of[a] + matches_m2[:, 0]]]
                    if not out_m.any():
                        continue
                    xy = (keypoints[i][matches_m2[out_m, side]] - PIXEL_CENTRE for side, i in enumerate((a, b)))
                    pairs.append((name_of[a], name_of[b], *xy))
                    geometry.inlier_matches = matches_m2[~out_m].astype(np.uint32)
                    database.update_two_view_geometry(a, b, geometry)
        return cls(pairs)

    def errors_px(self, T_world_camera: dict[str, np.ndarray], cameras: dict[str, Camera]) -> list[np.ndarray]:
        """Sampson distances (M,) of the matches of each pair, in pixels; none where a frame has no pose."""
        errors = []
        for a, b, xy_a_m2, xy_b_m2 in self.pairs:
            if a not in T_world_camera or b not in T_world_camera:
                errors.append(np.zeros(0))
                continue
            T_b_a = invert_pose(T_world_camera[b]) @ T_world_camera[a]
            x_a_m3, x_b_m3 = (
                np.c_[camera.normalize(xy_m2), np.ones(len(xy_m2))]
                for camera, xy_m2 in ((cameras[a], xy_a_m2), (cameras[b], xy_b_m2))
            )
            focal_px = np.mean([(cameras[name].fx_px + cameras[name].fy_px) / 2 for name in (a, b)])
            errors.append(epipolar_distance(T_b_a, x_a_m3, x_b_m3) * focal_px)
        return errors

    def transfer_errors_px(
        self,
        poses: Sequence[dict[str, np.ndarray]],
        cameras: dict[str, Camera],
        depth_m: Callable[[str], np.ndarray | None],
    ) -> list[np.ndarray]:
        """For each of several sets of poses the distances (K,) in pixels between a match and where the measured depth
        of its first frame puts it in the second, over all pairs with poses and depth."""
        errors: list[list[np.ndarray]] = [[np.zeros(0)] for _ in poses]
        last, depth_hw = "", None
        for a, b, xy_a_m2, xy_b_m2 in self.pairs:
            if any(a not in T_world_camera or b not in T_world_camera for T_world_camera in poses):
                continue
            if a != last:
                last, depth_hw = a, depth_m(a)
            if depth_hw is None:
                continue
            column_m, row_m = np.clip(np.round(xy_a_m2).astype(int), 0, np.array(depth_hw.shape[::-1]) - 1).T
            z_m = depth_hw[row_m, column_m]
            measured_m = np.isfinite(z_m) & (z_m > 0)
            rays_k3 = np.c_[cameras[a].normalize(xy_a_m2[measured_m]), np.ones(measured_m.sum())]
            for found, T_world_camera in zip(errors, poses, strict=True):
                T_b_a = invert_pose(T_world_camera[b]) @ T_world_camera[a]
                points_k3 = (z_m[measured_m, None] * rays_k3) @ T_b_a[:3, :3].T + T_b_a[:3, 3]
                ahead_k = points_k3[:, 2] > 0
                off_k2 = cameras[b].project(points_k3[ahead_k]) - xy_b_m2[measured_m][ahead_k]
                found.append(np.linalg.norm(off_k2, axis=1))
        return [np.concatenate(found) for found in errors]
