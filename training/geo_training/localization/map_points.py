"""The map points that a scene carries for its second look: which, and how they look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the field's name

from geo_perception.geometry import Camera
from geo_perception.localization.map_keypoints import CHANNELS, SHARED_BYTES, MapKeypoints
from geo_perception.localization.map_points import BYTES_BESIDE_DESCRIPTOR, MapPoints
from geo_perception.localization.network import CELL_PX
from geo_training.localization.closed_form import Covariance, cell_centres, features_at
from geo_training.mapping.scene_map import SceneMap

MIN_TRACK = 3
MAX_ERROR_PX = 1.5
MAX_DISTANCE_MEDIANS = 50.0  # from the middle of the map, in median distances of its points from the cameras
_CELL_STEP = 5


@dataclass(frozen=True)
class _Observations:
    point_m: np.ndarray
    range_m: np.ndarray
    ray_m3: np.ndarray  # unit vectors from the point to the camera
    features_mc: torch.Tensor  # half precision


class MapPointBuilder:
    """Gathers, frame by frame, how the points of a map look in the backbone's maps of a cell or finer.

    `descriptors_nc` is how all points of the map look as keypoints, where that is known. With `like` they are described
    in the space of those points, to which they are to be added; `descriptors_nc` is then in the space of its keypoints.
    """

    def __init__(
        self,
        scene: SceneMap,
        strides: Sequence[int],
        descriptors_nc: np.ndarray | None = None,
        like: MapPoints | None = None,
    ):
        self._scene, self._descriptors_nc, self._like = scene, descriptors_nc, like
        self.backbone_maps = tuple(index for index, stride in enumerate(strides) if stride <= CELL_PX)
        self._strides = [strides[index] for index in self.backbone_maps]
        tracks = scene.tracks
        track_n = np.bincount(tracks.point_m, minlength=len(scene.points_world_n3))
        points_n3 = scene.points_world_n3
        # Coordinates are carried in steps of the extent: a point kilometres away would coarsen those of all.
        off_n = np.linalg.norm(points_n3 - np.median(points_n3, axis=0), axis=1) if len(points_n3) else np.zeros(0)
        near_n = off_n <= MAX_DISTANCE_MEDIANS * scene.median_distance
        self._sound_n = (track_n >= MIN_TRACK) & (scene.error_px_n <= MAX_ERROR_PX) & near_n
        self._row_of = {name: row for row, name in enumerate(scene.frame_names)}
        order = np.argsort(tracks.frame_m, kind="stable")
        starts = np.searchsorted(tracks.frame_m[order], np.arange(len(scene.frame_names) + 1))
        self._seen_by = [tracks.point_m[order[a:b]] for a, b in pairwise(starts)]
        self._all = Covariance()
        self._parts: list[_Observations] = []

    def add(self, name: str, features: Sequence[torch.Tensor], camera: Camera, T_world_camera: np.ndarray) -> None:
        """A frame of the map as the network saw it: its maps (1, C, H, W) and the camera it was seen through."""
        maps = [features[index] for index in self.backbone_maps]
        finest = min(self._strides)
        centres_n2 = cell_centres(camera.height_px, camera.width_px, finest, _CELL_STEP)
        self._all.add(features_at(maps, self._strides, centres_n2))
        point_k = np.unique(self._seen_by[self._row_of[name]])
        point_k = point_k[self._sound_n[point_k]]
        ray_k3 = T_world_camera[:3, 3] - self._scene.points_world_n3[point_k]
        pixels_k2 = camera.project(-ray_k3 @ T_world_camera[:3, :3])
        inside_k = camera.contains(pixels_k2)
        point_k, ray_k3, pixels_k2 = point_k[inside_k], ray_k3[inside_k], pixels_k2[inside_k]
        if len(point_k) == 0:
            return
        range_k = np.linalg.norm(ray_k3, axis=1)
        sampled_kc = features_at(maps, self._strides, torch.from_numpy(pixels_k2))
        self._parts.append(_Observations(point_k, range_k, ray_k3 / range_k[:, None], sampled_kc.half()))

    def build(self, budget_bytes: int) -> MapPoints | None:
        """As many appearances as the budget holds; None where it holds none, or nothing was seen.

        Observations of a point at about one distance make one appearance: their mean descriptor. Every frame keeps its
        best points, those seen most often and most alike, and as many as every frame can.
        """
        if not self._parts:
            return None
        point_m, range_m, ray_m3 = (
            np.concatenate([getattr(part, name) for part in self._parts]) for name in ("point_m", "range_m", "ray_m3")
        )
        frame_m = np.repeat(np.arange(len(self._parts)), [len(part.point_m) for part in self._parts])
        projection_dc, offset_d = self._space()
        features_mc = torch.cat([part.features_mc for part in self._parts])
        unit_md = torch.cat(
            [F.normalize(part.float() @ projection_dc.T + offset_d, dim=1) for part in features_mc.split(4096)]
        )
        appearance_m, point_a = _appearances(point_m, range_m)
        A = len(point_a)
        count_a = np.bincount(appearance_m, minlength=A)
        mean_ad = torch.zeros(A, unit_md.shape[1]).index_add_(0, torch.from_numpy(appearance_m), unit_md)
        mean_ad /= torch.from_numpy(count_a)[:, None]
        alike_a = mean_ad.norm(dim=1).numpy()  # 1 where all observations look the same
        size = mean_ad.shape[1] + BYTES_BESIDE_DESCRIPTOR
        score_a = alike_a * np.log1p(count_a)
        room_bytes = budget_bytes - (4 * (projection_dc.numel() + len(offset_d)) if self._like is None else 0)
        if self._descriptors_nc is not None:  # one a point, and most points have one appearance
            size, room_bytes = size + CHANNELS, room_bytes - (SHARED_BYTES if self._like is None else 0)
        kept = _best_of_every_frame(frame_m, appearance_m, score_a, max(0, room_bytes // size))
        if len(kept) == 0:
            return None
        direction_a3 = np.zeros((A, 3))
        np.add.at(direction_a3, appearance_m, ray_m3)
        direction_a3 /= np.maximum(np.linalg.norm(direction_a3, axis=1, keepdims=True), 1e-9)
        cone_a, near_a, far_a = np.zeros(A), np.full(A, np.inf), np.zeros(A)
        angle_m = np.arccos(np.clip((ray_m3 * direction_a3[appearance_m]).sum(axis=1), -1, 1))
        np.maximum.at(cone_a, appearance_m, angle_m)
        np.minimum.at(near_a, appearance_m, range_m)
        np.maximum.at(far_a, appearance_m, range_m)
        descriptors_ad = torch.round(F.normalize(mean_ad[kept], dim=1) * 127).to(torch.int8).numpy()
        point_p, point_kept = np.unique(point_a[kept], return_inverse=True)
        keypoints = None
        if self._descriptors_nc is not None:
            wanted = self._descriptors_nc[point_p]
            told = None if self._like is None else self._like.keypoints
            keypoints = MapKeypoints.compressed(wanted) if told is None else told.like_these(wanted)
        return MapPoints(
            self._scene.points_world_n3[point_a[kept]],
            point_kept,
            descriptors_ad,
            direction_a3[kept],
            cone_a[kept],
            np.stack([near_a[kept], far_a[kept]], axis=1),
            projection_dc.numpy(),
            offset_d.numpy(),
            self.backbone_maps,
            keypoints,
        )

    def _space(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Projection (D, C) and offset (D,) of the descriptors: whitened by all cells of the images, or as given."""
        if self._like is not None:
            return torch.from_numpy(self._like.projection_dc).float(), torch.from_numpy(self._like.offset_d).float()
        mean_c, whitening_cc = self._all.mean_c.float(), self._all.whitening().float()
        return whitening_cc, -(whitening_cc @ mean_c)


def _appearances(point_m: np.ndarray, range_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The appearance (M,) of each observation and the point (A,) of each appearance: observations at distances within a
    factor of two around the point's middle one look alike; nearer and farther ones are appearances of their own."""
    order = np.lexsort((range_m, point_m))
    starts = np.flatnonzero(np.r_[True, np.diff(point_m[order]) > 0])
    counts = np.diff(np.r_[starts, len(order)])
    middle = range_m[order][starts + counts // 2]
    octave_m = np.empty(len(point_m), int)
    octave_m[order] = np.rint(np.log2(range_m[order] / np.repeat(middle, counts))).astype(int)
    keys, appearance_m = np.unique(np.stack([point_m, octave_m], axis=1), axis=0, return_inverse=True)
    return appearance_m.reshape(-1), keys[:, 0]


def _best_of_every_frame(frame_m: np.ndarray, appearance_m: np.ndarray, score_a: np.ndarray, limit: int) -> np.ndarray:
    """Up to `limit` appearances: those that are among the q best of any frame, with the largest q that fits."""
    if limit >= len(score_a):
        return np.arange(len(score_a))
    order = np.lexsort((-score_a[appearance_m], frame_m))
    starts = np.searchsorted(frame_m[order], np.arange(frame_m.max() + 2))
    rank_m = np.empty(len(frame_m), int)
    rank_m[order] = np.arange(len(order)) - starts[frame_m[order]]
    best_rank_a = np.full(len(score_a), np.iinfo(int).max)
    np.minimum.at(best_rank_a, appearance_m, rank_m)
    return np.sort(np.lexsort((-score_a, best_rank_a))[:limit])
