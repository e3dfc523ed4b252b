"""What a format's reader gives, and what readers share. A reader only says what is there; `write.py` copies it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from geo_perception.errors import InputError
from geo_perception.geometry import Camera, make_pose

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}
DEFAULT_RATE_HZ = 10.0
# COLMAP's guess where nothing is known: a field of view of 45 degrees along the longer side.
GUESSED_FOCAL_PER_SIDE = 1.2
MAX_DEPTH_M = 65.534  # the last value that uint16 millimetres hold, below the mark for "too far"
_ROTATION_TOLERANCE = 1e-2
# What Windows programs wrote for infinity and for no number; 7-Scenes has them where tracking was lost.
_WINDOWS_NAN = re.compile(r"[-+]?1\.#(INF|IND|QNAN|SNAN)0*")
_EXIF_ORIENTATION = 0x0112


@dataclass(frozen=True)
class ImportOptions:
    """What the user may say about any format.

    `rate_hz` gives stamps to images that have none; `fps` keeps at most that many frames a second; `depth_units_per_m`
    and `K_33` overrule what the format says; `sequences` names those to take (all where empty); `split_files` are lists
    of frames by split (KITTI raw).
    """

    rate_hz: float | None = None
    fps: float | None = None
    depth_units_per_m: float | None = None
    K_33: np.ndarray | None = None
    sequences: tuple[str, ...] = ()
    split_files: tuple[Path, ...] = ()


@dataclass(frozen=True)
class DepthFile:
    """A depth image: one channel, `value / units_per_m` metres along z. The values in `unknown` mean no depth."""

    path: Path
    units_per_m: float
    unknown: tuple[int, ...] = (0,)

    def load_m(self) -> np.ndarray | None:
        """Depth in metres, float32 (H, W), 0 where unknown; None when the file cannot be read as depth."""
        raw = cv2.imread(str(self.path), cv2.IMREAD_UNCHANGED)
        if raw is None or raw.ndim != 2:
            return None
        depth_m = raw.astype(np.float32) / np.float32(self.units_per_m)
        depth_m[np.isin(raw, self.unknown) | ~np.isfinite(depth_m) | (depth_m > MAX_DEPTH_M)] = 0.0
        return depth_m


class DepthSource(Protocol):
    """Where the depth of a frame comes from: an image, or a scan of another sensor."""

    def load_m(self) -> np.ndarray | None:
        """Depth along z in metres, float32 (H, W), 0 where unknown; None when it cannot be read."""


@dataclass(frozen=True)
class SourceFrame:
    """One image of the source. `camera` is the lens it was taken with; None: not known, guess it."""

    image_file: Path
    sequence: str
    stamp_ns: int
    stem: str
    camera: Camera | None
    T_world_camera: np.ndarray | None = None
    depth: DepthSource | None = None
    split: str = ""


@dataclass
class Source:
    """All that a reader found."""

    frames: list[SourceFrame]
    scale: str = "unknown"
    scale_source: str = "no poses were given"
    world_frame: str = "map"
    notes: list[str] = field(default_factory=list)


def natural_key(path: Path | str) -> list:
    """Sorts `frame2` before `frame10`."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", str(path))]


def list_images(folder: Path) -> list[Path]:
    """The images of a folder by name, numbers in their order."""
    if not folder.is_dir():
        return []
    files = [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()]
    return sorted(files, key=lambda path: natural_key(path.name))


def open_header(path: Path) -> tuple[tuple[int, int], tuple[int, int], bool] | None:
    """Width and height as stored, as shown once the EXIF turn is done, and whether there is one. None: no image."""
    try:
        with Image.open(path) as header:
            stored, turn = header.size, header.getexif().get(_EXIF_ORIENTATION, 1)
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    return stored, stored[::-1] if turn in (5, 6, 7, 8) else stored, turn in range(2, 9)


def shown_image_size(path: Path) -> tuple[int, int] | None:
    """Width and height as a viewer shows the image. None: not an image."""
    sizes = open_header(path)
    return sizes and sizes[1]


def stamp_at(index: int, rate_hz: float) -> int:
    """The stamp in nanoseconds of frame `index` of a recording that has no clock."""
    return round(index * 1e9 / rate_hz)


def read_numbers(path: Path) -> list[list[float]]:
    """The rows of numbers of a text file; empty lines and `#` comments are left out.

    Raises InputError that names the file and the line.
    """
    rows = []
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as text ({type(error).__name__}); check the file") from None
    for number, line in enumerate(lines, start=1):
        words = line.replace(",", " ").split()
        words = words[: next((i for i, word in enumerate(words) if word.startswith("#")), len(words))]
        if not words:
            continue
        try:
            rows.append([float("nan") if _WINDOWS_NAN.fullmatch(word) else float(word) for word in words])
        except ValueError:
            raise InputError(f"{path} line {number} is not a row of numbers; mend the line") from None
    return rows


def read_K(path: Path) -> np.ndarray:
    """A 3x3 K from a text file of nine numbers, or of four: fx fy cx cy. Raises InputError."""
    numbers = [number for row in read_numbers(path) for number in row]
    if len(numbers) == 4:
        fx, fy, cx, cy = numbers
        numbers = [fx, 0, cx, 0, fy, cy, 0, 0, 1]
    if len(numbers) != 9 or not np.isfinite(numbers).all() or numbers[0] <= 0 or numbers[4] <= 0:
        raise InputError(f"{path} is no camera matrix; write the nine numbers of K in pixels, or fx fy cx cy")
    return np.reshape(numbers, (3, 3))


def pose_from_numbers(numbers, where: str) -> np.ndarray | None:
    """A pose from 12 (3x4) or 16 (4x4) numbers, row by row. None where they say that there is no pose (NaN, infinite).

    Rounded rotations are made exact. Raises InputError when they are no rotation; `where` names the place.
    """
    numbers = np.asarray(numbers, np.float64).reshape(-1)
    if len(numbers) not in (12, 16):
        raise InputError(f"{where} has {len(numbers)} numbers; a pose is 12 (3x4) or 16 (4x4) numbers, row by row")
    if not np.isfinite(numbers).all():
        return None
    rotation_33, t_3 = numbers.reshape(-1, 4)[:3, :3], numbers.reshape(-1, 4)[:3, 3]
    if (
        np.abs(rotation_33.T @ rotation_33 - np.eye(3)).max() > _ROTATION_TOLERANCE
        or np.linalg.det(rotation_33) < 0
        or (len(numbers) == 16 and np.abs(numbers[12:] - [0, 0, 0, 1]).max() > 1e-6)
    ):
        raise InputError(f"{where} is not a rigid pose: its rotation is scaled, mirrored or broken; check the file")
    u, _, vt = np.linalg.svd(rotation_33)
    return make_pose(u @ vt, t_3)


def guessed_camera(width_px: int, height_px: int) -> Camera:
    """A pinhole for an image of which nothing is known: 45 degrees along the longer side, centred."""
    focal_px = GUESSED_FOCAL_PER_SIDE * max(width_px, height_px)
    return Camera(width_px, height_px, focal_px, focal_px, (width_px - 1) / 2, (height_px - 1) / 2)


def folder_name(path: Path) -> str:
    """A name for a sequence, from the folder it lies in."""
    return re.sub(r"[^\w.-]+", "_", path.resolve().name) or "sequence"
