"""Dense depth up to a factor, to complete with: by a network, or from a folder of depth images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geo_perception.depth.estimator import reference_weights
from geo_perception.depth.onnx_estimator import load_depth_estimator
from geo_perception.errors import InputError
from geo_training.datasets.importers.depth_files import DEPTH_SUFFIXES, DepthFile
from geo_training.datasets.scene import Frame, SceneDataset
from geo_training.metrics.depth import resize_depth
from geo_training.storage.fingerprints import digest_of, digest_of_files, file_digest

REFERENCE = "reference"


@dataclass(frozen=True)
class RelativeSource:
    """`depth_of(frame, image_hw3)` gives depth up to a factor, float32 (H, W) of the image, NaN where unknown; None
    where there is none. `checksum` tells sources apart."""

    source: str
    checksum: str
    depth_of: Callable[[Frame, np.ndarray], np.ndarray | None]


def find_relative_depth(
    dataset: SceneDataset, name: str, inverse: bool = False, device: str = "auto"
) -> RelativeSource:
    """`reference` (the package's weights), a weights file, an ONNX file or a folder of transformers
    (geo_perception/depth), or a folder of depth images `<sequence>/<frame>.png` (.tiff, .exr, .npy), of inverse depth
    where `inverse`.

    Raises InputError when it cannot be used, or the folder has no image of any frame.
    """
    path = reference_weights() if name == REFERENCE else Path(name)
    if path.is_dir() and _paths(dataset, path):
        return _folder_source(dataset, path, inverse)
    if inverse:
        raise InputError("--inverse is for a folder of depth images; what a network gives is said by its card")
    if path.is_dir() and not (path / "config.json").is_file():
        raise InputError(f"{path} has no depth image of any frame; name them <sequence>/<frame>.png as the images")
    estimator = load_depth_estimator(path, device)

    def estimated(frame: Frame, image_hw3: np.ndarray) -> np.ndarray | None:
        result = estimator.estimate(image_hw3, dataset.camera(frame))
        if not result.estimated or result.depth_hw is None:
            return None
        return resize_depth(result.depth_hw, *image_hw3.shape[:2])

    files = [path] if path.is_file() else sorted(one for one in path.iterdir() if one.is_file())
    checksum = digest_of([file_digest(one) for one in files])
    return RelativeSource("the reference weights" if name == REFERENCE else str(path), checksum, estimated)


def _folder_source(dataset: SceneDataset, folder: Path, inverse: bool) -> RelativeSource:
    paths = _paths(dataset, folder)

    def read(frame: Frame, image_hw3: np.ndarray) -> np.ndarray | None:
        if frame.name not in paths:
            return None
        try:
            values_hw = DepthFile(paths[frame.name], 1.0, unknown=(0,)).load_m()
        except InputError as error:
            raise InputError(f"{paths[frame.name]}: {error}; put a depth image there") from None
        with np.errstate(divide="ignore"):
            depth_hw = np.where(values_hw > 0, 1 / values_hw if inverse else values_hw, np.nan)
        return resize_depth(depth_hw, *image_hw3.shape[:2])

    kind = "inverse depth" if inverse else "depth"
    return RelativeSource(f"images of {kind} in {folder}", digest_of_files(paths.values()) + kind, read)


def _paths(dataset: SceneDataset, folder: Path) -> dict[str, Path]:
    """The depth image of each frame that has one."""
    found = {}
    for frame in dataset.frames:
        places = ((folder / frame.name).with_suffix(suffix) for suffix in DEPTH_SUFFIXES)
        path = next((place for place in places if place.is_file()), None)
        if path is not None:
            found[frame.name] = path
    return found
