"""The bench of engines: what it says of a small network, and of engines that are not there."""

import math

import numpy as np
import pytest
import torch
from depth_peer import depth_weights
from geo_training.evaluation.engines.subjects import DepthSubject
from geo_training.experiments.bench import BenchOptions, StageCache
from geo_training.experiments.benches import engines
from pictures import random_patches

pytest.importorskip("onnx", reason="the package onnx is not installed")
pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
NAMES = (engines.TORCH, engines.FLOAT32, engines.OPENVINO, engines.ONNXRUNTIME)


@pytest.fixture
def subject(tmp_path):
    return DepthSubject(depth_weights(tmp_path / "depth.safetensors"))


def test_every_engine_is_timed_and_compared(subject, tmp_path):
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    images = [random_patches(0), random_patches(1)]
    metrics, reasons = engines.measure(subject, images, tmp_path / "graph.onnx", NAMES, rounds=2)
    assert set(reasons) == set(NAMES)
    assert {f"{name}_{key}" for name in NAMES for key in ("ms", "speedup", "median_pct")} <= set(metrics)
    assert metrics["torch_speedup"] == 1.0
    for name in NAMES:
        assert metrics[f"{name}_speedup"] == pytest.approx(metrics["torch_ms"] / metrics[f"{name}_ms"])
    assert metrics["best_speedup"] == max(metrics[f"{name}_speedup"] for name in NAMES)
    assert metrics["torch_float32_p99_pct"] == 0.0
    assert 0.0 < metrics["onnxruntime_p99_pct"] < 0.1  # in float32, too
    assert metrics["openvino_median_pct"] < 5.0


def test_an_engine_that_is_not_there_has_no_figures_and_a_reason(subject, tmp_path, monkeypatch):
    def missing(*_):
        raise ImportError

    monkeypatch.setattr(engines.choose_engine.__globals__["openvino_engine"], "OpenVinoModel", missing)
    names = (engines.TORCH, engines.OPENVINO)
    metrics, reasons = engines.measure(subject, [random_patches(0)], tmp_path / "graph.onnx", names, rounds=1)
    assert "it is not installed" in reasons["openvino"]
    assert not any(name.startswith("openvino") for name in metrics)


def test_the_run_has_every_figure_known_or_not(monkeypatch, tmp_path):
    def measured(subject, images, graph):
        threads.append(torch.get_num_threads())
        return {"torch_ms": 2.0, "best_speedup": 3.0}, {"torch": "the reference"}

    threads: list[int] = []
    monkeypatch.setattr(engines, "_scene", lambda *_: None)
    monkeypatch.setattr(engines, "images_of_folder", lambda *_: [np.zeros((8, 8, 3), np.uint8)])
    monkeypatch.setattr(engines, "measure", measured)
    for name in ("CalibrationSubject", "DepthSubject", "SceneSubject"):
        monkeypatch.setattr(engines, name, lambda _: None)
    before = torch.get_num_threads()
    result = engines.run(tmp_path, StageCache(tmp_path / "work", {}), BenchOptions())
    assert (set(threads), torch.get_num_threads()) == ({1}, before)
    assert set(engines.BENCHMARK.metrics) <= set(result.metrics)
    assert result.metrics["depth_best_speedup"] == 3.0
    assert math.isnan(result.metrics["depth_openvino_ms"])
    assert result.config["engines"]["depth_torch"] == "the reference"
