"""transforms.json of instant-ngp and nerfstudio: OpenGL camera axes, scale unknown."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geo_perception.errors import InputError
from geo_perception.geometry import Camera
from geo_training.datasets.importers import lenses
from geo_training.datasets.importers.account import IGNORED_PIXELS, Account
from geo_training.datasets.importers.depth_files import DEPTH_SUFFIXES, DepthFile
from geo_training.datasets.importers.pairing import unique_names
from geo_training.datasets.importers.source import (
    DEFAULT_RATE_HZ,
    ImportOptions,
    Source,
    SourceFrame,
    folder_name,
    pose_from_numbers,
    read_text,
    size_of,
    stamp_at,
    taken_pose,
)
from geo_training.datasets.pictures import IMAGE_SUFFIXES
from geo_training.storage.names import natural_key

# OpenGL's camera looks along -z with y up; ours along z with y down.
OPENCV_FROM_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
_SPLIT_FILES = {"transforms_train.json": "train", "transforms_val.json": "val", "transforms_test.json": "test"}
_SPLIT_LISTS = {"train_filenames": "train", "val_filenames": "val", "test_filenames": "test"}
DEFAULT_DEPTH_UNITS_PER_M = 1000.0
GONE = "that do not exist"


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
    account, notes, entries, seen = Account(), set(), [], set()
    for file in files:
        entries += _entries(file, account, seen)
    listed = account.found["images"]
    if not entries:
        raise InputError(f"none of the {listed} images that {files[0]} lists exists; put them where file_path says")
    entries.sort(key=lambda entry: natural_key(entry.image_file))
    names = _sequence_names([entry.image_file for entry in entries], folder_name(files[0].parent))
    frames, indices = [], dict.fromkeys(names.values(), 0)
    for entry in entries:
        sequence = names[entry.image_file.parent]
        frames.append(
            SourceFrame(
                image_file=entry.image_file,
                sequence=sequence,
                stamp_ns=stamp_at(indices[sequence], options.rate_hz or DEFAULT_RATE_HZ),
                stem=entry.image_file.stem,
                camera=camera_of(entry.fields, entry.image_file, options, entry.where, notes),
                T_world_camera=_pose(entry, account),
                depth=_depth(entry, options, account),
                split=entry.split,
            )
        )
        indices[sequence] += 1
        if entry.fields.get("mask_path"):
            account.find("masks")
            account.leave("masks", IGNORED_PIXELS, entry.fields["mask_path"])
    gone = account.left("images", GONE)
    pairing = [f"transforms.json lists {listed} images, of which {listed - gone} exist."] if gone else []
    pairing.append(
        "Poses, depth and intrinsics stand with each image; the stamps are made up, in the order of the names."
    )
    scale_source = "transforms.json does not say its unit"
    return Source(frames, account, scale="unknown", scale_source=scale_source, notes=[*pairing, *sorted(notes)])


def camera_of(
    fields: dict, image_file: Path, options: ImportOptions, where: str, notes: set[str] | None = None
) -> Camera | None:
    """The camera of one frame, from its own and the file's fields. None where they say no focal length.

    Where no w and h say which of the two an image with an orientation mark is meant, the principal point does. Raises
    InputError when a number is none, or the lens is not known.
    """
    K_33 = options.K_33
    if K_33 is None and all(type(fields.get(key)) in (int, float) for key in ("cx", "cy")):
        K_33 = np.array([[1, 0, fields["cx"] - 0.5], [0, 1, fields["cy"] - 0.5], [0, 0, 1]])
    size = size_of(image_file, K_33)
    if size is None:
        return None
    if options.K_33 is not None:
        return Camera.from_K(options.K_33, *size)
    return lenses.camera_of(fields, size, where, set() if notes is None else notes)


@dataclass(frozen=True)
class _Entry:
    """One frame of a file, its fields before those of the file."""

    image_file: Path
    folder: Path
    fields: dict
    split: str
    where: str


def _entries(file: Path, account: Account, seen: set[Path]) -> list[_Entry]:
    """The listed frames whose image exists, each image once; the account says what became of the others."""
    content = _load(file)
    splits = {}
    for key, split in _SPLIT_LISTS.items():
        names = content.get(key) or []
        if not isinstance(names, list):
            raise InputError(f"{file}: {key} is no list of names; mend it")
        splits.update({str(name): split for name in names})
    entries = []
    account.find("images", len(content["frames"]))
    for number, fields in enumerate(content["frames"]):
        where = f"{file} frame {number}"
        if not isinstance(fields, dict) or not isinstance(fields.get("file_path"), str):
            if not any(isinstance(other, dict) and other.get("file_path") for other in content["frames"]):
                raise InputError(f"{where} lacks file_path or transform_matrix; make the file again")
            account.leave("images", "without a file_path", where)
            continue
        name = fields["file_path"]
        image_file = _find_image(file.parent, name)
        if image_file is None:
            account.leave("images", GONE, name)
        elif image_file.resolve() in seen:
            account.leave("images", "listed again", name)
        else:
            seen.add(image_file.resolve())
            split = splits.get(name, _SPLIT_FILES.get(file.name, ""))
            common = {key: value for key, value in content.items() if key != "frames"}
            entries.append(_Entry(image_file, file.parent, {**common, **fields}, split, where))
    return entries


def _pose(entry: _Entry, account: Account) -> np.ndarray | None:
    if "transform_matrix" not in entry.fields:
        account.find("poses")
        account.leave_pose(InputError(f"{entry.where} lacks file_path or transform_matrix; make the file again"))
        return None
    matrix = entry.fields["transform_matrix"]
    T_world_opengl = taken_pose(lambda: pose_from_numbers(matrix, entry.where), account, entry.where)
    return None if T_world_opengl is None else T_world_opengl @ OPENCV_FROM_OPENGL


def _depth(entry: _Entry, options: ImportOptions, account: Account) -> DepthFile | None:
    name = entry.fields.get("depth_file_path")
    if not name and entry.fields.get("depth_path"):
        account.find("depth")
        account.leave("depth", "of a depth_path, whose unit is not known", entry.fields["depth_path"])
    if not name:
        return None
    account.find("depth")
    path = _find_image(entry.folder, str(name))
    if path is None:
        account.leave("depth", GONE, name)
        return None
    if path.suffix.lower() not in DEPTH_SUFFIXES:
        account.leave("depth", f"not one of {', '.join(DEPTH_SUFFIXES)}", name)
        return None
    unit_m = entry.fields.get("depth_unit_scale_factor")
    if unit_m is None:
        return options.depth_file(path, DEFAULT_DEPTH_UNITS_PER_M, "assumed: millimetres")
    if isinstance(unit_m, bool) or not isinstance(unit_m, (int, float)) or not 0 < unit_m < np.inf:
        raise InputError(f"{entry.where}: depth_unit_scale_factor is {unit_m!r}; give the metres of one unit")
    return options.depth_file(path, 1 / unit_m, "depth_unit_scale_factor")


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if path.suffix.lower() == ".json" else []
    if (path / "transforms.json").is_file():
        return [path / "transforms.json"]
    return [path / name for name in _SPLIT_FILES if (path / name).is_file()]


def _load(file: Path) -> dict:
    try:
        content = json.loads(read_text(file))
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{file} is not JSON ({error}); make the file again") from None
    if not isinstance(content, dict) or not isinstance(content.get("frames"), list):
        raise InputError(f"{file} has no list of frames; make the file again")
    return content


def _find_image(folder: Path, name: str) -> Path | None:
    try:
        return _image_at(folder, name)
    except (OSError, ValueError):  # no name that a file can have
        return None


def _image_at(folder: Path, name: str) -> Path | None:
    path = folder / name
    if not path.is_file() and "\\" in name:  # written on Windows
        path = folder / name.replace("\\", "/")
    if path.is_file():
        return path
    if not path.name:
        return None
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
    names = [folder_name(folder) for folder in folders]
    if len(set(names)) < len(folders):
        names = [f"{folder_name(folder.parent)}_{name}" for folder, name in zip(folders, names, strict=True)]
    return dict(zip(folders, unique_names(names), strict=True))
