"""A trained scene measured for real: on its dataset, on a recording in process, and through the live node over DDS."""

import json
import os
import sys

import pytest
from command_line import invoke
from geo_training.cli import evaluate
from geo_training.datasets.recordings.to_bag import bag_from_dataset
from geo_training.evaluation.replay.bag_input import open_bag
from geo_training.evaluation.replay.config import ReplayConfig
from geo_training.evaluation.replay.live import Process, run_live

from geo_perception.errors import InputError

QUERIES = 6  # frames of the tiny scene's split `test`


@pytest.fixture(scope="module")
def recording(tiny_scene, tmp_path_factory):
    """The frames that were not trained on, as a rosbag2."""
    path = tmp_path_factory.mktemp("bags") / "second_walk"
    bag_from_dataset(tiny_scene.dataset_root, path, split="test")
    return path


def run(*arguments):
    result = invoke(evaluate, *arguments)
    assert "Traceback" not in result.output
    return result


def test_a_scene_on_its_dataset(tiny_scene, tmp_path):
    out, page = tmp_path / "result.json", tmp_path / "report.html"
    result = run("localization", tiny_scene.scene_path, tiny_scene.dataset_root, "--json", out, "--report", page)
    assert result.exit_code == 0, result.output
    content = json.loads(out.read_text())
    assert content["figures"]["frames"] == QUERIES
    assert content["figures"]["recall_10cm_10deg"] >= 0.5
    assert len(content["frames"]) == QUERIES
    assert "split test" in content["metadata"]["data"]
    assert page.stat().st_size < 6e6


def test_a_recall_below_what_was_asked_for_exits_1(tiny_scene):
    result = run(
        "localization", tiny_scene.scene_path, tiny_scene.dataset_root, "--min-recall", "1.0", "--split", "all"
    )
    if result.exit_code == 0:
        assert "100.0% within 5 cm" in result.output
    else:
        assert result.exit_code == 1
        assert "below 100.0%" in result.output


def test_a_replay_in_process_repeats_itself(tiny_scene, recording, tmp_path):
    rows = []
    for name in ("a.json", "b.json"):
        result = run("replay", recording, "--scene", tiny_scene.scene_path, "--json", tmp_path / name)
        assert result.exit_code == 0, result.output
        frames = json.loads((tmp_path / name).read_text())["frames"]
        rows.append([{key: value for key, value in row.items() if key != "latency_ms"} for row in frames])
    assert rows[0] == rows[1]
    assert len(rows[0]) == QUERIES


@pytest.mark.slow
def test_a_live_replay_measures_metres_beside_the_poses(tiny_scene, recording, tmp_path):
    out, config = tmp_path / "live.json", tmp_path / "replay.yaml"
    config.write_text(
        f"scene: {tiny_scene.scene_path}\ndepth: {tiny_scene.dataset_root}\nrate: 0.2\ndevice: cpu\n"
        "depth_parameters: {pose_wait_s: 2.0}\n"
    )
    result = run("replay", recording, "--config", config, "--live", "--json", out)
    assert result.exit_code == 0, result.output
    assert "metres in " in result.output
    figures = json.loads(out.read_text())["figures"]
    assert 1 <= figures["depth_localized_frames"] <= figures["depth_frames"] <= QUERIES
    assert figures["depth_error_landmarks_median"] < 0.1
    assert figures["depth_coverage_90"] > 0.6


@pytest.mark.slow
def test_a_live_replay_measures_the_node(tiny_scene, recording, tmp_path):
    out, page = tmp_path / "live.json", tmp_path / "live.html"
    result = run(
        "replay",
        recording,
        "--scene",
        tiny_scene.scene_path,
        "--live",
        "--rate",
        "0.5",
        "--json",
        out,
        "--report",
        page,
    )
    assert result.exit_code == 0, result.output
    content = json.loads(out.read_text())
    metrics = content["figures"]
    assert metrics["frames_published"] == QUERIES
    assert metrics["frames_received"] == QUERIES
    assert metrics["frames_answered"] >= QUERIES / 2
    assert metrics["frames_dropped"] <= QUERIES - metrics["frames_processed"]
    assert metrics["answered_recall_10cm_10deg"] >= 0.5
    assert f"{metrics['frames_answered']} of {QUERIES} published frames answered" in result.output
    assert metrics["frames_processed"] + metrics["frames_replaced"] + metrics["frames_rejected"] == QUERIES
    assert metrics["recall_10cm_10deg"] >= 0.5
    assert 0 < metrics["frame_ms_p50"] <= metrics["frame_ms_p99"] < 5000
    assert metrics["published_hz"] == pytest.approx(2.0, rel=0.2)  # recorded at 4 Hz
    assert content["config"]["live"] is True
    assert "data:image/jpeg" in page.read_text()


def test_a_node_that_cannot_start_is_answered_with_its_own_words(recording, tmp_path):
    config = ReplayConfig(scene=str(tmp_path / "none.safetensors"), start_timeout_s=60.0)
    with pytest.raises(InputError, match=r"localization_node.*none\.safetensors") as error:
        run_live(open_bag(recording), config)
    assert "\n" not in str(error.value)


def test_a_process_that_ends_is_answered_with_its_last_words():
    code = "import sys; print('warming up'); print('[ERROR] [1.5] [node]: out of memory', file=sys.stderr); sys.exit(3)"
    with Process([sys.executable, "-c", code], dict(os.environ), "the node") as process:
        process.join()
        with pytest.raises(InputError, match=r"^the node ended with code 3: .*out of memory$"):
            process.check()
        assert process.last_error() == "out of memory"
