"""The benchmark of the losses: what it trains and measures, and what it says of the papers' claims."""

import json
import math

import pytest
from command_line import invoke
from geo_training.cli import evaluate
from geo_training.datasets.scene import Frame, SceneDataset
from geo_training.experiments import bench as bench_module
from geo_training.experiments.bench import Benchmark, BenchOptions, BenchResult, load_benchmark, run_benchmark
from geo_training.experiments.benches import depth_losses
from geo_training.experiments.benches.depth_claims import (
    CLAIMS,
    DETAILS,
    METRICS,
    Claim,
    gain,
    named_metrics,
    paired_section,
)
from geo_training.experiments.benches.depth_losses import Plan, block_numbers, combined, plan_steps, variant_configs
from geo_training.experiments.benches.depth_stages import FEWEST_STEPS, Pace

VARIANTS = ("baseline", "boundary", "keypoint", "default", "default_both")


def trained(asked):
    return [(name, config) for name, config in asked if not name.startswith("steps_")]


def test_the_losses_bench_gives_every_metric_of_every_variant(data, tmp_path, fits, rooms, monkeypatch):
    small = {"ROOM_COUNT": 2, "BURSTS": 2, "BURST_FRAMES": 3, "LEAST_STEPS": 1, "SEEDS": 2}
    for name, value in small.items():
        monkeypatch.setattr(depth_losses, name, value)
    monkeypatch.setattr(
        depth_losses, "cores_for", lambda _device: 1
    )  # trainings here are made up, in this process alone
    benchmark, options = load_benchmark("depth-losses"), BenchOptions(device="cpu", seed=5, minutes=2)
    content, _ = run_benchmark(benchmark, data, tmp_path / "work", options)
    metrics = content["figures"]
    asked_for = {f"{v}_{key}{end}" for v in VARIANTS for key in (*METRICS, *DETAILS) for end in ("", "_std")}
    assert asked_for <= set(metrics)
    for name in asked_for:
        assert math.isfinite(metrics[name]), name
    for key in ("abs_rel", "edge"):
        both = [metrics[f"baseline_rooms_{key}"], metrics[f"baseline_house_{key}"]]
        assert metrics[f"baseline_{key}"] == pytest.approx(sum(both) / 2)
    assert metrics["seeds"] == 2
    runs = trained(fits)
    assert [name for name, _ in runs] == [f"{name}.safetensors" for name in ("start", "start", *VARIANTS * 2)]
    # All from one start, with the same number of steps, and with other clips than the start's.
    for name, config in runs:
        started = name == "start.safetensors"
        assert config.steps == metrics["start_steps" if started else "steps"]
        assert (config.start_from is None) == started
    assert len({config.start_from for _, config in runs[2:7]}) == 1
    assert {config.seed for _, config in runs[2:7]} == {1005}
    assert runs[0][1].seed == 5
    # Nothing is learned from what is measured.
    rendered = SceneDataset(tmp_path / "work" / "rooms")
    assert {frame.sequence for frame in rendered.of_split("test")} == {"room0000_1", "room0001_1"}
    assert {frame.sequence for frame in rendered.of_split("train")} == {"room0000_0", "room0001_0"}
    assert (rendered.root / "boundaries" / rendered.frames[0].name).with_suffix(".png").is_file()
    learned, held_out = (SceneDataset(tmp_path / "work" / name) for name in ("walk_a", "walk_c"))
    assert {frame.split for frame in learned.frames} == {"train"}
    assert {frame.split for frame in held_out.frames} == {"test"}
    assert all(config.datasets == (rendered.root, learned.root) for _, config in runs)
    assert (learned.root / "boundaries" / learned.frames[0].name).with_suffix(".png").is_file()
    # What is said of every claim is also in the JSON: the same network everywhere has no gains.
    gains = {(found["variant"], found["against"], found["metric"]): found for found in content["config"]["gains"]}
    assert gains["keypoint", "baseline", "abs_rel"]["by_seed"] == (0, 0)
    assert gains["keypoint", "baseline", "abs_rel"]["frames"] == sum(content["config"]["measured_frames"].values())
    against_flat = metrics["flat_abs_rel"] - metrics["baseline_abs_rel"]
    assert gains["baseline", "flat", "abs_rel"]["mean"] == pytest.approx(against_flat)
    table = (tmp_path / "work" / "table.md").read_text()
    assert "keypoint against baseline, abs_rel" in table
    assert "±" in table
    assert (tmp_path / "work" / "table.html").is_file()
    # The same run goes on where it was: nothing is trained again.
    count = len(fits)
    again, _ = run_benchmark(benchmark, data, tmp_path / "work", options)
    assert len(fits) == count
    assert again["figures"] == metrics


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
    assert plan_steps(1e6, paces, 3.0) == Plan(seeds=3, start_steps=1500, steps=800)
    assert plan_steps(5.0, paces, 3.0) == Plan(seeds=1, start_steps=FEWEST_STEPS, steps=FEWEST_STEPS)


def test_all_sets_weigh_the_same():
    rooms = {"abs_rel": 0.2, "d1": 0.6, "edge": 0.3, "object_edge": 0.4}
    house = {"abs_rel": 0.4, "d1": 0.8, "edge": 0.1, "object_edge": 0.2}
    found = combined({"rooms": rooms, "house": house})
    assert [found[key] for key in ("abs_rel", "d1", "edge", "object_edge")] == pytest.approx([0.3, 0.7, 0.2, 0.3])
    assert found["rooms_abs_rel"] == 0.2
    assert found["house_edge"] == 0.1
    assert {*METRICS, *DETAILS} == set(found)


def test_neighbours_of_a_long_walk_and_all_of_a_short_one_are_a_block():
    walk = [Frame(f"walk/{n}.jpg", "walk", n, "c") for n in range(7)]
    assert block_numbers("house", walk) == [0, 0, 0, 1, 1, 1, 2]
    rooms = [Frame(f"{name}/{n}.jpg", name, n, "c") for name in ("a", "b") for n in range(4)]
    assert block_numbers("rooms", rooms) == [0, 0, 0, 0, 1, 1, 1, 1]


def of_seeds(**values):
    """Two frames in each of two sets, which all have the value of the seed."""
    frames = {
        name: [{key: {"abs_rel": [value] * 2} for key in ("rooms", "house")} for value in own]
        for name, own in values.items()
    }
    return frames, {"rooms": [0, 1], "house": [0, 1]}


CLAIM = Claim("keypoint", "baseline", "abs_rel", higher_is_better=False)


@pytest.mark.parametrize(
    ("keypoint", "shows", "words"),
    [
        # Gains 0.02, 0.03, 0.03: mean 0.0267, t(2) * 0.00577 / sqrt(3) = 0.0143.
        ((0.18, 0.27, 0.37), True, "seeds alone +0.0123 .. +0.0410, better at 3 of 3 seeds: the gain shows"),
        ((0.22, 0.33, 0.43), False, "better at 0 of 3 seeds: the opposite shows"),
        ((0.19, 0.28, 0.33), False, "at 3 of 3 seeds: more than chance in the draws, but the seeds are too few"),
        ((0.15, 0.31, 0.39), False, "better at 2 of 3 seeds: no difference shows"),
    ],
)
def test_a_gain_shows_where_both_intervals_are_above_zero(keypoint, shows, words):
    found = gain(CLAIM, *of_seeds(baseline=(0.2, 0.3, 0.4), keypoint=keypoint))
    assert found["shows"] is shows
    assert words in found["sentence"]


def test_frames_are_compared_one_by_one_and_sets_weigh_the_same():
    without = {"rooms": {"abs_rel": [0.5, 0.3]}, "house": {"abs_rel": [0.2]}}
    with_it = {"rooms": {"abs_rel": [0.1, 0.3]}, "house": {"abs_rel": [0.3]}}
    found = gain(CLAIM, {"baseline": [without] * 2, "keypoint": [with_it] * 2}, {"rooms": [0, 1], "house": [0]})
    assert found["mean"] == pytest.approx((0.2 - 0.1) / 2)
    assert (found["frames"], found["blocks"]) == (3, 3)
    # Rooms 0, 0.2 or 0.4 by what is drawn, the house always -0.1.
    assert (found["low"], found["high"]) == pytest.approx((-0.05, 0.15))


def test_one_seed_says_that_chance_is_not_known():
    found = gain(CLAIM, *of_seeds(baseline=(0.2,), keypoint=(0.1,)))
    assert found["shows"] is None
    assert found["seeds_low"] is None
    assert "better by 0.1000, 95 % of draws in +0.1000 .. +0.1000; one seed" in found["sentence"]


def test_what_no_frame_has_is_not_known():
    found = gain(CLAIM, *of_seeds(baseline=(math.nan, 0.2), keypoint=(0.1, 0.1)))
    assert found["shows"] is None
    assert found["mean"] is None
    assert "no frame has such a metric" in found["sentence"]
    assert paired_section([found]).table[1][0][3] == "–"


def test_sharper_edges_are_a_gain_though_the_metric_rises():
    frames = {name: [{"rooms": {"edge": [value]}}] for name, value in (("boundary", 0.3), ("baseline", 0.1))}
    claim = next(claim for claim in CLAIMS if claim.metric == "edge" and claim.against == "baseline")
    assert gain(claim, frames, {"rooms": [0]})["mean"] == pytest.approx(0.2)


def test_the_deviation_of_one_seed_is_null_in_the_json(tmp_path, monkeypatch):
    keys = (*METRICS, *DETAILS)
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
