"""Which map points can be seen from near a pose: what is asked of several poses that are nearly one is answered of a
few points, not of all."""

from __future__ import annotations

import numpy as np

from geo_perception.geometry import Camera, pose_error
from geo_perception.localization.map_points import MapPoints

_MOVED, _TURNED_RAD = 0.1, 0.1  # how near a pose is taken for near: of the points' median range, and of its attitude
_CONE_SLACK_RAD = 0.9  # the most that is asked for; with more all points are looked at


class Neighbourhood:
    """The appearances that may be seen from near the pose that was asked about last. Nothing is lost by it: what may
    be seen from a pose is always among what is said to be around it."""

    def __init__(self, points: MapPoints):
        self._points = points
        self._all_a = np.arange(len(points.points_map_a3))
        range_a = np.sqrt(points.range_a2[:, 0] * points.range_a2[:, 1])
        self._moved_m = _MOVED * float(np.median(range_a)) if len(range_a) else 0.0
        self._T_map_camera: np.ndarray | None = None
        self._camera: Camera | None = None
        self._near_n = self._all_a

    def around(self, T_map_camera: np.ndarray, camera: Camera, cone_slack_rad: float) -> np.ndarray:
        """Indices (N,), ascending, of all appearances that a pinhole `camera` may see from a pose, and of some more."""
        if cone_slack_rad > _CONE_SLACK_RAD:
            return self._all_a
        if not self._is_near(T_map_camera, camera):
            self._near_n = self._near(T_map_camera, camera)
            self._T_map_camera, self._camera = T_map_camera.copy(), camera
        return self._near_n

    def _is_near(self, T_map_camera: np.ndarray, camera: Camera) -> bool:
        if self._T_map_camera is None or camera != self._camera:
            return False
        moved_m, turned_rad = pose_error(self._T_map_camera, T_map_camera)
        return bool(moved_m <= self._moved_m and turned_rad <= _TURNED_RAD)

    def _near(self, T_map_camera: np.ndarray, camera: Camera) -> np.ndarray:
        points, moved_m = self._points, self._moved_m
        x_px, y_px = camera.width_px, camera.height_px
        corners_43 = camera.bearings(np.array([[-1.0, -1.0], [x_px, -1.0], [-1.0, y_px], [x_px, y_px]]))
        half_rad = float(np.arccos(np.clip(corners_43[:, 2] / np.linalg.norm(corners_43, axis=1), -1, 1)).max())
        offset_a3 = points.points_map_a3 - T_map_camera[:3, 3]
        # A product of matrices so large would wake the threads of BLAS, which then keep the cores from the network for
        # longer than all of this takes; einsum does without.
        ahead_a = np.einsum("ac,c->a", offset_a3, T_map_camera[:3, 2])
        range_a = np.sqrt(np.einsum("ac,ac->a", offset_a3, offset_a3))
        # From a place moved by d, z' <= z + d and r' >= r - d: what is seen there has z + d >= (r - d) cos.
        cosine = np.cos(min(half_rad + _TURNED_RAD, np.pi / 2))
        near_n = np.flatnonzero(ahead_a + moved_m >= (range_a - moved_m) * cosine)
        range_n = np.maximum(range_a[near_n], 1e-9)
        along_n = -np.einsum("nc,nc->n", offset_a3[near_n], points.direction_a3[near_n])
        # And every ray to it turns by the arcsine of d / r at most.
        shift_n = np.arcsin(np.minimum(moved_m / range_n, 1.0))
        turn_n = np.arccos(np.clip(along_n / range_n, -1, 1))
        fits_n = (turn_n <= points.cone_rad_a[near_n] + _CONE_SLACK_RAD + shift_n) | (range_n <= moved_m)
        return near_n[fits_n]
