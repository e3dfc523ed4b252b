"""Lens distortion is taken out once, when a dataset is made: everything later sees pinholes."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import numpy as np

from geo_perception.errors import InputError
from geo_perception.geometry import Camera
from geo_perception.runtime.image import Resampler

# A pinhole image stretches its rim without bound; a fisheye's view is cut here, 50 degrees from the axis on each side.
MAX_SIDE_TAN = float(np.tan(np.deg2rad(50.0)))
# A lens that moves no pixel by this much is a pinhole: resampling would cost more than it gives.
NEGLIGIBLE_PX = 0.05
_BORDER_STEPS = 101


class Undistorter:
    """Turns images of a distorted `recorded` camera into those of `target`, a pinhole of the same size.

    The target sees the largest window of the recorded view that has no black rim; its pixels keep their aspect ratio.
    Raises InputError when the distortion leaves no such window.
    """

    def __init__(self, recorded: Camera):
        self.recorded = without_negligible_distortion(recorded)
        self.target = _inscribed_pinhole(self.recorded) if self.is_distorted else self.recorded

    @property
    def is_distorted(self) -> bool:
        """Whether there is anything to undo."""
        return self.recorded.model != "pinhole"

    @cached_property
    def _resampler(self) -> Resampler:
        return Resampler(self.recorded, self.target)

    def image(self, image: np.ndarray) -> np.ndarray:
        """The image (H, W) or (H, W, 3), resampled. Outside the recorded one it is black."""
        return self._resampler.image(image) if self.is_distorted else image

    def depth(self, depth_m: np.ndarray) -> np.ndarray:
        """Depth (H, W) along z; the nearest value is taken, so that no depth between two surfaces is invented."""
        return self._resampler.nearest(depth_m) if self.is_distorted else depth_m


def undistort_pixels(camera: Camera, pixels_n2: np.ndarray) -> np.ndarray:
    """Pixels (N, 2) of a distorted image to where a pinhole with the camera's K has them."""
    return camera.normalize(pixels_n2) @ camera.K[:2, :2].T + camera.K[:2, 2]


def without_negligible_distortion(camera: Camera) -> Camera:
    """The camera without its distortion where that moves no pixel by a twentieth of a pixel, else as it is."""
    if camera.model in ("pinhole", "equidistant"):
        return camera
    right_px, bottom_px = camera.width_px - 1.0, camera.height_px - 1.0
    rim_n2 = np.array([(x, y) for x in np.linspace(0, right_px, 9) for y in np.linspace(0, bottom_px, 9)])
    plain = replace(camera, model="pinhole", distortion=())
    moved_px = np.abs(undistort_pixels(camera, rim_n2) - rim_n2)
    return plain if np.nanmax(moved_px) < NEGLIGIBLE_PX else camera


def _inscribed_pinhole(camera: Camera) -> Camera:
    """The pinhole that sees the rectangle on the plane z = 1 whose every ray lies in the distorted image."""
    right_px, bottom_px = camera.width_px - 1.0, camera.height_px - 1.0
    xs = np.linspace(0, right_px, _BORDER_STEPS)
    ys = np.linspace(0, bottom_px, _BORDER_STEPS)
    side = lambda x, y: camera.normalize(np.stack(np.broadcast_arrays(x, y), axis=1))  # noqa: E731
    left, right = side(0.0, ys)[:, 0], side(right_px, ys)[:, 0]
    top, bottom = side(xs, 0.0)[:, 1], side(xs, bottom_px)[:, 1]
    # NaN: the rim lies beyond the lens model, so the cut at MAX_SIDE_TAN decides.
    x0, x1 = _limit(np.nanmax(_known(left, -1))), _limit(np.nanmin(_known(right, 1)))
    y0, y1 = _limit(np.nanmax(_known(top, -1))), _limit(np.nanmin(_known(bottom, 1)))
    if not (x1 - x0 > 1e-3 and y1 - y0 > 1e-3):
        raise InputError(
            f"distortion {list(camera.distortion)} ({camera.model}) leaves no image; check the coefficients and K"
        )
    # The tighter of the two directions sets the focal length, so that both stay inside.
    ratio = camera.fy_px / camera.fx_px
    fx_px = max(right_px / (x1 - x0), bottom_px / (y1 - y0) / ratio)
    fy_px = fx_px * ratio
    cx_px = right_px / 2 - fx_px * (x0 + x1) / 2
    cy_px = bottom_px / 2 - fy_px * (y0 + y1) / 2
    return Camera(camera.width_px, camera.height_px, fx_px, fy_px, cx_px, cy_px)


def _known(values: np.ndarray, sign: int) -> np.ndarray:
    """A rim on the wrong side of the axis is an answer the lens model does not have: the cut decides there too."""
    return np.where(np.isfinite(values) & (values * sign > 0), values, sign * MAX_SIDE_TAN)


def _limit(value: float) -> float:
    return float(np.clip(value, -MAX_SIDE_TAN, MAX_SIDE_TAN))
