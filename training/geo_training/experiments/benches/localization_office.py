"""A real office, one walk: mapped with known poses, queried in later blocks, beside SIFT + PnP on the same map."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from geo_training.datasets.scene import SceneDataset
from geo_training.datasets.splits import time_block_split
from geo_training.evaluation.localization.evaluate import evaluate_dataset
from geo_training.evaluation.localization.sift_baseline import MAX_ERROR_PX, RATIO, SiftLocalizer, SiftMap
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

    sift_map = SiftMap.from_dataset(root)
    sift = evaluate_dataset(SiftLocalizer(sift_map), SceneDataset(root), sift_map.points_map_p3, seed=options.seed)
    more = {
        "map_s": mapped["wall_s"],
        "map_to_scene_s": result.metrics["landmarks_s"] + result.metrics["train_s"],
        **{f"sift_{key}": sift.metrics[key] for key in _SIFT_METRICS},
        "sift_bytes": sift_map.size_bytes,
        "sift_descriptor_bytes": sift_map.descriptor_bytes,
    }
    sift_config = {
        "ratio": RATIO, "max_error_px": MAX_ERROR_PX, "max_features": sift_map.max_features,
        "sift_bytes_are": "128 a descriptor of a triangulated observation, 4 for its point, 12 a point",
    }  # fmt: skip
    return replace(result, metrics=result.metrics | more, config=result.config | {"sift": sift_config})


_SIFT_METRICS = ("recall_5cm_5deg", "recall_10cm_5deg", "median_cm", "median_deg", "frames_missed", "localized_share",
                 "frame_ms_p50", "frame_ms_p99")  # fmt: skip

BENCHMARK = Benchmark(
    name="localization-office",
    summary="one walk through a real office, mapped with known poses, later blocks localized; SIFT + PnP beside it",
    data=("office",),
    needs="office/ (rgb/, K.txt, poses.txt)",
    duration="12 minutes on 2 cores, less with a GPU",
    metrics=(
        "recall_5cm_5deg",
        "recall_10cm_5deg",
        "median_cm",
        "median_deg",
        "frames_missed",
        "map_s",
        "train_s",
        "frame_ms_p50",
        "frame_ms_p99",
        "scene_bytes",
        "sift_recall_5cm_5deg",
        "sift_frame_ms_p50",
        "sift_bytes",
        "coverage_90",
        "sift_recall_10cm_5deg",
    ),
    run=run,
)
