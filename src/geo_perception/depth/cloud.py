"""Depth as points, in the form that sensor_msgs/PointCloud2 takes byte by byte."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from geo_perception.errors import InputError
from geo_perception.geometry import Camera


def point_cloud(
    depth_m_hw: np.ndarray, camera: Camera, confidence_hw: np.ndarray | None = None, min_confidence: float = 0.0,
    stride_px: int = 1, view_hw3: np.ndarray | None = None, max_depth_m: float = float("inf"),
) -> np.ndarray:  # fmt: skip
    """The points (N,) of a depth map (metres along z, H x W) in the optical frame of its `camera`, row by row.

    A structured array with float32 fields x, y, z; `rgb` when `view_hw3` (RGB uint8) is given, packed as 0x00RRGGBB in
    the bits of a float32, as RViz and PCL take it; `confidence` when `confidence_hw` is given. Only depths that are
    finite, positive, at most `max_depth_m` and of `min_confidence` or more become points, of every `stride_px`-th row
    and column.

    Raises InputError when sizes do not fit each other, or the stride is less than 1.
    """
    size = camera.height_px, camera.width_px
    for name, values in (("depth map", depth_m_hw), ("confidence", confidence_hw), ("view", view_hw3)):
        if values is not None and values.shape[:2] != size:
            raise InputError(
                f"the {name} has {values.shape[1]} x {values.shape[0]} pixels, the camera {size[1]} x {size[0]}; "
                "give the camera of the depth map"
            )
    if stride_px < 1:
        raise InputError(f"a stride of {stride_px} pixels; give 1 or more")
    depth_m_hw = np.ascontiguousarray(depth_m_hw[::stride_px, ::stride_px], np.float32)
    with np.errstate(invalid="ignore"):
        kept_hw = (depth_m_hw > 0) & (depth_m_hw <= max_depth_m) & np.isfinite(depth_m_hw)
        if confidence_hw is not None:
            confidence_hw = confidence_hw[::stride_px, ::stride_px]
            kept_hw &= confidence_hw >= min_confidence
    kept = np.flatnonzero(kept_hw)
    names = ["x", "y", "z"] + ["rgb"] * (view_hw3 is not None) + ["confidence"] * (confidence_hw is not None)
    points_n = np.empty(len(kept), [(name, np.float32) for name in names])
    x_n, y_n = _rays(camera, stride_px)
    z_n = depth_m_hw.ravel()[kept]
    points_n["x"], points_n["y"], points_n["z"] = x_n[kept] * z_n, y_n[kept] * z_n, z_n
    if view_hw3 is not None:
        rgb_n3 = view_hw3[::stride_px, ::stride_px].reshape(-1, 3)[kept].astype(np.uint32)
        points_n["rgb"] = (rgb_n3[:, 0] << 16 | rgb_n3[:, 1] << 8 | rgb_n3[:, 2]).view(np.float32)
    if confidence_hw is not None:
        points_n["confidence"] = confidence_hw.ravel()[kept]
    return points_n


@lru_cache(maxsize=8)
def _rays(camera: Camera, stride_px: int) -> tuple[np.ndarray, np.ndarray]:
    """x and y on the plane z = 1 of every chosen pixel, float32 (N,), row by row."""
    columns, rows = np.arange(0, camera.width_px, stride_px), np.arange(0, camera.height_px, stride_px)
    xy_n2 = camera.normalize(np.stack(np.meshgrid(columns, rows), -1).reshape(-1, 2)).astype(np.float32)
    return np.ascontiguousarray(xy_n2[:, 0]), np.ascontiguousarray(xy_n2[:, 1])
