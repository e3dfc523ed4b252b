"""`geo-train calibration fit` from the command line."""

import json
from functools import partial

import pytest
import timm
import torch
from command_line import invoke
from geo_training.cli import train
from safetensors.torch import save_file
from tiny_panoramas import TINY_BACKBONE, make_tiny_panoramas


@pytest.fixture(scope="module")
def panoramas(tmp_path_factory):
    return make_tiny_panoramas(tmp_path_factory.mktemp("panoramas"), 2)


run = partial(invoke, train, "calibration", "fit")


def write(tmp_path, text):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return path


def test_a_training_is_done_and_told(panoramas, tmp_path):
    torch.manual_seed(0)
    save_file(timm.create_model(TINY_BACKBONE, pretrained=False).state_dict(), str(tmp_path / "b.safetensors"))
    config = write(tmp_path, (
        f"synthetic: {{count: 0}}\nbackbone: {TINY_BACKBONE}\nbackbone_file: {tmp_path / 'b.safetensors'}\n"
        "width: 16\ncontext_width: 48\nvalidation_crops: 2\nevaluations: 1\nheld_out: [indoor_0]\n"
    ))  # fmt: skip
    out, told = tmp_path / "new" / "w.safetensors", tmp_path / "told.json"
    result = run(config, "--out", out, "--panoramas", panoramas, "--steps", 1, "--batch", 1, "--device", "cpu",
                 "--seed", 4, "--json", told)  # fmt: skip
    assert result.exit_code == 0, result.output
    content = json.loads(told.read_text())
    assert content["weights"] == str(out)
    assert content["figures"]["weights_bytes"] == out.stat().st_size
    assert (content["config"]["steps"], content["config"]["seed"]) == (1, 4)
    assert "1 held out" in result.stderr
    assert "median errors roll" in result.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("speed: 3\n", "config key 'speed'"),
        ("loss_weights: {horizon: 1}\n", "config key 'loss_weights'"),
        ("held_out: [atlantis]\n", "held_out names the panorama 'atlantis', which is not there"),
        ("backbone: resnet18\nsynthetic: {count: 0}\n", "no weights for the backbone 'resnet18'"),
    ],
)
def test_a_wrong_config_is_answered_in_one_line(panoramas, tmp_path, text, words):
    out = tmp_path / "w.safetensors"
    result = run(write(tmp_path, text), "--out", out, "--panoramas", panoramas, "--device", "cpu")
    assert result.exit_code == 1
    assert words in result.stderr
    error = [line for line in result.stderr.splitlines() if line.startswith("error:")]
    assert len(error) == 1
    assert "Traceback" not in result.output
    assert not out.exists()


def test_panoramas_that_are_not_there(tmp_path):
    out = tmp_path / "w.safetensors"
    for arguments, words in (
        (("reference",), "no panoramas are given"),
        (("reference", "--panoramas", tmp_path / "nowhere"), "nowhere is not a folder"),
        (("reference", "--panoramas", tmp_path), "holds no panoramas"),
        (("no_such_config",), "there is no config 'no_such_config'"),
    ):
        result = run(*arguments, "--out", out)
        assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1), result.output
        assert words in result.stderr


def test_without_out_it_is_wrong_usage():
    assert run("reference").exit_code == 2


def test_weights_that_are_there_are_kept_without_overwrite(tmp_path):
    out = tmp_path / "weights.safetensors"
    out.write_bytes(b"weights")
    # Before the panoramas are looked at.
    command = ["calibration", "fit", "reference", "--panoramas", str(tmp_path / "none"), "--out", str(out)]
    result = invoke(train, *command)
    assert result.exit_code == 1
    assert "exists; pass --overwrite" in result.stderr
    assert "is not a folder" in invoke(train, *command, "--overwrite").stderr
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {out.name: b"weights"}
