"""`geo-train depth fit` from the command line."""

import json
from functools import partial

import pytest
from command_line import invoke
from geo_training.cli import train
from tiny_panoramas import TINY_BACKBONE
from tiny_walk import make_walk

from geo_perception.depth.estimator import DepthEstimator

run = partial(invoke, train, "depth", "fit")
SMALL = f"""size_px: [64, 64]
batch: 2
evaluations: 1
pretrained: false
backbone: {TINY_BACKBONE}
frozen_stages: -1
half: false
"""


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    return make_walk(tmp_path_factory.mktemp("walk") / "data", held_out=2).root


def write(tmp_path, text):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return path


def test_a_training_is_done_and_told_with_the_options_that_overrule_its_config(walk, tmp_path):
    out, told = tmp_path / "new" / "depth.safetensors", tmp_path / "told.json"
    result = run(write(tmp_path, SMALL), "--out", out, "--dataset", walk, "--validation", walk, "--steps", 1,
                 "--batch", 1, "--device", "cpu", "--seed", 4, "--json", told)  # fmt: skip
    assert result.exit_code == 0, result.output
    content = json.loads(told.read_text())
    assert content["weights"] == str(out)
    assert content["pose_weights"] == str(tmp_path / "new" / "depth.pose.safetensors")
    assert content["figures"]["weights_bytes"] == out.stat().st_size
    config = content["config"]
    assert (config["steps"], config["batch"], config["seed"]) == (1, 1, 4)
    assert (config["datasets"], config["validation"]) == ([str(walk)], [str(walk)])
    DepthEstimator.load(out, "cpu")
    lines = " ".join(result.stderr.split())
    assert "4 clips of 1 datasets" in lines
    assert f"absolute relative error {content['figures']['val_abs_rel']:.3f}" in lines


def test_known_poses_and_no_validation_give_depth_alone(walk, tmp_path):
    told = tmp_path / "told.json"
    result = run(write(tmp_path, SMALL + "motion: known\n"), "--out", tmp_path / "d.safetensors", "--dataset", walk,
                 "--steps", 1, "--device", "cpu", "--json", told)  # fmt: skip
    assert result.exit_code == 0, result.output
    assert json.loads(told.read_text())["pose_weights"] is None
    assert not (tmp_path / "d.pose.safetensors").exists()
    assert "absolute relative error" not in result.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("speed: 3\n", "config key 'speed'"),
        ("losses: {weights: {horizon: 1}}\n", "config key 'losses.weights'"),
        ("keep_momentum: true\n", "keep_momentum needs start_from"),
        ("backbone: resnet1\npretrained: false\n", "the backbone 'resnet1' is not known"),
    ],
)
def test_a_wrong_config_is_answered_in_one_line(walk, tmp_path, text, words):
    out = tmp_path / "w.safetensors"
    result = run(write(tmp_path, text), "--out", out, "--dataset", walk, "--device", "cpu")
    assert result.exit_code == 1
    assert words in " ".join(result.stderr.split())
    assert "Traceback" not in result.output
    assert not out.exists()


def test_without_datasets_nothing_is_begun(tmp_path):
    result = run("default", "--out", tmp_path / "w.safetensors")
    assert result.exit_code == 1
    assert "no datasets are given" in result.stderr
    assert not (tmp_path / "w.safetensors").exists()
