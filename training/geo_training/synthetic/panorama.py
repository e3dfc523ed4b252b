"""Equirectangular panoramas of rendered scenes, exact like the pictures they are made of: six faces of a cube are
rendered in linear light and resampled.

The centre column looks along the heading, columns to the right look clockwise (seen from above), the first row is the
zenith. The centre of pixel (row i, column j) has the azimuth 2 pi ((j + 0.5) / W - 0.5) and the elevation
pi (0.5 - (i + 0.5) / H).
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from geo_perception.errors import InputError
from geo_perception.geometry import Camera
from geo_training.synthetic.lighting import Lighting
from geo_training.synthetic.paths import camera_pose
from geo_training.synthetic.render import develop, render
from geo_training.synthetic.room import Room

MIN_WIDTH_PX, MAX_WIDTH_PX = 16, 8192  # six faces in one strip stay below the 32767 rows that cv2.remap can address
_SUPERSAMPLE = 2
_FACE_MARGIN_PX = 2
_QUARTER = np.pi / 2
_FACES = ((0.0, 0.0), (_QUARTER, 0.0), (-_QUARTER, 0.0), (np.pi, 0.0), (0.0, _QUARTER), (0.0, -_QUARTER))


def render_panorama(
    room: Room,
    position_world_3: np.ndarray,
    yaw_rad: float,
    lighting: Lighting,
    width_px: int = 2048,
    exposure_ev: float = 0.0,
) -> np.ndarray:
    """What is seen from `position_world_3` (3,) all round: RGB uint8 (width / 2, width, 3).

    `yaw_rad` is the heading of the centre column (0 is +x, counter-clockwise); `exposure_ev` shifts the automatic
    exposure. Raises InputError for a width that is not even or not within 16 to 8192, and for a position outside the
    room.
    """
    light = panorama_radiance(room, position_world_3, yaw_rad, lighting, width_px)
    # What lies near the poles fills many pixels and little of the sphere.
    rows = np.cos(np.pi * (0.5 - (np.arange(len(light)) + 0.5) / len(light)))
    metered = float(np.exp(np.average(np.log(light.mean(axis=2) + 1e-3).mean(axis=1), weights=rows)))
    return develop(light, 0.24 / metered * 2.0**exposure_ev)


def panorama_radiance(
    room: Room, position_world_3: np.ndarray, yaw_rad: float, lighting: Lighting, width_px: int = 2048
) -> np.ndarray:
    """The same panorama in linear light, float32 (width / 2, width, 3). Raises InputError as `render_panorama`."""
    if width_px % 2 or not MIN_WIDTH_PX <= width_px <= MAX_WIDTH_PX:
        raise InputError(
            f"a panorama cannot be {width_px} px wide; give an even width of {MIN_WIDTH_PX} to {MAX_WIDTH_PX} px"
        )
    position_3 = np.asarray(position_world_3, np.float64)
    low_3 = np.array([-room.size_m[0] / 2, -room.size_m[1] / 2, 0.0])
    if position_3.shape != (3,) or not ((position_3 > low_3) & (position_3 < low_3 + room.size_m)).all():
        raise InputError(f"{position_3.tolist()} is outside the room of {room.size_m} m; give a place (x, y, z) in it")
    camera = _face_camera(width_px)
    strip = np.concatenate(
        [
            render(
                room, camera, camera_pose(position_3, yaw_rad + turn, pitch), lighting, 1, with_depth=False
            ).radiance_hw3
            for turn, pitch in _FACES
        ]
    )
    columns_hw, rows_hw = _lookup(width_px)
    fine = cv2.remap(strip, columns_hw, rows_hw, cv2.INTER_LINEAR)
    return cv2.resize(fine, (width_px, width_px // 2), interpolation=cv2.INTER_AREA)


def _face_camera(width_px: int) -> Camera:
    """A camera that sees a little more than 90 degrees, in its centre as finely as the samples lie."""
    focal_px = _SUPERSAMPLE * width_px / (2 * np.pi)
    size_px = 2 * (int(np.ceil(focal_px)) + _FACE_MARGIN_PX)
    return Camera(size_px, size_px, focal_px, focal_px, (size_px - 1) / 2, (size_px - 1) / 2)


@lru_cache(maxsize=2)
def _lookup(width_px: int) -> tuple[np.ndarray, np.ndarray]:
    """For every sample of the panorama its column and row in the strip of the six faces, float32 (S H, S W)."""
    camera = _face_camera(width_px)
    width, height = _SUPERSAMPLE * width_px, _SUPERSAMPLE * width_px // 2
    azimuth = 2 * np.pi * ((np.arange(width) + 0.5) / width - 0.5)
    elevation = np.pi * (0.5 - (np.arange(height) + 0.5) / height)
    flat = np.cos(elevation)[:, None]
    # x forward, y left, z up: the frame of the heading.
    ray_hw3 = np.stack(
        [flat * np.cos(azimuth), -flat * np.sin(azimuth), np.tile(np.sin(elevation)[:, None], (1, width))], axis=-1
    )
    frames = [camera_pose(np.zeros(3), turn, pitch)[:3, :3] for turn, pitch in _FACES]
    forward_k3 = np.array([frame[:, 2] for frame in frames])
    face_hw = np.argmax(ray_hw3 @ forward_k3.T, axis=-1)
    columns_hw, rows_hw = np.empty((2, height, width), np.float32)
    for index, frame in enumerate(frames):
        chosen = face_hw == index
        x, y, z = (ray_hw3[chosen] @ frame).T
        columns_hw[chosen] = camera.fx_px * x / z + camera.cx_px
        rows_hw[chosen] = camera.fy_px * y / z + camera.cy_px + index * camera.height_px
    return columns_hw, rows_hw
