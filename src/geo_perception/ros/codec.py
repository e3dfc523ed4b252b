"""The one seam between image messages and arrays: sensor_msgs Image and CompressedImage, from rclpy or from rosbags.

A message is checked here before any library sees it. Formats that libraries treat differently are brought to 8 bits and
a plain layout first; the last step, to RGB, is done by cv_bridge where a distribution brings one that works, else by
rosbags-image. The probe accepts cv_bridge only when both give the same pixels.
"""

from __future__ import annotations

import importlib.util
import operator
import struct
import subprocess
import sys
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np

from geo_perception.errors import InputError
from geo_perception.ros.bit_depth import IMAGE_BITS, BitDepth
from geo_perception.ros.image_headers import CompressedHeader, jpeg_with_tails, read_header

MAX_PIXELS = 1 << 27
PROBE_SECONDS = 30.0

# Encoding -> (its layout for the libraries, bytes a sample, samples a pixel in one row).
_LAYOUTS = {
    "rgb8": ("rgb8", 1, 3), "bgr8": ("bgr8", 1, 3), "rgba8": ("rgba8", 1, 4), "bgra8": ("bgra8", 1, 4),
    "rgb16": ("rgb8", 2, 3), "bgr16": ("bgr8", 2, 3), "rgba16": ("rgba8", 2, 4), "bgra16": ("bgra8", 2, 4),
    "mono8": ("mono8", 1, 1), "mono16": ("mono8", 2, 1),
    "8uc1": ("mono8", 1, 1), "8uc3": ("bgr8", 1, 3), "8uc4": ("bgra8", 1, 4),
    "16uc1": ("mono8", 2, 1), "16uc3": ("bgr8", 2, 3), "16uc4": ("bgra8", 2, 4),
    "yuv422": ("yuv422", 1, 2), "uyvy": ("yuv422", 1, 2),
    "yuv422_yuy2": ("yuv422_yuy2", 1, 2), "yuyv": ("yuv422_yuy2", 1, 2),
    "bayer_rggb8": ("bayer_rggb8", 1, 1), "bayer_bggr8": ("bayer_bggr8", 1, 1),
    "bayer_gbrg8": ("bayer_gbrg8", 1, 1), "bayer_grbg8": ("bayer_grbg8", 1, 1),
    "bayer_rggb16": ("bayer_rggb8", 2, 1), "bayer_bggr16": ("bayer_bggr8", 2, 1),
    "bayer_gbrg16": ("bayer_gbrg8", 2, 1), "bayer_grbg16": ("bayer_grbg8", 2, 1),
}  # fmt: skip
# Two planes in one buffer: luma of H rows, then chroma of this many rows of `step` bytes for each row of luma.
_PLANAR = {"nv12": 0.5, "nv21": 0.5, "nv24": 2.0}
# What libraries raise on data that they do not understand.
_DECODER_ERRORS = (
    cv2.error, MemoryError, ValueError, TypeError, ArithmeticError, LookupError, AttributeError, struct.error
)  # fmt: skip
ENCODINGS = tuple(sorted(name.replace("uc", "UC") for name in (*_LAYOUTS, *_PLANAR)))


class EncodedImage(NamedTuple):
    """The fields of a sensor_msgs Image."""

    height: int
    width: int
    encoding: str
    step: int
    data: bytes


@dataclass(frozen=True)
class _PlainImage:
    """A checked image as the libraries like it: 8 bits, rows without padding."""

    height: int
    width: int
    encoding: str
    step: int
    data: np.ndarray
    is_bigendian: int = 0


class ImageDecoder:
    """Decodes the images of one stream, whose 16-bit samples all have the same number of bits in use (`image_bits`, or
    0: as many as have been seen, see `BitDepth`). For one thread at a time.

    Raises InputError for another number of bits.
    """

    def __init__(self, image_bits: int = 0):
        if image_bits not in IMAGE_BITS:
            raise InputError(f"image_bits is {image_bits}; use one of {', '.join(map(str, IMAGE_BITS))}")
        self._depth = BitDepth(image_bits)

    @property
    def bits(self) -> int:
        """Bits in use of 16; 0 as long as no image of 16 bits has come."""
        return self._depth.bits

    def decode(self, msg) -> np.ndarray:
        """The pixels of an Image or CompressedImage message as RGB uint8 (H, W, 3), an array of its own.

        Raises InputError, and nothing else, when the message cannot be an image: zero or absurd size, a buffer shorter
        than its rows, a step smaller than a row, an unknown encoding, compressed data that is empty, cut off or
        damaged.
        """
        try:
            if not hasattr(msg, "encoding") and hasattr(msg, "format"):
                return _decode_compressed(msg, self._depth)
            return _decode_raw(msg, self._depth)
        except InputError:
            raise
        except _DECODER_ERRORS as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(f"image message cannot be decoded: {reason}; check the camera driver") from None


def decode_image(msg, image_bits: int = 0) -> np.ndarray:
    """One message on its own, as `ImageDecoder.decode` does. With `image_bits` 0, the bits in use of a 16-bit image are
    those that this image needs; the images of a stream need an `ImageDecoder`."""
    return ImageDecoder(image_bits).decode(msg)


def encode_image(image_rgb: np.ndarray, encoding: str = "rgb8") -> EncodedImage:
    """RGB uint8 (H, W, 3) as the fields of an Image message in `rgb8`, `bgr8` or `mono8`.

    Raises InputError for another encoding, or an image of another shape or type.
    """
    _check_rgb(image_rgb)
    if encoding == "rgb8":
        pixels = image_rgb
    elif encoding == "bgr8":
        pixels = image_rgb[:, :, ::-1]
    elif encoding == "mono8":
        pixels = cv2.cvtColor(np.ascontiguousarray(image_rgb), cv2.COLOR_RGB2GRAY)
    else:
        raise InputError(f"cannot publish encoding '{encoding}'; use rgb8, bgr8 or mono8")
    height, width = image_rgb.shape[:2]
    return EncodedImage(height, width, encoding, width * (1 if encoding == "mono8" else 3), pixels.tobytes())


def fill_image(msg, image_rgb: np.ndarray, encoding: str = "rgb8"):
    """Puts an RGB image into an rclpy Image message and returns it; the header stays as it is."""
    msg.height, msg.width, msg.encoding, msg.step, data = encode_image(image_rgb, encoding)
    msg.is_bigendian = 0
    # rclpy takes an array('B') as it is; bytes and lists it checks element by element.
    msg.data = array("B", data)
    return msg


def encode_jpeg(image_rgb: np.ndarray, quality: int = 90) -> bytes:
    """RGB uint8 (H, W, 3) as the bytes of a JPEG file, for a CompressedImage of format `jpeg`."""
    _check_rgb(image_rgb)
    image_bgr = cv2.cvtColor(np.ascontiguousarray(image_rgb), cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".jpg", image_bgr, [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    if not done:
        raise InputError(f"an image of {image_rgb.shape} does not fit into a JPEG; make it smaller")
    return data.tobytes()


def _check_rgb(image_rgb: np.ndarray) -> None:
    if image_rgb.dtype != np.uint8 or image_rgb.ndim != 3 or image_rgb.shape[2] != 3 or image_rgb.size == 0:
        raise InputError(f"cannot encode {image_rgb.dtype} {image_rgb.shape}; give an RGB uint8 (H, W, 3) image")


def _decode_raw(msg, depth: BitDepth) -> np.ndarray:
    height, width, step = (_whole_number(msg, name) for name in ("height", "width", "step"))
    if not isinstance(msg.encoding, str):
        raise InputError("image message has no encoding; check the camera driver")
    encoding = msg.encoding.strip().lower()
    if encoding not in _LAYOUTS and encoding not in _PLANAR:
        raise InputError(f"image encoding {msg.encoding[:40]!r} is not supported; use one of {', '.join(ENCODINGS)}")
    if height <= 0 or width <= 0 or height * width > MAX_PIXELS:
        raise InputError(f"image of {width} x {height} pixels cannot be used; check the camera driver")
    layout, sample_bytes, samples = _LAYOUTS.get(encoding, ("", 1, 1))
    row_bytes = width * sample_bytes * samples
    if step < row_bytes:
        raise InputError(f"image step of {step} bytes is less than its row of {row_bytes}; check the camera driver")
    buffer = _bytes_of(msg.data)
    rows = height if encoding in _LAYOUTS else height + int(np.ceil(height * _PLANAR[encoding]))
    needed = step * (rows - 1) + row_bytes
    if len(buffer) < needed:
        raise InputError(
            f"image buffer of {len(buffer)} bytes is too short: {width} x {height} {encoding} needs {needed}; "
            "check the camera driver"
        )
    rows_hb = np.lib.stride_tricks.as_strided(buffer, (rows, row_bytes), (step, 1), writeable=False)
    if encoding in _PLANAR:
        return _planar_to_rgb(rows_hb, height, encoding)
    if layout.startswith("yuv422") and width % 2:
        raise InputError(f"{encoding} image has an odd width of {width}; check the camera driver")
    if sample_bytes == 2:
        order = ">u2" if msg.is_bigendian else "<u2"
        rows_hb = depth.to_8_bits(np.ascontiguousarray(rows_hb).view(order))
    return _to_rgb(_PlainImage(height, width, layout, width * samples, np.ascontiguousarray(rows_hb).reshape(-1)))


def _decode_compressed(msg, depth: BitDepth) -> np.ndarray:
    label = msg.format if isinstance(msg.format, str) else ""
    if "compresseddepth" in label.lower():
        raise InputError(f"{label[:60]!r} is a depth image, not a picture; give the topic of the colour image")
    data = _bytes_of(msg.data)
    content = data.tobytes()
    header = read_header(content)
    width, height = header.width, header.height
    if width <= 0 or height <= 0 or width * height > MAX_PIXELS:
        raise InputError(f"compressed image of {width} x {height} pixels cannot be used; check the camera driver")
    image = _imdecode(content) if header.ended else _imdecode_without_end(content, header)
    image = depth.to_8_bits(image) if image.dtype == np.uint16 else image
    if image.dtype != np.uint8:
        raise InputError(f"compressed image holds {image.dtype} samples; publish 8 or 16 bit JPEG or PNG")
    channels = 1 if image.ndim == 2 else image.shape[2]
    layout = {1: "mono8", 3: "bgr8", 4: "bgra8"}.get(channels)
    if layout is None:
        raise InputError(f"compressed image has {channels} channels; publish grey, colour or colour with alpha")
    recorded = label.split(";")[0].strip().lower()
    if channels == 1 and recorded.startswith("bayer_") and recorded in _LAYOUTS and "compressed mono" not in label:
        layout = _LAYOUTS[recorded][0]
    height, width = image.shape[:2]
    return _to_rgb(_PlainImage(height, width, layout, width * channels, np.ascontiguousarray(image).reshape(-1)))


def _whole_number(msg, name: str) -> int:
    try:
        return operator.index(getattr(msg, name))
    except (TypeError, AttributeError):
        raise InputError(f"image message has no {name}; give a sensor_msgs Image or CompressedImage") from None


def _bytes_of(data) -> np.ndarray:
    """The message's data as a flat uint8 array, without a copy where it is a buffer."""
    array_n = np.asarray(data, np.uint8) if isinstance(data, (list, tuple)) else np.frombuffer(data, np.uint8)
    return array_n.reshape(-1)


def _imdecode(content: bytes) -> np.ndarray:
    # Unchanged: the orientation a file may claim is not applied, since K belongs to the sensor's rows and columns.
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None or image.size == 0:
        raise InputError("compressed image cannot be decoded: its data is damaged; check the camera driver")
    return image


def _imdecode_without_end(content: bytes, header: CompressedHeader) -> np.ndarray:
    """A JPEG whose end marker is missing, as several cameras send it. Raises InputError unless its picture is whole."""
    image = _imdecode_if_whole(content[: header.padding])
    if image is None and header.end > header.padding and _imdecode_if_whole(content[: header.end - 1]) is None:
        # Every one of the last zeros is needed, so they are picture and no padding.
        image = _imdecode_if_whole(content[: header.end])
    if image is None:
        raise InputError("JPEG image is cut off; check the camera driver and the network")
    return image


def _imdecode_if_whole(content: bytes) -> np.ndarray | None:
    first, *others = (_imdecode(completed) for completed in jpeg_with_tails(content))
    return first if all(np.array_equal(first, other) for other in others) else None


def _planar_to_rgb(rows_hb: np.ndarray, height: int, encoding: str) -> np.ndarray:
    """nv12, nv21 (chroma at half size, U first or V first) and nv24 (at full size), BT.601 video range."""
    width = rows_hb.shape[1]
    if encoding == "nv24":
        # The chroma plane has 2 W bytes a row and stands as two rows of `step` bytes here.
        luma_hw = rows_hb[:height].astype(np.float32)
        chroma_hw2 = np.ascontiguousarray(rows_hb[height:]).reshape(height, width, 2).astype(np.float32) - 128
        scaled, u, v = 1.164383 * (luma_hw - 16), chroma_hw2[..., 0], chroma_hw2[..., 1]
        image = np.stack([scaled + 1.596027 * v, scaled - 0.391762 * u - 0.812968 * v, scaled + 2.017232 * u], axis=-1)
        return np.clip(np.rint(image), 0, 255).astype(np.uint8)
    if width % 2 or height % 2:
        raise InputError(f"{encoding} image has an odd size of {width} x {height}; check the camera driver")
    code = cv2.COLOR_YUV2RGB_NV12 if encoding == "nv12" else cv2.COLOR_YUV2RGB_NV21
    return cv2.cvtColor(np.ascontiguousarray(rows_hb), code)


def _to_rgb(image: _PlainImage) -> np.ndarray:
    if image.encoding == "rgb8":
        return image.data.reshape(image.height, image.width, 3).copy()
    return np.ascontiguousarray(rgb_converter()(image))


@lru_cache(maxsize=1)
def rgb_converter() -> Callable[[_PlainImage], np.ndarray]:
    """What brings a checked image to RGB: cv_bridge where there is one that works, else rosbags-image. Decided once a
    process; a node asks when it is configured, so that its first image does not wait for the check."""
    return _cv_bridge_converter() if _cv_bridge_works() else _rosbags_converter()


def _rosbags_converter() -> Callable[[_PlainImage], np.ndarray]:
    from rosbags.image import message_to_cvimage

    return lambda image: message_to_cvimage(image, "rgb8")


def _cv_bridge_converter() -> Callable[[_PlainImage], np.ndarray]:
    from cv_bridge import CvBridge

    bridge = CvBridge()
    return lambda image: bridge.imgmsg_to_cv2(image, "rgb8")


def _cv_bridge_works() -> bool:
    """Tried in a process of its own: a cv_bridge built for another NumPy may end the process instead of raising."""
    if importlib.util.find_spec("cv_bridge") is None:
        return False
    command = [sys.executable, "-c", f"from {__name__} import _probe; _probe()"]
    try:
        return subprocess.run(command, capture_output=True, timeout=PROBE_SECONDS, check=False).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False


def _probe() -> None:
    """Ends the process with an error unless cv_bridge gives the pixels that rosbags-image gives, in every layout."""
    theirs, ours = _cv_bridge_converter(), _rosbags_converter()
    samples_of = {layout: samples for layout, _, samples in _LAYOUTS.values()}
    for layout, samples in samples_of.items():
        data = np.random.default_rng(0).integers(0, 256, 8 * 8 * samples, np.uint8)
        image = _PlainImage(8, 8, layout, 8 * samples, data)
        if not np.array_equal(theirs(image), ours(image)):
            sys.exit(1)
