"""Completed depth beside a dataset's frames, as `geo-train fuse` writes it.

fused/fused.json                   how it was made, and its unit
fused/<sequence>/<frame>.png       depth along z, as depth/ has it, of every pixel
fused/<sequence>/<frame>.sigma.png 16 bits: the standard deviation of the logarithm, in ten-thousandths; 65535 unknown
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from geo_perception.errors import InputError
from geo_training.datasets.scene import Frame, SceneDataset
from geo_training.storage.images import SATURATED, find_depth, read_depth, read_raw, write_depth, write_image
from geo_training.storage.kept_json import read_kept_json

FOLDER, METADATA_FILE, SIGMA_SUFFIX = "fused", "fused.json", ".sigma.png"
METRES, MAP_UNITS = "m", "units of the map"
_STEPS = 10_000  # of a standard deviation of 1


def fused_path(root: Path, frame: Frame) -> Path:
    """Where a frame's completed depth is written, by `write_depth`."""
    return root / FOLDER / frame.name


def fused_metadata(root: Path) -> dict | None:
    """fused.json; None where the dataset has no completed depth."""
    return read_kept_json(root / FOLDER / METADATA_FILE)


def fused_files(root: Path, frame: Frame) -> list[Path]:
    """The files of a frame's completed depth and of its deviation; empty where either is missing."""
    path = fused_path(root, frame)
    depth_path, sigma_path = find_depth(path), _sigma_path(path)
    return [depth_path, sigma_path] if depth_path is not None and sigma_path.is_file() else []


def write_fused(root: Path, frame: Frame, depth_hw: np.ndarray, sigma_hw: np.ndarray | None) -> None:
    """Writes completed depth (H, W), NaN where unknown, and the standard deviation of its logarithm; None: unknown."""
    path = fused_path(root, frame)
    sigma_hw = np.full(depth_hw.shape, np.nan) if sigma_hw is None else sigma_hw
    steps_hw = np.where(np.isfinite(sigma_hw), np.clip(np.rint(sigma_hw * _STEPS), 0, SATURATED - 1), SATURATED)
    write_depth(path, depth_hw)
    write_image(_sigma_path(path), steps_hw.astype(np.uint16))


def load_fused(root: Path, frame: Frame) -> tuple[np.ndarray, np.ndarray] | None:
    """Completed depth (H, W) float32, 0 where unknown, in the unit that fused.json says, and the standard deviation
    (H, W) of its logarithm, NaN where that is unknown; None where the frame has none. Raises InputError for a file that
    is damaged."""
    files = fused_files(root, frame)
    if not files:
        return None
    depth_hw, steps_hw = read_depth(files[0]), read_raw(files[1])
    if steps_hw.shape != depth_hw.shape:
        raise InputError(f"{files[1]} is not of its depth's size; run `geo-train fuse --overwrite`")
    return depth_hw, np.where(steps_hw < SATURATED, steps_hw.astype(np.float32) / _STEPS, np.nan)


def completed_depth(dataset: SceneDataset, frame: Frame, max_sigma: float) -> np.ndarray | None:
    """Measured depth of a frame, (H, W), and where that has holes the completed one whose standard deviation is at most
    `max_sigma`; 0 elsewhere. None where the frame has neither. In metres, or, of a dataset without measured depth, in
    the unit that fused.json says."""
    measured_hw, fused = dataset.depth_m(frame), load_fused(dataset.root, frame)
    if fused is None:
        return measured_hw
    depth_hw, sigma_hw = fused
    with np.errstate(invalid="ignore"):
        sure_hw = np.where(sigma_hw <= max_sigma, depth_hw, np.float32(0))
    if measured_hw is None:
        return sure_hw
    if (fused_metadata(dataset.root) or {}).get("unit") != METRES:
        return measured_hw
    return np.where(measured_hw > 0, measured_hw, sure_hw)


def _sigma_path(path: Path) -> Path:
    return path.with_suffix(SIGMA_SUFFIX)
