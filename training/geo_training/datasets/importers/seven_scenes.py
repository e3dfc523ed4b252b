"""7-Scenes: seq-XX/frame-XXXXXX.{color.png,depth.png,pose.txt}, with TrainSplit.txt and TestSplit.txt."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from geo_perception.errors import InputError
from geo_perception.geometry import Camera
from geo_training.datasets.importers.account import NO_IMAGE, Account
from geo_training.datasets.importers.pairing import own_number
from geo_training.datasets.importers.source import (
    ImportOptions,
    Source,
    SourceFrame,
    camera_of_K,
    own_name,
    pose_from_numbers,
    read_numbers,
    read_text,
    stamp_at,
    taken_pose,
)
from geo_training.storage.names import natural_key

# The data set names this K for its Kinect; it is that of the depth camera, whose poses the files hold.
K_33 = np.array([[585.0, 0, 320], [0, 585, 240], [0, 0, 1]])
SIZE_PX = 640, 480
RATE_HZ = 30.0
DEPTH_UNITS_PER_M = 1000.0
_IMAGE_END = ".color.png"


def matches(path: Path) -> bool:
    return any(path.glob("seq-*/frame-*.color.png")) or any(path.glob("frame-*.color.png"))


def read(path: Path, options: ImportOptions) -> Source:
    """The sequences of a scene, or one sequence. Stamps are 30 a second by the number of the frame, `rate_hz` else.

    A broken pose costs its frame the pose. Raises InputError when there is no frame, or all poses are broken.
    """
    folders = sorted(path.glob("seq-*"), key=lambda folder: natural_key(folder.name)) or [path]
    splits = {number: split for split in ("test", "train") for number in _split_numbers(path, split)}
    camera = Camera.from_K(K_33, *SIZE_PX)
    camera_of = camera_of_K(options.K_33, [file for folder in folders for file in folder.glob(f"frame-*{_IMAGE_END}")])
    account, frames, without_pose = Account(), [], 0
    for folder in folders:
        split = splits.get(_last_number(folder.name), "")
        files = sorted(folder.glob(f"frame-*{_IMAGE_END}"))
        _count(folder, {file.name.removesuffix(_IMAGE_END) for file in files}, account)
        for file in files:
            stem = file.name.removesuffix(_IMAGE_END)
            pose_file, depth_file = (folder / f"{stem}{end}" for end in (".pose.txt", ".depth.png"))
            T_world_camera = None
            if pose_file.is_file():
                T_world_camera = taken_pose(lambda: read_pose(pose_file), account, pose_file.name)  # noqa: B023
            without_pose += T_world_camera is None
            frames.append(
                SourceFrame(
                    image_file=file,
                    sequence=own_name(folder),
                    stamp_ns=stamp_at(_last_number(stem), options.rate_hz or RATE_HZ),
                    stem=stem,
                    camera=camera_of(file) if options.K_33 is not None else camera,
                    T_world_camera=T_world_camera,
                    depth=options.depth_file(depth_file, DEPTH_UNITS_PER_M, "millimetres, as 7-Scenes defines it")
                    if depth_file.is_file()
                    else None,
                    split=split,
                )
            )
    if not frames:
        raise InputError(f"{path} holds no seq-XX/frame-XXXXXX.color.png; unpack the sequences of the scene first")
    notes = [
        "The poses and K are those of the depth camera (585 px); the colour camera sits a few centimetres beside it "
        "and its images are not registered to the depth, so colour and depth agree only roughly.",
        "Poses and depth are paired by the frame's name, stamps by its number.",
    ]
    if without_pose:
        notes.append(f"{without_pose} frames have no pose.")
    return Source(
        frames, account, scale="metric", scale_source="KinectFusion poses of 7-Scenes, in metres", notes=notes
    )


def read_pose(path: Path) -> np.ndarray | None:
    """The pose of a file of its own. None where tracking was lost. Raises InputError."""
    rows = read_numbers(path)
    return pose_from_numbers(np.concatenate(rows) if rows else [], str(path))


def _count(folder: Path, stems: set[str], account: Account) -> None:
    """Counts what there is; depth and poses without an image of their name are left out. Poses are counted as they are
    read."""
    account.find("images", len(stems))
    for ending, kind in ((".depth.png", "depth"), (".pose.txt", "poses")):
        others = [path.name for path in sorted(folder.glob(f"frame-*{ending}"))]
        orphans = [name for name in others if name.removesuffix(ending) not in stems]
        account.find(kind, len(orphans) if kind == "poses" else len(others))
        account.leave(kind, NO_IMAGE, orphans[0] if orphans else "", len(orphans))
    hidden = [path.name for path in sorted(folder.glob(f".*{_IMAGE_END}"))]
    account.find("images", len(hidden))
    account.leave("images", "hidden", hidden[0] if hidden else "", len(hidden))


def _split_numbers(path: Path, split: str) -> list[int]:
    """The sequences named in TrainSplit.txt or TestSplit.txt, one `sequenceN` a line; they may lie a folder above."""
    name = f"{split.capitalize()}Split.txt"
    file = next((folder / name for folder in (path, path.parent) if (folder / name).is_file()), None)
    if file is None:
        return []
    return [_last_number(line) for line in read_text(file).split() if re.search(r"\d", line)]


def _last_number(text: str) -> int:
    return own_number(text) or 0
