"""Depth and masks as other programs store them: read in their own unit, refused where they cannot be what they are
taken for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from geo_perception.errors import InputError
from geo_training.datasets.pictures import read_ids
from geo_training.storage.images import SATURATED, read_exr, read_raw

DEPTH_SUFFIXES = (".png", ".tif", ".tiff", ".exr", ".npy")
MASK_SUFFIXES = (".png", ".tif", ".tiff")
_MAX_ID = 65535
NOT_DEPTH = "cannot be read as depth"
# A camera that maps or drives looks neither at its own lens nor farther than a road is long.
PLAUSIBLE_MEDIAN_M = 0.1, 200.0


class DepthSource(Protocol):
    """Where the depth of a frame comes from: an image, or a scan of another sensor."""

    path: Path

    def load_m(self) -> np.ndarray | None:
        """Depth along z in metres, float32 (H, W), 0 where unknown. None, or an InputError whose message is the reason,
        when it cannot be read as depth."""


@dataclass(frozen=True)
class DepthFile:
    """A depth image: one channel along z. Whole numbers are `value / units_per_m` metres, `how` says why; those in
    `unknown` mean no depth. Floats are metres, unless the user's unit overrules it (`for_floats`)."""

    path: Path
    units_per_m: float
    unknown: tuple[int, ...] = (0, SATURATED)
    how: str = ""
    for_floats: bool = False

    def taken_as(self, floats: bool) -> str:
        """The unit of a file with floats, or with whole numbers, in words."""
        if floats and not self.for_floats:
            return "floats, taken as metres"
        return f"{self.units_per_m:g} units a metre ({self.how})"

    def load_m(self) -> np.ndarray:
        """Depth in metres, float32 (H, W), 0 where unknown. Raises InputError; its message is the reason."""
        return self.read()[0]

    def read(self) -> tuple[np.ndarray, bool]:
        """What `load_m` gives, and whether the file holds floats."""
        raw = _read_values(self.path)
        if raw.ndim == 3 and raw.shape[2] == 1:
            raw = raw[..., 0]
        if raw.ndim != 2 or raw.size == 0:
            raise InputError("no depth but pictures in colour")
        floats = raw.dtype.kind == "f"
        if not floats and (raw.dtype.kind not in "ui" or raw.dtype.itemsize == 1):
            raise InputError(f"no depth but {raw.dtype.itemsize * 8}-bit pictures (depth needs 16 bits, or floats)")
        units_per_m = self.units_per_m if self.for_floats or not floats else 1.0
        known_hw = np.isfinite(raw) & (raw > 0)
        if not floats:
            known_hw &= ~np.isin(raw, self.unknown)
        with np.errstate(over="ignore", invalid="ignore"):
            depth_m = (raw / np.float64(units_per_m)).astype(np.float32)
        return np.where(known_hw & np.isfinite(depth_m), depth_m, np.float32(0)), floats


def load_mask(path: Path) -> np.ndarray:
    """The number of the object at each pixel, uint16 (H, W). Raises InputError; its message is the reason."""
    try:
        ids_hw = read_ids(path)
    except InputError:
        raise InputError("no images of object numbers (one whole number a pixel)") from None
    if ids_hw.min() < 0 or ids_hw.max() > _MAX_ID:
        raise InputError(f"with object numbers beyond {_MAX_ID}")
    return ids_hw.astype(np.uint16)


def resized(values_hw: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The values at another size: the nearest, so that none between two surfaces is made up."""
    return cv2.resize(values_hw, size, interpolation=cv2.INTER_NEAREST_EXACT)


def unit_sentence(taken: str, median_m: float) -> str:
    """What depth was taken for, and whether that can be."""
    sentence = f"Depth: {taken}; the median is {median_m:.3g} m."
    low_m, high_m = PLAUSIBLE_MEDIAN_M
    if low_m <= median_m <= high_m:
        return sentence
    return (
        f"{sentence} That is not plausible: the unit is probably another one; say it by --depth-scale (units in a "
        "metre: 1000 for millimetres, 5000 for TUM RGB-D, 256 for KITTI, 1 for metres)."
    )


def _read_values(path: Path) -> np.ndarray:
    if path.suffix.lower() == ".exr":
        return _read_exr_depth(path)
    try:
        values = np.load(path, allow_pickle=False) if path.suffix.lower() == ".npy" else read_raw(path)
    except (OSError, ValueError, EOFError):
        raise InputError(NOT_DEPTH) from None
    if not isinstance(values, np.ndarray):
        raise InputError(NOT_DEPTH)
    return values


def _read_exr_depth(path: Path) -> np.ndarray:
    """The depth channel of an OpenEXR file: Z or Y, or the only one."""
    try:
        channels = read_exr(path)
    except ImportError:
        raise InputError("OpenEXR files (`pip install 'OpenEXR>=3.3'` to read those)") from None
    except InputError:
        raise InputError(NOT_DEPTH) from None
    for name in ("Z", "Y", "V", "depth.Z"):
        if name in channels:
            return channels[name]
    values = list(channels.values())
    if not values or any(not np.array_equal(values[0], other, equal_nan=True) for other in values[1:]):
        raise InputError("no depth but pictures in colour")
    return values[0]
