"""The benchmark `head-speed` for a GPU: all frames, 1000 landmarks, eight networks of SLD*, ResNeXt-101."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from geo_training.experiments.bench import BenchOptions, BenchResult, StageCache
from geo_training.experiments.benches import head_speed

FULL = head_speed.Size(
    frames=None, network_width_px=640, landmarks=1000, networks=8, paper="paper", evaluations=20,
    weights="weights/resnext101_32x8d.safetensors",
)  # fmt: skip


def run(data_root: Path, stages: StageCache, options: BenchOptions) -> BenchResult:
    return head_speed.run(data_root, stages, options, FULL)


BENCHMARK = replace(
    head_speed.BENCHMARK,
    name="head-speed-full",
    summary="head-speed with all frames, 1000 landmarks, eight networks of SLD* and ResNeXt-101, for a GPU",
    needs="office/ (rgb/, depth/, K.txt, poses.txt); weights/resnext101_32x8d.safetensors where it is there",
    duration="as long as --minutes says to train, 240 unless it does, on a GPU",
    run=run,
    minutes=240.0,
)
