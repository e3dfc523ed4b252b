"""KITTI raw, with the split of Eigen et al. by drive, or by lists of frames.

<date>/<date>_drive_NNNN_sync/{image_02/data, image_02/timestamps.txt, oxts/data, velodyne_points/data}
<date>/{calib_cam_to_cam.txt, calib_velo_to_cam.txt, calib_imu_to_velo.txt}
"""

from __future__ import annotations

import re
from calendar import timegm
from collections import Counter
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from zlib import crc32

import numpy as np

from geo_perception.errors import InputError
from geo_perception.geometry import pose_error
from geo_training.datasets.importers.account import Account
from geo_training.datasets.importers.kitti_geometry import DateCalibration, LidarDepth, imu_poses
from geo_training.datasets.importers.source import (
    DEFAULT_RATE_HZ,
    ImportOptions,
    Source,
    SourceFrame,
    find_hidden,
    leave_others,
    pictures_in,
    read_text,
    size_of,
    stamp_at,
)
from geo_training.datasets.scene import SPLITS

# The drives of the 697 test images of Eigen, Puhrsch and Fergus (2014).
_EIGEN_TEST = {
    "2011_09_26": "2 9 13 20 23 27 29 36 46 48 52 56 59 64 84 86 93 96 101 106 117",
    "2011_09_28": "2",
    "2011_09_29": "71",
    "2011_09_30": "16 18 27",
    "2011_10_03": "27 47",
}
EIGEN_TEST_DRIVES = frozenset(
    f"{date}_drive_{int(number):04d}_sync" for date, numbers in _EIGEN_TEST.items() for number in numbers.split()
)
VAL_DRIVE_EVERY = 12  # of the other drives, by a checksum of the name: the same ones however many there are
CAMERAS = {"l": 2, "r": 3}
STILL_M, STILL_RAD = 0.1, np.radians(1.0)
_DRIVE = re.compile(r"\d{4}_\d\d_\d\d_drive_\d{4}_sync")
PAIRED = (
    "Stamps are paired by number (the image's own number is its line in timestamps.txt, counted from 0), lidar scans "
    "and GPS/IMU by the image's name."
)
_LAYOUT = "give the folder that holds <date>/<date>_drive_NNNN_sync/image_02/data"


def matches(path: Path) -> bool:
    return bool(_drives(path))


def read(path: Path, options: ImportOptions) -> Source:
    """All drives below `path`, or the one it is, as the left colour camera saw them; depth is the lidar's.

    Without lists a drive is test (Eigen's drives), val (each twelfth of the others, by a checksum of its name) or
    train, and frames of train and val in which the car had not moved on are left out. `options.split_files` are lists
    of frames, `<date>/<drive> <number> l|r` a line, whose file names say train, val or test: then exactly these are
    taken.

    Raises InputError when there is no drive, a date has no calibration, or a list is broken or names none of the
    frames.
    """
    drives = _drives(path)
    if not drives:
        raise InputError(f"{path} holds no synchronized drive of KITTI raw; {_LAYOUT}")
    if options.sequences:
        drives = [drive for drive in drives if drive.name in options.sequences] or drives
    listed = _read_lists(options.split_files) if options.split_files else None
    calibrations: dict[Path, DateCalibration] = {}
    frames, counts, posed, account = [], Counter(), 0, Account()
    for drive in drives:
        if drive.parent not in calibrations:
            calibrations[drive.parent] = DateCalibration.read(drive.parent)
        sides = ("l",) if listed is None else tuple(side for side in CAMERAS if (drive.name, side) in listed)
        for side in sides:
            found = _read_drive(drive, CAMERAS[side], calibrations[drive.parent], options, counts, account)
            kept = _moving(found, counts) if listed is None else _of_lists(found, listed[drive.name, side], counts)
            reason = "in which the car stands still" if listed is None else "in no list"
            found = leave_others(found, kept, reason, account)
            frames += found
            posed += any(frame.T_world_camera is not None for frame in found)
    if not frames:
        raise InputError(f"none of the listed frames, or no image at all, is below {path}; {_LAYOUT}")
    if listed is not None:
        counts["not there"] = sum(map(len, listed.values())) - len(frames)
    notes = [PAIRED, *_notes(counts)]
    if posed > 1:
        notes.append("Each drive has its own world frame: map one at a time (import it with --sequences).")
    if not posed:
        return Source(frames, account, notes=notes)
    return Source(frames, account, scale="metric", scale_source="GPS/IMU of KITTI raw, in metres", notes=notes)


def eigen_split(drive_name: str) -> str:
    """The split of a drive: Eigen's test drives, and a few others held back as val."""
    if drive_name in EIGEN_TEST_DRIVES:
        return "test"
    return "val" if crc32(drive_name.encode()) % VAL_DRIVE_EVERY == 0 else "train"


def _drives(path: Path) -> list[Path]:
    candidates = [path.resolve(), *sorted(path.resolve().glob("*")), *sorted(path.resolve().glob("*/*"))]
    return [
        folder
        for folder in candidates
        if _DRIVE.fullmatch(folder.name)
        and any((folder / f"image_{n:02d}" / "data").is_dir() for n in CAMERAS.values())
    ]


def _read_drive(
    drive: Path, number: int, calibration: DateCalibration, options: ImportOptions, counts: Counter, account: Account
) -> list[SourceFrame]:
    """Every image of one camera of a drive, with what there is of depth and poses."""
    folder = drive / f"image_{number:02d}"
    pictures = pictures_in(folder / "data")
    files = [file for file in pictures if file.stem.isdecimal()]
    account.find("images", len(pictures))
    find_hidden([folder / "data"] if pictures else [], account)
    for file in pictures:
        if not file.stem.isdecimal():
            account.leave("images", "without a number for a name", file.name)
    if not files:
        counts["empty drives"] += 1
        return []
    sizes = [size for file in files if (size := size_of(file)) is not None]
    if not sizes:
        raise InputError(f"{folder / 'data'} holds no image that can be read; unpack the drive again")
    camera = calibration.camera(number, sizes[0])
    if options.K_33 is not None:
        camera = type(camera).from_K(options.K_33, camera.width_px, camera.height_px)
    T_camera_velo, T_imu_camera = calibration.T_camera_velo(number), calibration.T_imu_camera(number)
    stamps_ns = _read_stamps(folder / "timestamps.txt", files, options.rate_hz, counts)
    poses = imu_poses([drive / "oxts" / "data" / f"{file.stem}.txt" for file in files])
    frames = []
    for file, stamp_ns, T_world_imu in zip(files, stamps_ns, poses, strict=True):
        scan = drive / "velodyne_points" / "data" / f"{file.stem}.bin"
        has_scan = T_camera_velo is not None and scan.is_file()
        has_pose = T_imu_camera is not None and T_world_imu is not None
        account.find("depth", has_scan)
        account.find("poses", has_pose)
        counts["no lidar"] += not has_scan
        counts["no pose"] += not has_pose
        frames.append(
            SourceFrame(
                image_file=file,
                sequence=drive.name if number == CAMERAS["l"] else f"{drive.name}_right",
                stamp_ns=stamp_ns,
                stem=file.stem,
                camera=camera,
                T_world_camera=T_world_imu @ T_imu_camera if has_pose else None,
                depth=LidarDepth(scan, camera, T_camera_velo) if has_scan else None,
                split=eigen_split(drive.name),
            )
        )
    return frames


def _read_stamps(path: Path, files: list[Path], rate_hz: float | None, counts: Counter) -> list[int]:
    """timestamps.txt has a line for every number, whether its image is there or not."""
    if rate_hz is None and path.is_file():
        lines = read_text(path).splitlines()
        try:
            return [_stamp_ns(lines[int(file.stem)]) for file in files]
        except (IndexError, ValueError):
            raise InputError(
                f"{path} has no date and time for each image; unpack it again, or pass --rate to make stamps up"
            ) from None
    counts["made up stamps"] += len(files)
    return [stamp_at(int(file.stem), rate_hz or DEFAULT_RATE_HZ) for file in files]


def _stamp_ns(line: str) -> int:
    """`2011-09-26 13:02:25.964389445`, taken as UTC, to nanoseconds."""
    whole, _, fraction = line.strip().partition(".")
    seconds = timegm(datetime.strptime(whole, "%Y-%m-%d %H:%M:%S").timetuple())
    return seconds * 10**9 + int(fraction[:9].ljust(9, "0"))


def _moving(frames: list[SourceFrame], counts: Counter) -> list[SourceFrame]:
    """The frames without those that show what the one kept before shows. Test frames and those without a pose stay."""
    kept, last = [], None
    for frame in frames:
        if last is not None and frame.T_world_camera is not None and frame.split != "test":
            moved_m, turned_rad = pose_error(last, frame.T_world_camera)
            if moved_m < STILL_M and turned_rad < STILL_RAD:
                counts["still"] += 1
                continue
        last = frame.T_world_camera if frame.T_world_camera is not None else last
        kept.append(frame)
    return kept


def _of_lists(frames: list[SourceFrame], splits: dict[int, str], counts: Counter) -> list[SourceFrame]:
    """The frames whose numbers are listed, with the split of their list."""
    kept = [replace(frame, split=splits[int(frame.stem)]) for frame in frames if int(frame.stem) in splits]
    counts["not listed"] += len(frames) - len(kept)
    return kept


def _read_lists(paths: tuple[Path, ...]) -> dict[tuple[str, str], dict[int, str]]:
    """The split of every listed frame by (drive, side) and number."""
    listed: dict[tuple[str, str], dict[int, str]] = {}
    for path in paths:
        split = next((name for name in SPLITS if name and name in path.stem.lower()), None)
        if split is None:
            raise InputError(f"{path} says no split; name it as one of train_files.txt, val_files.txt, test_files.txt")
        for line_number, line in enumerate(read_text(path).splitlines(), start=1):
            words = line.split()
            if not words:
                continue
            drive = Path(words[0]).name
            if len(words) != 3 or not _DRIVE.fullmatch(drive) or not words[1].isdecimal() or words[2] not in CAMERAS:
                raise InputError(f"{path} line {line_number} is not '<date>/<drive> <number> l|r'; mend the line")
            before = listed.setdefault((drive, words[2]), {}).setdefault(int(words[1]), split)
            if before != split:
                raise InputError(f"{path} line {line_number} is {split}, another list says {before}; list it once")
    return listed


def _notes(counts: Counter) -> list[str]:
    sentences = {
        "still": "{} frames in which the car stands still were left out.",
        "not listed": "{} frames are in no list and were left out.",
        "not there": "{} listed frames are not there.",
        "no lidar": "{} frames have no lidar scan or no calib_velo_to_cam.txt: no depth.",
        "no pose": "{} frames have no oxts file or no calibration of the IMU: no pose.",
        "made up stamps": "The stamps of {} frames are made up.",
        "empty drives": "{} drives have no image of the camera.",
    }
    return [sentence.format(counts[key]) for key, sentence in sentences.items() if counts[key]]
