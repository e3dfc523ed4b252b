"""The pinhole through which the landmark network looks: one focal length for a scene, in training as on board."""

from __future__ import annotations

import numpy as np

from geo_perception.errors import InputError
from geo_perception.geometry import Camera

SIDE_MULTIPLE_PX = 32
MAX_NETWORK_PIXELS = 1 << 20  # a wide camera is seen at the scene's focal length, but never in more pixels than this


def network_camera_at(camera: Camera, focal_px: float) -> Camera:
    """The pinhole of focal length `focal_px` that sees what `camera` sees, its sides multiples of SIDE_MULTIPLE_PX.

    Where that would take more than MAX_NETWORK_PIXELS, only the middle of the field of view is kept. Raises InputError
    for a lens that sees no part of a pinhole's field of view.
    """
    xy_n2 = camera.normalize(_border_pixels(camera))
    xy_n2 = xy_n2[np.isfinite(xy_n2).all(axis=1) & (np.abs(xy_n2) < 3.0).all(axis=1)]
    if len(xy_n2) < 4:
        raise InputError("its lens sees no part of a pinhole's field of view")
    low_2, high_2 = xy_n2.min(axis=0) * focal_px, xy_n2.max(axis=0) * focal_px
    size_2 = np.maximum(high_2 - low_2, SIDE_MULTIPLE_PX)
    if size_2.prod() > MAX_NETWORK_PIXELS:  # keep the middle, where a lens is sharpest
        middle_2 = (low_2 + high_2) / 2
        size_2 = size_2 * np.sqrt(MAX_NETWORK_PIXELS / size_2.prod())
        low_2 = middle_2 - size_2 / 2
    width_px, height_px = (int(max(1, round(side / SIDE_MULTIPLE_PX))) * SIDE_MULTIPLE_PX for side in size_2)
    cx_px, cy_px = -(low_2 + size_2 / 2) + np.array([width_px, height_px]) / 2 - 0.5
    return Camera(width_px, height_px, focal_px, focal_px, float(cx_px), float(cy_px))


def _border_pixels(camera: Camera, steps: int = 16) -> np.ndarray:
    """Pixels (N, 2) along the image's edge: where the field of view ends."""
    along_x = np.linspace(-0.5, camera.width_px - 0.5, steps)
    along_y = np.linspace(-0.5, camera.height_px - 0.5, steps)
    low, right, bottom = (
        np.full(steps, -0.5),
        np.full(steps, camera.width_px - 0.5),
        np.full(steps, camera.height_px - 0.5),
    )
    edges = [(along_x, low), (along_x, bottom), (low, along_y), (right, along_y)]
    return np.concatenate([np.stack(edge, axis=1) for edge in edges])
