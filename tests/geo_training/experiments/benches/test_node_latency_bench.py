"""The latency of nodes beside their bare estimators: what is asked for, what is said, and a real node for seconds."""

import numpy as np
import pytest
from command_line import invoke
from geo_training.cli import evaluate
from geo_training.datasets.scene import Frame
from geo_training.evaluation.latency import graph
from geo_training.evaluation.latency.figures import BareFrame, Slice
from geo_training.evaluation.latency.pictures import Pictures
from geo_training.evaluation.replay.process import Process, graph_of_its_own
from geo_training.experiments.bench import load_benchmark
from geo_training.experiments.benches import node_latency
from geo_training.experiments.benches.node_latency import Group, measure

from geo_perception.errors import InputError
from geo_perception.geometry import Camera

ASKED_FOR = {
    "localization_ratio_p50", "localization_ratio_p99", "calibration_ratio_p50", "calibration_ratio_p99",
    "depth_ratio_p50", "depth_ratio_p99", "container_ratio_p50", "lost_raw_10hz", "age_frames_p99", "start_s", "rss_mb",
}  # fmt: skip


def test_the_figures_asked_for_are_given():
    assert set(load_benchmark("node-latency").metrics) >= ASKED_FOR


def test_a_part_that_there_is_not_is_refused_in_one_line(tmp_path):
    for name, words in (
        ("node-latency", "localization, calibration, depth, container"),
        ("engines", "calibration, depth, localization"),
    ):
        result = invoke(evaluate, "bench", name, "--data", tmp_path, "--only", "depht")
        assert result.exit_code == 1
        assert "no part 'depht'" in result.output
        assert words in result.output
        assert len(result.output.strip().splitlines()) == 1


def test_half_of_the_first_frames_is_mapped_and_the_others_are_shown():
    frames = [Frame(f"{n}", "walk", n, "camera") for n in range(node_latency.FRAMES + 2)]
    split = [frame.split for frame in node_latency._split(frames)]
    assert split[:4] == ["train", "test", "train", "test"]
    assert split[-2:] == ["test", "test"]


def test_a_group_reports_its_worst_cell_and_its_best_start():
    def one(ratio):
        return Slice({1: 0.0}, {"depth": {1: 0.02 * ratio}}, [BareFrame(0.0, {"depth": 0.02}, frozenset({"depth"}))])

    group = Group(("depth",), {"raw_10hz": [one(1.05)], "raw_30hz": [one(1.2)]}, {}, [9.0, 7.0], [800.0, 900.0], [1.0])
    metrics = group.metrics("depth")
    assert metrics["depth_ratio_p50"] == pytest.approx(1.2)
    assert metrics["depth_raw_10hz_ratio_p50"] == pytest.approx(1.05)
    assert (metrics["depth_start_s"], metrics["depth_rss_mb"]) == (7.0, 900.0)
    assert group.ages_p99() == pytest.approx({"raw_10hz": 0.02 * 1.05 * 10, "raw_30hz": 0.02 * 1.2 * 30})


def test_a_process_that_ends_is_said_in_its_own_words(tmp_path):
    command = [graph.sys.executable, "-c", "import sys; sys.exit('no pictures here')"]
    with Process(command, graph_environment(), "the camera", asked=True) as process:
        with pytest.raises(InputError, match="the camera ended with code 1: no pictures here"):
            graph.asked(process, None)
        with pytest.raises(InputError, match="the camera ended with code 1"):
            graph.asked(process, {"count": 1})


def graph_environment():
    with graph_of_its_own() as environment:
        return environment


@pytest.mark.slow
def test_a_real_node_and_its_bare_estimator_answer_the_same_pictures(tmp_path, monkeypatch):
    for name, value in (("SLICE_S", 0.5), ("WARM_UP_S", 0.5)):
        monkeypatch.setattr(node_latency, name, value)
    noise_nhw3 = np.random.default_rng(0).integers(0, 255, (3, 96, 128, 3)).astype(np.uint8)
    Pictures(noise_nhw3, Camera(128, 96, 110.0, 110.0, 63.5, 47.5)).save(tmp_path / "pictures")
    setup, group = graph.Setup(tmp_path / "pictures", tmp_path / "none", "cpu", tmp_path), Group(("depth",))
    with graph_of_its_own() as environment:
        cells = list(measure(setup, group, environment, 0.0))
    assert cells == ["raw_10hz", "raw_30hz", "compressed_10hz", "compressed_30hz"]
    metrics = group.metrics("depth")
    assert all(metrics[f"depth_{cell}_{key}"] > 0 for cell in cells for key in ("ratio_p50", "p50_ms", "bare_p50_ms"))
    assert metrics["depth_rss_mb"] > 100
    assert len(group.starts_s) == 2
    assert group.lost["raw_10hz"] == 0
    assert all(age > 0 for age in group.ages_p99().values())
    assert all(len(one.bare) <= len(one.published_s) for slices in group.slices.values() for one in slices)
    assert group.config()["answered"]["raw_10hz"]["depth"] > 0
