"""What the depth benchmarks share: data in, how many training steps fit into the time, what a flat map would score."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geo_perception.depth.result import DepthVerdict, RelativeDepth
from geo_perception.errors import InputError
from geo_perception.geometry import Camera
from geo_training.datasets.importers import import_dataset
from geo_training.datasets.scene import Frame, SceneDataset
from geo_training.datasets.splits import tail_split
from geo_training.depth import fit
from geo_training.depth.config import DepthTrainingConfig
from geo_training.experiments.bench import StageCache

PACE_FOLDER = "pace"  # of the run's: trainings of a few steps
FEWEST_STEPS = 4  # however short the time
_PROBE_STEPS, _PROBE_S = 2, 1.0
_MAX_PROBE_STEPS = 1000


@dataclass(frozen=True)
class Pace:
    """How long a training takes: seconds for each step, and seconds besides, for reading, preparing and writing.
    `measured_s` is what it took to find out."""

    step_s: float
    fixed_s: float
    measured_s: float = 0.0


def import_stage(stages: StageCache, source: Path, split: Callable[[list[Frame]], list[Frame]]) -> tuple[Path, dict]:
    """The data set as a dataset below the work folder, its frames as `split` has them; and what was done."""
    out = stages.folder / source.name

    def make() -> dict:
        imported = import_dataset(source, out, "images", overwrite=True)
        dataset = SceneDataset(out)
        dataset.save_frames(split(dataset.frames))
        counts = {name: len(dataset.of_split(name)) for name in ("train", "test")}
        return {"notes": imported.get("notes", []), **counts}

    return out, stages.stage(f"import {source.name}", make)


def first_and_last(frames: list[Frame], first: int, last: int) -> list[Frame]:
    """The first frames by time are `train`, the last `test`, those between `val`. Raises InputError where there are
    fewer than both together."""
    count = len(frames)
    if count < first + last:
        raise InputError(f"there are {count} frames, but {first} to learn from and {last} to measure on are needed")
    return tail_split(frames, val=(count - first - last) / count, test=last / count)


def pace_stage(stages: StageCache, name: str, config: DepthTrainingConfig) -> Pace:
    """The pace of a training with this config on this machine, from a few of its steps."""
    found = stages.stage(f"pace of {name}", lambda: measure_pace(config, stages.folder / PACE_FOLDER / name))
    return pace_of(found)


def pace_of(stage: dict) -> Pace:
    """That which a stage that calls `measure_pace` found."""
    return Pace(stage["step_s"], stage["fixed_s"], stage["wall_s"])


def metrics_of(stage: dict) -> dict:
    """What a stage found, without the time that it took."""
    return {key: value for key, value in stage.items() if key != "wall_s"}


def steps_within(seconds: float, pace: Pace) -> int:
    """The steps of one training that fit into the seconds; FEWEST_STEPS where there is no time."""
    return max(FEWEST_STEPS, math.floor((seconds - pace.fixed_s) / pace.step_s))


class FlatDepth:
    """Says that all is equally far away: what an estimator that learned nothing scores."""

    def estimate(self, image_hw3: np.ndarray, camera: Camera | None) -> RelativeDepth:
        depth_hw = np.ones(image_hw3.shape[:2], np.float32)
        return RelativeDepth(DepthVerdict.ESTIMATED, camera=camera, depth_hw=depth_hw)


def measure_pace(config: DepthTrainingConfig, folder: Path) -> dict:
    """Two short trainings: what the longer takes more is of its steps alone. More steps where they are too fast to be
    timed."""
    few = _PROBE_STEPS
    shutil.rmtree(folder, ignore_errors=True)  # a probe that was cut would go on, and seem faster than it is
    while True:
        walls, trains = [], []
        for steps in (few, 3 * few):
            probe = config.model_copy(update={"steps": steps, "evaluations": 1})
            started_s = time.perf_counter()
            result = fit.fit_depth(probe, folder / f"steps_{steps}.safetensors")
            walls.append(time.perf_counter() - started_s)
            trains.append(result.metrics["train_s"])
        more_s = trains[1] - trains[0]
        if more_s >= _PROBE_S or few >= _MAX_PROBE_STEPS:
            step_s = max(more_s / (2 * few), 1e-4)
            return {"step_s": step_s, "fixed_s": max(walls[1] - 3 * few * step_s, 0.0), "steps": 3 * few}
        few *= 5
