"""Images and depth on disk. What is written is on the disk or an error: OpenCV's own writer only returns False."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np

from geo_perception.errors import InputError

DEPTH_PNG, DEPTH_TIFF = ".png", ".tiff"
_MM_PER_M = 1000.0
# What 16 bits hold where a depth is farther than they can say: other programs cut off there.
SATURATED = 65535
# Whole millimetres round by at most 1 % from here on; the last one below that mark.
_PNG_MIN_M, _PNG_MAX_M = 0.05, 65.534


_AS_STORED = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION


def read_rgb(path: str | Path, any_depth: bool = False) -> np.ndarray:
    """An image as RGB uint8 (H, W, 3), its pixels as they are stored: an orientation mark is not applied. 16 bits are
    taken as the full range, or with `any_depth` kept. Raises InputError when it cannot be read."""
    return cv2.cvtColor(_read(path, _AS_STORED | (cv2.IMREAD_ANYDEPTH if any_depth else 0)), cv2.COLOR_BGR2RGB)


def decode_rgb(
    data: bytes | np.ndarray, path: str | Path, any_depth: bool = False, upright: bool = False
) -> np.ndarray:
    """The contents of an image file as `read_rgb` reads it; `upright` applies the orientation mark of a JPEG. Raises
    InputError that names `path`."""
    flags = (cv2.IMREAD_COLOR if upright else _AS_STORED) | (cv2.IMREAD_ANYDEPTH if any_depth else 0)
    try:
        image_bgr = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if len(data) else None
    except cv2.error:  # more pixels than OpenCV opens
        image_bgr = None
    return cv2.cvtColor(_decoded(image_bgr, path), cv2.COLOR_BGR2RGB)


def read_grey(path: str | Path) -> np.ndarray:
    """An image as grey uint8 (H, W), as `read_rgb` reads it."""
    return _read(path, cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION)


def read_raw(path: str | Path) -> np.ndarray:
    """The values of a PNG, TIFF or EXR as they are stored: any type, any channels (BGR). Raises InputError."""
    return _read(path, cv2.IMREAD_UNCHANGED)


def read_exr(path: str | Path) -> dict[str, np.ndarray]:
    """The channels (H, W) of an OpenEXR file, by name. Raises ImportError where OpenEXR is not installed, InputError
    when the file cannot be read."""
    import OpenEXR  # optional

    try:
        with OpenEXR.File(str(path), separate_channels=True) as file:
            return {name: channel.pixels for name, channel in file.channels().items()}
    except (RuntimeError, TypeError, ValueError, OSError) as error:
        raise InputError(f"{path} cannot be read as OpenEXR ({error}); make or copy it again") from None


def encode_image(suffix: str, image_rgb: np.ndarray, jpeg_quality: int = 95, full_colour: bool = False) -> bytes:
    """RGB uint8 (H, W, 3), or one channel (H, W), as the bytes of a file with this suffix. `full_colour` keeps the
    full resolution of a JPEG's colours."""
    flags = []
    if suffix.lower() in (".jpg", ".jpeg"):
        flags = [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality]
        if full_colour:
            flags += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    image = cv2.cvtColor(image_rgb, cv2.COLOR_RGB2BGR) if image_rgb.ndim == 3 else image_rgb
    return _encoded(suffix, image, flags)


def write_image(path: str | Path, image_rgb: np.ndarray, jpeg_quality: int = 95) -> None:
    """Writes RGB uint8 (H, W, 3), or one channel (H, W) of 8 or 16 bits, in the format of the suffix. Makes the folder.

    Raises OSError when the disk does not take it.
    """
    _write(Path(path), encode_image(Path(path).suffix, image_rgb, jpeg_quality))


def copy_file(source: str | Path, path: str | Path) -> None:
    """Copies the contents of a file. Makes the folder. Raises OSError that names the file that could not be written."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copyfile(source, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(error.filename2 or error.filename)) from None


def write_depth(path: str | Path, depth_m: np.ndarray) -> Path:
    """Writes depth in metres, float (H, W), at `path` with the suffix that fits; returns where. Not finite or not
    positive is unknown and becomes 0.

    16-bit PNG in millimetres where that loses nothing that counts (all within 0.05 and 65.534), else 32-bit TIFF in
    metres. Raises OSError when the disk does not take it.
    """
    depth_m = np.asarray(depth_m, np.float32)
    known_hw = np.isfinite(depth_m) & (depth_m > 0)
    depth_m = np.where(known_hw, depth_m, np.float32(0))
    values = depth_m[known_hw]
    if len(values) == 0 or (values.min() >= _PNG_MIN_M and values.max() <= _PNG_MAX_M):
        suffix, data = DEPTH_PNG, _encoded(DEPTH_PNG, np.rint(depth_m * _MM_PER_M).astype(np.uint16), [])
    else:
        # 8: deflate, which loses nothing.
        suffix, data = DEPTH_TIFF, _encoded(DEPTH_TIFF, depth_m, [cv2.IMWRITE_TIFF_COMPRESSION, 8])
    written = Path(path).with_suffix(suffix)
    _write(written, data)
    for other in {DEPTH_PNG, DEPTH_TIFF} - {suffix}:
        written.with_suffix(other).unlink(missing_ok=True)
    return written


def find_depth(path: str | Path) -> Path | None:
    """The file that `write_depth` wrote for `path`; None where there is none."""
    places = (Path(path).with_suffix(suffix) for suffix in (DEPTH_PNG, DEPTH_TIFF))
    return next((place for place in places if place.is_file()), None)


def read_depth(path: str | Path) -> np.ndarray:
    """Depth along z in metres, float32 (H, W), 0 where unknown, from a file that `write_depth` wrote. Millimetres
    at the end of their range were cut off there, so they are unknown, too.

    Raises InputError when the file is damaged, or is no depth of ours.
    """
    values_hw = read_raw(path)
    if values_hw.ndim != 2 or values_hw.dtype not in (np.uint16, np.float32):
        raise InputError(f"{path} is no depth: not one channel of 16-bit millimetres or float metres; make it again")
    if values_hw.dtype == np.uint16:
        return np.where(values_hw < SATURATED, values_hw, 0).astype(np.float32) / np.float32(_MM_PER_M)
    return np.where(np.isfinite(values_hw) & (values_hw > 0), values_hw, np.float32(0))


def _read(path: str | Path, flags: int) -> np.ndarray:
    try:
        image = cv2.imread(str(path), flags)
    except cv2.error:  # more pixels than OpenCV reads, a file cut in its header
        image = None
    return _decoded(image, path)


def _decoded(image: np.ndarray | None, path: str | Path) -> np.ndarray:
    if image is None:
        raise InputError(f"{path} cannot be read as an image; check the file, or make it again")
    return image


def _encoded(suffix: str, image: np.ndarray, flags: list[int]) -> bytes:
    done, data = cv2.imencode(suffix, image, flags)
    if not done:
        raise RuntimeError(f"an image {image.shape} {image.dtype} cannot be encoded as {suffix}")
    return data.tobytes()


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
