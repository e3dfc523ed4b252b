"""What a format's reader gives, and what readers share. A reader only says what is there; `write.py` copies it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from os.path import abspath
from pathlib import Path

import numpy as np

from geo_perception.errors import InputError
from geo_perception.geometry import Camera, checked_rotation, pose_from_quaternion
from geo_training.datasets.importers.account import OWN_IMAGE, Account
from geo_training.datasets.importers.depth_files import DepthFile, DepthSource
from geo_training.datasets.pictures import is_hidden, is_picture_name, read_header, reason_against
from geo_training.storage.names import natural_key

DEFAULT_RATE_HZ = 10.0
MAX_STAMP_S = 1e10  # the year 2286; beyond, a stamp is in another unit
# COLMAP's guess where nothing is known: a field of view of 45 degrees along the longer side.
GUESSED_FOCAL_PER_SIDE = 1.2
# What Windows programs wrote for infinity and for no number; 7-Scenes has them where tracking was lost.
_WINDOWS_NAN = re.compile(r"[-+]?1\.#(INF|IND|QNAN|SNAN)0*")


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

    def depth_file(self, path: Path, units_per_m: float, how: str) -> DepthFile:
        """A depth image in the unit that a format says, or in the one that the user says instead."""
        if self.depth_units_per_m is None:
            return DepthFile(path, units_per_m, how=how)
        return DepthFile(path, self.depth_units_per_m, how="as --depth-scale says", for_floats=True)


@dataclass(frozen=True)
class SourceFrame:
    """One image of the source. `camera` is the lens it was taken with; None: not known, guess it.

    Where the image has an orientation mark, `camera` is that of the file's rows and columns or of the picture as shown,
    whichever its size says; of the file's where both are the same. The pose goes with the camera.
    """

    image_file: Path
    sequence: str
    stamp_ns: int
    stem: str
    camera: Camera | None
    T_world_camera: np.ndarray | None = None
    depth: DepthSource | None = None
    split: str = ""
    mask_file: Path | None = None


@dataclass
class Source:
    """All that a reader found."""

    frames: list[SourceFrame]
    account: Account
    scale: str = "unknown"
    scale_source: str = "no poses were given"
    world_frame: str = "map"
    notes: list[str] = field(default_factory=list)

    @property
    def posed(self) -> int:
        return sum(frame.T_world_camera is not None for frame in self.frames)


def pictures_in(folder: Path) -> list[Path]:
    """All that has the name of a picture in a folder, readable or not, but not hidden; numbers in their order."""
    if not folder.is_dir():
        return []
    files = [path for path in folder.iterdir() if is_picture_name(path) and not is_hidden(path) and not path.is_dir()]
    return sorted(files, key=lambda path: natural_key(path.name))


def list_images(folder: Path) -> list[Path]:
    """The images of a folder by name, numbers in their order; what cannot be opened is left out without a word."""
    return [path for path in pictures_in(folder) if not reason_against(path)]


def usable_frames(frames: list[SourceFrame], account: Account) -> list[SourceFrame]:
    """The frames whose pictures can be opened; the account says what is against the others."""
    reasons = [reason_against(frame.image_file) for frame in frames]
    for frame, reason in zip(frames, reasons, strict=True):
        if reason:
            leave_frame(frame, reason, account, frame.image_file.name)
    return [frame for frame, reason in zip(frames, reasons, strict=True) if not reason]


def find_hidden(folders: Iterable[Path], account: Account) -> None:
    """Counts the hidden pictures of folders that are read, such as the `._x.jpg` of macOS."""
    for folder in folders:
        for path in sorted(folder.iterdir()):
            if is_hidden(path) and is_picture_name(path) and not path.is_dir():
                account.find("images")
                account.leave("images", "hidden", path.name)


def size_of(path: Path, K_33: np.ndarray | None = None) -> tuple[int, int] | None:
    """Width and height of the grid that `K_33` is for: the file's rows and columns, unless an orientation mark swaps
    them and the principal point lies nearer to the centre of the picture as shown. None: not an image."""
    try:
        header = read_header(path)
    except InputError:
        return None
    sizes = (header.stored_size, header.shown_size)
    if K_33 is None:
        return sizes[0]
    centre_2 = np.array([K_33[0, 2], K_33[1, 2]]) + 0.5
    off_centre = [float(np.abs(centre_2 / np.array(size) - 0.5).max()) for size in sizes]
    return sizes[1] if off_centre[1] < off_centre[0] else sizes[0]


def camera_of_K(K_33: np.ndarray | None, files: Iterable[Path]) -> Callable[[Path], Camera | None]:
    """The camera of each of these images where one K is given for all and no size with it; None where none is.

    Where the images have several sizes, K is that of the size whose centre is nearest to its principal point.
    """
    sizes = {}
    if K_33 is not None:
        sizes = {file: size for file in files if (size := size_of(file, K_33)) is not None}
    if not sizes:
        return lambda _: None
    centre_2 = np.array([K_33[0, 2], K_33[1, 2]]) + 0.5
    if not any(0 <= centre_2[0] <= width and 0 <= centre_2[1] <= height for width, height in sizes.values()):
        width, height = next(iter(sizes.values()))
        raise InputError(
            f"K has its centre at ({K_33[0, 2]:g}, {K_33[1, 2]:g}), outside the images of {width} x {height}; "
            "give the K of these images"
        )
    common = sorted(set(sizes.values()), key=lambda size: (-list(sizes.values()).count(size), size))
    best = min(common, key=lambda size: round(float(np.abs(centre_2 / np.array(size) - 0.5).max()), 3))
    return lambda file: Camera.from_K(K_33, *best) if file in sizes else None


def stamp_at(index: int, rate_hz: float) -> int:
    """The stamp in nanoseconds of frame `index` of a recording that has no clock."""
    return round(index * 1e9 / rate_hz)


def read_text(path: Path) -> str:
    """A text file in UTF-8, with or without a mark of its byte order. Raises InputError."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as text ({type(error).__name__}); check the file") from None


def read_lines(path: Path) -> list[tuple[int, list[str]]]:
    """The words of each line with its number; empty lines and `#` comments are left out. Raises InputError."""
    lines = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        words = line.replace(",", " ").split()
        words = words[: next((i for i, word in enumerate(words) if word.startswith("#")), len(words))]
        if words:
            lines.append((number, words))
    return lines[1:] if lines and not any(map(_is_number, lines[0][1])) else lines  # names of columns are no line


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return _WINDOWS_NAN.fullmatch(word) is not None
    return True


def numbers_of(words: list[str], where: str) -> list[float]:
    """Words as numbers. Raises InputError that names the place."""
    try:
        return [float("nan") if _WINDOWS_NAN.fullmatch(word) else float(word) for word in words]
    except ValueError:
        raise InputError(f"{where} is not a row of numbers; mend the line") from None


def read_numbers(path: Path) -> list[list[float]]:
    """The rows of numbers of a text file; empty lines and `#` comments are left out.

    Raises InputError that names the file and the line.
    """
    return [numbers_of(words, f"{path} line {number}") for number, words in read_lines(path)]


def read_K(path: Path) -> np.ndarray:
    """A 3x3 K from a text file of nine numbers, or of four: fx fy cx cy. Raises InputError."""
    numbers = [number for row in read_numbers(path) for number in row]
    if len(numbers) == 4:
        fx, fy, cx, cy = numbers
        numbers = [fx, 0, cx, 0, fy, cy, 0, 0, 1]
    if len(numbers) != 9 or not np.isfinite(numbers).all() or numbers[0] <= 0 or numbers[4] <= 0:
        raise InputError(f"{path} is no camera matrix; write the nine numbers of K in pixels, or fx fy cx cy")
    K_33 = np.reshape(numbers, (3, 3))
    # Skew is not modelled; a K that was written column by column is the usual case.
    if abs(K_33[0, 1]) > 1e-3 * K_33[0, 0] or abs(K_33[1, 0]) > 1e-6 or np.abs(K_33[2] - [0, 0, 1]).max() > 1e-6:
        raise InputError(f"{path} is no camera matrix: K is [fx 0 cx; 0 fy cy; 0 0 1] row by row; mend it")
    return K_33


def pose_from_numbers(numbers, where: str) -> np.ndarray | None:
    """A pose from 12 (3x4) or 16 (4x4) numbers, row by row. None where they say that there is no pose (NaN, infinite).

    Rounded rotations are made exact. Raises InputError when they are no rotation; `where` names the place.
    """
    try:
        numbers = np.asarray(numbers, np.float64).reshape(-1)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{where} is not a matrix of numbers; make the file again") from None
    if len(numbers) not in (12, 16):
        raise InputError(f"{where} has {len(numbers)} numbers; a pose is 12 (3x4) or 16 (4x4) numbers, row by row")
    if not np.isfinite(numbers).all():
        return None
    T_34 = numbers.reshape(-1, 4)[:3]
    if len(numbers) == 16 and np.abs(numbers[12:] - [0, 0, 0, 1]).max() > 1e-6:
        raise InputError(f"{where} is not a rigid pose: its last row is not 0 0 0 1; check the file")
    try:
        T = pose_from_quaternion(T_34[:, 3], (0, 0, 0, 1))
        T[:3, :3] = checked_rotation(T_34[:, :3])
    except InputError as error:
        raise InputError(f"{where} is not a rigid pose: {error}") from None
    return T


def taken_pose(read: Callable[[], np.ndarray | None], account: Account, name: object) -> np.ndarray | None:
    """A pose that was found: what `read` gives, or None where that is no pose, which the account then says."""
    account.find("poses")
    try:
        T = read()
    except InputError as error:
        account.leave_pose(error)
        return None
    if T is None:
        account.leave("poses", "without numbers (tracking was lost)", name)
    return T


def leave_frame(frame: SourceFrame, reason: str, account: Account, name: str = "") -> None:
    """A frame is not taken, and so is nothing that belongs to it."""
    account.leave("images", reason, name)
    parts = {"poses": frame.T_world_camera, "depth": frame.depth, "masks": frame.mask_file}
    for kind, part in parts.items():
        if part is not None:
            account.leave(kind, OWN_IMAGE)


def leave_others(
    frames: list[SourceFrame], kept: list[SourceFrame], reason: str, account: Account
) -> list[SourceFrame]:
    """`kept`; the account says why those of `frames` that are not among them were left out."""
    # A kept frame may have been given another split: its file and its sequence tell which it is.
    stay = {(frame.sequence, frame.image_file) for frame in kept}
    for frame in frames:
        if (frame.sequence, frame.image_file) not in stay:
            leave_frame(frame, reason, account, frame.image_file.name)
    return kept


def guessed_camera(width_px: int, height_px: int, focal_px: float | None = None) -> Camera:
    """A centred pinhole for an image whose camera is not known: of a focal length that is about right, or of 45 degrees
    along the longer side."""
    focal_px = focal_px or GUESSED_FOCAL_PER_SIDE * max(width_px, height_px)
    return Camera(width_px, height_px, focal_px, focal_px, (width_px - 1) / 2, (height_px - 1) / 2)


def folder_name(path: Path) -> str:
    """A name for a sequence, from the folder it lies in."""
    return sequence_name(own_name(path))


def own_name(path: Path) -> str:
    """The name of a folder, also of `.` and `..`: a link's own, not that of what it leads to."""
    return Path(abspath(path)).name


def sequence_name(text: str) -> str:
    """Text as the name of a sequence, which is a folder's name: never a way out of the dataset."""
    name = re.sub(r"[^\w.-]+", "_", text)
    return name if name.strip(".") else "sequence"
