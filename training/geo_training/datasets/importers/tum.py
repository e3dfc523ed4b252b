"""TUM RGB-D: rgb.txt, depth.txt and groundtruth.txt, joined by time."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from geo_perception.errors import InputError
from geo_perception.geometry import Camera, interpolate_pose, pose_from_quaternion
from geo_training.datasets.importers.account import Account
from geo_training.datasets.importers.source import (
    MAX_STAMP_S,
    ImportOptions,
    Source,
    SourceFrame,
    camera_of_K,
    folder_name,
    numbers_of,
    read_lines,
    read_text,
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
PAIRED = "Depth is paired by time, the nearest within 20 ms; poses are interpolated at the image's stamp."
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
    account = Account()
    pose_stamps_s, T_n44, pose_notes = _read_poses(path / "groundtruth.txt")
    missing = [file for _, _, file in images if not file.is_file()]
    account.find("images", len(images))
    account.leave("images", "images of rgb.txt do not exist", missing[0].name if missing else "", len(missing))
    images = [entry for entry in images if entry[2].is_file()]
    depth_files = _pair_depths(images, depths, account)
    camera, notes = _camera(path, options)
    camera_of = camera_of_K(options.K_33, [file for _, _, file in images])
    notes.append(PAIRED)
    notes += pose_notes
    frames = []
    for (stamp_s, stamp_ns, file), depth_file in zip(images, depth_files, strict=True):
        T_world_camera = pose_at(pose_stamps_s, T_n44, stamp_s)
        if len(pose_stamps_s):
            account.find("poses")
            if T_world_camera is None:
                account.leave("poses", "not within reach in groundtruth.txt", file.name)
        frames.append(
            SourceFrame(
                image_file=file,
                sequence=folder_name(path),
                stamp_ns=stamp_ns,
                stem=file.stem,
                camera=camera_of(file) if options.K_33 is not None else camera,
                T_world_camera=T_world_camera,
                depth=depth_file and options.depth_file(depth_file, DEPTH_UNITS_PER_M, "as TUM RGB-D defines it"),
            )
        )
    posed = sum(frame.T_world_camera is not None for frame in frames)
    if len(pose_stamps_s) and posed < len(frames):
        notes.append(f"{len(frames) - posed} frames have no pose within reach in groundtruth.txt.")
    if not posed:
        return Source(frames, account, notes=notes)
    return Source(
        frames, account, scale="metric", scale_source="motion capture poses of TUM RGB-D, in metres", notes=notes
    )


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


def _pair_depths(images: list, depths: list, account: Account) -> list[Path | None]:
    """The depth image nearest in time to each image, at most 20 ms away; each depth image goes with one image only."""
    account.find("depth", len(depths))
    missing = [file for _, _, file in depths if not file.is_file()]
    account.leave("depth", "that do not exist", missing[0].name if missing else "", len(missing))
    depths = [entry for entry in depths if entry[2].is_file()]
    stamps_s = np.array([stamp_s for stamp_s, _, _ in depths])
    nearest = [int(np.argmin(np.abs(stamps_s - stamp_s))) if len(depths) else 0 for stamp_s, _, _ in images]
    pairs = sorted(
        (abs(stamps_s[depth] - stamp_s), image, depth)
        for image, ((stamp_s, _, _), depth) in enumerate(zip(images, nearest, strict=True))
        if len(depths)
    )
    files: list[Path | None] = [None] * len(images)
    taken: set[int] = set()
    for difference_s, image, depth in pairs:
        if difference_s <= MAX_DIFFERENCE_S and depth not in taken:
            files[image] = depths[depth][2]
            taken.add(depth)
    account.leave("depth", f"not within {MAX_DIFFERENCE_S * 1e3:.0f} ms of an image", "", len(depths) - len(taken))
    return files


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


def _read_list(path: Path) -> list[tuple[float, int, Path]]:
    """Stamp in seconds, in nanoseconds (exact, from the digits), and file, in the order of time."""
    if not path.is_file():
        raise InputError(f"{path} is missing; this is no TUM RGB-D recording, or it is not whole")
    entries = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        words = line.strip().split(maxsplit=1)  # a file's name may hold blanks
        if not words or words[0].startswith("#"):
            continue
        if len(words) < 2 or not re.fullmatch(r"\d+(\.\d+)?", words[0]):
            raise InputError(f"{path} line {number} is not `stamp file`; mend the line")
        if float(words[0]) > MAX_STAMP_S:
            raise InputError(f"{path} line {number}: {words[0]} is no time in seconds; are these nanoseconds?")
        whole, _, part = words[0].partition(".")
        file = path.parent / words[1]
        if not file.is_file():  # the list may have more columns
            file = path.parent / words[1].split()[0]
        entries.append((float(words[0]), int(whole) * 10**9 + int(part[:9].ljust(9, "0")), file))
    return sorted(entries)


def _read_poses(path: Path) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Stamps (N,) in seconds, ascending, poses (N, 4, 4), and what was wrong; empty where there is no file.

    Raises InputError when no line is a pose.
    """
    stamped, wrong = {}, []
    lines = read_lines(path) if path.is_file() else []
    for number, words in lines:
        where = f"{path} line {number}"
        try:
            row = numbers_of(words, where)
            if len(row) != 8:
                raise InputError(f"{where} is a line of {len(row)} numbers; it needs stamp tx ty tz qx qy qz qw")
            if not 0 <= row[0] <= MAX_STAMP_S:
                raise InputError(f"{where}: {row[0]:g} is no time in seconds; mend the line")
            stamped[row[0]] = pose_from_quaternion(row[1:4], row[4:])
        except InputError as error:
            wrong.append(str(error) if str(error).startswith(where) else f"{where} is {error}")
    if wrong and not stamped:
        raise InputError(f"none of the {len(lines)} poses is one: {wrong[0]}")
    notes = [f"{len(wrong)} of {len(lines)} lines of {path.name} are no pose, the first: {wrong[0]}."] if wrong else []
    stamps_s = np.array(sorted(stamped))
    return stamps_s, np.array([stamped[stamp_s] for stamp_s in stamps_s]).reshape(-1, 4, 4), notes
