"""How the points of a map look as keypoints: the mean of the SIFT descriptors of their observations."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np

from geo_perception.errors import InputError
from geo_training.mapping.features import descriptors_of_map
from geo_training.mapping.scene_map import SceneMap


def mean_descriptors(root: str | Path, scene: SceneMap) -> np.ndarray:
    """Unit vectors (N, 128) float32 of the map's points, by the observations that `scene` has of them.

    The features of `geo-train map` are square roots of histograms already. Raises InputError where they are gone, or
    are not those of the map.
    """
    tracks, names = scene.tracks, scene.frame_names
    if tracks.feature_m is None:
        raise InputError(
            f"the map of {root} does not say which features its points were seen as; run geo-train map again"
        )
    order = np.argsort(tracks.frame_m, kind="stable")
    starts = np.searchsorted(tracks.frame_m[order], np.arange(len(names) + 1))
    total_nc = np.zeros((len(scene.points_world_n3), 128), np.float32)
    for name, (low, high), found_kc in zip(names, pairwise(starts), descriptors_of_map(root, names), strict=True):
        rows = order[low:high]
        feature_r = tracks.feature_m[rows]
        if feature_r.max(initial=-1) >= len(found_kc):
            raise InputError(f"the features of {name} are not those of its map; run geo-train map again")
        seen_rc = found_kc[feature_r].astype(np.float32)
        seen_rc /= np.maximum(np.linalg.norm(seen_rc, axis=1, keepdims=True), 1e-9)
        np.add.at(total_nc, tracks.point_m[rows], seen_rc)
    return total_nc / np.maximum(np.linalg.norm(total_nc, axis=1, keepdims=True), 1e-9)
