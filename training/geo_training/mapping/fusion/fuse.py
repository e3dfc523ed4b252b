"""Completing the depth of a dataset: what `geo-train fuse` does."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from geo_perception.errors import InputError
from geo_training.console import progress_bar
from geo_training.datasets import fused
from geo_training.datasets.scene import Frame, SceneDataset
from geo_training.mapping.fusion.known_depth import KnownDepth, at_image_size
from geo_training.mapping.fusion.measure import FusionFrame
from geo_training.mapping.fusion.methods import find_method
from geo_training.mapping.fusion.relative_depth import RelativeSource
from geo_training.mapping.fusion.surfaces import TooLittleDepthError
from geo_training.storage.fingerprints import digest_of
from geo_training.storage.kept_json import write_kept_json

_FUSION_VERSION = 1  # of what is written; files of another are made again with --overwrite
_HOLE_SOURCES = 30


@dataclass(frozen=True)
class FusionCounts:
    """What `fuse_dataset` did. `left_out` frames have no known or no relative depth, or too little of them; `share` is
    that of the pixels that known depth covers, `seconds` what completing an image took, each in the mean."""

    frames: int
    fused: int
    kept: int
    left_out: int
    share: float
    seconds: float


def fusion_frame(
    dataset: SceneDataset, frame: Frame, known: KnownDepth, relative: RelativeSource
) -> FusionFrame | None:
    """A frame as the methods take it; None where it has no known or no relative depth."""
    known_hw = known.depth_of(frame)
    if known_hw is None or not (known_hw > 0).any():
        return None
    camera = dataset.camera(frame)
    known_hw = at_image_size(known_hw, camera.width_px, camera.height_px, frame.name)
    image_hw3 = dataset.image(frame)
    relative_hw = relative.depth_of(frame, image_hw3)
    return None if relative_hw is None else FusionFrame(frame.name, image_hw3, known_hw, relative_hw)


def holes_of(frames: Sequence[Frame], known: KnownDepth) -> list[np.ndarray]:
    """Where some of the frames have no depth, (H, W) bool each, to hide like it."""
    chosen = frames[:: max(1, len(frames) // _HOLE_SOURCES)]
    maps = (known.depth_of(frame) for frame in chosen)
    return [depth_hw <= 0 for depth_hw in maps if depth_hw is not None]


def check_fused(
    dataset: SceneDataset, known: KnownDepth, relative: RelativeSource, method: str, overwrite: bool
) -> dict:  # fmt: skip
    """What fused.json will say. Raises InputError when fused/ was made otherwise and `overwrite` is not set, or holds
    what is not ours."""
    made = {
        "version": _FUSION_VERSION,
        "method": method,
        "known": known.source,
        "known_kind": known.kind,
        "relative": relative.source,
        "checksum": digest_of(relative.checksum),
        "unit": known.unit,
    }
    folder, before = dataset.root / fused.FOLDER, fused.fused_metadata(dataset.root)
    if before is None and folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"{folder} holds files that this command did not write; move the folder away")
    if before not in (None, made) and not overwrite:
        raise InputError(
            f"{folder} was made with {before.get('method')} from {before.get('known')} and {before.get('relative')}; "
            "pass --overwrite to make it again"
        )
    return made


def fuse_dataset(
    dataset: SceneDataset, frames: Sequence[Frame], known: KnownDepth, relative: RelativeSource, method: str,
    overwrite: bool = False,
) -> FusionCounts:  # fmt: skip
    """Completes the depth of the frames into fused/ (datasets/fused.py). Frames that are done are kept: interrupted,
    the same call goes on.

    Raises InputError when fused/ was made otherwise and `overwrite` is not set, or no frame could be completed.
    """
    way = find_method(method)
    made = check_fused(dataset, known, relative, method, overwrite)
    folder = dataset.root / fused.FOLDER
    if overwrite and fused.fused_metadata(dataset.root) is not None:
        shutil.rmtree(folder)
    count = {"fused": 0, "kept": 0, "left_out": 0}
    shares, seconds = [], []
    with progress_bar("completed depth", len(frames)) as advance:
        for frame in frames:
            if fused.fused_files(dataset.root, frame):
                count["kept"] += 1
                advance()
                continue
            one = fusion_frame(dataset, frame, known, relative)
            try:
                completion = None if one is None else way(one.known_hw, one.relative_hw, one.image_hw3)
            except TooLittleDepthError:
                completion = None
            if one is None or completion is None:
                count["left_out"] += 1
                advance(note=f"{frame.name}: nothing to complete from")
                continue
            if not (folder / fused.METADATA_FILE).is_file():
                write_kept_json(folder / fused.METADATA_FILE, made)
            fused.write_fused(dataset.root, frame, completion.depth_hw, completion.sigma_hw)
            count["fused"] += 1
            shares.append(float((one.known_hw > 0).mean()))
            seconds.append(completion.seconds)
            advance(note=frame.name)
    if not count["fused"] + count["kept"]:
        raise InputError(f"no frame of {dataset.root} has enough of {known.source} to complete; check the map or depth")
    return FusionCounts(len(frames), **count, share=_mean(shares), seconds=_mean(seconds))


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else float("nan")
