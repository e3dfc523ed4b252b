"""`geo-train calibration crops` from the command line."""

import json

import numpy as np
import pytest
import yaml
from command_line import invoke
from geo_training.calibration.crop_commands import crops_command
from geo_training.calibration.data.crop_set import CropFolder
from geo_training.console import command_group
from tiny_panoramas import write_panoramas


@pytest.fixture
def panoramas(tmp_path):
    greys = {f"p{n}.png": ("ab"[n % 2], np.full((32, 64, 3), 40 * n, np.uint8)) for n in range(6)}
    return write_panoramas(tmp_path / "panoramas", greys)


def run(*arguments, jobs=1):
    app = command_group("Calibration.")
    app.callback()(lambda: None)
    app.command("crops")(crops_command)
    return invoke(app, "crops", *arguments, "--jobs", jobs)


def test_crops_are_made_and_told(panoramas, tmp_path):
    result = run(panoramas, "--out", tmp_path / "out", "--count", 2, "--seed", 3, "--licence", "CC0",
                 "--json", tmp_path / "result.json")  # fmt: skip
    assert result.exit_code == 0, result.output
    told = json.loads((tmp_path / "result.json").read_text())
    crops = CropFolder(tmp_path / "out")
    assert told["crops"] == told["made"] == len(crops) == 6  # of each domain 2, and 1 of the panorama for testing
    assert told["domains"] == {"a": 3, "b": 3}
    assert (told["config"]["seed"], crops.info["licence"]) == (3, "CC0")
    assert {crop.domain for crop in crops.of("test")} == {"a", "b"}


def test_one_domain_of_a_config_that_comes_with_it(panoramas, tmp_path):
    result = run(panoramas, "--out", tmp_path / "out", "--config", "crops_paper", "--count", 42, "--domain", "b")
    assert result.exit_code == 0, result.output
    crops = CropFolder(tmp_path / "out")
    assert {crop.domain for crop in crops.crops} == {"b"}
    # 42 is 149,504 / 3560, so the test crops are 3,584 / 3560, too.
    assert (len(crops.of("train")) + len(crops.of("validation")), len(crops.of("test"))) == (42, 1)
    assert yaml.safe_load((tmp_path / "out" / "config.yaml").read_text())["crops"]["focal_px"] == [50.0, 500.0]


def test_an_answer_in_one_line_for_what_cannot_be(panoramas, tmp_path):
    (tmp_path / "c.yaml").write_text("crops: {sizes_px: [[64, 64]], focal_px: [90, 20]}\n")
    for arguments, words in (
        ((tmp_path / "nowhere",), "is not a folder"),
        ((panoramas, "--domain", "street"), "no panorama is of the domain 'street'; there are a, b"),
        ((panoramas, "--config", tmp_path / "c.yaml"), "config key 'crops.focal_px'"),
        ((panoramas, "--config", "unheard_of"), "there is no config 'unheard_of'"),
    ):
        result = run(*arguments, "--out", tmp_path / "out")
        assert result.exit_code == 1
        assert words in result.output
        assert result.output.count("\n") == 1
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("wrong", [("--count", 0), ("--seed", -1), ("--colour", 1)])
def test_wrong_usage_is_exit_code_2(panoramas, tmp_path, wrong):
    assert run(panoramas, "--out", tmp_path / "out", *wrong).exit_code == 2
    assert not (tmp_path / "out").exists()


def test_no_processes_are_wrong_usage(panoramas, tmp_path):
    assert run(panoramas, "--out", tmp_path / "out", jobs=0).exit_code == 2


def test_help_shows_an_example():
    result = run("--help")
    assert result.exit_code == 0
    assert "geo-train calibration crops panoramas --out crops" in " ".join(result.output.split())
