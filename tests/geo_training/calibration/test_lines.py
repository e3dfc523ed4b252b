"""How far answers are to be believed that lines refined: errors of whole images, the fit, and its command."""

from functools import partial

import numpy as np
import pytest
from calibration_peer import constant_weights
from command_line import invoke
from drawn_room import room
from geo_training.calibration import lines as lines_module
from geo_training.calibration.data.crops import CropSpec
from geo_training.calibration.uncertainty import ValidationCrop, fit_lines_uncertainty, lines_errors
from geo_training.cli import train
from tiny_panoramas import make_tiny_panoramas

from geo_perception.calibration.estimator import Calibrator, Uncertainty
from geo_perception.runtime.weights import load_weights

BLANK = np.tile(np.linspace(60, 180, 320).astype(np.uint8)[None, :, None], (240, 1, 3))
run = partial(invoke, train, "calibration", "lines")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = constant_weights(tmp_path_factory.mktemp("weights") / "w.safetensors", 270.0, 320, 240)
    calibrator = Calibrator.load(path, "cpu")
    calibrator.uncertainty = Uncertainty((1e-4,) * 3, (0.15, 0.1, 0.1))
    calibrator.save(path, {"validation": ["outdoor_1"], "config": {"validation_crops": 4}, "licence": "none"})
    return path


def crops(count: int) -> list[ValidationCrop]:
    rng = np.random.default_rng(1)
    specs = [CropSpec(320, 240, rng.uniform(220, 320), *rng.uniform(-0.12, 0.12, 2), 0.0) for _ in range(count)]
    return [ValidationCrop(room(spec, rng.uniform(0.2, 1.3)), spec) for spec in specs]


def test_errors_are_of_those_images_in_which_lines_speak(weights):
    calibrator = Calibrator.load(weights, "cpu")
    crop = crops(1)[0]
    errors = lines_errors(calibrator, [ValidationCrop(BLANK, crop.spec), crop])
    assert errors.error_n3.shape == errors.sigma_n3.shape == (1, 3)
    calibrator.lines_uncertainty = Uncertainty()
    answer = calibrator.estimate(crop.image_hw3)
    assert answer.lines > 0
    assert errors.error_n3[0, 0] == pytest.approx(np.log(answer.focal_px / crop.spec.focal_px))
    assert errors.error_n3[0, 1] == pytest.approx(answer.pitch_rad - crop.spec.pitch_rad)
    assert errors.sigma_n3[0, 2] == pytest.approx(answer.sigma_roll_rad)
    assert errors.vfov_error_n[0] == pytest.approx(answer.vfov_rad - crop.spec.vfov_rad)


def test_the_fitted_belief_holds_for_its_images_and_few_images_tell_none(weights):
    calibrator, many = Calibrator.load(weights, "cpu"), crops(40)
    assert fit_lines_uncertainty(calibrator, many[:10]) is None
    uncertainty = fit_lines_uncertainty(calibrator, many)
    errors = lines_errors(calibrator, many)
    stated_n3 = np.sqrt((errors.sigma_n3 * uncertainty.scale_3) ** 2 + np.square(uncertainty.floor_3))
    inside_3 = (np.abs(errors.error_n3) < 1.645 * stated_n3).mean(axis=0)
    assert (inside_3 >= 0.85).all()
    assert calibrator.lines_uncertainty is None


def test_the_command_writes_the_same_weights_with_the_belief(weights, tmp_path, monkeypatch):
    found = Uncertainty((1.0, 2.0, 3.0), (0.1, 0.2, 0.3))
    asked = []
    monkeypatch.setattr(lines_module, "fit_lines_uncertainty", lambda calibrator, crops: asked.append(crops) or found)
    panoramas, out = make_tiny_panoramas(tmp_path / "panoramas", 2), tmp_path / "new.safetensors"
    result = run(weights, "--panoramas", panoramas, "--out", out, "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert "of 4 crops; log focal, pitch, roll: times 1, 2, 3; at least 0.1, 0.2, 0.3" in result.output
    assert {crop.image_hw3.shape[:2] for crop in asked[0]} <= {
        (240, 320),
        (320, 320),
        (256, 384),
        (216, 384),
        (320, 240),
    }
    before, after = (load_weights(path, "calibration", 1) for path in (weights, out))
    assert all(np.array_equal(before[0][name], value) for name, value in after[0].items())
    changed = {key for key in after[1] if before[1].get(key) != after[1][key]}
    assert changed <= {"lines_uncertainty", "checksum", "created"}
    assert Calibrator.load(out, "cpu").lines_uncertainty == found
    assert run(weights, "--panoramas", panoramas, "--out", out, "--device", "cpu").exit_code == 1  # it is there


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({}, "does not say which panoramas validated it"),
        ({"validation": ["atlantis"]}, "the panorama 'atlantis', which validated"),
        ({"validation": ["outdoor_1"], "config": {"speed": 3}}, "a config of another version"),
        ({"validation": ["outdoor_1"], "config": {"validation_crops": 2}}, "too few crops"),
    ],
)
def test_weights_that_cannot_be_measured_are_answered_in_one_line(weights, tmp_path, metadata, words):
    Calibrator.load(weights, "cpu").save(tmp_path / "w.safetensors", metadata)
    panoramas, out = make_tiny_panoramas(tmp_path / "panoramas", 1), tmp_path / "new.safetensors"
    result = run(tmp_path / "w.safetensors", "--panoramas", panoramas, "--out", out, "--device", "cpu")
    assert result.exit_code == 1
    assert words in result.stderr
    assert "Traceback" not in result.output
    assert not out.exists()
