"""How fast each engine runs the networks of the three capabilities, beside torch, and how far its answers are off."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from geo_perception.errors import InputError
from geo_perception.runtime.engine import (
    COMPILE,
    ONNXRUNTIME,
    OPENVINO,
    TORCH,
    Call,
    Wish,
    choose_engine,
    median_seconds,
    torch_call,
)
from geo_training.console import say
from geo_training.datasets.splits import time_block_split
from geo_training.evaluation.engines.export import answers, export_graph
from geo_training.evaluation.engines.pictures import images_of_folder
from geo_training.evaluation.engines.subjects import CalibrationSubject, DepthSubject, SceneSubject, Subject
from geo_training.experiments.bench import Benchmark, BenchOptions, BenchResult, StageCache
from geo_training.experiments.benches import localization_pipeline as pipeline

CALIBRATION, DEPTH, LOCALIZATION = "calibration", "depth", "localization"
FLOAT32 = "torch_float32"
ENGINES = (TORCH, FLOAT32, COMPILE, OPENVINO, ONNXRUNTIME)
DIFFERENCES = {
    CALIBRATION: ("focal_pct", "pitch_deg", "roll_deg"),
    DEPTH: ("median_pct", "p99_pct", "steps_pct"),
    LOCALIZATION: ("lost_pct", "position_sigma_pct", "position_cm", "angle_deg"),
}
FRAMES, ROUNDS, LANDMARKS = 24, 30, 300
FIRST_SHARE, BLOCK_FRAMES = 0.7, 10
_CPU = torch.device("cpu")


def run(data_root: Path, stages: StageCache, options: BenchOptions) -> BenchResult:
    """`<capability>_<engine>_ms`: median of the whole network on one image of the office, engines taking turns, on one
    core; `_speedup`: how many times faster than torch in the same run, in half precision where that is faster on this
    CPU; `_best_speedup`: of the fastest. What is off (`_focal_pct` ...) is so from torch in float32. Not known where an
    engine is not installed or gives other answers than torch."""
    images = images_of_folder(data_root / "office" / "rgb", FRAMES)
    makers: dict[str, Callable[[], Subject]] = {
        CALIBRATION: lambda: CalibrationSubject(None),
        DEPTH: lambda: DepthSubject(None),
        LOCALIZATION: lambda: SceneSubject(_scene(data_root, stages, options)),
    }
    makers = {name: make for name, make in makers.items() if options.only in (None, name)}
    metrics: dict[str, float] = {}
    reasons: dict[str, str] = {}
    with one_core():
        for name, make in makers.items():
            measured, why = measure(make(), images, stages.folder / f"{name}.onnx")
            metrics |= {f"{name}_{key}": value for key, value in measured.items()}
            reasons |= {f"{name}_{engine}": text for engine, text in why.items()}
    metrics = dict.fromkeys(METRICS, math.nan) | metrics
    config = {"frames": len(images), "rounds": ROUNDS, "engines": reasons, "load_average": os.getloadavg()}
    return BenchResult(metrics, config)


def measure(
    subject: Subject, images: Sequence[np.ndarray], graph: Path, engines: Sequence[str] = ENGINES, rounds: int = ROUNDS
) -> tuple[dict[str, float], dict[str, str]]:
    """Milliseconds, speed-ups and differences of each engine that can run a subject, and what became of each. The graph
    is exported to `graph` for ONNX Runtime."""
    folded, checksum = subject.frozen.folded, subject.frozen.checksum
    exactly = torch_call(folded, _CPU, half=False)
    calls: dict[str, Call] = {TORCH: torch_call(folded, _CPU), FLOAT32: exactly}
    reasons = {TORCH: "the reference", FLOAT32: "what differences are from"}
    if ONNXRUNTIME in engines:
        export_graph(subject, images, graph)
    for name in engines:
        if name in calls:
            continue
        try:
            choice = choose_engine(folded, checksum, _CPU, Wish(name, graph, few_sizes=True))
        except InputError as problem:
            reasons[name] = str(problem)
            say(f"{subject.kind}: {problem}")
            continue
        assert choice.maker is not None
        calls[name], reasons[name] = choice.maker(), choice.why
    view = _seen_by(subject, images[0])
    taken_s = dict(zip(calls, median_seconds([lambda call=c: call(view) for c in calls.values()], rounds), strict=True))
    metrics = {f"{name}_ms": 1e3 * seconds for name, seconds in taken_s.items()}
    metrics |= {f"{name}_speedup": taken_s[TORCH] / seconds for name, seconds in taken_s.items()}
    metrics["best_speedup"] = taken_s[TORCH] / min(taken_s.values())
    expected = answers(subject, images, exactly)
    for name, call in calls.items():
        found = subject.differences(answers(subject, images, call), expected)
        metrics |= {f"{name}_{difference.key}": difference.value for difference in found}
    return metrics, reasons


@contextmanager
def one_core() -> Iterator[None]:
    """Torch, and engines that are made meanwhile, use one core."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _seen_by(subject: Subject, image_hw3: np.ndarray) -> torch.Tensor:
    """An image as the network of a subject gets it."""
    seen: list[torch.Tensor] = []
    by_torch = torch_call(subject.frozen.folded, _CPU)

    def call(image_b3hw: torch.Tensor) -> list[torch.Tensor]:
        seen.append(image_b3hw)
        return by_torch(image_b3hw)

    answers(subject, [image_hw3], call)
    return seen[0]


def _scene(data_root: Path, stages: StageCache, options: BenchOptions) -> Path:
    """A scene of the office whose head was not trained but filled in."""
    root = pipeline.import_stage(stages, data_root / "office", "images")
    pipeline.split_stage(stages, root, lambda frames: time_block_split(list(frames), FIRST_SHARE, BLOCK_FRAMES))
    pipeline.map_stage(stages, root, "known")
    pipeline.landmarks_stage(stages, root, LANDMARKS)
    return pipeline.head_stage(stages, root, options, steps=0)[0]


def _keys(capability: str) -> tuple[str, ...]:
    return ("ms", "speedup", *DIFFERENCES[capability])


METRICS = (
    *(f"{name}_{engine}_{key}" for name in DIFFERENCES for engine in ENGINES for key in _keys(name)),
    *(f"{name}_best_speedup" for name in DIFFERENCES),
)
BENCHMARK = Benchmark(
    name="engines",
    summary="milliseconds of each engine for each network on one core, beside torch, and how far its answers are off",
    data=("office",),
    needs="office/ (rgb/, depth/, K.txt, poses.txt)",
    duration="8 minutes on 2 cores, of which torch.compile takes 2",
    metrics=METRICS,
    run=run,
    parts=tuple(DIFFERENCES),
)
