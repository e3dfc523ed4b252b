"""Map points and feature maps made by hand: unit vectors lie exactly where known points are seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from geo_perception.geometry import Camera, make_pose, so3_exp
from geo_perception.localization.look import LevelView
from geo_perception.localization.map_points import MapPoints

CAMERA = Camera(640, 480, 500.0, 500.0, 319.5, 239.5)
HALF = CAMERA.resized(320, 240)
STRIDE, CHANNELS = 4, 96
T_TRUE = make_pose(so3_exp(np.array([0.2, -0.4, 0.1])), np.array([1.0, -2.0, 0.5]))
T_ROUGH = make_pose(so3_exp(np.array([0.01, -0.008, 0.005])) @ T_TRUE[:3, :3], T_TRUE[:3, 3] + [0.05, -0.04, 0.03])


def unit(rng, count: int) -> np.ndarray:
    vectors = rng.normal(size=(count, CHANNELS))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class MadeUp:
    """Points whose pixels are centres of cells of the image seen from T_TRUE, and maps that have their descriptors
    there, in the image itself or, where `seen_at` says so, in the half of it."""

    def __init__(self, count: int = 120, seen_at: int = 0, seed: int = 0):
        rng = np.random.default_rng(seed)
        self.camera = (CAMERA, HALF)[seen_at]
        columns, rows = self.camera.width_px // STRIDE, self.camera.height_px // STRIDE
        # In every second cell at most, away from the edge.
        cells = rng.choice((columns // 2 - 4) * (rows // 2 - 4), count, replace=False)
        self.column_n, self.row_n = 4 + 2 * (cells % (columns // 2 - 4)), 4 + 2 * (cells // (columns // 2 - 4))
        own_n2 = (np.stack([self.column_n, self.row_n], axis=1) + 0.5) * STRIDE - 0.5
        rays_n3 = self.camera.bearings(own_n2)
        self.range_n = rng.uniform(2, 6, count)
        self.points_n3 = rays_n3 * self.range_n[:, None] @ T_TRUE[:3, :3].T + T_TRUE[:3, 3]
        self.pixels_n2 = CAMERA.project(rays_n3)
        self.descriptors_nd = unit(rng, count)
        self.seen_at = seen_at
        self.levels_asked: list[int] = []
        self._background = [unit(rng, (c.width_px // STRIDE) * (c.height_px // STRIDE)) for c in (CAMERA, HALF)]
        self.image_hw3 = np.zeros((480, 640, 3), np.uint8)

    def map_points(self, **changes) -> MapPoints:
        toward_n3 = (T_TRUE[:3, 3] - self.points_n3) / self.range_n[:, None]
        count = len(self.points_n3)
        points = MapPoints(
            self.points_n3,
            np.arange(count),
            np.rint(self.descriptors_nd * 127).astype(np.int8),
            toward_n3,
            np.zeros(count),
            np.repeat(self.range_n[:, None], 2, axis=1),
            np.eye(CHANNELS, dtype=np.float32),
            np.zeros(CHANNELS, np.float32),
            (0,),
        )
        return replace(points, **changes)

    def level(self, level: int) -> LevelView:
        self.levels_asked.append(level)
        camera = (CAMERA, HALF)[level]
        shape = camera.height_px // STRIDE, camera.width_px // STRIDE
        map_hwd = self._background[level].reshape(*shape, CHANNELS).copy()
        if level == self.seen_at:
            map_hwd[self.row_n, self.column_n] = self.descriptors_nd
        return LevelView(camera, self.image_hw3, [torch.from_numpy(map_hwd).float().permute(2, 0, 1)[None]])
