"""transforms.json of instant-ngp and nerfstudio: OpenGL camera axes, scale unknown."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from geo_perception.errors import InputError
from geo_perception.geometry import Camera
from geo_training.datasets.importers.source import (
    DEFAULT_RATE_HZ,
    IMAGE_SUFFIXES,
    DepthFile,
    ImportOptions,
    Source,
    SourceFrame,
    folder_name,
    natural_key,
    pose_from_numbers,
    shown_image_size,
    stamp_at,
)

# OpenGL's camera looks along -z with y up; ours along z with y down.
OPENCV_FROM_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
_SPLIT_FILES = {"transforms_train.json": "train", "transforms_val.json": "val", "transforms_test.json": "test"}
_SPLIT_LISTS = {"train_filenames": "train", "val_filenames": "val", "test_filenames": "test"}
DEFAULT_DEPTH_UNITS_PER_M = 1000.0


def matches(path: Path) -> bool:
    return bool(_files(path))


def read(path: Path, options: ImportOptions) -> Source:
    """The frames of transforms.json (or transforms_{train,val,test}.json); `path` is the file or its folder.

    Intrinsics stand with each frame or for all: fl_x, or camera_angle_x. Principal points are COLMAP's (the centre of
    the top-left pixel is (0.5, 0.5)) and are moved to ours. `applied_transform` and `applied_scale` say how the world
    was turned when the file was made; the world stays as the file has it. Images without a suffix are looked for.

    Raises InputError when the file is broken, or none of its images exists.
    """
    files = _files(path)
    if not files:
        raise InputError(f"{path} has no transforms.json; give its folder, or the file")
    entries, notes, listed = [], [], 0
    for file in files:
        content = _load(file)
        splits = {name: split for key, split in _SPLIT_LISTS.items() for name in content.get(key) or ()}
        for number, entry in enumerate(content["frames"]):
            where = f"{file} frame {number}"
            if not isinstance(entry, dict) or "file_path" not in entry or "transform_matrix" not in entry:
                raise InputError(f"{where} lacks file_path or transform_matrix; make the file again")
            listed += 1
            name = str(entry["file_path"])
            image_file = _find_image(file.parent, name)
            split = splits.get(name, _SPLIT_FILES.get(file.name, ""))
            if image_file is not None:
                entries.append((image_file, {**content, **entry}, split, where))
    if not entries:
        raise InputError(f"none of the {listed} images that {files[0]} lists exists; put them where file_path says")
    if len(entries) < listed:
        notes.append(f"transforms.json lists {listed} images, of which {len(entries)} exist; the others were left out.")
    entries.sort(key=lambda entry: natural_key(entry[0]))
    notes.append("The stamps are made up, in the order of the names.")
    names = _sequence_names([image_file for image_file, *_ in entries], folder_name(files[0].parent))
    frames, indices = [], dict.fromkeys(names.values(), 0)
    for image_file, fields, split, where in entries:
        sequence = names[image_file.parent]
        T_world_opengl = pose_from_numbers(_numbers(fields["transform_matrix"], where), where)
        frames.append(
            SourceFrame(
                image_file=image_file,
                sequence=sequence,
                stamp_ns=stamp_at(indices[sequence], options.rate_hz or DEFAULT_RATE_HZ),
                stem=image_file.stem,
                camera=camera_of(fields, image_file, options, where),
                T_world_camera=None if T_world_opengl is None else T_world_opengl @ OPENCV_FROM_OPENGL,
                depth=_depth(files[0].parent, fields, options),
                split=split,
            )
        )
        indices[sequence] += 1
    return Source(frames, scale="unknown", scale_source="transforms.json does not say its unit", notes=notes)


def camera_of(fields: dict, image_file: Path, options: ImportOptions, where: str) -> Camera | None:
    """The camera of one frame, from its own and the file's fields. None where they say no focal length.

    Raises InputError when a number is none, or a lens coefficient cannot be OpenCV's.
    """
    size = shown_image_size(image_file)
    if size is None:
        return None
    if options.K_33 is not None:
        return Camera.from_K(options.K_33, *size)
    try:
        width_px, height_px = (int(fields.get(key) or side) for key, side in zip("wh", size, strict=True))
        fx = float(fields["fl_x"]) if fields.get("fl_x") else _focal(fields, "camera_angle_x", width_px)
        fy = float(fields["fl_y"]) if fields.get("fl_y") else _focal(fields, "camera_angle_y", height_px)
        if fx is None and fy is None:
            return None
        fx, fy = fx or fy, fy or fx
        cx, cy = float(fields.get("cx", width_px / 2)) - 0.5, float(fields.get("cy", height_px / 2)) - 0.5
        k1, k2, k3, k4, p1, p2 = (float(fields.get(key) or 0) for key in ("k1", "k2", "k3", "k4", "p1", "p2"))
    except (TypeError, ValueError):
        raise InputError(f"{where}: an intrinsic (w, h, fl_x, cx, k1, ...) is not a number; mend it") from None
    K_33 = [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]
    if "FISHEYE" in str(fields.get("camera_model", "")).upper() or fields.get("is_fisheye"):
        return Camera.from_K(K_33, width_px, height_px, "equidistant", (k1, k2, k3, k4))
    if k4:
        raise InputError(
            f"{where}: k4 is {k4:g} in a perspective model, which OpenCV lacks; undistort the images first"
        )
    return Camera.from_K(K_33, width_px, height_px, "plumb_bob", (k1, k2, p1, p2, k3))


def _focal(fields: dict, key: str, side_px: int) -> float | None:
    angle_rad = fields.get(key)
    return side_px / 2 / float(np.tan(float(angle_rad) / 2)) if angle_rad else None


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if path.suffix.lower() == ".json" else []
    if (path / "transforms.json").is_file():
        return [path / "transforms.json"]
    return [path / name for name in _SPLIT_FILES if (path / name).is_file()]


def _load(file: Path) -> dict:
    try:
        content = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{file} is not JSON ({error}); make the file again") from None
    if not isinstance(content, dict) or not isinstance(content.get("frames"), list):
        raise InputError(f"{file} has no list of frames; make the file again")
    return content


def _numbers(rows, where: str) -> np.ndarray:
    try:
        return np.asarray(rows, np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{where}: transform_matrix is not a matrix of numbers; make the file again") from None


def _find_image(folder: Path, name: str) -> Path | None:
    path = folder / name
    if path.is_file():
        return path
    for suffix in sorted(IMAGE_SUFFIXES):
        for candidate in (path.with_name(path.name + suffix), path.with_name(path.name + suffix.upper())):
            if candidate.is_file():
                return candidate
    return None


def _sequence_names(files: list[Path], default: str) -> dict[Path, str]:
    """A sequence for each folder of images: named after the data set where there is one, else after the folder."""
    folders = list(dict.fromkeys(file.parent for file in files))
    if len(folders) == 1:
        return {folders[0]: default}
    names = {folder: folder_name(folder) for folder in folders}
    if len(set(names.values())) < len(folders):
        names = {folder: f"{folder_name(folder.parent)}_{name}" for folder, name in names.items()}
    return names


def _depth(folder: Path, fields: dict, options: ImportOptions) -> DepthFile | None:
    name = fields.get("depth_file_path")
    if not name or not str(name).lower().endswith(".png") or not (folder / str(name)).is_file():
        return None
    unit_m = float(fields.get("depth_unit_scale_factor") or 1 / DEFAULT_DEPTH_UNITS_PER_M)
    return DepthFile(folder / str(name), options.depth_units_per_m or 1 / unit_m)
