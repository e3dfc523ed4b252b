"""A plain folder: images, and beside them what is known: K.txt, poses.txt, depth/."""

from __future__ import annotations

from pathlib import Path

from geo_perception.errors import InputError
from geo_perception.geometry import Camera
from geo_training.datasets.importers.source import (
    DEFAULT_RATE_HZ,
    DepthFile,
    ImportOptions,
    Source,
    SourceFrame,
    folder_name,
    list_images,
    natural_key,
    pose_from_numbers,
    read_K,
    read_numbers,
    shown_image_size,
    stamp_at,
)

IMAGE_FOLDERS = ("images", "image", "rgb", "color", "colour", "grey", "gray", "image_0", "image_2")
DEFAULT_DEPTH_UNITS_PER_M = 1000.0


def matches(path: Path) -> bool:
    return bool(_image_folders(path))


def read(path: Path, options: ImportOptions) -> Source:
    """Images in the folder or in one of its subfolders (images, rgb, grey, ...); K.txt with the nine numbers of K;
    poses.txt with a line for each image in the order of their names, 12 or 16 numbers, camera in world in metres;
    depth/ with a PNG for each image (millimetres unless `depth_units_per_m` says otherwise).

    Folders below images/ become sequences. Without K.txt the focal length is a guess. Images have no clock: the stamps
    count up at `rate_hz` (10 unless given). Raises InputError when there is no image, or poses.txt does not fit.
    """
    folders = _image_folders(path)
    files = [file for _, files in folders for file in files]
    if not files:
        raise InputError(f"{path} holds no images, nor do its folders {', '.join(IMAGE_FOLDERS[:6])}; check the path")
    K_33 = options.K_33
    if K_33 is None and (path / "K.txt").is_file():
        K_33 = read_K(path / "K.txt")
    poses = _read_poses(path / "poses.txt", len(files))
    notes = [
        f"The stamps are made up: {options.rate_hz or DEFAULT_RATE_HZ:g} images a second in the order of their names."
    ]
    frames, depths, number = [], _depth_files(path), 0
    for sequence, sequence_files in folders:
        for index, file in enumerate(sequence_files):
            size = shown_image_size(file) if K_33 is not None else None
            frames.append(
                SourceFrame(
                    image_file=file,
                    sequence=sequence,
                    stamp_ns=stamp_at(index, options.rate_hz or DEFAULT_RATE_HZ),
                    stem=file.stem,
                    camera=Camera.from_K(K_33, *size) if size else None,
                    T_world_camera=poses[number],
                    depth=_depth_of(file, len(folders) > 1 and sequence, depths, options),
                )
            )
            number += 1
    posed = sum(pose is not None for pose in poses)
    if posed < len(poses) and posed:
        notes.append(f"{len(poses) - posed} lines of poses.txt hold no pose; their frames have none.")
    if not posed:
        return Source(frames, notes=notes)
    return Source(frames, scale="metric", scale_source="poses.txt, which is in metres", notes=notes)


def _image_folders(path: Path) -> list[tuple[str, list[Path]]]:
    """Sequence name and images: the folder itself, else its first known subfolder, else that one's subfolders."""
    for folder in (path, *(path / name for name in IMAGE_FOLDERS)):
        if files := list_images(folder):
            return [(folder_name(path), files)]
    for folder in (path / name for name in IMAGE_FOLDERS if (path / name).is_dir()):
        below = sorted((sub for sub in folder.iterdir() if sub.is_dir()), key=lambda sub: natural_key(sub.name))
        if found := [(folder_name(sub), files) for sub in below if (files := list_images(sub))]:
            return found
    return []


def _read_poses(path: Path, count: int) -> list:
    if not path.is_file():
        return [None] * count
    rows = read_numbers(path)
    if len(rows) != count:
        raise InputError(f"{path} has {len(rows)} lines for {count} images; it needs one line for each, by name")
    return [pose_from_numbers(row, f"{path} line {line}") for line, row in enumerate(rows, start=1)]


def _depth_files(path: Path) -> dict[str, Path]:
    folder = path / "depth"
    if not folder.is_dir():
        return {}
    return {str(file.relative_to(folder).with_suffix("")): file for file in folder.rglob("*.png")}


def _depth_of(file: Path, sequence: str | bool, depths: dict[str, Path], options: ImportOptions) -> DepthFile | None:
    depth = depths.get(f"{sequence}/{file.stem}" if sequence else file.stem)
    return depth and DepthFile(depth, options.depth_units_per_m or DEFAULT_DEPTH_UNITS_PER_M)
