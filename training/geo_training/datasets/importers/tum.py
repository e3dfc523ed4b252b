"""TUM RGB-D: rgb.txt, depth.txt and groundtruth.txt, joined by time."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from geo_perception.errors import InputError
from geo_perception.geometry import Camera, interpolate_pose, pose_from_quaternion
from geo_training.datasets.importers.source import (
    DepthFile,
    ImportOptions,
    Source,
    SourceFrame,
    folder_name,
    read_numbers,
    shown_image_size,
)

# The calibrations that the data set publishes for its three Kinects: fx fy cx cy, then k1 k2 p1 p2 k3.
CALIBRATIONS = {
    1: ((517.3, 516.5, 318.6, 255.3), (0.2624, -0.9531, -0.0054, 0.0026, 1.1633)),
    2: ((520.9, 521.0, 325.1, 249.7), (0.2312, -0.7849, -0.0033, -0.0001, 0.9172)),
    3: ((535.4, 539.2, 320.1, 247.6), ()),
}
DEFAULT_CALIBRATION = ((525.0, 525.0, 319.5, 239.5), ())
SIZE_PX = 640, 480
DEPTH_UNITS_PER_M = 5000.0
MAX_DIFFERENCE_S = 0.02  # between an image and its depth, or a pose just outside the recorded ones
MAX_POSE_GAP_S = 0.1  # poses come at 100 Hz; over a longer gap none is made up


def matches(path: Path) -> bool:
    return (path / "rgb.txt").is_file()


def read(path: Path, options: ImportOptions) -> Source:
    """One recording. Depth is the nearest in time within 20 ms; the pose is interpolated between neighbours at most
    0.1 s apart. K follows from `freiburg1`, `2` or `3` in the folder's name, else `K_33`, else the Kinect's default.

    Raises InputError when rgb.txt is missing or a file has lines that are none.
    """
    images = _read_list(path / "rgb.txt")
    if not images:
        raise InputError(f"{path / 'rgb.txt'} lists no images; unpack the whole recording")
    depths = _read_list(path / "depth.txt") if (path / "depth.txt").is_file() else []
    depth_stamps_s = np.array([stamp_s for stamp_s, _, _ in depths])
    pose_stamps_s, T_n44 = _read_poses(path / "groundtruth.txt")
    camera, notes = _camera(path, options)
    frames = []
    missing = [file for _, _, file in images if not file.is_file()]
    for stamp_s, stamp_ns, file in images:
        if not file.is_file():
            continue
        nearest = _nearest(depth_stamps_s, stamp_s)
        depth_file = depths[nearest][2] if nearest is not None and depths[nearest][2].is_file() else None
        frames.append(
            SourceFrame(
                image_file=file,
                sequence=folder_name(path),
                stamp_ns=stamp_ns,
                stem=file.stem,
                camera=_at_size(camera, file) if options.K_33 is not None else camera,
                T_world_camera=pose_at(pose_stamps_s, T_n44, stamp_s),
                depth=depth_file and DepthFile(depth_file, options.depth_units_per_m or DEPTH_UNITS_PER_M),
            )
        )
    if missing:
        notes.append(f"{len(missing)} images of rgb.txt do not exist and were left out, the first: {missing[0].name}.")
    posed = sum(frame.T_world_camera is not None for frame in frames)
    if len(pose_stamps_s) and posed < len(frames):
        notes.append(f"{len(frames) - posed} frames have no pose within reach in groundtruth.txt.")
    if not posed:
        return Source(frames, notes=notes)
    return Source(frames, scale="metric", scale_source="motion capture poses of TUM RGB-D, in metres", notes=notes)


def pose_at(stamps_s: np.ndarray, T_n44: np.ndarray, stamp_s: float) -> np.ndarray | None:
    """The pose at a stamp: interpolated, or the first or last one when the stamp lies just outside. None else."""
    if len(stamps_s) == 0:
        return None
    pose = interpolate_pose(stamps_s, T_n44, stamp_s, MAX_POSE_GAP_S)
    if pose is not None:
        return pose
    end = 0 if stamp_s < stamps_s[0] else -1 if stamp_s > stamps_s[-1] else None
    if end is None or abs(stamps_s[end] - stamp_s) > MAX_DIFFERENCE_S:
        return None
    return T_n44[end].copy()


def _nearest(stamps_s: np.ndarray, stamp_s: float) -> int | None:
    if len(stamps_s) == 0:
        return None
    nearest = int(np.argmin(np.abs(stamps_s - stamp_s)))
    return nearest if abs(stamps_s[nearest] - stamp_s) <= MAX_DIFFERENCE_S else None


def _camera(path: Path, options: ImportOptions) -> tuple[Camera, list[str]]:
    if options.K_33 is not None:
        return Camera.from_K(options.K_33, *SIZE_PX), []
    named = re.search(r"(?:freiburg|fr)([123])", path.resolve().name)
    (fx, fy, cx, cy), distortion = CALIBRATIONS[int(named[1])] if named else DEFAULT_CALIBRATION
    if not named:
        note = "The folder's name says no freiburg1, 2 or 3: K is the Kinect's default (525 px); give --K to be exact."
    else:
        note = f"K and distortion are those published for freiburg{named[1]}."
    model = "plumb_bob" if distortion else "pinhole"
    return Camera(*SIZE_PX, fx, fy, cx, cy, model, distortion), [note]


def _at_size(camera: Camera, file: Path) -> Camera:
    size = shown_image_size(file)
    return Camera.from_K(camera.K, *size) if size else camera


def _read_list(path: Path) -> list[tuple[float, int, Path]]:
    """Stamp in seconds, in nanoseconds (exact, from the digits), and file, in the order of time."""
    if not path.is_file():
        raise InputError(f"{path} is missing; this is no TUM RGB-D recording, or it is not whole")
    entries = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        words = line.split("#")[0].split()
        if not words:
            continue
        if len(words) < 2 or not re.fullmatch(r"\d+(\.\d+)?", words[0]):
            raise InputError(f"{path} line {number} is not `stamp file`; mend the line")
        whole, _, part = words[0].partition(".")
        entries.append((float(words[0]), int(whole) * 10**9 + int(part[:9].ljust(9, "0")), path.parent / words[1]))
    return sorted(entries)


def _read_poses(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Stamps (N,) in seconds, ascending, and poses (N, 4, 4); empty where there is no file."""
    if not path.is_file():
        return np.zeros(0), np.zeros((0, 4, 4))
    stamped = {}
    for row in read_numbers(path):
        if len(row) != 8:
            raise InputError(f"{path} has a line of {len(row)} numbers; it needs stamp tx ty tz qx qy qz qw")
        if np.isfinite(row).all():
            stamped[row[0]] = pose_from_quaternion(row[1:4], row[4:])
    stamps_s = np.array(sorted(stamped))
    return stamps_s, np.array([stamped[stamp_s] for stamp_s in stamps_s]).reshape(-1, 4, 4)
