"""Poses that drift, refined with the images: is what comes out of `geo-train map --poses prior` nearer to the truth?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from geo_perception.geometry import invert_pose, make_pose, so3_exp
from geo_training.console import say
from geo_training.datasets.importers import ImportOptions, import_dataset
from geo_training.datasets.scene import Frame, SceneDataset
from geo_training.experiments.bench import Benchmark, BenchOptions, BenchResult, StageCache
from geo_training.mapping.features import FeatureOptions, FeatureStore
from geo_training.mapping.pairs import choose_pairs
from geo_training.mapping.recorded_poses import GivenSigmas
from geo_training.mapping.refine import refine_poses
from geo_training.metrics.pose import FrameOutcome, root_mean_square
from geo_training.metrics.trajectory import absolute_errors, relative_errors

FPS = 5.0  # of the ten that frames without stamps are taken to have: every second frame
# Deviations of each component at noise 1: of the motion from frame to frame, whose errors add up, and of a pose by
# itself. They put matches two frames apart 1.1 px off the poses, in the median.
DRIFT_M, DRIFT_DEG, JITTER_M, JITTER_DEG = 0.01, 0.18, 0.002, 0.04
NOISES = {"0p5": 0.5, "1": 1.0, "2": 2.0}
SEEDS = 3
STEPS = (2, 10)
MEASURES = ("ate_cm", *(f"motion{step}_{unit}" for step in STEPS for unit in ("cm", "deg")), "epipolar_px")


def run(data_root: Path, stages: StageCache, options: BenchOptions) -> BenchResult:
    """One walk with exact poses; drift of three sizes and three seeds is added to them and refined.

    ATE is the root mean square after a rigid alignment, errors of motion are medians over all frames so far apart,
    the epipolar error is the median of held-out matches; each is the mean over the seeds, before and after.
    `nearer_seeds` counts the seeds at which all of them but the last came out smaller.
    """
    root = stages.folder / "dataset"
    source = data_root / "house" / "walk_a"
    stages.stage("import", lambda: import_dataset(source, root, "images", ImportOptions(fps=FPS), overwrite=True))
    dataset = SceneDataset(root)
    metrics: dict[str, float] = {}
    for name, noise in NOISES.items():
        found = [
            stages.stage(f"noise {noise:g}, seed {seed}", lambda noise=noise, seed=seed: _refine(dataset, noise, seed))
            for seed in range(options.seed, options.seed + SEEDS)
        ]
        for measure in MEASURES:
            for when in ("before", "after"):
                metrics[f"noise{name}_{measure}_{when}"] = float(np.mean([one[when][measure] for one in found]))
        metrics[f"noise{name}_nearer_seeds"] = sum(_is_nearer(one) for one in found)
        metrics[f"noise{name}_refine_s"] = float(np.mean([one["wall_s"] for one in found]))
    drift = {"drift_m": DRIFT_M, "drift_deg": DRIFT_DEG, "jitter_m": JITTER_M, "jitter_deg": JITTER_DEG}
    return BenchResult(metrics, {"frames": len(dataset), "seeds": SEEDS, "noise_1": drift})


def drifting(T_n44: np.ndarray, noise: float, rng: np.random.Generator) -> np.ndarray:
    """Poses (N, 4, 4) whose errors are a random walk along and about the camera's axes, and a little of their own."""

    def error(metres: float, degrees: float) -> np.ndarray:
        turn_3 = np.radians(degrees) * noise * rng.normal(size=3)
        return make_pose(so3_exp(turn_3), metres * noise * rng.normal(size=3))

    walked = [T_n44[0]]
    for motion_44 in invert_pose(T_n44[:-1]) @ T_n44[1:]:
        walked.append(walked[-1] @ motion_44 @ error(DRIFT_M, DRIFT_DEG))
    return np.stack([T_44 @ error(JITTER_M, JITTER_DEG) for T_44 in walked])


def _refine(dataset: SceneDataset, noise: float, seed: int) -> dict:
    true_n44 = np.stack([frame.T_world_camera for frame in dataset.frames])
    recorded_n44 = drifting(true_n44, noise, np.random.default_rng(seed))
    frames = [replace(frame, T_world_camera=T) for frame, T in zip(dataset.frames, recorded_n44, strict=True)]
    store = FeatureStore(dataset, FeatureOptions())
    store.extract(frames)
    store.match(choose_pairs(frames, dataset, store, use_poses=True)[1])
    refined = refine_poses(frames, dataset, store, GivenSigmas())
    before, after = (_measure(dataset.frames, one) for one in (frames, refined.frames))
    before["epipolar_px"] = refined.report.epipolar_before_px
    after["epipolar_px"] = refined.report.epipolar_after_px
    say(f"noise {noise:g}, seed {seed}: ATE {before['ate_cm']:.1f} cm before, {after['ate_cm']:.1f} cm after")
    return {"before": before, "after": after, "verdict": refined.report.verdict}


def _measure(true: Sequence[Frame], estimated: Sequence[Frame]) -> dict[str, float]:
    outcomes = [
        FrameOutcome(a.name, a.sequence, a.stamp_ns, "", a.T_world_camera, b.T_world_camera)
        for a, b in zip(true, estimated, strict=True)
    ]
    measured = {"ate_cm": 100 * root_mean_square(absolute_errors(outcomes, align=True))}
    for step in STEPS:
        errors = [relative_errors(outcomes[start::step]) for start in range(step)]
        metres_n, degrees_n = (np.concatenate(part) for part in zip(*errors, strict=True))
        measured |= {
            f"motion{step}_cm": 100 * float(np.median(metres_n)),
            f"motion{step}_deg": float(np.median(degrees_n)),
        }
    return measured


def _is_nearer(one: dict) -> bool:
    """Whether all that is measured against the truth came out smaller."""
    return all(one["after"][measure] < one["before"][measure] for measure in MEASURES[:-1])


_METRICS = (*(f"{measure}_{when}" for measure in MEASURES for when in ("before", "after")), "nearer_seeds", "refine_s")

BENCHMARK = Benchmark(
    name="poses-prior",
    summary="drift of three sizes added to exact poses, refined as `map --poses prior` does: nearer to the truth?",
    data=("house/walk_a",),
    needs="house/walk_a/ (rgb/, K.txt, poses.txt)",
    duration="6 minutes on 2 cores",
    metrics=tuple(f"noise{name}_{one}" for name in NOISES for one in _METRICS),
    run=run,
)
