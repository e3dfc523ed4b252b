"""Depth and ego-motion from images alone: a drive by day, then an office on foot, each learned and measured apart."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from geo_perception.depth.estimator import DepthEstimator
from geo_training.datasets.scene import SceneDataset
from geo_training.datasets.splits import tail_split
from geo_training.depth import fit
from geo_training.depth.config import CONFIGS, DepthTrainingConfig
from geo_training.depth.networks.pose_network import PoseEstimator
from geo_training.evaluation.depth.evaluate import DepthOptions, evaluate_depth
from geo_training.evaluation.depth.set import dataset_queries, find_queries
from geo_training.experiments.bench import Benchmark, BenchOptions, BenchResult, StageCache
from geo_training.experiments.benches.depth_stages import (
    FlatDepth,
    first_and_last,
    import_stage,
    pace_stage,
    steps_within,
)
from geo_training.metrics.depth import METRICS, PRESETS

MINUTES = 30.0
DRIVE, OFFICE, KITTI = "drive", "office", "depth_samples/kitti"
DRIVE_FIRST, DRIVE_LAST = 600, 200  # frames learned from, and measured on
OFFICE_TEST = 0.25  # of its frames, the last ones
MEASURE_SHARE = 0.05  # of the minutes
TIMED_FRAMES = 50
# What differs from the default config: about the pixels of 320x96 for both, each in its own format; and, since a CPU
# has time for some hundred steps only, small batches and a higher rate but for the pretrained backbone.
CHANGES = {"area_px": 320 * 96, "batch": 4, "learning_rate": 6e-4, "backbone_rate": 0.3}


def run(data_root: Path, stages: StageCache, options: BenchOptions) -> BenchResult:
    """The seven metrics are of the KITTI samples: to 80 m, Garg's crop, each image by its own scale. They are colour,
    what is learned from is grey. ATE is of the drive's last frames. `office_` metrics are of the office's last frames,
    by a network that learned from the others. `flat_abs_rel` and `office_flat_abs_rel` are those of a flat map."""
    splits = {
        DRIVE: lambda frames: first_and_last(frames, DRIVE_FIRST, DRIVE_LAST),
        OFFICE: lambda frames: tail_split(frames, 0.0, OFFICE_TEST),
    }
    roots, configs, paces, spent_s = {}, {}, {}, 0.0
    for name, split in splits.items():
        roots[name], imported = import_stage(stages, data_root / name, split)
        configs[name] = training_config(roots[name], options)
        paces[name] = pace_stage(stages, name, configs[name])
        spent_s += imported["wall_s"] + paces[name].measured_s
    left_s = 60 * options.minutes * (1 - MEASURE_SHARE) - spent_s
    trained = {}
    for name, config in configs.items():
        # Kept, so that a run that goes on trains as long as it set out to.
        steps = stages.stage(f"plan of {name}", lambda n=name: {"steps": steps_within(left_s / 2, paces[n])})["steps"]
        configs[name] = config.model_copy(update={"steps": steps})
        weights = stages.folder / f"{name}.safetensors"
        trained[name] = stages.stage(
            f"train {name}", lambda c=configs[name], w=weights: fit.fit_depth(c, w, overwrite=True).metrics
        )

    datasets = {name: SceneDataset(root) for name, root in roots.items()}
    held_out = {name: dataset_queries(data, data.of_split("test")) for name, data in datasets.items()}
    samples, _ = find_queries(data_root / KITTI)
    estimator = DepthEstimator.load(stages.folder / f"{DRIVE}.safetensors", options.device)
    motion = PoseEstimator.load(stages.folder / f"{DRIVE}.pose.safetensors", options.device)
    outdoor, indoor = DepthOptions(PRESETS["kitti"]), DepthOptions(PRESETS["indoor"])
    steps = configs[DRIVE].steps
    evaluation = evaluate_depth(
        estimator,
        [*samples, *held_out[DRIVE]],
        outdoor,
        motion,
        title="Depth and ego-motion learned from a drive",
        metadata={
            "learned": f"{steps} steps, {trained[DRIVE]['train_s']:.0f} s, from the images of {DRIVE_FIRST} frames",
            "lidar": f"{len(samples)} images of {KITTI}",
        },
        config=configs[DRIVE].model_dump(mode="json"),
    )
    office = evaluate_depth(
        DepthEstimator.load(stages.folder / f"{OFFICE}.safetensors", options.device), held_out[OFFICE], indoor
    )
    flat = evaluate_depth(FlatDepth(), samples, outdoor).metrics
    office_flat = evaluate_depth(FlatDepth(), held_out[OFFICE], indoor).metrics
    odometry = ("ate5_m", "ate5_std_m", "ate_m", "rpe_m", "rpe_deg", "path_m")
    metrics = {key: evaluation.metrics[key] for key in (*METRICS, "abs_rel_one_scale", "scale_spread", *odometry)}
    metrics |= {f"office_{key}": office.metrics[key] for key in (*METRICS, "abs_rel_one_scale", "edge")}
    metrics |= {"flat_abs_rel": flat["abs_rel"], "flat_d1": flat["d1"]}
    metrics |= {"office_flat_abs_rel": office_flat["abs_rel"], "office_flat_d1": office_flat["d1"]}
    for name, start in ((DRIVE, ""), (OFFICE, "office_")):
        metrics |= {
            f"{start}steps": configs[name].steps,
            f"{start}train_s": trained[name]["train_s"],
            f"{start}step_s": paces[name].step_s,
        }
    metrics["frame_ms_p50"] = frame_ms(estimator, held_out[DRIVE])
    settings = {name: config.model_dump(mode="json") for name, config in configs.items()}
    return BenchResult(metrics, settings, evaluation)


def training_config(root: Path, options: BenchOptions):
    """The default config, on one dataset."""
    changes = {**CHANGES, "datasets": (root,), "device": options.device, "seed": options.seed}
    return DepthTrainingConfig.load(CONFIGS / "default.yaml", **changes)


def frame_ms(estimator, queries: list) -> float:
    """The median time for one frame, of TIMED_FRAMES spread over the queries; reading the file is not counted."""
    taken_ms = []
    for index in np.linspace(0, len(queries) - 1, min(TIMED_FRAMES, len(queries))).round().astype(int):
        image_hw3 = queries[index].load_image()
        started_s = time.perf_counter()
        estimator.estimate(image_hw3, queries[index].camera)
        taken_ms.append(1e3 * (time.perf_counter() - started_s))
    return float(np.median(taken_ms))


BENCHMARK = Benchmark(
    name="depth-drive",
    summary="depth and ego-motion from the images of a drive, measured against lidar and true poses; and of an office",
    data=(DRIVE, OFFICE, KITTI),
    needs="drive/ (grey/, K.txt, poses.txt), office/ (rgb/, depth/, K.txt, poses.txt), depth_samples/kitti/ "
    "(test_annotations.json, rgb/, depth/)",
    duration=f"as long as --minutes says, {MINUTES:g} unless it does; more steps with a GPU",
    metrics=(
        "abs_rel", "sq_rel", "rms", "log_rms", "d1", "d2", "d3", "abs_rel_one_scale", "ate5_m", "office_abs_rel",
        "office_d1", "steps", "train_s", "frame_ms_p50", "ate5_std_m", "ate_m", "flat_abs_rel", "office_flat_abs_rel",
        "office_steps", "office_train_s",
    ),
    run=run,
    minutes=MINUTES,
)  # fmt: skip
