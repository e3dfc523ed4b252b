"""Fifty phone photographs of unknown scale: mapped by COLMAP from nothing, each fifth one queried."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from geo_training.datasets.splits import every_nth_split
from geo_training.experiments.bench import Benchmark, BenchOptions, BenchResult, StageCache
from geo_training.experiments.benches import localization_pipeline as pipeline

EACH = 5
LANDMARKS = 600


def run(data_root: Path, stages: StageCache, options: BenchOptions) -> BenchResult:
    """All photographs are mapped together, so that the map's own poses are the truth; each fifth is kept from the
    landmarks and from training. Errors are in percent of the median distance from the cameras to the landmarks."""
    root = pipeline.import_stage(stages, data_root / "fox", "transforms")
    counts = pipeline.split_stage(stages, root, lambda frames: every_nth_split(frames, EACH))
    mapped = pipeline.map_stage(stages, root, "none", all_frames=True)
    result = pipeline.measure_scene(
        stages, root, options, {"each": EACH, **counts}, LANDMARKS, "Localization around the fox", truth="map"
    )
    more = {
        "images_registered": mapped["registered"],
        "map_s": mapped["wall_s"],
        "scene_depth": result.evaluation.length_unit.scene_depth,
    }
    return replace(result, metrics=result.metrics | more)


BENCHMARK = Benchmark(
    name="localization-fox",
    summary="fifty phone photographs, mapped from nothing, each fifth localized; lengths in percent of scene depth",
    data=("fox",),
    needs="fox/ (images/, transforms.json)",
    duration="10 minutes on 2 cores, less with a GPU",
    metrics=(
        "recall_1pct_5deg",
        "recall_2pct_5deg",
        "second_look_recall_1pct_5deg",
        "second_look_median_pct",
        "instant_recall_1pct_5deg",
        "instant_s",
        "median_pct",
        "median_deg",
        "frames_missed",
        "images_registered",
        "map_s",
        "train_s",
        "frame_ms_p50",
        "frame_ms_p99",
        "scene_bytes",
        "coverage_90",
    ),
    run=run,
)
