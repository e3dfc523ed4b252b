"""What depth is measured on: images with true depth, true poses, or both, out of a dataset or of a sample folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import yaml

from geo_perception.errors import InputError
from geo_perception.geometry import Camera
from geo_training.console import warn
from geo_training.datasets.importers.source import list_images
from geo_training.datasets.scene import Frame, SceneDataset
from geo_training.datasets.splits import frames_of_split
from geo_training.evaluation.predictions import Seen
from geo_training.storage.images import read_raw, read_rgb

ANNOTATIONS, TUM_TRUTH, TUM_CAMERA = "test_annotations.json", "ground_truth.json", "camera_intrinsics.yaml"
# A drive's typical pixel is farther than a room's; lidar, which leaves most pixels unknown, is rarely in a room.
_FAR_M, _FAR_LIDAR_M, _LIDAR_SHARE = 10.0, 6.0, 0.4
_LOOKED_AT = 9


@dataclass(frozen=True)
class DepthQuery:
    """One image. `camera` is a pinhole of the image's size. Depth is along z in metres, float32 (H, W), 0 unknown.

    `load_depth_m` is None where there is no true depth; `load_instances` gives object ids (H, W), 0 for none. A
    sequence's frames come in order of time.
    """

    name: str
    camera: Camera
    load_image: Callable[[], np.ndarray] = field(repr=False, compare=False)
    load_depth_m: Callable[[], np.ndarray] | None = field(default=None, repr=False, compare=False)
    load_instances: Callable[[], np.ndarray] | None = field(default=None, repr=False, compare=False)
    T_world_camera: np.ndarray | None = field(default=None, repr=False, compare=False)
    sequence: str = ""
    stamp_s: float = 0.0
    image_path: Path | None = field(default=None, compare=False)

    @property
    def seen(self) -> Seen:
        # Whether there are truths says which images are looked at; sequence and stamp, which are a path.
        truths = self.load_depth_m is not None, self.T_world_camera is not None
        return Seen(self.name, self.image_path, (asdict(self.camera), *truths, self.sequence, self.stamp_s))


def find_queries(folder: str | Path, split: str | None = None) -> tuple[list[DepthQuery], str]:
    """The queries of a folder, and in words what they are.

    A dataset (`split` is train, val, test, all or None: test where any frame has it, else all), a folder with
    test_annotations.json, or a TUM sample folder. Raises InputError when it is none of them, or a file of it is
    missing or wrong.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give a dataset, or a folder with {ANNOTATIONS}")
    if (folder / "dataset.json").is_file():
        dataset = SceneDataset(folder)
        frames, label = frames_of_split(dataset, split)
        return dataset_queries(dataset, frames), f"{folder} ({label})"
    if split is not None:
        raise InputError(f"{folder} is not a dataset, so it has no splits; leave out --split")
    if (folder / ANNOTATIONS).is_file():
        return annotated_queries(folder), str(folder)
    if (folder / TUM_TRUTH).is_file():
        return tum_queries(folder), str(folder)
    raise InputError(
        f"{folder} holds no dataset.json, {ANNOTATIONS} or {TUM_TRUTH}; make a dataset of it with `geo-train dataset "
        "import`"
    )


def dataset_queries(dataset: SceneDataset, frames: Sequence[Frame]) -> list[DepthQuery]:
    """Frames of a dataset, in order; those without true depth too."""
    metric = dataset.info.scale == "metric"
    queries = []
    for frame in frames:
        mask_path = (dataset.root / "masks" / frame.name).with_suffix(".png")
        queries.append(
            DepthQuery(
                frame.name,
                dataset.camera(frame),
                partial(dataset.image, frame),
                partial(dataset.depth_m, frame) if dataset.has_depth(frame) else None,
                partial(_read_png, mask_path) if mask_path.is_file() else None,
                frame.T_world_camera if metric else None,
                frame.sequence,
                frame.stamp_s,
                dataset.image_path(frame),
            )
        )
    return queries


def annotated_queries(folder: Path) -> list[DepthQuery]:
    """The images of test_annotations.json: `files`, each with `cam_in` (fx, fy, cx, cy in pixels), `rgb`, `depth` and
    `depth_scale` (stored values per metre).

    Its paths start somewhere else; what counts is the file's name, below rgb/ and depth/ beside the JSON. All entries
    are taken; images of rgb/ without one are warned of. Raises InputError, also for two entries of one name.
    """
    path = folder / ANNOTATIONS
    content = _read_json(path)
    queries: list[DepthQuery] = []
    for number, entry in enumerate(_entries(content, path)):
        try:
            image_path = folder / "rgb" / Path(str(entry["rgb"])).name
            depth_path = folder / "depth" / Path(str(entry["depth"])).name
            numbers = [float(value) for value in entry["cam_in"]]
            per_metre = float(entry["depth_scale"])
            fx_px, fy_px, cx_px, cy_px = numbers
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{path}: entry {number} is not as it should be ({error!r}); it needs rgb, depth, cam_in (fx, fy, cx, "
                "cy) and depth_scale"
            ) from None
        if any(query.image_path == image_path for query in queries):
            raise InputError(f"{path}: two entries are of an image {image_path.name}; give each its own name")
        height_px, width_px = read_rgb(image_path).shape[:2]
        camera = Camera(width_px, height_px, fx_px, fy_px, cx_px, cy_px)
        queries.append(_file_query(folder, image_path, depth_path, camera, 1 / _positive(per_metre, path)))
    if unnamed := len(list_images(folder / "rgb")) - len(queries):
        warn(f"{unnamed} images of {folder / 'rgb'} have no entry in {ANNOTATIONS}, and are not measured")
    return queries


def tum_queries(folder: Path) -> list[DepthQuery]:
    """The TUM sample: ground_truth.json (by number: rgb, depth, and the 4x4 transformation T_world_camera) and
    camera_intrinsics.yaml (3x3 intrinsics, depth_scale in metres per stored value). In the order of their numbers."""
    path, camera_path = folder / TUM_TRUTH, folder / TUM_CAMERA
    try:
        settings = yaml.safe_load(camera_path.read_text())
        K_33 = np.array(settings["intrinsics"], np.float64).reshape(3, 3)
        unit_m = _positive(float(settings["depth_scale"]), camera_path)
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{camera_path} cannot be used ({why}); it needs intrinsics (3x3) and depth_scale") from None
    content = _read_json(path)
    queries = []
    for name in sorted(content, key=lambda name: (len(name), name)):
        try:
            entry = content[name]
            image_path, depth_path = folder / entry["rgb"], folder / entry["depth"]
            T_world_camera = np.array(entry["transformation"], np.float64).reshape(4, 4)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{path}: entry {name} is not as it should be ({error!r}); it needs rgb, depth and transformation"
            ) from None
        height_px, width_px = read_rgb(image_path).shape[:2]
        camera = Camera.from_K(K_33, width_px, height_px)
        queries.append(_file_query(folder, image_path, depth_path, camera, unit_m, T_world_camera, float(len(queries))))
    return queries


def guess_preset(queries: Sequence[DepthQuery]) -> str:
    """`kitti` where the typical true depth, the median over images of their medians, is beyond 10 m, or beyond 6 m
    where most pixels are unknown, as lidar leaves them; else `indoor`. Windows that show the garden make no drive of a
    room."""
    deep = [query for query in queries if query.load_depth_m is not None]
    chosen = np.linspace(0, len(deep) - 1, min(_LOOKED_AT, len(deep))).round().astype(int)
    maps = [deep[index].load_depth_m() for index in chosen]
    looked_at = [(float(np.median(depth_hw[depth_hw > 0])), float((depth_hw > 0).mean()))
                 for depth_hw in maps if (depth_hw > 0).any()]  # fmt: skip
    if not looked_at:
        return "indoor"
    depth_m, known = np.median(looked_at, axis=0)
    return "kitti" if depth_m > (_FAR_LIDAR_M if known < _LIDAR_SHARE else _FAR_M) else "indoor"


def _file_query(folder, image_path, depth_path, camera, unit_m, T_world_camera=None, stamp_s=0.0) -> DepthQuery:
    load_depth = partial(_scaled_depth, depth_path, unit_m)
    if not depth_path.is_file():
        raise InputError(f"{depth_path} does not exist; put the depth images below depth/")
    load_image, sequence = partial(read_rgb, image_path), folder.resolve().name
    return DepthQuery(
        image_path.name, camera, load_image, load_depth, None, T_world_camera, sequence, stamp_s, image_path
    )


def _scaled_depth(path: Path, unit_m: float) -> np.ndarray:
    return _read_png(path).astype(np.float32) * np.float32(unit_m)


def _read_png(path: Path) -> np.ndarray:
    values_hw = read_raw(path)
    if values_hw.ndim != 2:
        raise InputError(f"{path} cannot be read as an image of one channel; put the right file there")
    return values_hw


def _read_json(path: Path) -> dict:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON: {error}; mend it") from None
    if not isinstance(content, dict) or not content:
        raise InputError(f"{path} must hold an object with entries; mend it")
    return content


def _entries(content: dict, path: Path) -> list:
    files = content.get("files")
    if not isinstance(files, list) or not files:
        raise InputError(f"{path} has no list 'files' with an entry for each image; mend it")
    return files


def _positive(value: float, path: Path) -> float:
    if not (np.isfinite(value) and value > 0):
        raise InputError(f"{path}: depth_scale {value:g} must be positive; mend it")
    return value
