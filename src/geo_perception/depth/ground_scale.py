"""The scale of a depth map from the floor: the camera's height above it is known, and which way is up.

The floor is the lowest plane of some size that faces up. On a plane 1 / depth is a linear function of the pixel, and
its slope is the plane's normal: with q = 1 / z over normalized coordinates (x, y), the plane n . P = 1 has

    n = (q_x, q_y, q - x q_x - y q_y)

A floor that is not in view cannot be told from the table that is. So nothing is said when much of what is seen lies
below the plane that was found.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from geo_perception.depth.metric_points import MetricPoints
from geo_perception.depth.result import RelativeDepth
from geo_perception.depth.scale import ScaleMeasurement
from geo_perception.depth.sparse_scale import measure_scale
from geo_perception.errors import InputError
from geo_perception.geometry import Camera

NORMAL_TOLERANCE_RAD = float(np.radians(20.0))
MIN_GROUND_SHARE = 0.04  # of the map's pixels
MIN_OF_LARGEST = 0.15  # a lower plane counts when it has this share of the pixels of the largest
MAX_BELOW = 0.6  # pixels clearly below the ground, for each of it, above which it is the top of something
CLEARLY_BELOW = 1.15  # times the height
MAX_POINTS = 600
_BIN, _BINS_WIDE = 0.02, 5  # of the histogram of log heights: 2 % each, counted 10 % wide
_REACH = 0.3  # points whose log height is this near the floor's may be of it
_STEP_SHARE = 1 / 100  # slopes are taken over this share of the map's width to either side


def scale_from_ground(
    depth: RelativeDepth, up_3: np.ndarray, up_sigma_rad: float, camera_height_m: float, camera_height_sigma_m: float
) -> ScaleMeasurement | None:
    """The scale that puts the camera `camera_height_m` above the floor it sees.

    `up_3` is the direction against gravity in the optical frame, of any length, certain within `up_sigma_rad`. None
    without a map or its camera, when too little of the image is floor, or too much of it lies below.

    Raises InputError when up is no direction, or the height or a standard deviation cannot be.
    """
    up_3 = _checked(up_3, up_sigma_rad, camera_height_m, camera_height_sigma_m)
    if not depth.estimated or depth.depth_hw is None or depth.camera is None:
        return None
    depth_hw = np.asarray(depth.depth_hw, np.float64)
    rays_hw3 = _rays(depth.camera, depth_hw.shape)
    depth_hw = np.where(np.isfinite(depth_hw) & (depth_hw > 0), depth_hw, np.nan)
    fall_hw = -(rays_hw3 @ up_3)  # height below the camera of a point at depth 1
    height_hw = depth_hw * fall_hw
    level_hw = (fall_hw > 1e-3) & _faces(up_3, depth_hw, rays_hw3, up_sigma_rad)
    if level_hw.sum() < MIN_GROUND_SHARE * level_hw.size:
        return None
    ground = _lowest_plane(np.log(height_hw[level_hw]), level_hw.size)
    if ground is None:
        return None
    with np.errstate(invalid="ignore"):
        level_hw &= np.abs(np.log(np.where(level_hw, height_hw, 1.0)) - ground) < _REACH
        if (height_hw > CLEARLY_BELOW * np.exp(ground)).sum() > MAX_BELOW * level_hw.sum():
            return None
    rows, columns = np.nonzero(level_hw)
    chosen = slice(None, None, max(-(-len(rows) // MAX_POINTS), 1))
    rows, columns = rows[chosen], columns[chosen]
    fall_n = fall_hw[rows, columns]
    # A tilt by a small angle moves a point of the floor up by the angle times its distance along the floor.
    along_n3 = rays_hw3[rows, columns] / fall_n[:, None] + up_3
    tilt_n = up_sigma_rad * np.linalg.norm(along_n3, axis=1)
    pixels_n2 = np.stack([columns, rows], axis=1).astype(np.float64)
    # The tilt about each axis and the height are wrong for all points at once.
    shared_n4 = np.column_stack([up_sigma_rad * along_n3, np.full(len(rows), camera_height_sigma_m / camera_height_m)])
    found = measure_scale(depth, MetricPoints("ground", pixels_n2, camera_height_m / fall_n, tilt_n, shared_n4))
    return found and replace(found, support=round(found.support * level_hw.sum() / len(rows)))


def _checked(up_3, up_sigma_rad: float, camera_height_m: float, camera_height_sigma_m: float) -> np.ndarray:
    up_3 = np.asarray(up_3, np.float64)
    length = np.linalg.norm(up_3) if up_3.shape == (3,) else np.nan
    if not (np.isfinite(length) and length > 1e-9):
        raise InputError(f"up is {up_3.tolist()}; give a direction (x, y, z) in the camera's optical frame")
    if not (np.isfinite(camera_height_m) and camera_height_m > 0):
        raise InputError(f"the camera's height is {camera_height_m} m; give a positive number")
    sigmas = np.array([up_sigma_rad, camera_height_sigma_m], np.float64)
    if not (np.isfinite(sigmas).all() and (sigmas >= 0).all()):
        raise InputError(
            f"standard deviations of {up_sigma_rad} rad and {camera_height_sigma_m} m; give finite numbers, 0 or more"
        )
    return up_3 / length


def _rays(camera: Camera, shape: tuple[int, int]) -> np.ndarray:
    """(H, W, 3): the point at depth 1 of every pixel."""
    if shape != (camera.height_px, camera.width_px):
        raise InputError(
            f"the depth map has {shape[1]} x {shape[0]} pixels, its camera {camera.width_px} x {camera.height_px}; "
            "give the camera of the depth map"
        )
    x_w = (np.arange(shape[1]) - camera.cx_px) / camera.fx_px
    y_h = (np.arange(shape[0]) - camera.cy_px) / camera.fy_px
    return np.stack([*np.meshgrid(x_w, y_h), np.ones(shape)], axis=-1)


def _faces(up_3: np.ndarray, depth_hw: np.ndarray, rays_hw3: np.ndarray, up_sigma_rad: float) -> np.ndarray:
    """Which pixels (bool, H x W) show a surface that faces up; False along the map's border and beside holes."""
    height, width = depth_hw.shape
    step = max(round(_STEP_SHARE * width), 1)
    faces_hw = np.zeros(depth_hw.shape, bool)
    if min(height, width) <= 2 * step + 1:
        return faces_hw
    inner = slice(step, -step), slice(step, -step)
    near_hw = 1 / depth_hw
    x_w, y_h = rays_hw3[0, :, 0], rays_hw3[:, 0, 1]
    slope_x = (near_hw[inner[0], 2 * step :] - near_hw[inner[0], : -2 * step]) / (x_w[2 * step] - x_w[0])
    slope_y = (near_hw[2 * step :, inner[1]] - near_hw[: -2 * step, inner[1]]) / (y_h[2 * step] - y_h[0])
    x, y = rays_hw3[inner][..., 0], rays_hw3[inner][..., 1]
    normal_hw3 = np.stack([slope_x, slope_y, near_hw[inner] - x * slope_x - y * slope_y], axis=-1)
    # n . P = 1 points away from the camera, so that of a floor points down.
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine_hw = -(normal_hw3 @ up_3) / np.linalg.norm(normal_hw3, axis=-1)
        faces_hw[inner] = cosine_hw > np.cos(NORMAL_TOLERANCE_RAD + min(up_sigma_rad, 0.2))
    return faces_hw


def _lowest_plane(log_height_n: np.ndarray, pixels: int) -> float | None:
    """The log height of the lowest plane that is large enough among points that face up; None when none is."""
    low = float(log_height_n.min())
    bins_n = ((log_height_n - low) / _BIN).astype(np.int64)
    count_b = np.convolve(np.bincount(bins_n, minlength=_BINS_WIDE), np.ones(_BINS_WIDE), "same")
    enough_b = (count_b >= MIN_GROUND_SHARE * pixels) & (count_b >= MIN_OF_LARGEST * count_b.max())
    if not enough_b.any():
        return None
    lowest = int(np.flatnonzero(enough_b)[-1])
    # From where it is large enough, uphill to where it is densest.
    window = slice(max(lowest - 2 * _BINS_WIDE, 0), lowest + 1)
    peak = window.start + int(np.argmax(count_b[window]))
    return low + (peak + 0.5) * _BIN
