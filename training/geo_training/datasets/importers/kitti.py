"""KITTI odometry: sequences/NN/{image_0..image_3, calib.txt, times.txt} and poses/NN.txt."""

from __future__ import annotations

from os.path import abspath
from pathlib import Path

import numpy as np

from geo_perception.errors import InputError
from geo_perception.geometry import invert_pose
from geo_training.datasets.importers.account import NO_IMAGE, Account
from geo_training.datasets.importers.kitti_geometry import split_projection
from geo_training.datasets.importers.pairing import own_number, pair_with_lines
from geo_training.datasets.importers.source import (
    DEFAULT_RATE_HZ,
    MAX_STAMP_S,
    ImportOptions,
    Source,
    SourceFrame,
    camera_of_K,
    find_hidden,
    list_images,
    numbers_of,
    own_name,
    pictures_in,
    pose_from_numbers,
    read_lines,
    read_numbers,
    read_text,
    stamp_at,
    taken_pose,
)

# The left colour camera first: 0 and 1 are grey, 2 and 3 colour; the even ones are left.
CAMERAS = (2, 0, 3, 1)


def matches(path: Path) -> bool:
    return any(_sequence_folders(path))


def read(path: Path, options: ImportOptions) -> Source:
    """All sequences below `path`, or the one it is. The left colour camera is taken, else the left grey one.

    An image's number, from 0, is its line in times.txt and in poses/NN.txt. That file holds poses of camera 0; those of
    another camera follow from its baseline in calib.txt. Each sequence has a world of its own. Raises InputError when
    calib.txt is missing or does not fit, the numbers do not tell which line is whose, or there is no image.
    """
    folders = _sequence_folders(path)
    if options.sequences:
        folders = [folder for folder in folders if own_name(folder) in options.sequences] or folders
    if not folders:
        raise InputError(f"{path} holds no sequence with image_0 or image_2; give the folder that holds sequences/")
    frames, notes, posed_sequences, account = [], [], 0, Account()
    for folder in folders:
        found, sequence_notes = _read_sequence(folder, options, account)
        frames += found
        notes += sequence_notes
        posed_sequences += any(frame.T_world_camera is not None for frame in found)
    if posed_sequences > 1:
        notes.append("Each sequence has its own world frame: map one at a time (import it with --sequences NN).")
    if not posed_sequences:
        return Source(frames, account, notes=notes)
    return Source(
        frames, account, scale="metric", scale_source="GPS/IMU poses of KITTI odometry, in metres", notes=notes
    )


def _sequence_folders(path: Path) -> list[Path]:
    candidates = [path, *sorted(path.glob("sequences/*")), *sorted(path.glob("*"))]
    return [folder for folder in candidates if (folder / "calib.txt").is_file() and _camera_number(folder) is not None]


def _camera_number(folder: Path) -> int | None:
    return next((number for number in CAMERAS if list_images(folder / f"image_{number}")), None)


def _read_sequence(folder: Path, options: ImportOptions, account: Account) -> tuple[list[SourceFrame], list[str]]:
    name, number = own_name(folder), _camera_number(folder)
    files = pictures_in(folder / f"image_{number}")
    account.find("images", len(files))
    find_hidden([folder / f"image_{number}"], account)
    for other in CAMERAS:
        count = len(list_images(folder / f"image_{other}")) if other != number else 0
        account.find("images", count)
        account.leave("images", f"of another camera than image_{number}", f"image_{other}", count)
    scans = sum(file.suffix == ".bin" for file in (folder / "velodyne").glob("*"))
    account.find("depth", scans)
    account.leave("depth", "lidar scans, which are read of KITTI raw only", "velodyne", scans)
    K_33, T_camera_camera0 = read_calibration(folder / "calib.txt", number)
    if options.K_33 is not None:
        K_33 = options.K_33
    stems = [file.stem for file in files]
    stamps_ns, stamps_how = _read_stamps(folder / "times.txt", stems, options.rate_hz)
    poses, poses_how = _read_poses(folder, stems, account)
    camera_of = camera_of_K(K_33, files)
    frames = [
        SourceFrame(
            image_file=file,
            sequence=name,
            stamp_ns=stamp_ns,
            stem=file.stem,
            camera=camera_of(file),
            T_world_camera=None if T_world_camera0 is None else T_world_camera0 @ invert_pose(T_camera_camera0),
        )
        for file, stamp_ns, T_world_camera0 in zip(files, stamps_ns, poses, strict=True)
    ]
    notes = [f"Sequence {name}: images of camera {number}.", f"Sequence {name}: {stamps_how}"]
    notes.append(f"Sequence {name}: {poses_how}" if poses_how else f"Sequence {name} has no poses/{name}.txt.")
    return frames, notes


def read_calibration(path: Path, number: int) -> tuple[np.ndarray, np.ndarray]:
    """K (3, 3) of a rectified camera and the pose T_camera_camera0 (4, 4) that its baseline gives.

    calib.txt holds P = K [I | t] with t in metres. Raises InputError.
    """
    for line in read_text(path).splitlines():
        key, _, values = line.partition(":")
        if key.strip() != f"P{number}":
            continue
        try:
            P_34 = np.array([float(value) for value in values.split()]).reshape(3, 4)
            return split_projection(P_34)
        except (ValueError, np.linalg.LinAlgError):
            raise InputError(f"{path}: P{number} is not twelve numbers of a projection; mend the line") from None
    raise InputError(f"{path} has no P{number}; take the calib.txt of the odometry data set")


def _read_stamps(path: Path, stems: list[str], rate_hz: float | None) -> tuple[list[int], str]:
    """KITTI numbers its images from 0: the number of an image is its line."""
    if rate_hz is not None or not path.is_file():
        numbers = [own_number(stem) for stem in stems]
        counted = None not in numbers and len(set(numbers)) == len(numbers)
        indices = numbers if counted else range(len(stems))
        how = "the image's own number" if counted else "the order of the names"
        rate_hz = rate_hz or DEFAULT_RATE_HZ
        return [
            stamp_at(index, rate_hz) for index in indices
        ], f"the stamps are made up, {rate_hz:g} a second, by {how}."
    rows = read_numbers(path)
    pairing = pair_with_lines(stems, len(rows), path, first_number=0)
    stamps_ns = []
    for line in pairing.lines:
        if len(rows[line]) != 1 or not 0 <= rows[line][0] <= MAX_STAMP_S:
            raise InputError(f"{path}: {rows[line]} is no time in seconds of a recording; take its times.txt")
        stamps_ns.append(round(rows[line][0] * 1e9))
    return stamps_ns, pairing.how


def _read_poses(folder: Path, stems: list[str], account: Account) -> tuple[list[np.ndarray | None], str]:
    # A link may lie among its data set's sequences, or lead to one that does.
    homes = (Path(abspath(folder)), folder.resolve())
    beside = [base / "poses" / f"{home.name}.txt" for home in homes for base in home.parents[:2]]
    path = next((place for place in (folder / "poses.txt", *beside) if place.is_file()), None)
    if path is None:
        return [None] * len(stems), ""
    lines = read_lines(path)
    pairing = pair_with_lines(stems, len(lines), path, first_number=0, things="poses")
    poses = []
    for line in pairing.lines:
        number, words = lines[line]
        where = f"{path} line {number}"
        poses.append(taken_pose(lambda: pose_from_numbers(numbers_of(words, where), where), account, where))  # noqa: B023
    account.find("poses", len(lines) - len(pairing.lines))
    account.leave("poses", NO_IMAGE, f"of {path.name}", len(lines) - len(pairing.lines))
    return poses, pairing.how
