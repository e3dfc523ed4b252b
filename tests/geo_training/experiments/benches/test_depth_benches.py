"""The depth benchmarks: what they train, how long, what they make of it, and what is said of the papers' claims."""

import json
import math
import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest
from command_line import invoke
from geo_training.cli import evaluate
from geo_training.datasets.scene import Frame, SceneDataset
from geo_training.datasets.scene_writer import SceneWriter
from geo_training.depth import fit as fit_module
from geo_training.depth.data.instance_masks import write_ids
from geo_training.depth.networks.pose_network import PoseEstimator, PoseNetwork, PoseNetworkConfig
from geo_training.engine.run import FitResult
from geo_training.experiments import bench as bench_module
from geo_training.experiments.bench import (
    Benchmark,
    BenchOptions,
    BenchResult,
    StageCache,
    load_benchmark,
    run_benchmark,
)
from geo_training.experiments.benches import depth_drive, depth_losses, depth_stages
from geo_training.experiments.benches.depth_claims import CLAIMS, Claim, gain, named_metrics
from geo_training.experiments.benches.depth_losses import Plan, combined, plan_steps, variant_configs
from geo_training.experiments.benches.depth_stages import FEWEST_STEPS, FlatDepth, Pace, first_and_last, steps_within
from geo_training.synthetic import depth_rooms
from tiny_panoramas import TINY_BACKBONE

from geo_perception.depth.estimator import DepthEstimator
from geo_perception.depth.network import DepthNetwork, DepthNetworkConfig
from geo_perception.errors import InputError
from geo_perception.geometry import Camera

VARIANTS = ("baseline", "boundary", "keypoint", "default", "default_both")
SIZE_HW = (48, 72)


def textured(seed):
    coarse = np.random.default_rng(seed).integers(0, 255, (6, 9, 3)).astype(np.uint8)
    return cv2.resize(coarse, SIZE_HW[::-1], interpolation=cv2.INTER_CUBIC)


def make_walk(folder, count, image_folder, depth=False):
    """A plain folder of frames 0.1 m apart, with poses in metres."""
    (folder / image_folder).mkdir(parents=True)
    (folder / "K.txt").write_text("60 0 36 0 60 24 0 0 1")
    poses = []
    for number in range(count):
        cv2.imwrite(str(folder / image_folder / f"{number:05d}.jpg"), textured(number))
        poses.append(f"1 0 0 {0.02 * number**1.5} 0 1 0 0 0 0 1 {0.1 * number}")
        if depth:
            depth_mm = np.linspace(1000, 4000, SIZE_HW[0] * SIZE_HW[1]).reshape(SIZE_HW).astype(np.uint16)
            (folder / "depth").mkdir(exist_ok=True)
            cv2.imwrite(str(folder / "depth" / f"{number:05d}.png"), depth_mm)
    (folder / "poses.txt").write_text("\n".join(poses) + "\n")


@pytest.fixture
def data(tmp_path):
    """An office, a drive and samples with lidar, each of a few small frames."""
    root = tmp_path / "data"
    make_walk(root / "office", 12, "rgb", depth=True)
    make_walk(root / "drive", 16, "grey")
    kitti = root / "depth_samples" / "kitti"
    for name in ("rgb", "depth"):
        (kitti / name).mkdir(parents=True)
    cv2.imwrite(str(kitti / "rgb" / "a.png"), textured(99))
    cv2.imwrite(str(kitti / "depth" / "a.png"), np.full(SIZE_HW, 20 * 256, np.uint16))
    entry = {"rgb": "x/a.png", "depth": "x/a.png", "cam_in": [60, 60, 36, 24], "depth_scale": 256}
    (kitti / "test_annotations.json").write_text(json.dumps({"files": [entry]}))
    return root


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
    make_walk(data / "house" / "walk_b", 3, "rgb", depth=True)
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


@pytest.fixture
def rooms(monkeypatch):
    """In place of rendered rooms: as many frames and masks as were asked for, a box before a slanted wall."""

    def write(out, options, overwrite=False):
        ids_hw = np.zeros(SIZE_HW, np.uint16)
        ids_hw[12:36, 24:48] = 3
        wall_m = np.tile(np.linspace(2, 4, SIZE_HW[1], dtype=np.float32), (SIZE_HW[0], 1))
        with SceneWriter(out, ["boxes"], overwrite) as writer:
            writer.describe(scale="metric", scale_source="made up")
            camera_id = writer.add_camera(Camera(SIZE_HW[1], SIZE_HW[0], 60, 60, 36, 24))
            for room, burst, shot in np.ndindex(options.rooms, options.bursts, options.burst_frames):
                frame = {"image_rgb": textured(shot), "depth_m": np.where(ids_hw, 1.0, wall_m)}
                frames = writer.add_frame(f"room{room:04d}_{burst}", 10**8 * shot, camera_id, **frame)
                write_ids((writer._work / "masks" / frames.name).with_suffix(".png"), ids_hw)
        return options.rooms * options.bursts * options.burst_frames

    monkeypatch.setattr(depth_rooms, "depth_dataset", write)


@pytest.fixture
def fits(monkeypatch, tmp_path):
    """Trainings that take a hundredth of a second for each step and learn nothing: real networks as they were drawn,
    written and read like trained ones. The configs that were asked for, in order."""
    asked, depth_path, motion_path = [], tmp_path / "depth.safetensors", tmp_path / "motion.safetensors"
    network = DepthNetwork(DepthNetworkConfig(TINY_BACKBONE, (8, 8, 8, 8, 8)))
    DepthEstimator(network, "cpu", 64 * 32).save(depth_path, {})
    PoseEstimator(PoseNetwork(PoseNetworkConfig(1)), (64, 32), "cpu").save(motion_path, {})

    def fit(config, out, overwrite=False):
        asked.append((out.name, config))
        assert config.start_from is None or config.start_from.is_file()
        out.parent.mkdir(parents=True, exist_ok=True)
        pose_path = out.with_suffix(".pose.safetensors")
        shutil.copy(depth_path, out)
        shutil.copy(motion_path, pose_path)
        metrics = {"train_s": 0.01 * config.steps, "steps": config.steps}
        return FitResult(out, out.parent, metrics, [], (pose_path,))

    monkeypatch.setattr(fit_module, "fit_depth", fit)
    monkeypatch.setattr(depth_stages, "_PROBE_S", 0.01)
    monkeypatch.setattr(bench_module, "describe_versions", dict)  # a commit between two runs is another version
    return asked


def trained(asked):
    return [(name, config) for name, config in asked if not name.startswith("steps_")]


def test_the_losses_bench_gives_every_metric_of_every_variant(data, tmp_path, fits, rooms, monkeypatch):
    small = {"ROOM_COUNT": 2, "BURSTS": 2, "BURST_FRAMES": 3, "LEAST_STEPS": 1, "SEEDS": 2}
    for name, value in small.items():
        monkeypatch.setattr(depth_losses, name, value)
    benchmark, options = load_benchmark("depth-losses"), BenchOptions(device="cpu", seed=5, minutes=2)
    content, _ = run_benchmark(benchmark, data, tmp_path / "work", options)
    metrics = content["figures"]
    asked_for = {f"{v}_{key}{end}" for v in VARIANTS for key in ("abs_rel", "d1", "edge") for end in ("", "_std")}
    assert asked_for <= set(metrics)
    for name in asked_for:
        assert math.isfinite(metrics[name]), name
    assert metrics["baseline_abs_rel"] == pytest.approx(
        (metrics["baseline_rooms_abs_rel"] + metrics["baseline_office_abs_rel"]) / 2
    )
    assert metrics["seeds"] == 2
    runs = trained(fits)
    assert [name for name, _ in runs] == [f"{name}.safetensors" for name in ("start", *VARIANTS) * 2]
    # All from one start, with the same number of steps, and with other clips than the start's.
    for name, config in runs:
        started = name == "start.safetensors"
        assert config.steps == metrics["start_steps" if started else "steps"]
        assert (config.start_from is None) == started
    assert len({config.start_from for _, config in runs[1:6]}) == 1
    assert {config.seed for _, config in runs[1:6]} == {1005}
    assert runs[0][1].seed == 5
    # Nothing is learned from what is measured.
    rendered = SceneDataset(tmp_path / "work" / "rooms")
    assert {frame.sequence for frame in rendered.of_split("test")} == {"room0000_1", "room0001_1"}
    assert {frame.sequence for frame in rendered.of_split("train")} == {"room0000_0", "room0001_0"}
    assert (rendered.root / "boundaries" / rendered.frames[0].name).with_suffix(".png").is_file()
    office = SceneDataset(tmp_path / "work" / "office")
    assert [frame.split for frame in office.frames] == ["train"] * 9 + ["test"] * 3
    table = (tmp_path / "work" / "table.md").read_text()
    assert "keypoint against baseline, abs_rel" in table
    assert "±" in table
    assert (tmp_path / "work" / "table.html").is_file()
    # The same run goes on where it was: nothing is trained again.
    count = len(fits)
    again, _ = run_benchmark(benchmark, data, tmp_path / "work", options)
    assert len(fits) == count
    assert again["figures"] == metrics


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


def test_variants_differ_in_their_losses_alone(tmp_path):
    configs = variant_configs((tmp_path,), BenchOptions())
    assert tuple(configs) == VARIANTS
    rest = {name: config.model_dump(exclude={"losses"}) for name, config in configs.items()}
    assert all(other == rest["baseline"] for other in rest.values())
    baseline, boundary, keypoint = (configs[name].losses for name in VARIANTS[:3])
    assert baseline.explainability
    assert not boundary.explainability
    assert not keypoint.explainability
    assert boundary.weights["boundary"] == 2.5
    assert boundary.weights["smoothness"] == 0.75
    assert keypoint.scales == "single"
    assert keypoint.keypoint_detector
    assert keypoint.smoothness == "edge_aware"
    default, both = configs["default"].losses, configs["default_both"].losses
    assert default.reduction == both.reduction == "minimum"
    assert both.weights.keys() - default.weights.keys() == {"boundary", "keypoint"}


def test_more_time_gives_more_seeds_and_then_more_steps():
    paces = {name: Pace(step_s=1.0, fixed_s=2.0) for name in VARIANTS}
    # Besides its steps a seed takes 6 trainings of 2 s and 6 measurements of 3 s: 30 s. Of the rest a fifth is the
    # start's, and a step of all variants takes 5 s.
    assert plan_steps(3 * (30 + 1500), paces, 3.0) == Plan(seeds=3, start_steps=300, steps=240)
    assert plan_steps(3 * (30 + 300), paces, 3.0) == Plan(seeds=2, start_steps=93, steps=74)
    assert plan_steps(30 + 300, paces, 3.0) == Plan(seeds=1, start_steps=60, steps=48)
    assert plan_steps(5.0, paces, 3.0) == Plan(seeds=1, start_steps=FEWEST_STEPS, steps=FEWEST_STEPS)


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


def test_both_sets_weigh_the_same_and_edges_are_of_the_rooms():
    rooms = {"abs_rel": 0.2, "d1": 0.6, "edge": 0.3, "object_edge": 0.4}
    office = {"abs_rel": 0.4, "d1": 0.8}
    found = combined(rooms, office)
    assert found["abs_rel"] == pytest.approx(0.3)
    assert found["d1"] == pytest.approx(0.7)
    assert found["edge"] == 0.3
    assert found["rooms_abs_rel"] == 0.2
    assert found["office_abs_rel"] == 0.4


def of_seeds(**values):
    return {name: [{"abs_rel": value} for value in own] for name, own in values.items()}


CLAIM = Claim("keypoint", "baseline", "abs_rel", higher_is_better=False)


@pytest.mark.parametrize(
    ("keypoint", "shows", "words"),
    [
        ((0.18, 0.27, 0.37), True, "better by 0.0267 ± 0.0058, better at 3 of 3 seeds: the gain shows"),
        ((0.21, 0.31, 0.41), False, "worse by 0.0100 ± 0.0000, better at 0 of 3 seeds: no gain shows"),
        ((0.10, 0.29, 0.39), False, "better by 0.0400 ± 0.0520, better at 3 of 3 seeds: no gain shows"),
        ((0.15, 0.31, 0.39), False, "better at 2 of 3 seeds: no gain shows"),
    ],
)
def test_a_gain_shows_where_every_seed_has_it_and_it_is_more_than_chance(keypoint, shows, words):
    found = gain(CLAIM, of_seeds(baseline=(0.2, 0.3, 0.4), keypoint=keypoint))
    assert found["shows"] is shows
    assert words in found["sentence"]


def test_one_seed_says_that_chance_is_not_known():
    found = gain(CLAIM, of_seeds(baseline=(0.2,), keypoint=(0.1,)))
    assert found["shows"] is None
    assert found["std"] is None
    assert "better by 0.1000; one seed" in found["sentence"]


def test_sharper_edges_are_a_gain_though_the_metric_rises():
    values = {name: [{"edge": value}] for name, value in (("boundary", 0.3), ("baseline", 0.1))}
    claim = next(claim for claim in CLAIMS if claim.metric == "edge" and claim.against == "baseline")
    assert gain(claim, values)["gain"] == pytest.approx(0.2)


def test_the_deviation_of_one_seed_is_null_in_the_json(tmp_path, monkeypatch):
    keys = ("abs_rel", "d1", "edge", "rooms_abs_rel", "office_abs_rel", "rooms_d1", "office_d1", "object_edge")
    metrics = named_metrics({"baseline": [dict.fromkeys(keys, 0.5)]})
    assert math.isnan(metrics["baseline_abs_rel_std"])
    two = named_metrics({"baseline": [dict.fromkeys(keys, 0.5), dict.fromkeys(keys, 0.7)]})
    assert two["baseline_edge"] == pytest.approx(0.6)
    assert two["baseline_edge_std"] == pytest.approx(0.02**0.5)
    names = ("baseline_abs_rel", "baseline_abs_rel_std")
    single = Benchmark("one", "", (), "", "", names, lambda *_: BenchResult(metrics, {}), minutes=1.0)
    monkeypatch.setattr(bench_module, "load_benchmark", lambda name: single)
    written = tmp_path / "one.json"
    assert invoke(evaluate, "bench", "one", "--data", tmp_path, "--json", written).exit_code == 0
    assert json.loads(written.read_text())["figures"]["baseline_abs_rel_std"] is None


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
