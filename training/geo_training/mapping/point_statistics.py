"""What the track of each point of a map tells of it: length, depth, viewing angles, error; and a score of all that."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geo_training.mapping.scene_map import SceneMap


@dataclass(frozen=True)
class PointStatistics:
    """One value a point of the map. Angles in radians, distances in the unit of the map.

    `sigma_n` is the standard deviation of the position along its worst direction, from the rays that meet there and the
    point's own reprojection error.
    """

    track_n: np.ndarray
    mean_depth_n: np.ndarray
    depth_spread_n: np.ndarray
    span_rad_n: np.ndarray
    sequences_n: np.ndarray
    sigma_n: np.ndarray
    error_px_n: np.ndarray


def point_statistics(scene: SceneMap) -> PointStatistics:
    """Statistics of every point's track."""
    names, tracks, count = scene.frame_names, scene.tracks, len(scene.points_world_n3)
    centres_f3 = np.stack([scene.T_world_camera[name][:3, 3] for name in names])
    focal_f = np.array([(scene.cameras[name].fx_px + scene.cameras[name].fy_px) / 2 for name in names])
    rays_m3 = scene.points_world_n3[tracks.point_m] - centres_f3[tracks.frame_m]
    depth_m = np.linalg.norm(rays_m3, axis=1)
    rays_m3 = rays_m3 / np.maximum(depth_m, 1e-12)[:, None]
    track_n = np.bincount(tracks.point_m, minlength=count)
    size_n = np.maximum(track_n, 1)
    mean_depth_n = np.bincount(tracks.point_m, depth_m, count) / size_n
    variance_n = np.bincount(tracks.point_m, depth_m**2, count) / size_n - mean_depth_n**2
    sequence_of = {name: number for number, name in enumerate(dict.fromkeys(n.rsplit("/", 1)[0] for n in names))}
    sequence_f = np.array([sequence_of[name.rsplit("/", 1)[0]] for name in names])
    seen_in_ns = np.zeros((count, len(sequence_of)), bool)
    seen_in_ns[tracks.point_m, sequence_f[tracks.frame_m]] = True
    weight_m = (focal_f[tracks.frame_m] / np.maximum(depth_m, 1e-12)) ** 2
    across_m33 = weight_m[:, None, None] * (np.eye(3) - rays_m3[:, :, None] * rays_m3[:, None, :])
    information_n33 = np.zeros((count, 3, 3))
    np.add.at(information_n33, tracks.point_m, across_m33)
    weakest_n = np.maximum(np.linalg.eigvalsh(information_n33)[:, 0], 1e-18)
    error_px_n = np.maximum(scene.error_px_n, 0.3)
    return PointStatistics(
        track_n,
        mean_depth_n,
        np.sqrt(np.maximum(variance_n, 0)),
        _angular_span(tracks.point_m, rays_m3, count),
        seen_in_ns.sum(axis=1) / len(sequence_of),
        error_px_n / np.sqrt(weakest_n),
        error_px_n,
    )


def _angular_span(point_m: np.ndarray, rays_m3: np.ndarray, count: int) -> np.ndarray:
    """The widest angle (N,) between two rays of a point; for long tracks between rays spread over the track."""
    starts = np.searchsorted(point_m, np.arange(count + 1))
    span_n = np.zeros(count)
    for point in range(count):
        rays_k3 = rays_m3[starts[point] : starts[point + 1]]
        if len(rays_k3) > 60:
            rays_k3 = rays_k3[np.linspace(0, len(rays_k3) - 1, 60).astype(int)]
        if len(rays_k3) > 1:
            span_n[point] = np.arccos(np.clip((rays_k3 @ rays_k3.T).min(), -1, 1))
    return span_n


def robustness_score(statistics: PointStatistics) -> np.ndarray:
    """The score (N,) of each point by itself: seen near and far, long tracks, in many sequences, from many sides, and
    its place known exactly."""
    relative_sigma_n = statistics.sigma_n / np.maximum(statistics.mean_depth_n, 1e-12)
    return (
        np.minimum(1.0, statistics.depth_spread_n / np.maximum(statistics.mean_depth_n, 1e-12))
        + 0.25 * np.log2(np.maximum(statistics.track_n, 1))
        + statistics.sequences_n
        + np.minimum(statistics.span_rad_n, 1.5)
        - 0.5 * np.minimum(statistics.error_px_n, 2.0)
        - np.minimum(relative_sigma_n / 0.005, 1.0)
    )
