"""Picture files of any camera and phone: which files are pictures, what their headers say, and their pixels."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from stat import S_ISREG
from types import SimpleNamespace

import numpy as np
from PIL import Image, UnidentifiedImageError

from geo_perception.errors import InputError
from geo_perception.ros.bit_depth import BitDepth
from geo_perception.ros.codec import decode_image
from geo_perception.ros.image_headers import read_header as compressed_header
from geo_training.datasets.orientation import MARKS, UPRIGHT, turned_array, turned_size
from geo_training.storage.images import decode_rgb, read_rgb

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}
LOSSLESS_SUFFIXES = {".png", ".bmp", ".tif", ".tiff", ".ppm", ".pgm"}
# Pictures that nothing here decodes (the free decoders of HEIC come with an encoder under the GPL), and their remedy.
_TO_CONVERT = "to be converted to JPEG or PNG first"
_RAW = (".dng", ".nef", ".cr2", ".cr3", ".arw", ".orf", ".rw2", ".raf")
OTHER_SUFFIXES = {
    **dict.fromkeys((".heic", ".heif", ".hif"), f"HEIC pictures, {_TO_CONVERT}"),
    **dict.fromkeys(_RAW, f"raw pictures, {_TO_CONVERT}"),
    **dict.fromkeys((".avif", ".jxl", ".jp2", ".gif", ".tga", ".psd"), f"in a format that is not read, {_TO_CONVERT}"),
}
# Phones take 200 million pixels; a small file that claims more than this is made to fill the memory.
MAX_PIXELS = 1 << 28
Image.MAX_IMAGE_PIXELS = MAX_PIXELS
NO_FILE = "that are no files"
EXIF_SIGMA = 0.1  # of the focal length by EXIF, as a share of it
_EXIF_ORIENTATION = 0x0112
_EXIF_IFD, _EXIF_FOCAL_35MM = 0x8769, 0xA405
_DIAGONAL_35MM = float(np.hypot(36.0, 24.0))
_TIFF_BITS = 0x0102
_TIFF_SHORT = 3
_READ_WHOLE = ("PNG", "WEBP", "BMP")
# What Pillow raises for a damaged or a foreign file.
NOT_DECODED = (
    OSError, UnidentifiedImageError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError, struct.error,
    KeyError, IndexError, TypeError, OverflowError,
)  # fmt: skip


@dataclass(frozen=True)
class PictureHeader:
    """`stored_size` is the file's (width, height); `mark` its EXIF orientation; `deep` says more than 8 bits a sample.

    `kind` is Pillow's name of the format. `focal_35mm` is the focal length in millimetres that would show as much on
    35 mm film, by the EXIF of the file (FocalLengthIn35mmFilm); None where it does not say.
    """

    stored_size: tuple[int, int]
    mark: int
    deep: bool
    kind: str
    focal_35mm: float | None = None

    @property
    def shown_size(self) -> tuple[int, int]:
        """Width and height as a viewer shows the picture."""
        return turned_size(self.stored_size, self.mark)

    @property
    def focal_px(self) -> float | None:
        """The focal length by the EXIF of the file: the diagonal of the picture is that of the film. It is near, not
        exact: the number is rounded, and a picture may have been cropped."""
        if self.focal_35mm is None:
            return None
        return self.focal_35mm / _DIAGONAL_35MM * float(np.hypot(*self.stored_size))


def is_hidden(path: Path) -> bool:
    """Hidden files and folders, among them the `._x.jpg` that macOS leaves on other disks: no picture is in them."""
    return path.name.startswith(".") or path.name == "__MACOSX"


def is_picture_name(path: Path) -> bool:
    """Whether the name is that of a picture, one that can be read or not."""
    return path.suffix.lower() in IMAGE_SUFFIXES or path.suffix.lower() in OTHER_SUFFIXES


def reason_against(path: Path) -> str:
    """Why a file with the name of a picture is not to be opened, to be read behind a count. Empty: open it."""
    if is_hidden(path):
        return "hidden"
    if path.suffix.lower() in OTHER_SUFFIXES:
        return OTHER_SUFFIXES[path.suffix.lower()]
    if path.is_symlink() and not path.exists():
        return "links that lead nowhere"
    return "" if path.is_file() else NO_FILE


def read_header(path: Path) -> PictureHeader:
    """Raises InputError, with the reason as its message, when the file is no picture, or one of absurd size."""
    try:
        status = path.stat()
    except OSError as error:
        raise InputError(f"cannot be opened ({error.strerror})") from None
    if not S_ISREG(status.st_mode):  # reading a pipe would wait for ever
        raise InputError(NO_FILE)
    return _read_header(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=1 << 16)
def _read_header(path: Path, _mtime_ns: int, _size: int) -> PictureHeader:
    """Once for each state of a file: to find the mark of a PNG, all of it has to be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                if image.format in _READ_WHOLE and image.size[0] * image.size[1] <= MAX_PIXELS:
                    image.load()  # the mark of a PNG may stand behind the pixels
                mark = _mark_of(image)
                # Pillow turns a TIFF on its own, and gives its sides as they are then.
                size = turned_size(image.size, mark) if image.format == "TIFF" else image.size
                header = PictureHeader(size, mark, _is_deep(image, path), image.format or "", _focal_35mm_of(image))
                bits = _tiff_bits(image)
    except Image.DecompressionBombError:
        raise InputError(f"larger than {MAX_PIXELS / 1e6:.0f} million pixels") from None
    except NOT_DECODED:
        raise InputError(_not_read(path)) from None
    if size[0] * size[1] > MAX_PIXELS:
        raise InputError(f"larger than {MAX_PIXELS / 1e6:.0f} million pixels")
    if image.mode == "F" or bits > 16:
        raise InputError("with floats or more than 16 bits a sample")
    return header


def is_cut_short(path: Path, header: PictureHeader) -> bool:
    """Whether a JPEG lacks a part of its picture: decoders fill that with grey and say nothing. What other formats lack
    is seen when their header is read."""
    try:
        return header.kind in ("JPEG", "MPO") and is_cut_jpeg(path.read_bytes())
    except OSError:
        return True


def is_cut_jpeg(data: bytes) -> bool:
    """Whether the bytes of a JPEG lack a part of its picture."""
    try:
        if not compressed_header(data).ended:  # some cameras leave the end mark out, and the picture is whole
            decode_image(SimpleNamespace(format="jpeg", data=data))
    except InputError:
        return True
    return False


def shown_image_size(path: Path) -> tuple[int, int] | None:
    """Width and height as a viewer shows the image. None: not an image."""
    try:
        return read_header(path).shown_size
    except InputError:
        return None


def read_upright(path: Path, header: PictureHeader, depth: BitDepth | None = None) -> np.ndarray:
    """The pixels as RGB uint8 (H, W, 3), as a viewer shows them. `depth` turns those of more than 8 bits into 8.

    Raises InputError when the file is damaged.
    """
    if header.deep:
        image_rgb = (depth or BitDepth()).to_8_bits(_read_deep(path, header))
    else:
        image_rgb = read_rgb(path) if not _is_marked_tiff(header) else _read_marked_tiff(path)
    return turned_array(image_rgb, header.mark)


def read_ids(path: Path) -> np.ndarray:
    """An image of ids as integers, H x W. Raises InputError when it cannot be read or has colours instead of ids."""
    try:
        with Image.open(path) as image:  # a palette image's pixels are its ids, not their colours
            ids_hw = np.asarray(image)
    except NOT_DECODED:
        raise InputError(f"{path} cannot be read as an image; make the mask again") from None
    if ids_hw.ndim != 2 or ids_hw.dtype.kind == "f":
        raise InputError(f"{path} has colours, not object ids; store one integer a pixel (PNG of 8 or 16 bits)")
    return ids_hw.astype(np.int32)


def bits_in_use(paths: Iterable[Path]) -> BitDepth:
    """The one depth for a sequence whose images have more than 8 bits: it holds the brightest sample of them all."""
    depth = BitDepth()
    for path in paths:
        try:
            top = _read_deep(path, read_header(path)).max()
        except InputError:
            continue  # whoever copies it says so
        depth.to_8_bits(np.array([top], np.uint16))
    return depth


def _read_deep(path: Path, header: PictureHeader) -> np.ndarray:
    """uint16 RGB (H, W, 3), the orientation mark not applied."""
    if _is_marked_tiff(header):
        image_rgb = _read_marked_tiff(path, any_depth=True)
    else:
        image_rgb = read_rgb(path, any_depth=True)
    if image_rgb.dtype == np.uint8:
        image_rgb = image_rgb.astype(np.uint16) * 257
    if image_rgb.dtype != np.uint16:
        raise InputError(f"{path} holds {image_rgb.dtype} samples; save it with 8 or 16 bits")
    return image_rgb


def _is_marked_tiff(header: PictureHeader) -> bool:
    return header.kind == "TIFF" and header.mark != UPRIGHT


def _read_marked_tiff(path: Path, any_depth: bool = False) -> np.ndarray:
    """A TIFF as it is stored. OpenCV refuses some that have a mark and turns others, so the mark is taken out first."""
    data = bytearray(path.read_bytes())
    order = "<" if data[:2] == b"II" else ">"
    try:
        (at,) = struct.unpack_from(f"{order}I", data, 4)
        (count,) = struct.unpack_from(f"{order}H", data, at)
        for entry in range(at + 2, at + 2 + 12 * count, 12):
            if struct.unpack_from(f"{order}H", data, entry) == (_EXIF_ORIENTATION,):
                struct.pack_into(f"{order}HIHH", data, entry + 2, _TIFF_SHORT, 1, UPRIGHT, 0)
    except struct.error:
        data = b""
    return decode_rgb(data, path, any_depth)


def _mark_of(image: Image.Image) -> int:
    try:
        mark = image.getexif().get(_EXIF_ORIENTATION, UPRIGHT)
    except NOT_DECODED:
        return UPRIGHT  # a damaged block says nothing
    return mark if mark in MARKS else UPRIGHT


def _focal_35mm_of(image: Image.Image) -> float | None:
    try:
        focal = float(image.getexif().get_ifd(_EXIF_IFD).get(_EXIF_FOCAL_35MM, 0))
    except NOT_DECODED:
        return None
    return focal if 1 <= focal <= 2000 else None  # 0 says that it is not known


def _is_deep(image: Image.Image, path: Path) -> bool:
    if image.mode.startswith("I") or image.mode == "F":
        return True
    if image.format == "TIFF":
        return _tiff_bits(image) > 8
    if image.format == "PNG":  # Pillow drops the lower bits of colour
        with path.open("rb") as file:
            return file.read(25)[24] > 8
    if image.format == "PPM":
        with path.open("rb") as file:
            fields = [line.split(b"#")[0] for line in file.read(4096).split(b"\n")]
        words = b" ".join(fields).split()
        return len(words) > 3 and words[0] in (b"P2", b"P3", b"P5", b"P6") and words[3] not in (b"255", b"1")
    return False


def _tiff_bits(image: Image.Image) -> int:
    return int(max(np.atleast_1d(image.tag_v2.get(_TIFF_BITS, 8)))) if image.format == "TIFF" else 8


def _not_read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            start = file.read(12)
    except OSError as error:
        return f"cannot be opened ({error.strerror})"
    if not start:
        return "empty files"
    if start[4:8] == b"ftyp" and start[8:12] in (b"heic", b"heix", b"mif1", b"msf1", b"hevc", b"heim"):
        return f"HEIC pictures under another name, {_TO_CONVERT}"
    return "cannot be read as images"
