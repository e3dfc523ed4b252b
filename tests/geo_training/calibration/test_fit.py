"""Training the calibration network: small, but real."""

import json
import shutil

import cv2
import numpy as np
import pytest
import timm
import torch
import yaml
from geo_training.calibration import fit as fit_module
from geo_training.calibration.config import CalibrationTrainingConfig
from geo_training.calibration.data.panoramas import Panorama, list_panoramas
from geo_training.calibration.data.stream import CropSources
from geo_training.calibration.fit import CalibrationTask, fit_calibration, make_network, split_of
from safetensors.torch import load_file, save_file
from tiny_panoramas import TINY_BACKBONE, make_tiny_panoramas

from geo_perception.calibration.estimator import FORMAT_VERSION, KIND, Calibrator
from geo_perception.errors import InputError
from geo_perception.runtime.weights import load_weights

FEW = [Panorama(name, None) for name in "abcdefgh"]


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """Four panoramas of random clouds, and a backbone of random weights."""
    folder = tmp_path_factory.mktemp("fit")
    torch.manual_seed(0)
    state = timm.create_model(TINY_BACKBONE, pretrained=False).state_dict()
    save_file(state, str(folder / "backbone.safetensors"))
    panoramas = make_tiny_panoramas(folder / "panoramas", 2)
    return CalibrationTrainingConfig(
        panoramas=panoramas, held_out=("indoor_0",), validation=("outdoor_3",), validation_crops=3,
        synthetic={"count": 0}, backbone=TINY_BACKBONE, backbone_file=folder / "backbone.safetensors", width=16,
        context_width=48, context_layers=1, steps=3, batch=2, evaluations=3, device="cpu",
    )  # fmt: skip


@pytest.fixture(scope="module")
def result(config, tmp_path_factory):
    return fit_calibration(config, tmp_path_factory.mktemp("run") / "calibration.safetensors")


def test_the_weights_are_what_the_robot_loads(result):
    calibrator = Calibrator.load(result.path, "cpu")
    image = np.random.default_rng(0).integers(0, 256, (240, 320, 3)).astype(np.uint8)
    assert np.isfinite(calibrator.estimate(image).focal_px)
    assert min(calibrator.uncertainty.scale_3) > 0
    assert result.metrics["weights_bytes"] == result.path.stat().st_size


def test_the_header_names_who_learned_and_who_was_held_out(result):
    header = Calibrator.load(result.path, "cpu").header
    assert header["held_out"] == ["indoor_0"]
    assert header["validation"] == ["outdoor_3"]
    assert header["learned"] == ["indoor_2", "outdoor_1"]
    assert header["synthetic"] == 0
    assert header["config"]["steps"] == 3
    assert np.isfinite(header["figures"]["roll_median_deg"])


def test_the_header_holds_no_place_of_this_machine(result, config):
    _, header = load_weights(result.path, KIND, FORMAT_VERSION)
    assert str(config.panoramas.parent) not in json.dumps(header)
    assert not {"panoramas", "backbone_file"} & set(header["config"])


def test_the_run_keeps_its_config_history_and_curves(result, config):
    saved = yaml.safe_load((result.run_dir / "config.yaml").read_text())
    assert CalibrationTrainingConfig.model_validate(saved) == config
    assert [record["step"] for record in result.history] == [1, 2, 3]
    assert {"loss", "up", "latitude", "cells", "fields", "fused", "direct", "roll_median_deg"} <= set(result.history[0])
    assert len((result.run_dir / "history.jsonl").read_text().splitlines()) == 3
    assert "<html" in (result.run_dir / "curves.html").read_text()
    assert not (result.run_dir / "checkpoint.safetensors").exists()


def test_an_interrupted_training_goes_on_to_the_same_weights(result, config, tmp_path, monkeypatch):
    out, whole = tmp_path / "calibration.safetensors", CalibrationTask.losses
    steps = []

    def cut(task, network, batch):
        if len(steps) == 2:
            raise KeyboardInterrupt
        steps.append(1)
        return whole(task, network, batch)

    monkeypatch.setattr(CalibrationTask, "losses", cut)
    with pytest.raises(KeyboardInterrupt):
        fit_calibration(config, out)
    assert not out.exists()
    steps.clear()
    steps.append(1)  # one step is left
    again = fit_calibration(config, out)
    assert len(steps) == 2
    assert [record["step"] for record in again.history] == [1, 2, 3]
    one, other = (load_weights(path, KIND, FORMAT_VERSION)[0] for path in (result.path, out))
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name], err_msg=name)


def test_the_backbone_learns_more_slowly_and_its_frozen_part_not_at_all(config):
    split = split_of(list_panoramas(config.panoramas), config)
    task = CalibrationTask(CropSources(split.learned), split, config, torch.device("cpu"))
    next(task.network.backbone.parameters()).requires_grad_(False)
    (pretrained, slow), (fresh, full) = task.parameter_groups(task.network)
    assert (slow, full) == (config.backbone_rate, 1.0)
    backbone = list(task.network.backbone.parameters())
    assert {id(p) for p in pretrained} == {id(p) for p in backbone[1:]}
    others = {id(p) for p in task.network.parameters()} - {id(p) for p in backbone}
    assert {id(p) for p in fresh} == others


def test_the_network_starts_from_the_pretrained_backbone(config):
    network = make_network(config)
    expected = load_file(str(config.backbone_file))
    for name, value in network.backbone.state_dict().items():
        assert torch.equal(value, expected[name]), name


def test_a_panorama_is_on_one_side_only():
    config = CalibrationTrainingConfig(held_out=("b", "g"), validation=("c",))
    split = split_of(FEW, config)
    names = [[panorama.name for panorama in group] for group in (split.learned, split.validation, split.held_out)]
    assert names == [["a", "d", "e", "f", "h"], ["c"], ["b", "g"]]


def test_validation_is_drawn_by_the_seed_where_none_is_named():
    splits = [split_of(FEW, CalibrationTrainingConfig(held_out=("b",), seed=seed)) for seed in (0, 0, 1, 2, 3)]
    assert splits[0] == splits[1]
    assert len({split.validation[0].name for split in splits}) > 1
    for split in splits:
        assert len(split.validation) == 1
        assert "b" not in {panorama.name for panorama in split.learned + split.validation}
        assert len(split.learned) == 6


@pytest.mark.parametrize(
    ("panoramas", "keys", "words"),
    [
        (FEW, {"held_out": ("z",)}, "held_out names the panorama 'z'"),
        (FEW, {"validation": ("z",)}, "validation names the panorama 'z', which is not there"),
        (FEW, {"held_out": ("a",), "validation": ("a", "b")}, "'a' is named by held_out and by validation"),
        (FEW, {"held_out": tuple("abcdefgh")}, "every panorama is held out"),
        (FEW[:1], {}, "one panorama is not enough"),
    ],
)
def test_a_split_that_cannot_be(panoramas, keys, words):
    with pytest.raises(InputError, match=words):
        split_of(panoramas, CalibrationTrainingConfig(**keys))


def test_the_fingerprint_knows_what_changes_a_result_and_not_where_files_lie(config, tmp_path):
    def fingerprint_of(folder=config.panoramas, **changes):
        own = config.model_copy(update=changes)
        panoramas = list_panoramas(folder)
        return fit_module.training_fingerprint(own, split_of(panoramas, own), CropSources([], panoramas[:synthetic]))

    synthetic = 0
    own = fingerprint_of()
    assert fingerprint_of(panoramas="elsewhere", device="cuda") == own
    assert fingerprint_of(shutil.copytree(config.panoramas, tmp_path / "moved")) == own
    for changes in ({"learning_rate": 1e-4}, {"steps": 4}, {"seed": 9}):
        assert fingerprint_of(**changes) != own
    changed = tmp_path / "moved" / "indoor_2.png"
    cv2.imwrite(str(changed), cv2.imread(str(changed))[:, ::-1])
    assert fingerprint_of(tmp_path / "moved") != own  # of the same name, with other pixels
    weights = load_file(config.backbone_file)
    name = next(name for name in weights if name.endswith("weight"))
    weights[name] = 2 * weights[name]
    save_file(weights, tmp_path / "backbone.safetensors")
    assert fingerprint_of(backbone_file=tmp_path / "backbone.safetensors") != own
    synthetic = 1
    assert fingerprint_of() != own


def test_a_training_goes_on_from_earlier_weights_and_keeps_their_answers(result, config, tmp_path):
    again = config.model_copy(update={"start_from": result.path, "keep": 0.5, "steps": 1, "evaluations": 1})
    continued = fit_calibration(again, tmp_path / "adapted.safetensors")
    # Before the first step the network is the earlier one, so nothing has moved yet.
    assert continued.history[0]["kept"] == pytest.approx(0.0, abs=1e-6)
    start = Calibrator.load(result.path, "cpu").network.state_dict()
    assert any(not torch.equal(start[name], value) for name, value in
               Calibrator.load(continued.path, "cpu").network.state_dict().items())  # fmt: skip


def test_weights_of_another_network_cannot_be_gone_on_from(result, config):
    with pytest.raises(InputError, match="set the same backbone and widths"):
        make_network(config.model_copy(update={"start_from": result.path, "width": 32}))
