"""Perspective crops of a panorama, with exact focal length, pitch and roll."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from threading import Lock

import cv2
import numpy as np
from pydantic import Field, ValidationInfo, field_validator, model_validator

from geo_perception.errors import InputError
from geo_perception.geometry import Camera, focal_px_from_fov, fov_rad, so3_exp
from geo_training.calibration.data.panorama_files import BORDER_PX, bordered, with_border
from geo_training.config import Strict

RENDERING_VERSION = 2  # of a crop's pixels: raise it when they change, so that none are kept from before
MAX_SUPERSAMPLE = 6
MIN_SIDE_PX, MAX_SIDE_PX = 8, 4096
Range = tuple[float, float]
_LIMITS = {"focal_px": (1e-3, 1e6), "vfov_deg": (0.1, 174.9), "pitch_deg": (-90, 90), "roll_deg": (-180, 180)}
_RAYS_PER_SOURCE_PX = 1.5
_SAMPLES_AT_ONCE = 1 << 15
MAX_COVERED = MAX_SUPERSAMPLE / _RAYS_PER_SOURCE_PX  # source pixels that a crop's pixel may cover, across


@dataclass(frozen=True)
class CropSpec:
    """A pinhole with square pixels and centred principal point, and where it looks. Yaw grows to the right."""

    width_px: int
    height_px: int
    focal_px: float
    pitch_rad: float
    roll_rad: float
    yaw_rad: float = 0.0

    @property
    def vfov_rad(self) -> float:
        return float(fov_rad(self.height_px, self.focal_px))

    @property
    def camera(self) -> Camera:
        """The pinhole. Pixel centres are whole numbers, so the middle of the image is (size - 1) / 2."""
        cx_px, cy_px = (self.width_px - 1) / 2, (self.height_px - 1) / 2
        return Camera(self.width_px, self.height_px, self.focal_px, self.focal_px, cx_px, cy_px)


class CropDistribution(Strict):
    """From what cameras are drawn: uniformly from each range. Either the focal length or the field of view is given.

    Errors name the key that is wrong.
    """

    sizes_px: tuple[tuple[int, int], ...] = Field(min_length=1, description="(width, height), drawn with equal chance")
    focal_px: Range | None = None
    vfov_deg: Range | None = Field(None, description="vertical field of view")
    max_fov_deg: float = Field(160.0, gt=1, lt=175, description="of the longer side; what is wider is not drawn")
    pitch_deg: Range = (-45.0, 45.0)
    roll_deg: Range = (-45.0, 45.0)

    @field_validator("sizes_px")
    @classmethod
    def _check_sizes(cls, sizes_px):
        if any(not MIN_SIDE_PX <= side <= MAX_SIDE_PX for size in sizes_px for side in size):
            raise ValueError(f"each side must have {MIN_SIDE_PX} to {MAX_SIDE_PX} pixels")
        return sizes_px

    @field_validator("focal_px", "vfov_deg", "pitch_deg", "roll_deg")
    @classmethod
    def _check_range(cls, low_high, info: ValidationInfo):
        if low_high is None:
            return None
        (low, high), (least, most) = low_high, _LIMITS[info.field_name]
        if not low <= high:  # not a number, too
            raise ValueError(f"must be [low, high], not {list(low_high)}")
        if not (least <= low and high <= most):
            raise ValueError(f"must lie between {least:g} and {most:g}, not {list(low_high)}")
        return low_high

    @model_validator(mode="after")
    def _check(self) -> CropDistribution:
        if (self.focal_px is None) == (self.vfov_deg is None):
            raise ValueError("give either focal_px or vfov_deg")
        for size_px in self.sizes_px:
            if self._drawn_range(size_px) is None:
                raise ValueError(f"max_fov_deg {self.max_fov_deg:g} leaves nothing to draw at sizes_px {list(size_px)}")
        return self

    def draw(self, rng: np.random.Generator, size_px: tuple[int, int] | None = None) -> CropSpec:
        """One camera; of this (width, height) where it is given.

        Raises InputError when no camera of that size has a field of view within `max_fov_deg`.
        """
        width_px, height_px = size_px or self.sizes_px[int(rng.integers(len(self.sizes_px)))]
        low_high = self._drawn_range((width_px, height_px))
        if low_high is None:
            raise InputError(
                f"a crop of {width_px} x {height_px} pixels cannot have a field of view within {self.max_fov_deg:g} "
                "degrees here; raise max_fov_deg, or ask for a smaller field of view or a longer focal length"
            )
        drawn = rng.uniform(*low_high)
        focal_px = drawn if self.focal_px is not None else focal_px_from_fov(height_px, np.radians(drawn))
        pitch_rad, roll_rad = np.radians(rng.uniform(*self.pitch_deg)), np.radians(rng.uniform(*self.roll_deg))
        yaw_rad = rng.uniform(-np.pi, np.pi)
        return CropSpec(width_px, height_px, float(focal_px), float(pitch_rad), float(roll_rad), float(yaw_rad))

    def _drawn_range(self, size_px: tuple[int, int]) -> Range | None:
        """The part of `focal_px` or `vfov_deg` that keeps the longer side within `max_fov_deg`; None: there is none."""
        shortest_px = float(focal_px_from_fov(max(size_px), np.radians(self.max_fov_deg)))
        if self.focal_px is not None:
            low, high = max(self.focal_px[0], shortest_px), self.focal_px[1]
        else:
            widest_deg = float(np.degrees(fov_rad(size_px[1], shortest_px)))
            low, high = self.vfov_deg[0], min(self.vfov_deg[1], widest_deg)
        return (low, high) if low <= high else None


# Ould Amer et al., section 4.1.
PAPER_DISTRIBUTION = CropDistribution(
    sizes_px=((299, 299),), focal_px=(50, 500), pitch_deg=(-90, 0), roll_deg=(-45, 45), max_fov_deg=160
)
# A robot's camera: it looks up as well, is not turned on its side, and has any of the usual lenses and formats.
ROBOT_DISTRIBUTION = CropDistribution(
    sizes_px=((320, 320), (320, 240), (320, 240), (384, 256), (384, 216), (240, 320)),
    vfov_deg=(20, 105), max_fov_deg=125, pitch_deg=(-45, 45), roll_deg=(-45, 45),
)  # fmt: skip


def rays_across(covered: float) -> int:
    """How many rays a crop's pixel needs, across, that covers so many pixels of its source."""
    return int(np.clip(np.ceil(_RAYS_PER_SOURCE_PX * covered), 2, MAX_SUPERSAMPLE))


def render_crop(
    panorama_hw3: np.ndarray, spec: CropSpec, supersample: int | None = None, stretch: float = 1.0
) -> np.ndarray:
    """What the camera sees of an upright panorama (H, 2H, 3) uint8: RGB uint8 (height_px, width_px, 3).

    Each pixel is the mean of `supersample`^2 rays. Without one given, there are as many as the panorama has pixels to
    tell apart, so that a wide view is not aliased: neither its grain nor its lack tells the focal length. A panorama
    far finer than the crop is first shrunk by averaging to what `MAX_SUPERSAMPLE` rays can tell apart.

    With `stretch` the world is so many times as high as it was: tan(elevation) grows by it. That is a linear map of the
    world, so lines stay straight, verticals vertical and the horizon level, and the labels stay exact.

    Raises InputError when the panorama is not twice as wide as high.
    """
    if panorama_hw3.ndim != 3 or panorama_hw3.shape[1] != 2 * panorama_hw3.shape[0] or panorama_hw3.shape[2] != 3:
        raise InputError(f"an array of shape {panorama_hw3.shape} is no panorama; give one of (H, 2H, 3)")
    if supersample is None:
        # How many of the panorama's pixels a pixel in the crop's centre covers; elsewhere it covers fewer.
        covered = panorama_hw3.shape[1] / (2 * np.pi * spec.focal_px)
        if covered > MAX_COVERED:
            panorama_hw3 = _shrunk(panorama_hw3, covered / MAX_COVERED)
            covered = panorama_hw3.shape[1] / (2 * np.pi * spec.focal_px)
        supersample = rays_across(covered)
    pano_height_px, pano_width_px = panorama_hw3.shape[:2]
    to_column = np.float32(pano_width_px / (2 * np.pi)), np.float32(pano_width_px / 2 - 0.5 + BORDER_PX)
    to_row = np.float32(pano_height_px / np.pi), np.float32(pano_height_px / 2 - 0.5 + BORDER_PX)
    method = cv2.INTER_CUBIC if spec.focal_px > pano_width_px / (2 * np.pi) else cv2.INTER_LINEAR
    source, crop_hw3 = bordered(panorama_hw3), np.empty((spec.height_px, spec.width_px, 3), np.uint8)
    for rows, azimuth_hw, depression_hw in _directions(spec, supersample, stretch):
        column_hw = np.add(np.multiply(azimuth_hw, to_column[0], out=azimuth_hw), to_column[1], out=azimuth_hw)
        row_hw = np.add(np.multiply(depression_hw, to_row[0], out=depression_hw), to_row[1], out=depression_hw)
        fine_hw3 = cv2.remap(source, column_hw, row_hw, method, borderMode=cv2.BORDER_REPLICATE)
        # Whole pixels, so that a block's are the mean of what the crop's would be.
        size_px = spec.width_px, rows.stop - rows.start
        crop_hw3[rows] = cv2.resize(fine_hw3, size_px, interpolation=cv2.INTER_AREA) if supersample > 1 else fine_hw3
    return crop_hw3


_shrunk_cache: OrderedDict[tuple[int, int], tuple[weakref.ref, np.ndarray]] = OrderedDict()
_shrunk_lock = Lock()
_SHRUNK_KEPT = 8


def _shrunk(panorama_hw3: np.ndarray, at_least: float) -> np.ndarray:
    """The panorama made smaller by a power of two, each pixel the mean of what it covers.

    The last few are kept, since that takes longer than a crop of them.
    """
    height_px = max(1, panorama_hw3.shape[0] >> int(np.ceil(np.log2(at_least))))
    key = id(panorama_hw3), height_px
    with _shrunk_lock:
        whose, kept = _shrunk_cache.get(key, (None, None))
    if whose is not None and whose() is panorama_hw3:
        return kept
    small = with_border(cv2.resize(panorama_hw3, (2 * height_px, height_px), interpolation=cv2.INTER_AREA))
    with _shrunk_lock:
        _shrunk_cache[key] = weakref.ref(panorama_hw3), small
        while len(_shrunk_cache) > _SHRUNK_KEPT:
            _shrunk_cache.popitem(last=False)
    return small


def _directions(
    spec: CropSpec, supersample: int, stretch: float = 1.0
) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Azimuth in [-pi, pi] (right positive) and angle below the horizon before the stretch, of every sample's ray,
    float32 (H, W): rows of the crop after rows, with which they are. So few at once that they stay in the processor's
    cache, where most of the time would else go.
    """
    x_w = ((np.arange(spec.width_px * supersample) + 0.5) / supersample - spec.width_px / 2) / spec.focal_px
    y_h = ((np.arange(spec.height_px * supersample) + 0.5) / supersample - spec.height_px / 2) / spec.focal_px
    # Ry(yaw) Rx(pitch) Rz(roll) (x, y, 1): right, down and ahead of a level camera. Each is a sum of a column's part
    # and a row's, and the yaw within it leaves no angle to be wrapped.
    R_33 = so3_exp([0.0, spec.yaw_rad, 0.0]) @ so3_exp([spec.pitch_rad, 0.0, 0.0]) @ so3_exp([0.0, 0.0, spec.roll_rad])
    of_columns_3w = (R_33[:, :1] * x_w).astype(np.float32)
    of_rows_3h1 = (R_33[:, 1:2] * y_h + R_33[:, 2:]).astype(np.float32)[..., None]
    height_px = max(1, _SAMPLES_AT_ONCE // (len(x_w) * supersample))
    for top in range(0, spec.height_px, height_px):
        rows = slice(top, min(top + height_px, spec.height_px))
        samples = slice(rows.start * supersample, rows.stop * supersample)
        right_hw, down_hw, ahead_hw = (w + h1[samples] for w, h1 in zip(of_columns_3w, of_rows_3h1, strict=True))
        azimuth_hw = np.arctan2(right_hw, ahead_hw)
        level_hw = np.sqrt(right_hw * right_hw + ahead_hw * ahead_hw) * np.float32(stretch)
        yield rows, azimuth_hw, np.arctan2(down_hw, level_hw)
