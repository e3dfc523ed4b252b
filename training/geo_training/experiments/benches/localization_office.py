"""A real office, one walk: mapped with known poses, queried in later blocks, beside SIFT + PnP on the same map."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from geo_training.datasets.splits import time_block_split
from geo_training.experiments.bench import Benchmark, BenchOptions, BenchResult, StageCache
from geo_training.experiments.benches import localization_pipeline as pipeline

FIRST_SHARE, BLOCK_FRAMES = 0.7, 10
LANDMARKS = 1200


def run(data_root: Path, stages: StageCache, options: BenchOptions) -> BenchResult:
    """The first 70 % of the walk by time and every other 10-frame block of the rest map it; the other blocks query."""
    root = pipeline.import_stage(stages, data_root / "office", "images")
    counts = pipeline.split_stage(stages, root, lambda frames: time_block_split(frames, FIRST_SHARE, BLOCK_FRAMES))
    mapped = pipeline.map_stage(stages, root, "known")
    split = {"first_share": FIRST_SHARE, "block_frames": BLOCK_FRAMES, **counts}
    result = pipeline.measure_scene(stages, root, options, split, LANDMARKS, "Localization in the office")
    result = pipeline.beside_sift(result, root, options)
    more = {
        "map_s": mapped["wall_s"],
        "map_to_scene_s": result.metrics["landmarks_s"] + result.metrics["train_s"],
    }
    return replace(result, metrics=result.metrics | more)


BENCHMARK = Benchmark(
    name="localization-office",
    summary="one walk through a real office, mapped with known poses, later blocks localized; SIFT + PnP beside it",
    data=("office",),
    needs="office/ (rgb/, K.txt, poses.txt)",
    duration="12 minutes on 2 cores, less with a GPU",
    metrics=(*pipeline.METRICS, "recall_10cm_5deg", "frames_missed", "map_s", "frame_ms_p99"),
    run=run,
)
