"""How far answers are to be believed that lines refined: errors of whole images, the fit, and its command."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from calibration_peer import constant_weights
from command_line import invoke
from drawn_room import room
from geo_training.calibration import lines as lines_module
from geo_training.calibration import uncertainty as uncertainty_module
from geo_training.calibration.data.crops import CropSpec
from geo_training.calibration.uncertainty import (
    LINES_FLOORS,
    NEW_PLACE_MARGIN,
    LinesErrors,
    ValidationCrop,
    fit_lines_errors,
    fit_lines_uncertainty,
    lines_errors,
)
from geo_training.cli import train
from tiny_panoramas import make_tiny_panoramas

from geo_perception.calibration.estimator import Calibrator
from geo_perception.calibration.uncertainty import LinesUncertainty, Uncertainty
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
    calibrator.lines_uncertainty = LinesUncertainty()
    answer = calibrator.estimate(crop.image_hw3)
    assert answer.lines > 0
    assert errors.error_n3[0, 0] == pytest.approx(np.log(answer.focal_px / crop.spec.focal_px))
    assert errors.error_n3[0, 1] == pytest.approx(answer.pitch_rad - crop.spec.pitch_rad)
    assert errors.sigma_n3[0, 2] == pytest.approx(answer.sigma_roll_rad)
    assert 0 < errors.strays_n[0] < 1
    # The network says 270 px within 15 %, level within 0.1 rad: what lines say is so many of these away.
    assert 0 < errors.disagreement_n[0] < 3


def test_the_fitted_belief_holds_for_its_images_and_few_images_tell_none(weights):
    calibrator, many = Calibrator.load(weights, "cpu"), crops(40)
    assert fit_lines_uncertainty(calibrator, many[:10]) is None
    uncertainty = fit_lines_uncertainty(calibrator, many)
    errors = lines_errors(calibrator, many)
    factor_n3 = [uncertainty.factors(*seen) for seen in zip(errors.strays_n, errors.disagreement_n, strict=True)]
    stated_n3 = np.hypot(errors.sigma_n3 * factor_n3, uncertainty.floor_3)
    inside_3 = (np.abs(errors.error_n3) < 1.645 * stated_n3).mean(axis=0)
    assert (inside_3 >= 0.85).all()
    assert calibrator.lines_uncertainty is None


def made_up(count: int, seed: int = 0) -> LinesErrors:
    """Errors that are twice as large as stated without strays and disagreement, and grow with both."""
    rng = np.random.default_rng(seed)
    strays_n, disagreement_n, sigma_n3 = rng.uniform(0, 1, count), rng.uniform(0, 3, count), np.full((count, 3), 0.1)
    true_n = 0.2 * np.exp(1.5 * strays_n + 0.4 * disagreement_n)
    return LinesErrors(
        true_n[:, None] * rng.normal(size=(count, 3)), sigma_n3, strays_n, disagreement_n, np.ones(count)
    )


def test_the_fit_finds_how_errors_grow_with_strays_and_disagreement():
    found = fit_lines_errors(made_up(6000))
    np.testing.assert_allclose(found.strays_3, 1.5, atol=0.15)
    np.testing.assert_allclose(found.disagreement_3, 0.4, atol=0.06)
    # The tails of t are wider than these errors are, so the scale is smaller; widened by the margin.
    np.testing.assert_allclose(np.divide(found.scale_3, NEW_PLACE_MARGIN), 2.0, rtol=0.15)
    assert found.floor_3 == LINES_FLOORS


def test_the_stated_interval_holds_for_errors_with_tails():
    errors = made_up(6000)
    rng = np.random.default_rng(1)
    heavy_n3 = errors.error_n3 * np.sqrt(4 / rng.chisquare(4, (6000, 1)))
    found = fit_lines_errors(replace(errors, error_n3=heavy_n3))
    factor_n3 = np.array([found.factors(*seen) for seen in zip(errors.strays_n, errors.disagreement_n, strict=True)])
    inside_3 = (np.abs(heavy_n3) < 1.645 * 0.1 * factor_n3 / NEW_PLACE_MARGIN).mean(axis=0)
    np.testing.assert_allclose(inside_3, 0.9, atol=0.02)


def test_crops_of_learned_panoramas_count_as_much_as_the_others_whatever_their_number(weights, monkeypatch):
    own, others = made_up(100), made_up(900, seed=1)
    sets, fitted = iter([own, others]), []
    monkeypatch.setattr(uncertainty_module, "lines_errors", lambda *_: next(sets))
    monkeypatch.setattr(uncertainty_module, "fit_lines_errors", fitted.append)
    fit_lines_uncertainty(Calibrator.load(weights, "cpu"), crops(1), crops(1))
    (together,) = fitted
    assert len(together) == 1000
    assert together.weight_n[:100].sum() == pytest.approx(together.weight_n[100:].sum())


def test_the_command_writes_the_same_weights_with_the_belief(weights, tmp_path, monkeypatch):
    found = LinesUncertainty((1.0, 2.0, 3.0), (0.1, 0.2, 0.3), (4.0, 5.0, 6.0), (0.4, 0.5, 0.6))
    asked = []
    monkeypatch.setattr(lines_module, "fit_lines_uncertainty", lambda calibrator, *crops: asked.append(crops) or found)
    panoramas, out = make_tiny_panoramas(tmp_path / "panoramas", 2), tmp_path / "new.safetensors"
    result = run(weights, "--panoramas", panoramas, "--out", out, "--device", "cpu")
    assert result.exit_code == 0, result.output
    told = "times 1, 2, 3; by strays 4, 5, 6; by disagreement 0.4, 0.5, 0.6; at least 0.1, 0.2, 0.3"
    assert f"of 4 crops; log focal, pitch, roll: {told}" in " ".join(result.output.split())
    assert asked[0][1] == []  # the weights name no panorama that they learned from
    assert {crop.image_hw3.shape[:2] for crop in asked[0][0]} <= {
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
