"""KITTI odometry: sequences/NN/{image_0..image_3, calib.txt, times.txt} and poses/NN.txt."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from geo_perception.errors import InputError
from geo_perception.geometry import Camera, invert_pose, make_pose
from geo_training.datasets.importers.source import (
    DEFAULT_RATE_HZ,
    ImportOptions,
    Source,
    SourceFrame,
    list_images,
    pose_from_numbers,
    read_numbers,
    shown_image_size,
    stamp_at,
)

# The left colour camera first: 0 and 1 are grey, 2 and 3 colour; the even ones are left.
CAMERAS = (2, 0, 3, 1)


def matches(path: Path) -> bool:
    return any(_sequence_folders(path))


def read(path: Path, options: ImportOptions) -> Source:
    """All sequences below `path`, or the one it is. The left colour camera is taken, else the left grey one.

    poses/NN.txt holds poses of camera 0; those of another camera follow from its baseline in calib.txt. Each sequence
    has a world of its own. Raises InputError when calib.txt is missing or does not fit, or there is no image.
    """
    folders = _sequence_folders(path)
    if options.sequences:
        folders = [folder for folder in folders if folder.resolve().name in options.sequences] or folders
    if not folders:
        raise InputError(f"{path} holds no sequence with image_0 or image_2; give the folder that holds sequences/")
    frames, notes, posed_sequences = [], [], 0
    for folder in folders:
        found, sequence_notes = _read_sequence(folder, options)
        frames += found
        notes += sequence_notes
        posed_sequences += any(frame.T_world_camera is not None for frame in found)
    if posed_sequences > 1:
        notes.append("Each sequence has its own world frame: map one at a time (import it with --sequences NN).")
    if not posed_sequences:
        return Source(frames, notes=notes)
    return Source(frames, scale="metric", scale_source="GPS/IMU poses of KITTI odometry, in metres", notes=notes)


def _sequence_folders(path: Path) -> list[Path]:
    candidates = [path, *sorted(path.glob("sequences/*")), *sorted(path.glob("*"))]
    return [folder for folder in candidates if (folder / "calib.txt").is_file() and _camera_number(folder) is not None]


def _camera_number(folder: Path) -> int | None:
    return next((number for number in CAMERAS if list_images(folder / f"image_{number}")), None)


def _read_sequence(folder: Path, options: ImportOptions) -> tuple[list[SourceFrame], list[str]]:
    name, number = folder.resolve().name, _camera_number(folder)
    files = list_images(folder / f"image_{number}")
    K_33, T_camera_camera0 = read_calibration(folder / "calib.txt", number)
    if options.K_33 is not None:
        K_33 = options.K_33
    stamps_ns = _read_stamps(folder / "times.txt", len(files), options.rate_hz)
    poses = _read_poses(folder, name, len(files))
    frames = []
    for index, (file, T_world_camera0) in enumerate(zip(files, poses, strict=True)):
        size = shown_image_size(file)
        frames.append(
            SourceFrame(
                image_file=file,
                sequence=name,
                stamp_ns=stamps_ns[index],
                stem=file.stem,
                camera=Camera.from_K(K_33, *size) if size else None,
                T_world_camera=None if T_world_camera0 is None else T_world_camera0 @ invert_pose(T_camera_camera0),
            )
        )
    notes = [f"Sequence {name}: images of camera {number}."]
    if all(pose is None for pose in poses):
        notes.append(f"Sequence {name} has no poses/{name}.txt beside sequences/.")
    return frames, notes


def read_calibration(path: Path, number: int) -> tuple[np.ndarray, np.ndarray]:
    """K (3, 3) of a rectified camera and the pose T_camera_camera0 (4, 4) that its baseline gives.

    calib.txt holds P = K [I | t] with t in metres. Raises InputError.
    """
    for line in path.read_text().splitlines():
        key, _, values = line.partition(":")
        if key.strip() != f"P{number}":
            continue
        try:
            P_34 = np.array([float(value) for value in values.split()]).reshape(3, 4)
            return P_34[:, :3], make_pose(np.eye(3), np.linalg.solve(P_34[:, :3], P_34[:, 3]))
        except (ValueError, np.linalg.LinAlgError):
            raise InputError(f"{path}: P{number} is not twelve numbers of a projection; mend the line") from None
    raise InputError(f"{path} has no P{number}; take the calib.txt of the odometry data set")


def _read_stamps(path: Path, count: int, rate_hz: float | None) -> list[int]:
    if rate_hz is not None or not path.is_file():
        return [stamp_at(index, rate_hz or DEFAULT_RATE_HZ) for index in range(count)]
    rows = read_numbers(path)
    if len(rows) < count:
        raise InputError(f"{path} has {len(rows)} lines for {count} images; take the times.txt of this sequence")
    return [round(row[0] * 1e9) for row in rows[:count]]


def _read_poses(folder: Path, name: str, count: int) -> list[np.ndarray | None]:
    places = (folder / "poses.txt", *(base / "poses" / f"{name}.txt" for base in folder.resolve().parents[:2]))
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        return [None] * count
    rows = read_numbers(path)
    if len(rows) < count:
        raise InputError(f"{path} has {len(rows)} poses for {count} images; take the poses of this sequence")
    return [pose_from_numbers(row, f"{path} line {line}") for line, row in enumerate(rows[:count], start=1)]
