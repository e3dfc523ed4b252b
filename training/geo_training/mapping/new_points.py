"""New points of a place from frames whose poses are known: keypoints matched along their epipolar lines, tracks of
matches, and the point where the rays of a track meet. For what stands in a map already, `geo-train map` is the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from geo_perception.geometry import Camera, invert_pose
from geo_perception.geometry.epipolar import essential_matrix, sampson_distance

MAX_RATIO = 0.85  # of the distance of the best descriptor to that of the next that is elsewhere
EPIPOLAR_PX, REPROJECTION_PX = 2.5, 2.0
MIN_TRACK, MIN_ANGLE_RAD = 3, 0.035
_ELSEWHERE_PX = 3.0  # keypoints of one place with several orientations are not each other's rivals
_STEPS = 6


@dataclass(frozen=True)
class PosedKeypoints:
    """K keypoints of a frame in a pinhole `camera` at `T_world_camera`: `pixels_k2`, `descriptors_kd`."""

    name: str
    T_world_camera: np.ndarray
    camera: Camera
    pixels_k2: np.ndarray
    descriptors_kd: np.ndarray


@dataclass(frozen=True)
class NewPoints:
    """`points_n3`, their mean reprojection errors `error_px_n`, and M observations of them: point, frame (in the order
    given) and keypoint of each."""

    points_n3: np.ndarray
    error_px_n: np.ndarray
    point_m: np.ndarray
    frame_m: np.ndarray
    keypoint_m: np.ndarray

    def __len__(self) -> int:
        return len(self.points_n3)


def new_points(frames: Sequence[PosedKeypoints], pairs: Sequence[tuple[int, int]]) -> NewPoints:
    """Points that at least MIN_TRACK of the frames agree on, by matches between `pairs` of them."""
    starts = np.cumsum([0, *(len(frame.pixels_k2) for frame in frames)])
    links = [matches + starts[[a, b]] for a, b in pairs if len(matches := match(frames[a], frames[b]))]
    empty = np.zeros(0, int)
    if not links:
        return NewPoints(np.zeros((0, 3)), np.zeros(0), empty, empty, empty)
    link_m2 = np.concatenate(links)
    graph = coo_matrix((np.ones(len(link_m2)), link_m2.T), shape=(starts[-1], starts[-1]))
    _, track_k = connected_components(graph, directed=False)
    size_t = np.bincount(track_k)
    frame_k = np.repeat(np.arange(len(frames)), np.diff(starts))
    order = np.flatnonzero(size_t[track_k] >= MIN_TRACK)
    order = order[np.argsort(track_k[order], kind="stable")]
    rows: list[tuple[int, int, int]] = []
    points, errors = [], []
    for members in np.split(order, np.flatnonzero(np.diff(track_k[order])) + 1):
        # Two keypoints of one frame are not one point: a track that has them is a confusion.
        if len(members) < MIN_TRACK or len(np.unique(frame_k[members])) < len(members):
            continue
        found = _triangulated([frames[frame_k[k]] for k in members], members - starts[frame_k[members]])
        if found is None:
            continue
        point_3, error_px, kept = found
        rows += [(len(points), frame_k[k], k - starts[frame_k[k]]) for k in members[kept]]
        points.append(point_3)
        errors.append(error_px)
    point_m, frame_m, keypoint_m = np.array(rows, int).reshape(-1, 3).T
    return NewPoints(np.array(points).reshape(-1, 3), np.array(errors), point_m, frame_m, keypoint_m)


def match(a: PosedKeypoints, b: PosedKeypoints) -> np.ndarray:
    """Keypoints (M, 2) of two frames that are each other's nearest in looks, much nearer than the next, and on each
    other's epipolar line."""
    none = np.zeros((0, 2), int)
    if min(len(a.pixels_k2), len(b.pixels_k2)) < 2:
        return none
    similar_ab = a.descriptors_kd @ b.descriptors_kd.T
    distance_ab = (a.descriptors_kd**2).sum(axis=1)[:, None] + (b.descriptors_kd**2).sum(axis=1) - 2 * similar_ab
    # Only what the poses allow takes part, so that things that are there many times have fewer rivals.
    E_33 = essential_matrix(invert_pose(b.T_world_camera) @ a.T_world_camera)
    rays_a3, rays_b3 = _rays(a), _rays(b)
    line_ab = rays_a3 @ E_33.T @ rays_b3.T
    across_a = np.linalg.norm((rays_a3 @ E_33.T)[:, :2], axis=1)
    off_px_ab = np.abs(line_ab) / np.maximum(across_a[:, None], 1e-12) * b.camera.fx_px
    distance_ab = np.where(off_px_ab <= 2 * EPIPOLAR_PX, np.maximum(distance_ab, 0), np.inf)
    best_a, best_b = distance_ab.argmin(axis=1), distance_ab.argmin(axis=0)
    index_a = np.arange(len(best_a))
    mutual_a = (best_b[best_a] == index_a) & np.isfinite(distance_ab[index_a, best_a])
    index_a = index_a[mutual_a]
    if len(index_a) == 0:
        return none
    rivals_ab = distance_ab[index_a].copy()
    apart_ab = np.linalg.norm(b.pixels_k2[None] - b.pixels_k2[best_a[index_a], None], axis=2)
    rivals_ab[apart_ab <= _ELSEWHERE_PX] = np.inf
    next_a = rivals_ab.min(axis=1)
    clear_a = distance_ab[index_a, best_a[index_a]] + 1e-9 < MAX_RATIO**2 * next_a
    index_a = index_a[clear_a]
    matched_m2 = np.stack([index_a, best_a[index_a]], axis=1)
    F_33 = np.linalg.inv(b.camera.K).T @ E_33 @ np.linalg.inv(a.camera.K)
    off_m = sampson_distance(F_33, a.pixels_k2[matched_m2[:, 0]], b.pixels_k2[matched_m2[:, 1]])
    return matched_m2[off_m <= EPIPOLAR_PX]


def _rays(frame: PosedKeypoints) -> np.ndarray:
    """Normalized image coordinates (K, 3), z = 1."""
    return np.c_[frame.camera.normalize(frame.pixels_k2), np.ones(len(frame.pixels_k2))]


def _triangulated(
    frames: Sequence[PosedKeypoints], keypoints: np.ndarray
) -> tuple[np.ndarray, float, np.ndarray] | None:
    """The point of a track, its mean error in pixels, and which of the observations agree with it; None where they make
    none. First the point nearest to all rays, then Gauss-Newton on the reprojection errors."""
    pixels_m2 = np.stack([frame.pixels_k2[k] for frame, k in zip(frames, keypoints, strict=True)])
    kept = np.arange(len(frames))
    for _ in range(2):  # once with all, once with those that agree
        if len(kept) < MIN_TRACK:
            return None
        centre_m3 = np.stack([frames[m].T_world_camera[:3, 3] for m in kept])
        R_m33 = np.stack([frames[m].T_world_camera[:3, :3] for m in kept])
        cameras = [frames[m].camera for m in kept]
        ray_m3 = np.stack([R @ c.bearings(pixels_m2[m : m + 1])[0]
                           for R, c, m in zip(R_m33, cameras, kept, strict=True)])  # fmt: skip
        cosine = np.min(ray_m3 @ ray_m3.T)
        if cosine > np.cos(MIN_ANGLE_RAD):
            return None
        across_m33 = np.eye(3) - ray_m3[:, :, None] * ray_m3[:, None, :]
        point_3 = np.linalg.solve(across_m33.sum(axis=0), np.einsum("mij,mj->i", across_m33, centre_m3))
        focal_m2 = np.array([[c.fx_px, c.fy_px] for c in cameras])
        middle_m2 = np.array([[c.cx_px, c.cy_px] for c in cameras])
        for _ in range(_STEPS):
            local_m3 = np.einsum("mji,mj->mi", R_m33, point_3 - centre_m3)
            if (local_m3[:, 2] <= 1e-6).any():
                return None
            residual_m2 = focal_m2 * local_m3[:, :2] / local_m3[:, 2:] + middle_m2 - pixels_m2[kept]
            by_local_m23 = np.zeros((len(kept), 2, 3))
            by_local_m23[:, 0, 0], by_local_m23[:, 1, 1] = (focal_m2 / local_m3[:, 2:]).T
            by_local_m23[:, :, 2] = -focal_m2 * local_m3[:, :2] / local_m3[:, 2:] ** 2
            J_n3 = (by_local_m23 @ R_m33.transpose(0, 2, 1)).reshape(-1, 3)
            step_3 = np.linalg.lstsq(J_n3, -residual_m2.ravel(), rcond=None)[0]
            point_3 = point_3 + step_3
        off_m = np.linalg.norm(residual_m2, axis=1)
        if (off_m <= REPROJECTION_PX).all():
            return point_3, float(off_m.mean()), kept
        kept = kept[off_m <= REPROJECTION_PX]
    return None
