"""7-Scenes: seq-XX/frame-XXXXXX.{color.png,depth.png,pose.txt}, with TrainSplit.txt and TestSplit.txt."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from geo_perception.errors import InputError
from geo_perception.geometry import Camera
from geo_training.datasets.importers.source import (
    DepthFile,
    ImportOptions,
    Source,
    SourceFrame,
    natural_key,
    pose_from_numbers,
    read_numbers,
    shown_image_size,
    stamp_at,
)

# The data set names this K for its Kinect; it is that of the depth camera, whose poses the files hold.
K_33 = np.array([[585.0, 0, 320], [0, 585, 240], [0, 0, 1]])
SIZE_PX = 640, 480
RATE_HZ = 30.0
DEPTH_UNITS_PER_M = 1000.0
UNKNOWN_DEPTHS = 0, 65535


def matches(path: Path) -> bool:
    return any(path.glob("seq-*/frame-*.color.png")) or any(path.glob("frame-*.color.png"))


def read(path: Path, options: ImportOptions) -> Source:
    """The sequences of a scene, or one sequence. Stamps are 30 a second by the number of the frame, `rate_hz` else.

    Raises InputError when there is no frame, or a pose is broken.
    """
    folders = sorted(path.glob("seq-*"), key=lambda folder: natural_key(folder.name)) or [path]
    splits = {number: split for split in ("test", "train") for number in _split_numbers(path, split)}
    camera = Camera.from_K(K_33 if options.K_33 is None else options.K_33, *SIZE_PX)
    frames, without_pose = [], 0
    for folder in folders:
        split = splits.get(_last_number(folder.name), "")
        for file in sorted(folder.glob("frame-*.color.png")):
            stem = file.name.removesuffix(".color.png")
            pose_file, depth_file = (folder / f"{stem}{end}" for end in (".pose.txt", ".depth.png"))
            rows = read_numbers(pose_file) if pose_file.is_file() else []
            T_world_camera = pose_from_numbers(np.concatenate(rows), str(pose_file)) if rows else None
            without_pose += T_world_camera is None
            frames.append(
                SourceFrame(
                    image_file=file,
                    sequence=folder.resolve().name,
                    stamp_ns=stamp_at(_last_number(stem), options.rate_hz or RATE_HZ),
                    stem=stem,
                    camera=_at_size(camera, file) if options.K_33 is not None else camera,
                    T_world_camera=T_world_camera,
                    depth=DepthFile(depth_file, options.depth_units_per_m or DEPTH_UNITS_PER_M, UNKNOWN_DEPTHS)
                    if depth_file.is_file()
                    else None,
                    split=split,
                )
            )
    if not frames:
        raise InputError(f"{path} holds no seq-XX/frame-XXXXXX.color.png; unpack the sequences of the scene first")
    notes = [
        "The poses and K are those of the depth camera (585 px); the colour camera sits a few centimetres beside it "
        "and its images are not registered to the depth, so colour and depth agree only roughly."
    ]
    if without_pose:
        notes.append(f"{without_pose} frames have no pose.")
    return Source(frames, scale="metric", scale_source="KinectFusion poses of 7-Scenes, in metres", notes=notes)


def _at_size(camera: Camera, file: Path) -> Camera:
    size = shown_image_size(file)
    return Camera.from_K(camera.K, *size) if size else camera


def _split_numbers(path: Path, split: str) -> list[int]:
    """The sequences named in TrainSplit.txt or TestSplit.txt, one `sequenceN` a line; they may lie a folder above."""
    name = f"{split.capitalize()}Split.txt"
    file = next((folder / name for folder in (path, path.parent) if (folder / name).is_file()), None)
    if file is None:
        return []
    return [_last_number(line) for line in file.read_text().split() if re.search(r"\d", line)]


def _last_number(text: str) -> int:
    numbers = re.findall(r"\d+", text)
    return int(numbers[-1]) if numbers else 0
