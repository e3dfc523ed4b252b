"""The reference depth weights, as they are, on five sets; by one factor for each image, and by sixty true depths."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from geo_perception.depth.estimator import DepthEstimator
from geo_training.datasets.scene import SceneDataset
from geo_training.datasets.splits import tail_split
from geo_training.evaluation.depth.evaluate import DepthOptions, evaluate_depth
from geo_training.evaluation.depth.set import DepthQuery, dataset_queries, find_queries
from geo_training.experiments.bench import Benchmark, BenchOptions, BenchResult, StageCache
from geo_training.experiments.benches.depth_stages import FlatDepth, import_stage
from geo_training.metrics.depth import PRESETS

POINTS = 60
OFFICE_TEST = 0.25  # of its frames, the last ones: the weights learned from the others
# Set -> folder below the data, and preset of what is compared.
WALKS = {"house": "house/walk_b", "office": "office"}
SAMPLES = {"tum": "depth_samples/tum", "nyu": "depth_samples/nyu", "kitti": "depth_samples/kitti"}
KEYS = ("abs_rel", "d1", "edge", "ause", "scale_spread", "field_abs_rel", "field_d1", "field_coverage_90")


def run(data_root: Path, stages: StageCache, options: BenchOptions) -> BenchResult:
    """`<set>_abs_rel, _d1, _edge, _ause` are those of the depth papers, each image by its own factor; `_field_...` of
    the maps completed by POINTS true depths of 1 % noise at random pixels; `_flat_abs_rel` of a flat map. `kitti` is
    compared to 80 m in Garg's crop and has no edges, the others to 10 m. `frame_ms_p50` and `field_ms_p50` are those of
    the house."""
    estimator = DepthEstimator.load(device=options.device)
    metrics, config = {}, {"points": POINTS, "sets": WALKS | SAMPLES}
    evaluation = None
    for name, queries in _sets(data_root, stages).items():
        protocol = PRESETS["kitti" if name == "kitti" else "indoor"]
        title = f"The reference weights in the {name}" if name in WALKS else f"The reference weights: {name}"
        asked = DepthOptions(protocol, points=POINTS)
        found = evaluate_depth(estimator, queries, asked, title=title, config=config)
        evaluation = evaluation or found
        metrics |= {f"{name}_{key}": found.metrics[key] for key in KEYS if f"{name}_{key}" in BENCHMARK.metrics}
        flat = evaluate_depth(FlatDepth(), queries, DepthOptions(protocol, edges=False)).metrics
        metrics[f"{name}_flat_abs_rel"] = flat["abs_rel"]
        for key in ("frame_ms_p50", "field_ms_p50"):
            metrics.setdefault(key, found.metrics[key])
    return BenchResult(metrics, config, evaluation)


def _sets(data_root: Path, stages: StageCache) -> dict[str, list[DepthQuery]]:
    splits = {
        "house": lambda frames: [replace(frame, split="test") for frame in frames],
        "office": lambda frames: tail_split(frames, 0.0, OFFICE_TEST),
    }
    sets = {}
    for name, folder in WALKS.items():
        root, _ = import_stage(stages, data_root / folder, splits[name])
        dataset = SceneDataset(root)
        sets[name] = dataset_queries(dataset, dataset.of_split("test"))
    return sets | {name: find_queries(data_root / folder)[0] for name, folder in SAMPLES.items()}


BENCHMARK = Benchmark(
    name="depth-reference",
    summary="the reference depth weights in a house, an office and three sets of samples, by one factor and by a field",
    data=(*WALKS.values(), *SAMPLES.values()),
    needs="house/walk_b and office/ (rgb/, depth/, K.txt, poses.txt), depth_samples/ (tum/, nyu/, kitti/)",
    duration="2 minutes on 2 cores; nothing is trained",
    metrics=(
        *(
            f"{name}_{key}"
            for name in (*WALKS, *SAMPLES)
            for key in (*KEYS, "flat_abs_rel")
            if (name, key) != ("kitti", "edge")
        ),
        "frame_ms_p50",
        "field_ms_p50",
    ),
    run=run,
)
