"""Completing depth: hidden pixels of a depth camera's office and of a rendered house, by the paper's regressor, by one
factor and by ours."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from geo_training.console import say
from geo_training.datasets.scene import Frame, SceneDataset
from geo_training.datasets.splits import tail_split
from geo_training.experiments.bench import Benchmark, BenchOptions, BenchResult, StageCache
from geo_training.experiments.benches.depth_stages import import_stage
from geo_training.mapping.fusion.fuse import fusion_frame, holes_of
from geo_training.mapping.fusion.hide import HOLES, RANDOM
from geo_training.mapping.fusion.known_depth import MEASURED, find_known_depth
from geo_training.mapping.fusion.measure import FusionFrame, HiddenTest, fusion_metrics, measure_hidden
from geo_training.mapping.fusion.methods import FACTOR, METHODS, MLP, SURFACES
from geo_training.mapping.fusion.relative_depth import REFERENCE, find_relative_depth
from geo_training.mapping.fusion.report import FusionReport

FRAMES = 5  # of each set; the regressor takes a minute for one
OFFICE_TEST = 0.25  # of its frames, the last ones: the reference weights learned from the others
SETS = {"office": "office", "house": "house/walk_b"}


def run(data_root: Path, stages: StageCache, options: BenchOptions) -> BenchResult:
    """Metrics are means over both sets, `<set>_...` those of one; `holes_...` of holes in the shape of those that the
    depth camera of the office leaves, without it of pixels at random. `_mae_m` in metres, `_s` seconds an image,
    `interval_90` the share of true depths inside the 90 % interval that ours states."""
    frames: dict[str, list[FusionFrame]] = {}
    holes: list[np.ndarray] = []
    for name, folder in SETS.items():
        root, _ = import_stage(stages, data_root / folder, lambda all_: tail_split(all_, 0.0, OFFICE_TEST))
        dataset = SceneDataset(root)
        known = find_known_depth(dataset, MEASURED)
        relative = find_relative_depth(dataset, REFERENCE, device=options.device)
        chosen = _spread(dataset.of_split("test") if name == "office" else dataset.frames)
        looked = (fusion_frame(dataset, frame, known, relative) for frame in chosen)
        frames[name] = [one for one in looked if one is not None]
        if name == "office":
            holes = holes_of(dataset.frames, known)
    tests: dict[str, list[HiddenTest]] = {}
    for name, own in frames.items():
        started_s = time.perf_counter()
        tests[name] = measure_hidden(own, list(METHODS), holes, options.seed, done=_say)
        say(f"{name}: {time.perf_counter() - started_s:.0f} s")
    by_set = {name: _metrics(own) for name, own in tests.items()}
    both = {key: float(np.mean([own[key] for own in by_set.values()])) for key in next(iter(by_set.values()))}
    metrics = both | {f"{name}_{key}": value for name, own in by_set.items() for key, value in own.items()}
    config = {"frames": {name: [one.name for one in own] for name, own in frames.items()}, "methods": list(METHODS)}
    about = {"data": ", ".join(SETS.values()), "by": "the reference weights"}
    every = [test for own in tests.values() for test in own]
    report = FusionReport("Completed depth: an office and a house", every, "m", about, config)
    return BenchResult(metrics, config, report=report)


def _metrics(tests: list[HiddenTest]) -> dict[str, float]:
    """The metrics of one set."""
    found, metrics = fusion_metrics(tests), {}
    for kind, start in ((RANDOM, ""), (HOLES, "holes_")):
        for method, name in ((MLP, "mlp"), (SURFACES, "ours"), (FACTOR, "factor")):
            own = found[kind][method]
            metrics |= {f"{start}{name}_mae_m": own["mae"], f"{start}{name}_mse_m2": own["mse"]}
            metrics |= {f"{start}{name}_abs_rel": own["abs_rel"], f"{start}{name}_s": own["s"]}
        metrics[f"{start}interval_90"] = found[kind][SURFACES]["interval_90"]
    for name in ("mlp", "ours", "factor"):
        metrics[f"{name}_s"] = (metrics[f"{name}_s"] + metrics.pop(f"holes_{name}_s")) / 2
    return metrics


def _spread(frames: list[Frame]) -> list[Frame]:
    """FRAMES of them, evenly."""
    middles = (np.arange(FRAMES) + 0.5) / FRAMES * len(frames)
    return [frames[int(index)] for index in middles]


def _say(test: HiddenTest) -> None:
    say(f"{test.frame.name}, {test.kind}, {test.method}: {test.scores['mae']:.3f} m in {test.completion.seconds:.1f} s")


_KEYS = tuple(f"{start}{name}_{key}" for start in ("", "holes_") for name in ("mlp", "ours", "factor")
              for key in ("mae_m", "mse_m2", "abs_rel"))  # fmt: skip
BENCHMARK = Benchmark(
    name="fusion-office",
    summary="depth with holes completed by monocular depth: the regressor of a paper, one factor, and ours",
    data=tuple(SETS.values()),
    needs="office/ and house/walk_b (rgb/, depth/, K.txt, poses.txt)",
    duration="15 minutes on 2 cores; most of it is the regressor's",
    metrics=(*_KEYS, "interval_90", "holes_interval_90", "mlp_s", "ours_s", "factor_s"),
    run=run,
)
