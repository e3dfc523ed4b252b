"""The one dataset layout. Every importer writes it (scene_writer.py), everything else reads it with `SceneDataset`.

dataset.json                      where it came from, axes, scale and how it is known, gravity
cameras.json                      intrinsics by camera id; images are stored without lens distortion
frames.csv                        image, sequence, stamp_ns, split, camera
poses.csv                         image, tx ty tz qx qy qz qw  (T_world_camera, optional)
images/<sequence>/<frame>.jpg
depth/<sequence>/<frame>.png      uint16 millimetres, or .tiff: float32 metres where those would lose something; 0 is
                                  unknown (optional)
colmap/                           a COLMAP model, once `geo-train map` has run
"""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from geo_perception.errors import InputError
from geo_perception.geometry import Camera, pose_from_quaternion, pose_to_quaternion
from geo_perception.runtime.files import replace_text
from geo_training.storage.folders import FolderKind
from geo_training.storage.images import find_depth, read_depth, read_rgb

FORMAT_VERSION = 1
SPLITS = ("train", "val", "test", "")
FRAME_COLUMNS = ("image", "sequence", "stamp_ns", "split", "camera")
POSE_COLUMNS = ("image", "tx", "ty", "tz", "qx", "qy", "qz", "qw")
PRODUCER = "geo_training"


class DatasetInfo(BaseModel):
    """dataset.json. `scale` says whether distances are metres; `scale_source` how that is known."""

    model_config = ConfigDict(extra="forbid")

    format_version: int = FORMAT_VERSION
    producer: str = PRODUCER
    sources: list[str] = []
    axes: str = "camera optical frame: x right, y down, z forward; poses are T_world_camera"
    scale: Literal["metric", "unknown"] = "unknown"
    scale_source: str = "no poses were given"
    gravity_world: tuple[float, float, float] | None = None  # unit vector that points down
    world_frame: str = "map"
    notes: list[str] = []  # what an importer left out or changed, one sentence each


@dataclass(frozen=True)
class Frame:
    """One image. `name` is `<sequence>/<file>` below images/, unique in the dataset."""

    name: str
    sequence: str
    stamp_ns: int
    camera_id: str
    split: str = ""
    T_world_camera: np.ndarray | None = None

    @property
    def stamp_s(self) -> float:
        return self.stamp_ns * 1e-9


class SceneDataset:
    """A dataset on disk, read. Frames come in the order of frames.csv: by sequence, then by stamp.

    Raises InputError when a file is missing, or holds what it should not.
    """

    def __init__(self, root: str | Path):
        self.root = Path(root)
        if not (self.root / "dataset.json").is_file():
            raise InputError(
                f"{self.root} is not a dataset: it has no dataset.json; make one with `geo-train dataset from-bag` or "
                "`geo-train dataset import`"
            )
        try:
            self.info = DatasetInfo.model_validate_json((self.root / "dataset.json").read_bytes())
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"])) or "the file"
            raise InputError(f"{self.root / 'dataset.json'}: {key}: {first['msg']}; make the dataset again") from None
        if self.info.format_version != FORMAT_VERSION:
            raise InputError(
                f"{self.root} has dataset format {self.info.format_version}, this version reads {FORMAT_VERSION}; make "
                "it again"
            )
        self.cameras = _read_cameras(self.root / "cameras.json")
        self.frames = _read_frames(self.root, set(self.cameras))

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def sequences(self) -> list[str]:
        return list(dict.fromkeys(frame.sequence for frame in self.frames))

    def of_split(self, split: str) -> list[Frame]:
        return [frame for frame in self.frames if frame.split == split]

    def camera(self, frame: Frame) -> Camera:
        return self.cameras[frame.camera_id]

    def image_path(self, frame: Frame) -> Path:
        return self.root / "images" / frame.name

    def image(self, frame: Frame) -> np.ndarray:
        """The frame as RGB uint8 (H, W, 3)."""
        return read_rgb(self.image_path(frame))

    def depth_m(self, frame: Frame) -> np.ndarray | None:
        """Depth along z in metres, float32 (H, W), 0 where unknown; None where the frame has none.

        Raises InputError when it cannot be read, or is not of the image's size.
        """
        path = find_depth(self._depth_path(frame))
        if path is None:
            return None
        depth_hw, camera = read_depth(path), self.camera(frame)
        if depth_hw.shape != (camera.height_px, camera.width_px):
            raise InputError(
                f"{path} is {depth_hw.shape[1]} x {depth_hw.shape[0]}, its image {camera.width_px} x "
                f"{camera.height_px}; import the depth again"
            )
        return depth_hw

    def has_depth(self, frame: Frame) -> bool:
        return find_depth(self._depth_path(frame)) is not None

    def _depth_path(self, frame: Frame) -> Path:
        return self.root / "depth" / frame.name

    def save_frames(self, frames: list[Frame]) -> None:
        """Writes frames.csv and poses.csv again (new splits, new poses)."""
        write_frames(self.root, frames)
        self.frames = frames


def camera_to_dict(camera: Camera) -> dict:
    """A camera as it stands in cameras.json."""
    fields = {"width": camera.width_px, "height": camera.height_px, "fx": camera.fx_px, "fy": camera.fy_px}
    fields |= {"cx": camera.cx_px, "cy": camera.cy_px, "model": camera.model}
    return fields | ({"distortion": list(camera.distortion)} if camera.distortion else {})


def camera_from_dict(fields: dict) -> Camera:
    """The inverse of `camera_to_dict`. Raises KeyError or InputError."""
    numbers = [float(fields[key]) for key in ("fx", "fy", "cx", "cy")]
    model, distortion = fields.get("model", "pinhole"), tuple(fields.get("distortion", ()))
    return Camera(int(fields["width"]), int(fields["height"]), *numbers, model, distortion)


def camera_is_known(root: str | Path, camera_id: str) -> bool:
    """Whether the intrinsics were given; False for a guess."""
    return bool(json.loads((Path(root) / "cameras.json").read_text())[camera_id].get("known", True))


def recorded_lens(root: str | Path, camera_id: str) -> tuple[Camera | None, bool]:
    """The lens that the images of a camera were taken with, where it is known to be no pinhole, and whether they came
    without its distortion (rectified) rather than being undistorted by an import."""
    fields = json.loads((Path(root) / "cameras.json").read_text())[camera_id]
    recorded = camera_from_dict(fields["recorded"]) if "recorded" in fields else None
    return recorded, bool(fields.get("rectified", False))


def write_cameras(root: Path, cameras: dict[str, Camera], notes: dict[str, dict]) -> None:
    content = {camera_id: camera_to_dict(camera) | notes.get(camera_id, {}) for camera_id, camera in cameras.items()}
    replace_text(root / "cameras.json", json.dumps(content, indent=2) + "\n")


def write_frames(root: Path, frames: list[Frame]) -> None:
    """frames.csv, and poses.csv where a frame has a pose."""
    frames = sorted(frames, key=lambda frame: (frame.sequence, frame.stamp_ns, frame.name))
    rows = [(f.name, f.sequence, f.stamp_ns, f.split, f.camera_id) for f in frames]
    _write_csv(root / "frames.csv", FRAME_COLUMNS, rows)
    poses = [
        (f.name, *np.concatenate(pose_to_quaternion(f.T_world_camera))) for f in frames if f.T_world_camera is not None
    ]
    if poses:
        _write_csv(root / "poses.csv", POSE_COLUMNS, [(name, *(f"{v:.9g}" for v in values)) for name, *values in poses])
    else:
        (root / "poses.csv").unlink(missing_ok=True)


def is_dataset(folder: Path) -> bool:
    """Whether a folder holds a dataset that our commands wrote."""
    try:
        content = json.loads((folder / "dataset.json").read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("producer") == PRODUCER


# All that our commands put into a dataset: what is made with it, mapped from it, and remembered beside it.
DATASET = FolderKind(
    "dataset",
    is_dataset,
    ("dataset.json", "cameras.json", "frames.csv", "poses.csv", "images", "depth", "fused", "masks", "boundaries",
     "colmap", "map.json", "landmarks.*", "image_motion.csv", ".*"),
)  # fmt: skip


def stays_inside(name: str) -> bool:
    """Whether a frame's name leads to a file below the folders of a dataset, and nowhere else."""
    path = PurePosixPath(name)
    return len(path.parts) > 1 and not path.is_absolute() and ".." not in path.parts


def _write_csv(path: Path, columns: tuple[str, ...], rows: list[tuple]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    replace_text(path, text.getvalue())


def _read_csv(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        missing = set(columns) - set(reader.fieldnames or ())
        if missing:
            raise InputError(f"{path} lacks the column {', '.join(sorted(missing))}; it needs {','.join(columns)}")
        return list(reader)


def _read_cameras(path: Path) -> dict[str, Camera]:
    try:
        return {camera_id: camera_from_dict(fields) for camera_id, fields in json.loads(path.read_text()).items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} cannot be used: {error or type(error).__name__}; make the dataset again") from None


def _read_frames(root: Path, camera_ids: set[str]) -> list[Frame]:
    if not (root / "frames.csv").is_file():
        raise InputError(f"{root} has no frames.csv; make the dataset again")
    frames, names = [], set()
    for line, row in enumerate(_read_csv(root / "frames.csv", FRAME_COLUMNS), start=2):
        try:
            frame = Frame(row["image"], row["sequence"], int(row["stamp_ns"]), row["camera"], row["split"])
        except (ValueError, TypeError):
            raise InputError(f"{root / 'frames.csv'} line {line} is not a frame; make the dataset again") from None
        if not stays_inside(frame.name):
            raise InputError(
                f"{root / 'frames.csv'} line {line} names {frame.name}, outside the dataset; mend the line"
            )
        if frame.camera_id not in camera_ids or frame.split not in SPLITS:
            what = f"camera '{frame.camera_id}'" if frame.camera_id not in camera_ids else f"split '{frame.split}'"
            raise InputError(f"{root / 'frames.csv'} line {line} names the {what}, which does not exist; mend the line")
        if frame.name in names:
            raise InputError(f"{root / 'frames.csv'} line {line} names {frame.name} again; remove one of the lines")
        names.add(frame.name)
        frames.append(frame)
    if not (root / "poses.csv").is_file():
        return frames
    poses = {}
    for line, row in enumerate(_read_csv(root / "poses.csv", POSE_COLUMNS), start=2):
        try:
            values = [float(row[column]) for column in POSE_COLUMNS[1:]]
            poses[row["image"]] = pose_from_quaternion(values[:3], values[3:])
        except (ValueError, TypeError) as error:
            raise InputError(f"{root / 'poses.csv'} line {line}: {error}") from None
    return [replace(frame, T_world_camera=poses.get(frame.name)) for frame in frames]
