"""All rooms of a house: mapped on two walks and on one alone, queried on another in other light, beside SIFT."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from geo_training.datasets.scene import Frame
from geo_training.datasets.splits import every_nth_split
from geo_training.experiments.bench import Benchmark, BenchOptions, BenchResult, StageCache
from geo_training.experiments.benches import localization_pipeline as pipeline

PAIR, ALONE, QUERIED = ("walk_a", "walk_c"), ("walk_a",), "walk_b"
EACH = 2
LANDMARKS = 1200


def run(data_root: Path, stages: StageCache, options: BenchOptions) -> BenchResult:
    """Mapped with known poses on two walks, and again on one of them (`alone_` before its metrics): every second frame
    of a third walk is asked of both maps."""
    pair = _measure(stages, data_root / "house", options, PAIR)
    alone = _measure(stages.part("alone"), data_root / "house", options, ALONE)
    metrics = pair.metrics | pipeline.prefixed("alone", alone.metrics)
    return replace(pair, metrics=metrics, config=pair.config | {"alone": alone.config})


def _measure(stages: StageCache, source: Path, options: BenchOptions, mapped: tuple[str, ...]) -> BenchResult:
    root = pipeline.import_stage(stages, source, "images", (*mapped, QUERIED))
    counts = pipeline.split_stage(stages, root, _split)
    mapping = pipeline.map_stage(stages, root, "known")
    split = {"mapped": mapped, "queried": QUERIED, "each": EACH, **counts}
    title = f"Localization in the house, mapped on {' and '.join(mapped)}"
    result = pipeline.measure_scene(stages, root, options, split, LANDMARKS, title)
    result = pipeline.beside_sift(result, root, options)
    return replace(result, metrics=result.metrics | {"map_s": mapping["wall_s"]})


def _split(frames: Iterable[Frame]) -> list[Frame]:
    """Each second frame of the walk that is queried is `test`, the others of it `val`: nothing is learned from them."""
    frames = list(frames)
    queried = every_nth_split([frame for frame in frames if frame.sequence == QUERIED], EACH)
    split_of = {frame.name: "test" if frame.split == "test" else "val" for frame in queried}
    return [replace(frame, split=split_of.get(frame.name, "train")) for frame in frames]


BENCHMARK = Benchmark(
    name="localization-house",
    summary="all rooms of a house, mapped on two walks and on one alone, another walk in other light localized; beside "
    "SIFT + PnP",
    data=("house",),
    needs="house/ (walk_a/, walk_b/, walk_c/ with rgb/, K.txt, poses.txt)",
    duration="40 minutes on 2 cores, less with a GPU",
    metrics=(*pipeline.METRICS, *(f"alone_{name}" for name in pipeline.METRICS)),
    run=run,
)
