"""The pixels of an equirectangular panorama file: JPEG, PNG, Radiance HDR, OpenEXR."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from geo_perception.errors import InputError
from geo_training.datasets.pictures import is_cut_jpeg
from geo_training.storage.images import decode_rgb, read_exr

LINEAR_SUFFIXES = (".hdr", ".exr")
SUFFIXES = (".jpg", ".jpeg", ".png", *LINEAR_SUFFIXES)
# 1304 pixels a radian, more than a crop of 320 pixels across 20 degrees can show (907); 100 MB of memory. OpenCV
# resamples only what is narrower than 32767 pixels.
MAX_WIDTH_PX = 8192
BORDER_PX = 4  # as far as bicubic interpolation and its rounding reach
_MIN_WIDTH_PX = 16
_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"


def load_panorama(path: str | Path) -> np.ndarray:
    """The panorama as RGB uint8 (H, 2H, 3), read-only.

    HDR and EXR files hold linear light: it is exposed so that the median is mid-grey, with a soft shoulder, and given
    the gamma of a plain sensor. 16 bits become 8, grey becomes RGB, transparency is left out, CMYK is converted. What
    is wider than `MAX_WIDTH_PX` is shrunk to it, each pixel the mean of the area it covers (of linear light where the
    file holds that). Raises InputError when it cannot be read or is not twice as wide as high.
    """
    path = Path(path)
    if path.suffix.lower() in LINEAR_SUFFIXES:
        image_hw3 = tone_map(_at_most(_checked(_read_linear(path), path)))
    else:
        image_hw3 = _at_most(_checked(_read_whole(path, upright=True), path))
    return with_border(image_hw3)


def tone_map(light_hw3: np.ndarray) -> np.ndarray:
    """Linear light (float, H x W x 3) to RGB uint8. What is not finite or below zero is black.

    The median of what is lit becomes 0.18, then L (1 + L / 16) / (1 + L) (Reinhard et al. 2002, equation 4: 4 is white,
    four and a half stops above mid-grey), then the exponent 1 / 2.2.
    """
    light_hw3 = np.nan_to_num(np.asarray(light_hw3, np.float32), nan=0.0, posinf=0.0, neginf=0.0).clip(min=0)
    lit = light_hw3[light_hw3 > 0]
    exposed = light_hw3 * np.float32(0.18 / np.median(lit) if len(lit) else 1.0)
    # Far above white the formula only grows; clipped first, it cannot overflow.
    exposed = np.minimum(exposed, 4)
    exposed = exposed * (1 + exposed / 16) / (1 + exposed)
    return np.clip(255 * exposed.clip(0, 1) ** np.float32(1 / 2.2) + 0.5, 0, 255).astype(np.uint8)


def with_border(panorama_hw3: np.ndarray) -> np.ndarray:
    """The same panorama (H, 2H, 3) as a read-only view into a larger array that also holds what lies beyond its edges.

    `bordered` then finds that array without a copy: a crop needs it at the seam and at the poles.
    """
    whole = _with_what_lies_beyond(panorama_hw3)
    whole.flags.writeable = False
    return whole[BORDER_PX:-BORDER_PX, BORDER_PX:-BORDER_PX]


def bordered(panorama_hw3: np.ndarray) -> np.ndarray:
    """(H + 2 B, 2 H + 2 B, 3), B = `BORDER_PX`: the panorama with what lies over its seam and over its poles.

    For a panorama of `with_border` this is the array it is a view of; any other is copied.
    """
    whole = panorama_hw3.base
    height, width = panorama_hw3.shape[:2]
    if (
        isinstance(whole, np.ndarray)
        and not whole.flags.writeable
        and whole.shape == (height + 2 * BORDER_PX, width + 2 * BORDER_PX, 3)
        and whole.strides == panorama_hw3.strides
        and whole[BORDER_PX:, BORDER_PX:].ctypes.data == panorama_hw3.ctypes.data
    ):
        return whole
    return _with_what_lies_beyond(panorama_hw3)


def _with_what_lies_beyond(panorama_hw3: np.ndarray) -> np.ndarray:
    height, width = panorama_hw3.shape[:2]
    border = BORDER_PX
    whole = np.empty((height + 2 * border, width + 2 * border, *panorama_hw3.shape[2:]), panorama_hw3.dtype)
    tall = whole[:, border:-border]
    tall[border:-border] = panorama_hw3
    # Over a pole the view comes down on the other side: the same rows, half a turn away, in reverse.
    tall[:border] = np.roll(panorama_hw3[:border], width // 2, axis=1)[::-1]
    tall[-border:] = np.roll(panorama_hw3[-border:], width // 2, axis=1)[::-1]
    whole[:, :border], whole[:, -border:] = tall[:, -border:], tall[:, :border]
    return whole


def _checked(image_hw3: np.ndarray, path: Path) -> np.ndarray:
    height_px, width_px = image_hw3.shape[:2]
    if width_px != 2 * height_px:
        raise InputError(
            f"{path} has {width_px} x {height_px} pixels; an equirectangular panorama is exactly twice as wide as high"
        )
    if width_px < _MIN_WIDTH_PX:
        raise InputError(f"{path} is only {width_px} pixels wide; give a panorama of at least {_MIN_WIDTH_PX}")
    return image_hw3


def _at_most(image_hw3: np.ndarray) -> np.ndarray:
    if image_hw3.shape[1] <= MAX_WIDTH_PX:
        return image_hw3
    return cv2.resize(image_hw3, (MAX_WIDTH_PX, MAX_WIDTH_PX // 2), interpolation=cv2.INTER_AREA)


def _read_whole(path: Path, **options) -> np.ndarray:
    """RGB (H, W, 3) of an image file that is all there; the options are those of `decode_rgb`."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; check the path") from None
    try:
        if not data.startswith(_JPEG_START):
            return decode_rgb(data, path, **options)
        if not is_cut_jpeg(data):  # OpenCV wants the end mark, also where the picture is whole without
            return decode_rgb(data + _JPEG_END, path, **options)
    except InputError:
        pass
    raise InputError(f"{path} cannot be read as a whole image; make or copy it again")


def _read_linear(path: Path) -> np.ndarray:
    """float32 (H, W, 3), RGB; what is no number is 0."""
    image_hw3 = _read_exr(path) if path.suffix.lower() == ".exr" else _read_whole(path, any_depth=True)
    # Before any averaging: one pixel that is not finite would spoil its neighbours.
    return np.nan_to_num(image_hw3.astype(np.float32), copy=False, nan=0.0, posinf=0.0, neginf=0.0)


def _read_exr(path: Path) -> np.ndarray:
    try:
        channels = read_exr(path)
    except ImportError:
        raise InputError(f"{path} is an OpenEXR file; `pip install 'OpenEXR>=3.3'` to read those") from None
    names = ("R", "G", "B") if {"R", "G", "B"} <= set(channels) else ("Y", "Y", "Y")
    if names[0] not in channels:
        known = ", ".join(sorted(channels)) or "none"
        raise InputError(f"{path} has neither the channels R, G, B nor Y, but {known}; save it as plain RGB")
    return np.stack([channels[name] for name in names], axis=-1)
