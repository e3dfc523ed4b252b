"""One dataset of all recordings of a place, whatever they are: those that map it, and one that is held out (test)."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from geo_training.console import say
from geo_training.datasets.importers import ImportOptions, import_dataset
from geo_training.datasets.merge import merge_datasets
from geo_training.datasets.recordings.bags import is_recording
from geo_training.datasets.recordings.from_bag import BagOptions, dataset_from_bags
from geo_training.datasets.recordings.pose_options import PoseOptions
from geo_training.datasets.scene import SceneDataset, is_dataset
from geo_training.datasets.splits import sequence_split
from geo_training.fleet.manifest import DatasetOptions


def make_place_dataset(mapped: Sequence[Path], held_out: Path, out: Path, options: DatasetOptions) -> dict:
    """Writes the dataset `out`; the sequences of `held_out` are test, all others train. Returns counts.

    Recordings are bags, datasets of ours, or what `dataset import` reads. Raises InputError as reading them does, and
    when one of them cannot go together with the others.
    """
    paths = [*mapped, held_out]
    bag_options = BagOptions(
        options.image, options.camera_info, PoseOptions(topic=options.pose), rectified=options.rectified
    )
    if options.fps is not None:
        bag_options = replace(bag_options, fps=options.fps)
    if all(map(is_recording, paths)):
        tested = dataset_from_bags(paths, out, bag_options, overwrite=True)["recordings"][-1]
    else:
        tested = _merged(paths, out, options, bag_options)
    dataset = SceneDataset(out)
    dataset.save_frames(sequence_split(dataset.frames, tested))
    counts = {split: len(dataset.of_split(split)) for split in ("train", "test")}
    posed = sum(frame.T_world_camera is not None for frame in dataset.frames)
    say(f"{out.name}: {counts['train']} frames to map with, {counts['test']} held out, {posed} with a pose")
    return {"frames": len(dataset), **counts, "posed_frames": posed, "scale": dataset.info.scale}


def _merged(paths: Sequence[Path], out: Path, options: DatasetOptions, bag_options: BagOptions) -> list[str]:
    """Makes a dataset of each recording, and one of all. Returns the sequences of the last."""
    parts_folder = out.with_name(f"{out.name}.parts")
    shutil.rmtree(parts_folder, ignore_errors=True)
    try:
        parts = []
        for number, path in enumerate(paths):
            part = parts_folder / str(number) / path.name
            if is_dataset(path):
                part = path
            elif is_recording(path):
                dataset_from_bags([path], part, bag_options)
            else:
                import_dataset(path, part, options.format, ImportOptions(fps=options.fps or None))
            parts.append(SceneDataset(part))
        return merge_datasets(parts, [path.name for path in paths], out, overwrite=True)[-1]
    finally:
        shutil.rmtree(parts_folder, ignore_errors=True)
