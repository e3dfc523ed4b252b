"""What an image must be before a network looks at it, and the one way in which images are resampled for networks."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any

import cv2
import numpy as np

from geo_perception.geometry import Camera

_MIN_CONTRAST = 3.0  # standard deviation of grey levels, of 255
_MAX_SIDE_PX = 1 << 15  # from here on OpenCV cannot resample
_MAX_SHRINK = 4.0  # of the averaging that follows the geometry; what shrinks more is averaged before it, too
_PLAIN_SHRINK = 1.1  # up to here interpolation misses next to nothing


def image_problem(image_hw3: Any, min_side_px: int) -> str:
    """Why this cannot be an image (RGB uint8, H x W x 3); empty when it can."""
    if not isinstance(image_hw3, np.ndarray) or image_hw3.dtype != np.uint8:
        return "it is not an array of uint8"
    if image_hw3.ndim != 3 or image_hw3.shape[2] != 3:
        return f"its shape is {image_hw3.shape}, not (height, width, 3)"
    if min(image_hw3.shape[:2]) < min_side_px:
        return f"it has only {image_hw3.shape[1]} x {image_hw3.shape[0]} pixels"
    if max(image_hw3.shape[:2]) >= _MAX_SIDE_PX:
        return f"it has {image_hw3.shape[1]} x {image_hw3.shape[0]} pixels, more than can be resampled"
    return ""


def contrast_problem(image_hw3: np.ndarray) -> str:
    """Why nothing is seen in an image (RGB uint8): its grey levels hardly differ; empty where they do."""
    contrast = float(cv2.cvtColor(image_hw3, cv2.COLOR_RGB2GRAY).std())
    return f"its grey levels differ by {contrast:.1f} of 255 (is the lens covered?)" if contrast < _MIN_CONTRAST else ""


def network_size(width_px: int, height_px: int, area_px: int, multiple_px: int, max_aspect: float) -> tuple[int, int]:
    """(width, height) at which a network looks at an image of this size: about the same area for every format up to
    1 to `max_aspect`, sides multiples of `multiple_px`."""
    aspect = float(np.clip(width_px / height_px, 1 / max_aspect, max_aspect))
    sides = np.sqrt(area_px * aspect), np.sqrt(area_px / aspect)
    width, height = (int(max(1, round(side / multiple_px))) * multiple_px for side in sides)
    return width, height


def resized(image_hw3: np.ndarray, size_px: tuple[int, int]) -> np.ndarray:
    """A new image at (width, height): along each side averaged where it shrinks, interpolated where it grows."""
    # OpenCV averages only where neither side grows.
    smaller_px = min(size_px[0], image_hw3.shape[1]), min(size_px[1], image_hw3.shape[0])
    smaller_hw3 = cv2.resize(image_hw3, smaller_px, interpolation=cv2.INTER_AREA)
    if smaller_px == tuple(size_px):
        return smaller_hw3
    return cv2.resize(smaller_hw3, size_px, interpolation=cv2.INTER_LINEAR)


class Resampler:
    """Turns images of `camera` into those that `target`, a pinhole, would have taken from the same place, turned by
    `R_camera_target` (3, 3), which maps directions of the target into the camera's frame.

    A pixel is the mean of what it covers: where the image shrinks, it is first brought to the target's geometry at its
    own resolution, then averaged (exactly, but for fractions of a pixel, which are interpolated). To interpolate at the
    target's pixels alone would let fine texture alias into patterns that are not there.
    """

    def __init__(self, camera: Camera, target: Camera, R_camera_target: np.ndarray | None = None):
        self.camera, self.target = camera, target
        self._R_33 = np.eye(3) if R_camera_target is None else np.asarray(R_camera_target, np.float64)
        self._turned = R_camera_target is not None
        whole = camera.resized(target.width_px, target.height_px)
        # A homography would also show what lies behind the camera.
        corners_n2 = np.array([(x, y) for x in (0, target.width_px - 1) for y in (0, target.height_px - 1)], float)
        self._by_maps = camera.model != "pinhole" or bool(np.isnan(self._in_image(corners_n2)).any())
        self._whole = not self._turned and camera.model == "pinhole" and np.allclose(whole.K, target.K, atol=1e-6)
        shrinks_xy = (1.0, 1.0) if self._whole else self._shrinks()
        self._before = max(1, int(np.ceil(max(shrinks_xy) / _MAX_SHRINK - 0.01)))
        self._before = min(self._before, camera.width_px, camera.height_px)
        padded = [-(-side // self._before) * self._before for side in (camera.width_px, camera.height_px)]
        self._padding = padded[0] - camera.width_px, padded[1] - camera.height_px
        self._averaged = replace(camera, width_px=padded[0], height_px=padded[1]).resized(
            *(side // self._before for side in padded)
        )
        steps = [shrink / self._before for shrink in shrinks_xy]
        self._fine = target.resized(
            *(
                side if step <= _PLAIN_SHRINK else round(side * step)
                for side, step in zip((target.width_px, target.height_px), steps, strict=True)
            )
        )

    def image(self, image_hw3: np.ndarray, border: int = cv2.BORDER_CONSTANT) -> np.ndarray:
        """An image (H, W) or (H, W, C) of the camera's size as the target sees it; beyond its edge as OpenCV's `border`
        says (black)."""
        size_px = self.target.width_px, self.target.height_px
        if self._whole:
            return resized(image_hw3, size_px)
        if self._before > 1:
            right_px, bottom_px = self._padding
            if right_px or bottom_px:
                image_hw3 = cv2.copyMakeBorder(image_hw3, 0, bottom_px, 0, right_px, cv2.BORDER_REPLICATE)
            image_hw3 = resized(image_hw3, (self._averaged.width_px, self._averaged.height_px))
        if self._by_maps:
            fine_hw3 = cv2.remap(image_hw3, *self._maps, cv2.INTER_LINEAR, borderMode=border)
        else:
            fine_hw3 = self._warped(image_hw3, border)
        return resized(fine_hw3, size_px)

    def nearest(self, map_hw: np.ndarray) -> np.ndarray:
        """A map (H, W) whose values must not be mixed, such as depth: the nearest value; 0 beyond its edge."""
        maps = self.camera.remap_to(self.target, self._R_33)
        return cv2.remap(map_hw, *maps, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT)

    @cached_property
    def covered_hw(self) -> np.ndarray:
        """How much of each pixel of the target the camera's image covers, float32 from 0 to 1."""
        white_hw = np.full((self.camera.height_px, self.camera.width_px), 255, np.uint8)
        return self.image(white_hw).astype(np.float32) / 255

    @cached_property
    def _maps(self) -> tuple[np.ndarray, np.ndarray]:
        maps = self._averaged.remap_to(self._fine, self._R_33)
        for map_hw, side in zip(maps, (self._averaged.width_px, self._averaged.height_px), strict=True):
            # The outermost pixels end half a pixel beyond their centres: what lies there is not mixed with the border.
            rim_hw = (map_hw >= -0.5) & (map_hw <= side - 0.5)
            np.clip(map_hw, 0, side - 1, out=map_hw, where=rim_hw)
        return maps

    def _warped(self, image_hw3: np.ndarray, border: int) -> np.ndarray:
        """Pinhole to pinhole: a homography, for which OpenCV needs no maps."""
        H_33 = self._averaged.K @ self._R_33 @ np.linalg.inv(self._fine.K)
        width_px, height_px = self._fine.width_px, self._fine.height_px
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        if self._turned:
            return cv2.warpPerspective(image_hw3, H_33, (width_px, height_px), flags=flags, borderMode=border)
        left_px, top_px = (round(shift) for shift in H_33[:2, 2])
        inside = 0 <= left_px <= image_hw3.shape[1] - width_px and 0 <= top_px <= image_hw3.shape[0] - height_px
        if inside and np.allclose(H_33, [[1, 0, left_px], [0, 1, top_px], [0, 0, 1]], rtol=0, atol=1e-5):
            return image_hw3[top_px : top_px + height_px, left_px : left_px + width_px]  # a mere window
        return cv2.warpAffine(image_hw3, H_33[:2], (width_px, height_px), flags=flags, borderMode=border)

    def _shrinks(self) -> tuple[float, float]:
        """How many pixels of the image a step of one pixel of the target covers at most, along x and along y."""
        columns, rows = np.meshgrid(
            np.linspace(0, self.target.width_px - 1, 9), np.linspace(0, self.target.height_px - 1, 9)
        )
        centre_n2 = np.stack([columns.ravel(), rows.ravel()], axis=1)
        seen_n = self.camera.contains(self._in_image(centre_n2))
        shrinks = []
        for half_step_2 in ((0.5, 0.0), (0.0, 0.5)):
            step_n2 = self._in_image(centre_n2 + half_step_2) - self._in_image(centre_n2 - half_step_2)
            known_n = seen_n & np.isfinite(step_n2).all(axis=1)
            # By columns and rows: askew, the finest texture (squares of one pixel) is finer than along the sides.
            shrinks.append(float(np.abs(step_n2[known_n]).sum(axis=1).max(initial=1.0)))
        return shrinks[0], shrinks[1]

    def _in_image(self, pixels_n2: np.ndarray) -> np.ndarray:
        return self.camera.project(self.target.bearings(pixels_n2) @ self._R_33.T)
