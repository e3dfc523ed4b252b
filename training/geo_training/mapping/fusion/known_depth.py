"""Where depth with holes comes from: COLMAP's dense depth maps, the points of its map, or a depth camera."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from geo_perception.errors import InputError
from geo_perception.geometry import invert_pose
from geo_training.datasets.fused import MAP_UNITS, METRES
from geo_training.datasets.scene import Frame, SceneDataset
from geo_training.mapping.scene_map import SceneMap

AUTO, DENSE, SPARSE, MEASURED = "auto", "dense", "sparse", "measured"
SOURCES = (AUTO, DENSE, SPARSE, MEASURED)
DENSE_FOLDERS = ("colmap/dense", "dense")
# COLMAP's maps that two views agree on are better than those of one ("geometric", paper section 3.1).
_DENSE_KINDS = ("geometric", "photometric")
_MAX_ERROR_PX = 2.0  # of a map point, over its track
_MIN_VIEWS = 3
_ASPECT_SHARE = 0.02


@dataclass(frozen=True)
class KnownDepth:
    """`depth_of(frame)` gives depth along z, float32 (H, W) of the frame's size, 0 where unknown, or None. `unit` is
    metres or that of the map; `source` in words."""

    kind: str
    source: str
    unit: str
    depth_of: Callable[[Frame], np.ndarray | None]


def find_known_depth(dataset: SceneDataset, kind: str = AUTO, dense: Path | None = None) -> KnownDepth:
    """The depth of a dataset to complete. `auto` takes the dense maps of COLMAP where there are any, else measured
    depth, else the points of the map. `dense` is COLMAP's dense workspace.

    Raises InputError when there is none of the kind that is asked for.
    """
    if kind not in SOURCES:
        raise InputError(f"there is no depth '{kind}' to complete; choose {', '.join(SOURCES)}")
    folders = [dense] if dense is not None else [dataset.root / name for name in DENSE_FOLDERS]
    workspace = next((folder for folder in folders if (folder / "stereo" / "depth_maps").is_dir()), None)
    if kind == DENSE or dense is not None or (kind == AUTO and workspace is not None):
        if workspace is None:
            raise InputError(
                f"{folders[0]} is no dense workspace of COLMAP: it has no stereo/depth_maps; make one with "
                "--patch-match, or name it with --dense"
            )
        return KnownDepth(DENSE, f"COLMAP's dense depth maps in {workspace}", _map_unit(dataset), DenseDepth(workspace))
    measured = any(dataset.has_depth(frame) for frame in dataset.frames)
    if kind == MEASURED or (kind == AUTO and measured):
        if not measured:
            raise InputError(f"{dataset.root} has no measured depth; choose another of {', '.join(SOURCES)}")
        return KnownDepth(MEASURED, "measured depth", METRES, dataset.depth_m)
    return KnownDepth(
        SPARSE, "the points of COLMAP's map", _map_unit(dataset), SparseDepth(SceneMap.load(dataset.root))
    )


def make_dense(dataset: SceneDataset, workspace: Path) -> None:
    """Dense depth maps by COLMAP's patch match stereo (Schoenberger et al. 2016) in `workspace`.

    Raises InputError where pycolmap was built without CUDA, or there is no map.
    """
    import pycolmap

    if not pycolmap.has_cuda:
        raise InputError(
            "this pycolmap was built without CUDA, which dense depth needs; run `colmap patch_match_stereo` elsewhere "
            "and name its workspace with --dense"
        )
    model = dataset.root / "colmap"
    SceneMap.load(dataset.root)  # says what is missing
    pycolmap.undistort_images(workspace, model, dataset.root / "images")
    pycolmap.patch_match_stereo(workspace)


def read_colmap_depth(path: Path) -> np.ndarray:
    """One of COLMAP's depth maps, float32 (H, W), 0 where unknown: `width&height&1&`, then float32 row by row. Raises
    InputError for another file."""
    content = path.read_bytes()
    parts = content.split(b"&", 3)
    try:
        width, height, channels = (int(part) for part in parts[:3])
        depth_hw = np.frombuffer(parts[3], "<f4").reshape(height, width)
    except (ValueError, IndexError):
        raise InputError(f"{path} is no depth map of COLMAP; make it again") from None
    if channels != 1:
        raise InputError(f"{path} has {channels} channels, a depth map has one; name the folder of the depth maps")
    return np.where(np.isfinite(depth_hw) & (depth_hw > 0), depth_hw, np.float32(0)).astype(np.float32)


class DenseDepth:
    """Depth maps of a dense workspace, by the name of the image."""

    def __init__(self, workspace: Path):
        self._folder = workspace / "stereo" / "depth_maps"

    def __call__(self, frame: Frame) -> np.ndarray | None:
        paths = (self._folder / f"{frame.name}.{kind}.bin" for kind in _DENSE_KINDS)
        path = next((path for path in paths if path.is_file()), None)
        return None if path is None else read_colmap_depth(path)


class SparseDepth:
    """The points of a map that a frame saw, at its pixels."""

    def __init__(self, scene: SceneMap):
        self._scene = scene
        self._frame_of = {name: index for index, name in enumerate(scene.frame_names)}
        views_n = np.bincount(scene.tracks.point_m, minlength=len(scene.points_world_n3))
        self._good_n = (scene.error_px_n <= _MAX_ERROR_PX) & (views_n >= _MIN_VIEWS)

    def __call__(self, frame: Frame) -> np.ndarray | None:
        index = self._frame_of.get(frame.name)
        if index is None:
            return None
        scene, camera = self._scene, self._scene.cameras[frame.name]
        rows = (scene.tracks.frame_m == index) & self._good_n[scene.tracks.point_m]
        T_camera_world = invert_pose(scene.T_world_camera[frame.name])
        points_m3 = scene.points_world_n3[scene.tracks.point_m[rows]]
        depth_m = points_m3 @ T_camera_world[2, :3] + T_camera_world[2, 3]
        depth_hw = np.zeros((camera.height_px, camera.width_px), np.float32)
        x_m, y_m = np.rint(scene.tracks.pixels_m2[rows]).astype(int).T
        inside_m = (x_m >= 0) & (x_m < camera.width_px) & (y_m >= 0) & (y_m < camera.height_px) & (depth_m > 0)
        # Of two points at one pixel the nearer hides the other.
        order = np.argsort(-depth_m[inside_m])
        depth_hw[y_m[inside_m][order], x_m[inside_m][order]] = depth_m[inside_m][order]
        return depth_hw


def at_image_size(depth_hw: np.ndarray, width_px: int, height_px: int, path_label: str) -> np.ndarray:
    """Known depth at its image's size: each pixel that of the nearest. Raises InputError for another shape."""
    height, width = depth_hw.shape
    if (height, width) == (height_px, width_px):
        return depth_hw
    if abs(width * height_px / (height * width_px) - 1) > _ASPECT_SHARE:
        raise InputError(
            f"depth of {path_label} is {width} x {height}, its image {width_px} x {height_px}: another shape; make the "
            "depth from the dataset's own images"
        )
    return cv2.resize(depth_hw, (width_px, height_px), interpolation=cv2.INTER_NEAREST)


def _map_unit(dataset: SceneDataset) -> str:
    return METRES if SceneMap.load(dataset.root).metric else MAP_UNITS
