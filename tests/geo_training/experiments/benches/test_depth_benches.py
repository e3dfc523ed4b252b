"""The depth benchmarks: what they train, how long, what they make of it, and what is said of the papers' claims."""

import json
import math
import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest
from bench_walks import SIZE_HW, textured
from command_line import invoke
from geo_training.cli import evaluate
from geo_training.datasets.scene import Frame, SceneDataset
from geo_training.depth import fit as fit_module
from geo_training.engine.run import FitResult
from geo_training.experiments.bench import (
    Benchmark,
    BenchOptions,
    BenchResult,
    StageCache,
    load_benchmark,
    run_benchmark,
)
from geo_training.experiments.benches import depth_drive, depth_stages
from geo_training.experiments.benches.depth_losses import variant_configs
from geo_training.experiments.benches.depth_stages import FEWEST_STEPS, FlatDepth, Pace, first_and_last, steps_within
from tiny_panoramas import TINY_BACKBONE

from geo_perception.depth.estimator import DepthEstimator
from geo_perception.depth.network import DepthNetwork, DepthNetworkConfig
from geo_perception.errors import InputError


def make_samples(root):
    """Samples as TUM's and NYU's are."""
    shutil.copytree(root / "kitti", root / "nyu")
    tum = root / "tum"
    for name in ("rgb", "depth"):
        (tum / name).mkdir(parents=True)
    cv2.imwrite(str(tum / "rgb" / "0.png"), textured(7))
    slope = np.linspace(5000, 15000, SIZE_HW[0] * SIZE_HW[1]).reshape(SIZE_HW).astype(np.uint16)
    cv2.imwrite(str(tum / "depth" / "0.png"), slope)
    pose = np.eye(4).tolist()
    (tum / "ground_truth.json").write_text(
        json.dumps({"0": {"rgb": "rgb/0.png", "depth": "depth/0.png", "transformation": pose}})
    )
    (tum / "camera_intrinsics.yaml").write_text(
        "intrinsics: [[60, 0, 36], [0, 60, 24], [0, 0, 1]]\ndepth_scale: 0.0002\n"
    )


def test_the_reference_bench_measures_five_sets_by_one_factor_and_by_a_field(data, tmp_path, monkeypatch):
    make_samples(data / "depth_samples")
    network = DepthNetwork(DepthNetworkConfig(TINY_BACKBONE, (8, 8, 8, 8, 8)))
    drawn = DepthEstimator(network, "cpu", 64 * 32)
    monkeypatch.setattr(DepthEstimator, "load", classmethod(lambda cls, *_, **__: drawn))
    benchmark = load_benchmark("depth-reference")
    content, _ = run_benchmark(benchmark, data, tmp_path / "work", BenchOptions(device="cpu"))
    figures = content["figures"]
    assert set(figures) == set(benchmark.metrics)
    assert "kitti_edge" not in figures
    # A slope from 1 to 4 m of which an untrained network says nothing: sixty points do.
    for name in ("house", "office", "tum"):
        assert figures[f"{name}_field_abs_rel"] < 0.4 * figures[f"{name}_abs_rel"]
        assert figures[f"{name}_abs_rel"] == pytest.approx(figures[f"{name}_flat_abs_rel"], rel=0.3)
    # All of NYU's is 20 m away here, beyond what counts in a room; KITTI's is not.
    assert math.isnan(figures["nyu_abs_rel"])
    assert figures["kitti_field_abs_rel"] < 0.02


def test_the_drive_bench_gives_every_figure(data, tmp_path, fits, monkeypatch):
    monkeypatch.setattr(depth_drive, "DRIVE_FIRST", 8)
    monkeypatch.setattr(depth_drive, "DRIVE_LAST", 6)
    benchmark = load_benchmark("depth-drive")
    options = BenchOptions(device="cpu", minutes=2)
    content, evaluation = run_benchmark(benchmark, data, tmp_path / "work", options)
    metrics = content["figures"]
    names = "abs_rel sq_rel rms log_rms d1 d2 d3 abs_rel_one_scale ate5_m office_abs_rel office_d1 steps train_s"
    assert {*names.split(), "frame_ms_p50"} <= set(benchmark.metrics) <= set(metrics)
    assert all(math.isfinite(metrics[name]) for name in benchmark.metrics)
    assert metrics["flat_abs_rel"] == pytest.approx(0)  # the sample's lidar is 20 m everywhere
    # A hundredth of a second a step: the time is split evenly, and nearly used up.
    assert metrics["train_s"] == pytest.approx(0.01 * metrics["steps"])
    assert 40 < metrics["train_s"] < 57
    assert metrics["office_steps"] == pytest.approx(metrics["steps"], rel=0.05)
    drive = SceneDataset(tmp_path / "work" / "drive")
    assert [frame.split for frame in drive.frames] == ["train"] * 8 + ["val"] * 2 + ["test"] * 6
    assert len(evaluation.paths[0].true_n44) == 6
    assert content["config"]["drive"]["motion"] == content["config"]["office"]["motion"] == "learned"
    count = len(fits)
    run_benchmark(benchmark, data, tmp_path / "work", options)
    assert len(fits) == count


def test_steps_that_fit_into_seconds():
    assert steps_within(100.0, Pace(step_s=0.5, fixed_s=10.0)) == 180
    assert steps_within(5.0, Pace(step_s=0.5, fixed_s=10.0)) == FEWEST_STEPS


def test_the_pace_is_that_of_the_steps_without_what_comes_besides(tmp_path, monkeypatch):
    ran = []

    def fit(config, out, overwrite=False):
        ran.append(config.steps)
        return FitResult(out, out.parent, {"train_s": 7.0 + 0.25 * config.steps}, [])

    monkeypatch.setattr(fit_module, "fit_depth", fit)
    config = variant_configs((tmp_path,), BenchOptions())["baseline"]
    pace = depth_stages.pace_stage(StageCache(tmp_path / "work", {}), "baseline", config)
    assert pace.step_s == pytest.approx(0.25)
    assert ran == [2, 6]  # 1 s of difference can be timed


def test_steps_that_are_too_fast_to_be_timed_are_measured_over_more_of_them(tmp_path, monkeypatch):
    ran = []

    def fit(config, out, overwrite=False):
        ran.append(config.steps)
        return FitResult(out, out.parent, {"train_s": 7.0 + 0.125 * config.steps}, [])

    monkeypatch.setattr(fit_module, "fit_depth", fit)
    config = variant_configs((tmp_path,), BenchOptions())["baseline"]
    pace = depth_stages.pace_stage(StageCache(tmp_path / "work", {}), "baseline", config)
    assert pace.step_s == pytest.approx(0.125)
    assert ran == [2, 6, 10, 30]


def test_the_first_frames_by_time_are_learned_from_and_the_last_measured():
    frames = [Frame(f"a/{n}.jpg", "a", n, "c") for n in reversed(range(9))]
    assert [f.split for f in first_and_last(frames, 5, 3)] == ["train"] * 5 + ["val"] + ["test"] * 3
    assert [f.split for f in first_and_last(frames, 6, 3)] == ["train"] * 6 + ["test"] * 3
    with pytest.raises(InputError, match="there are 9 frames, but 7"):
        first_and_last(frames, 7, 3)


def test_a_flat_map_is_an_answer():
    found = FlatDepth().estimate(np.zeros((4, 6, 3), np.uint8), None)
    assert found.estimated
    assert found.depth_hw.shape == (4, 6)
    assert np.ptp(found.depth_hw) == 0


def test_minutes_are_part_of_what_a_run_depends_on(tmp_path):
    made = []

    def count(data_root, work, options):
        made.append(options.minutes)
        return BenchResult({"n": work.stage("count", lambda: {"n": len(made)})["n"]}, {})

    timed = Benchmark("timed", "", (), "", "", ("n",), count, minutes=7.0)
    content, _ = run_benchmark(timed, tmp_path, tmp_path / "w", BenchOptions())
    assert made == [7.0]
    assert content["config"]["minutes"] == 7.0
    same, _ = run_benchmark(timed, tmp_path, tmp_path / "w", BenchOptions(minutes=7.0))
    assert same["figures"]["n"] == 1
    other, _ = run_benchmark(timed, tmp_path, tmp_path / "w", BenchOptions(minutes=8.0))
    assert other["figures"]["n"] == 3
    with pytest.raises(InputError, match="leave out --minutes"):
        run_benchmark(replace(timed, minutes=None), tmp_path, tmp_path / "w", BenchOptions(minutes=8.0))


def test_minutes_for_a_benchmark_without_use_for_them_are_answered_with_one_line(tmp_path):
    arguments = ["bench", "calibration-panoramas", "--data", str(tmp_path), "--minutes", "3"]
    result = invoke(evaluate, *arguments)
    assert result.exit_code == 1
    assert result.output.strip().splitlines() == [
        "error: calibration-panoramas takes as long as it takes; leave out --minutes"
    ]
