"""A camera: image size, focal length, principal point, lens distortion. Pixels are OpenCV's: the centre of the
top-left pixel is (0, 0)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import ArrayLike

from geo_perception.errors import InputError

# Distortion models by their ROS names (REP 104), with the number of coefficients OpenCV takes for each.
DISTORTION_LENGTHS = {"pinhole": (0,), "plumb_bob": (4, 5), "rational_polynomial": (8, 12, 14), "equidistant": (4,)}
_NO_FOLD = 1e12  # not infinity, which times a depth of zero is no number
_OUTSIDE_PX = -1e4  # where a map leads that leads nowhere
_UNDISTORT_STEPS = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 40, 1e-10)


class SizeMismatch(InputError):  # noqa: N818
    """The image has another shape than the camera."""


@dataclass(frozen=True)
class Camera:
    """Intrinsics in pixels, and the lens model that turns a direction into a pixel.

    `model` is `pinhole` (no distortion), `plumb_bob` (k1 k2 p1 p2 [k3]), `rational_polynomial` (k1 k2 p1 p2 k3 k4 k5 k6
    ...) or `equidistant` (fisheye, k1..k4), as in sensor_msgs/CameraInfo.

    Raises InputError when the size, a focal length or the number of coefficients cannot be.
    """

    width_px: int
    height_px: int
    fx_px: float
    fy_px: float
    cx_px: float
    cy_px: float
    model: str = "pinhole"
    distortion: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        numbers = (self.fx_px, self.fy_px, self.cx_px, self.cy_px, *self.distortion)
        if self.width_px <= 0 or self.height_px <= 0:
            raise InputError(f"camera of {self.width_px} x {self.height_px} pixels; give the image's size")
        if not np.isfinite(numbers).all() or self.fx_px <= 0 or self.fy_px <= 0:
            raise InputError(
                f"focal length {self.fx_px:g}, {self.fy_px:g} px is not positive: the camera is not calibrated; "
                "calibrate it, or give its K"
            )
        if self.model not in DISTORTION_LENGTHS:
            raise InputError(
                f"distortion model '{self.model}' is not known; use one of {', '.join(sorted(DISTORTION_LENGTHS))}"
            )
        if len(self.distortion) not in DISTORTION_LENGTHS[self.model]:
            raise InputError(
                f"distortion model {self.model} takes {' or '.join(map(str, DISTORTION_LENGTHS[self.model]))} "
                f"coefficients, {len(self.distortion)} were given"
            )

    @classmethod
    def from_K(
        cls, K_33: ArrayLike, width_px: int, height_px: int, model: str = "pinhole", distortion: Iterable[float] = ()
    ) -> Camera:
        """The camera with the 3x3 matrix K. A model whose coefficients are all zero (or missing) is a pinhole."""
        K_33 = np.asarray(K_33, np.float64).reshape(3, 3)
        distortion = tuple(float(d) for d in distortion)
        if model != "equidistant" and not any(distortion):
            model, distortion = "pinhole", ()
        fx, fy, cx, cy = (float(K_33[i]) for i in ((0, 0), (1, 1), (0, 2), (1, 2)))
        return cls(int(width_px), int(height_px), fx, fy, cx, cy, model, distortion)

    @property
    def K(self) -> np.ndarray:
        """The 3x3 intrinsic matrix."""
        return np.array([[self.fx_px, 0, self.cx_px], [0, self.fy_px, self.cy_px], [0, 0, 1.0]])

    @property
    def focal_px(self) -> float:
        """Of square pixels: the geometric mean of fx and fy."""
        return float(np.sqrt(self.fx_px * self.fy_px))

    def resized(self, width_px: int, height_px: int) -> Camera:
        """The camera of the same image resized. Pixel centres stay where they are on the sensor."""
        sx, sy = width_px / self.width_px, height_px / self.height_px
        return replace(
            self,
            width_px=int(width_px),
            height_px=int(height_px),
            fx_px=self.fx_px * sx,
            fy_px=self.fy_px * sy,
            cx_px=(self.cx_px + 0.5) * sx - 0.5,
            cy_px=(self.cy_px + 0.5) * sy - 0.5,
        )

    def fitted(self, width_px: int, height_px: int) -> Camera:
        """The camera for an image of this size that shows all of what this camera sees.

        Raises SizeMismatch when the shapes differ by more than rounding: then the image was cropped, not resized.
        """
        if (width_px, height_px) == (self.width_px, self.height_px):
            return self
        if not same_shape((width_px, height_px), (self.width_px, self.height_px)):
            raise SizeMismatch(
                f"the image is {width_px} x {height_px} and its camera {self.width_px} x {self.height_px} pixels, of "
                "another shape; give the K of this image (in ROS: publish the CameraInfo of this image)"
            )
        return self.resized(width_px, height_px)

    def cropped(self, left_px: int, top_px: int, width_px: int, height_px: int) -> Camera:
        """The camera of a window of the image."""
        cx_px, cy_px = self.cx_px - left_px, self.cy_px - top_px
        return replace(self, width_px=int(width_px), height_px=int(height_px), cx_px=cx_px, cy_px=cy_px)

    def without_distortion(self) -> Camera:
        """A pinhole of the same size and K."""
        return replace(self, model="pinhole", distortion=())

    def normalize(self, pixels_n2: np.ndarray) -> np.ndarray:
        """Pixels (N, 2) to undistorted coordinates on the plane z = 1, (N, 2).

        NaN where the lens model has no answer (beyond a fisheye's field of view).
        """
        pixels_n2 = np.asarray(pixels_n2, np.float64).reshape(-1, 2)
        if len(pixels_n2) == 0 or self.model == "pinhole":
            return (pixels_n2 - [self.cx_px, self.cy_px]) / [self.fx_px, self.fy_px]
        distortion = np.asarray(self.distortion)
        if self.model == "equidistant":
            xy_n2 = cv2.fisheye.undistortPoints(pixels_n2[:, None], self.K, distortion)[:, 0]
            xy_n2[(np.abs(xy_n2) > 1e5).any(axis=1)] = np.nan
            return xy_n2
        return cv2.undistortPoints(pixels_n2[:, None], self.K, distortion, criteria=_UNDISTORT_STEPS)[:, 0]

    def bearings(self, pixels_n2: np.ndarray) -> np.ndarray:
        """Pixels (N, 2) to unit directions (N, 3) in the camera's optical frame."""
        xy_n2 = self.normalize(pixels_n2)
        rays_n3 = np.concatenate([xy_n2, np.ones((len(xy_n2), 1))], axis=1)
        return rays_n3 / np.linalg.norm(rays_n3, axis=1, keepdims=True)

    def project(self, points_camera_n3: np.ndarray) -> np.ndarray:
        """Points (N, 3) in the optical frame to pixels (N, 2); NaN for points that are not in front of the camera.

        NaN, too, so far off the axis that the lens model folds back and would put the point into the image again.
        """
        points_camera_n3 = np.asarray(points_camera_n3, np.float64).reshape(-1, 3)
        pixels_n2 = np.full((len(points_camera_n3), 2), np.nan)
        front_n = points_camera_n3[:, 2] > 1e-9
        if self.model != "pinhole":
            off_axis_n = np.linalg.norm(points_camera_n3[:, :2], axis=1)
            front_n &= off_axis_n < _fold_radius(self.model, self.distortion) * points_camera_n3[:, 2]
        if not front_n.any():
            return pixels_n2
        front_m3 = points_camera_n3[front_n]
        distortion, zero_3 = np.asarray(self.distortion), np.zeros(3)
        if self.model == "pinhole":
            xy_m2 = front_m3[:, :2] / front_m3[:, 2:]
            pixels_n2[front_n] = xy_m2 * [self.fx_px, self.fy_px] + [self.cx_px, self.cy_px]
        elif self.model == "equidistant":
            pixels_n2[front_n] = cv2.fisheye.projectPoints(front_m3[:, None], zero_3, zero_3, self.K, distortion)[0][
                :, 0
            ]
        else:
            pixels_n2[front_n] = cv2.projectPoints(front_m3[:, None], zero_3, zero_3, self.K, distortion)[0][:, 0]
        return pixels_n2

    def contains(self, pixels_n2: np.ndarray, border_px: float = 0.0) -> np.ndarray:
        """Which of the pixels (N, 2) lie in the image, at least `border_px` from its edge. NaN does not."""
        low = -0.5 + border_px
        high_2 = np.array([self.width_px, self.height_px]) - 0.5 - border_px
        with np.errstate(invalid="ignore"):
            return np.all((pixels_n2 >= low) & (pixels_n2 <= high_2), axis=-1)

    def remap_to(self, target: Camera, R_self_target: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Maps (H, W) float32 for `cv2.remap` that turn this camera's image into the one `target` would have taken from
        the same place, turned by `R_self_target` (3, 3), which maps directions of the target into this camera's frame.

        Where `project` knows no pixel, the maps lead far outside the image.
        """
        R_33 = np.eye(3) if R_self_target is None else np.asarray(R_self_target, np.float64)
        size_px = target.width_px, target.height_px
        if target.model == "pinhole":
            from_plane = cv2.fisheye if self.model == "equidistant" else cv2
            maps = from_plane.initUndistortRectifyMap(
                self.K, np.asarray(self.distortion, np.float64), R_33.T, target.K, size_px, cv2.CV_32FC1
            )
            unseen_hw = self._unseen(target, R_33)
        else:
            grid_n2 = np.stack(np.meshgrid(np.arange(size_px[0]), np.arange(size_px[1])), -1).reshape(-1, 2)
            pixels_n2 = self.project(target.bearings(grid_n2) @ R_33.T).astype(np.float32)
            maps, unseen_hw = np.moveaxis(pixels_n2.reshape(*size_px[::-1], 2), 2, 0).copy(), None
        for map_hw in maps:
            if unseen_hw is not None:
                map_hw[unseen_hw] = np.nan
            map_hw[~np.isfinite(map_hw)] = _OUTSIDE_PX
        return maps[0], maps[1]

    def _unseen(self, target: Camera, R_33: np.ndarray) -> np.ndarray | None:
        """Which pixels (H, W) of a pinhole look where `project` has no answer; None where none does.

        OpenCV's maps do not tell: they show what lies behind, and what a lens model that folds back finds again.
        """
        limit = _NO_FOLD if self.model == "pinhole" else _fold_radius(self.model, self.distortion)
        rays_33 = R_33 @ np.linalg.inv(target.K)

        def seen(columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
            x, y, z = (a * columns + b * rows + c for a, b, c in rays_33)
            return (z > 1e-9) & (np.hypot(x, y) < limit * z)

        # What is seen is a cone, so that the image lies in it where its corners do.
        right, bottom = target.width_px - 1, target.height_px - 1
        if seen(np.array([0, right, 0, right]), np.array([0, 0, bottom, bottom])).all():
            return None
        return ~seen(np.arange(target.width_px)[None, :], np.arange(target.height_px)[:, None])


def same_shape(size_px: tuple[int, int], other_px: tuple[int, int]) -> bool:
    """Whether an image of one size (width, height) can be one of the other resized, each side rounded to a pixel of the
    larger one."""
    (width, height), (large_width, large_height) = sorted((size_px, other_px), key=lambda size: size[0] * size[1])
    return abs(width / large_width - height / large_height) <= 1 / large_width + 1 / large_height


@lru_cache(maxsize=64)
def _fold_radius(model: str, distortion: tuple[float, ...]) -> float:
    """The radius on the plane z = 1 from which on a larger radius no longer lands farther out in the image.

    A distortion polynomial holds within the view it was fitted to; beyond, it may turn back. `_NO_FOLD` where it does
    not within 84 degrees of the axis (90 for a fisheye).
    """
    if model == "equidistant":
        angle_n = np.linspace(0.0, np.pi / 2, 4001)
        powers = np.stack([angle_n ** (2 * i) for i in range(1, 5)])
        radius_n, image_n = np.tan(angle_n), angle_n * (1 + np.asarray(distortion) @ powers)
    else:
        k1, k2, _, _, k3, k4, k5, k6 = (*distortion[:8], *[0.0] * 8)[:8]
        radius_n = np.linspace(0.0, 10.0, 4001)
        r2 = radius_n**2
        numerator = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
        denominator = 1 + r2 * (k4 + r2 * (k5 + r2 * k6))
        with np.errstate(divide="ignore", invalid="ignore"):
            image_n = radius_n * numerator / denominator
        image_n[denominator <= 0] = -np.inf
    with np.errstate(invalid="ignore"):
        turns_n = ~(np.diff(image_n) > 0)
    return float(radius_n[np.argmax(turns_n)]) if turns_n.any() else _NO_FOLD
