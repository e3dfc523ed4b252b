"""Whether recorded poses fit the images at all, before points are triangulated from them."""

from __future__ import annotations

import numpy as np

from geo_perception.geometry import essential_matrix, invert_pose, sampson_distance
from geo_training.datasets.colmap_model import PIXEL_CENTRE
from geo_training.datasets.scene import Frame, SceneDataset
from geo_training.mapping.features import FeatureStore

MAX_ERROR_PX = 4.0  # COLMAP's own limit for two views
MAX_PAIRS = 300
NO_BASELINE = 1e-9


def pose_agreement(
    frames: list[Frame], dataset: SceneDataset, store: FeatureStore, pairs: list[tuple[str, str]]
) -> float | None:
    """Of the matches that COLMAP verified from the images alone, the share that also fits the recorded poses: their
    Sampson distance to the recorded epipolar geometry is below MAX_ERROR_PX.

    Near 1 for good poses, some tenths for poses of another camera or in another convention. Pairs with the longer half
    of the baselines are asked, since a short one fits anything. None when there are no matches.
    """
    by_name = {frame.name: frame for frame in frames}
    pairs = [(a, b) for a, b in pairs if a in by_name and b in by_name]
    apart = np.array([_baseline(by_name[a], by_name[b]) for a, b in pairs])
    order = np.argsort(-apart, kind="stable")[: max(1, len(pairs) // 2)]
    chosen = [pairs[i] for i in order[:: max(1, len(order) // MAX_PAIRS)]]
    numbers = store.image_numbers()
    keypoints = dict(zip(numbers, store.all_features(list(numbers)), strict=True))
    fitting = total = 0
    for a, b, matches_m2 in store.inlier_matches(chosen):
        frame_a, frame_b = by_name[a], by_name[b]
        camera_a, camera_b = dataset.camera(frame_a), dataset.camera(frame_b)
        x_a = _rays(camera_a.normalize(keypoints[a][0][matches_m2[:, 0]] - PIXEL_CENTRE))
        x_b = _rays(camera_b.normalize(keypoints[b][0][matches_m2[:, 1]] - PIXEL_CENTRE))
        T_b_a = invert_pose(frame_b.T_world_camera) @ frame_a.T_world_camera
        focal_px = (camera_a.fx_px + camera_b.fx_px) / 2
        fitting += int((epipolar_distance(T_b_a, x_a, x_b) * focal_px < MAX_ERROR_PX).sum())
        total += len(matches_m2)
    return fitting / total if total else None


def epipolar_distance(T_b_a: np.ndarray, x_a_n3: np.ndarray, x_b_n3: np.ndarray) -> np.ndarray:
    """How far matches (N,) are from what a pose allows, on the plane z = 1.

    A pose without a baseline has no epipolar lines, which any match would fit: it allows the turned point alone.
    """
    if np.linalg.norm(T_b_a[:3, 3]) > NO_BASELINE:
        return sampson_distance(essential_matrix(T_b_a), x_a_n3[:, :2], x_b_n3[:, :2])
    turned_n3 = x_a_n3 @ T_b_a[:3, :3].T
    with np.errstate(divide="ignore", invalid="ignore"):
        distance_n = np.linalg.norm(turned_n3[:, :2] / turned_n3[:, 2:] - x_b_n3[:, :2], axis=1)
    return np.where(turned_n3[:, 2] > 0, distance_n, np.inf)


def _baseline(a: Frame, b: Frame) -> float:
    return float(np.linalg.norm(a.T_world_camera[:3, 3] - b.T_world_camera[:3, 3]))


def _rays(xy_n2: np.ndarray) -> np.ndarray:
    return np.c_[xy_n2, np.ones(len(xy_n2))]
