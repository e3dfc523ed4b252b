"""One image to a camera: the way back to its own pixels, verdicts, covariances, and weights files."""

import json

import cv2
import numpy as np
import pytest
import torch
from geo_training.calibration.data.crops import CropSpec, render_crop

from geo_perception.calibration import estimator
from geo_perception.calibration.angles import camera_values
from geo_perception.calibration.estimator import (
    FORMAT_VERSION,
    KIND,
    Calibrator,
    CalibratorOptions,
    network_view,
)
from geo_perception.calibration.network import CalibrationNetwork, NetworkConfig
from geo_perception.calibration.result import CalibrationVerdict
from geo_perception.calibration.solve import CameraSolution
from geo_perception.calibration.uncertainty import Uncertainty
from geo_perception.errors import InputError
from geo_perception.geometry import up_from_attitude
from geo_perception.runtime.weights import load_weights, save_weights

TINY = NetworkConfig("test_resnet", width=16, context_width=48, context_layers=1)


def random_network():
    """Untrained, but with answers that depend on the image."""
    torch.manual_seed(3)
    network = CalibrationNetwork(TINY)
    for layer in (network.fields, network.direct[-1]):
        torch.nn.init.normal_(layer.weight, std=0.02)
    return network


@pytest.fixture(scope="module")
def calibrator():
    return Calibrator(random_network(), device="cpu")


@pytest.fixture(scope="module")
def panorama_hw3():
    coarse = np.random.default_rng(2).integers(0, 256, (16, 32, 3)).astype(np.uint8)
    return cv2.resize(coarse, (1024, 512), interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope="module")
def photo_hw3(panorama_hw3):
    return render_crop(panorama_hw3, CropSpec(320, 240, 250.0, 0.1, 0.05, 1.0))


def test_the_same_scene_at_four_times_the_size_has_four_times_the_focal_length(calibrator, panorama_hw3):
    small, large = (
        calibrator.estimate(render_crop(panorama_hw3, CropSpec(320 * k, 240 * k, 250.0 * k, 0.2, -0.1, 0.5)))
        for k in (1, 4)
    )
    assert large.focal_px == pytest.approx(4 * small.focal_px, rel=0.02)
    assert large.sigma_focal_px == pytest.approx(4 * small.sigma_focal_px, rel=0.05)
    assert (large.pitch_rad, large.roll_rad) == pytest.approx((small.pitch_rad, small.roll_rad), abs=0.01)
    assert large.vfov_rad == pytest.approx(small.vfov_rad, rel=0.02)


def test_a_wider_image_of_the_same_camera_loses_only_its_ends(calibrator, panorama_hw3):
    """Beyond an aspect of 3 the ends are cut off; neither the focal length nor the attitude may notice."""
    wide = render_crop(panorama_hw3, CropSpec(1200, 200, 300.0, 0.0, 0.0))
    middle = wide[:, 300:900]
    assert calibrator.estimate(wide).focal_px == pytest.approx(calibrator.estimate(middle).focal_px, rel=1e-3)


def test_the_answer_is_whole(calibrator, photo_hw3):
    answer = calibrator.estimate(photo_hw3)
    assert (answer.width_px, answer.height_px) == (320, 240)
    assert np.isfinite([answer.focal_px, answer.pitch_rad, answer.roll_rad]).all()
    np.testing.assert_allclose(answer.covariance_33, answer.covariance_33.T, rtol=1e-4)
    assert (np.linalg.eigvalsh(answer.covariance_33) > 0).all()
    assert set(answer.timings_s) == {"prepare", "network", "lines", "total"}
    assert "px, pitch" in answer.detail


def test_how_sure_an_answer_must_be_is_an_option(calibrator, photo_hw3):
    answers = {}
    for name, options in {
        "lenient": CalibratorOptions(1e6, 1e6),
        "focal": CalibratorOptions(1e-9, 1e6),
        "attitude": CalibratorOptions(1e6, 1e-9),
    }.items():
        judge = Calibrator(calibrator.network, device="cpu", options=options)
        answers[name] = judge.estimate(photo_hw3)
    assert answers["lenient"].verdict is CalibrationVerdict.CALIBRATED
    assert answers["focal"].verdict is answers["attitude"].verdict is CalibrationVerdict.TOO_UNCERTAIN
    assert answers["focal"].focal_px == answers["lenient"].focal_px  # the best guess stays


@pytest.mark.parametrize(
    "image",
    [None, "photo.jpg", [[1, 2], [3]], np.zeros((), np.uint8), np.zeros((240, 320), np.uint8),
     np.zeros((240, 320, 4), np.uint8), np.zeros((240, 320, 3), np.float32), np.zeros((0, 0, 3), np.uint8),
     np.zeros((20, 320, 3), np.uint8)],
    ids=["nothing", "text", "ragged", "scalar", "grey", "alpha", "float", "empty", "tiny"],
)  # fmt: skip
def test_what_is_no_image_is_told_not_raised(calibrator, image):
    answer = calibrator.estimate(image)
    assert answer.verdict is CalibrationVerdict.BAD_IMAGE
    assert answer.detail
    assert np.isnan(answer.focal_px)
    assert answer.covariance_33 is None


@pytest.mark.parametrize("grey", [0, 127, 255])
def test_a_covered_lens_shows_no_structure(calibrator, grey):
    noise = np.random.default_rng(0).integers(-2, 3, (240, 320, 3))
    answer = calibrator.estimate(np.clip(grey + noise, 0, 255).astype(np.uint8))
    assert answer.verdict is CalibrationVerdict.NO_STRUCTURE
    assert "lens covered" in answer.detail
    assert (answer.width_px, answer.height_px) == (320, 240)


@pytest.mark.parametrize("shape", [(32, 32), (32, 5000), (700, 40), (480, 641)])
def test_any_format_is_answered(calibrator, shape):
    image = np.random.default_rng(1).integers(0, 256, (*shape, 3)).astype(np.uint8)
    assert np.isfinite(calibrator.estimate(image).focal_px)


def test_a_mirrored_view_of_an_array_is_as_good_as_a_copy(calibrator, photo_hw3):
    view = photo_hw3[:, ::-1]
    assert calibrator.estimate(view).focal_px == calibrator.estimate(view.copy()).focal_px


def test_a_network_that_says_nothing_finite_gives_a_verdict(photo_hw3):
    network = random_network()
    torch.nn.init.constant_(network.direct[-1].bias, float("nan"))
    answer = Calibrator(network, device="cpu").estimate(photo_hw3)
    assert answer.verdict is CalibrationVerdict.NO_STRUCTURE
    assert np.isnan(answer.focal_px)


def solution_of(pitch_rad, roll_rad, information_33):
    up_b3 = torch.tensor(up_from_attitude([pitch_rad], [roll_rad]))
    return CameraSolution(
        torch.tensor([0.4]), up_b3, torch.tensor(np.asarray(information_33)[None]), torch.tensor([1.0])
    )  # fmt: skip


def test_the_covariance_is_that_of_the_angles():
    """Deviations of 0.1 along log focal, 0.02 along the roll direction, 0.04 along the pitch; at a pitch of 60 degrees
    a step of 0.02 along the first is a roll of 0.04."""
    information_33 = np.diag([1 / 0.01, 1 / 0.0004, 1 / 0.0016])
    values_3, covariance_33 = camera_values(solution_of(np.pi / 3, -0.2, information_33), Uncertainty())
    assert values_3 == pytest.approx([0.4, np.pi / 3, -0.2])
    assert np.sqrt(np.diag(covariance_33)) == pytest.approx([0.1, 0.04, 0.04])


def test_a_correlation_keeps_its_sign_and_place():
    covariance = np.array([[0.01, 0.0, 0.003], [0.0, 0.0004, 0.0], [0.003, 0.0, 0.0016]])  # of focal with pitch
    _, found_33 = camera_values(solution_of(0.0, 0.0, np.linalg.inv(covariance)), Uncertainty())
    np.testing.assert_allclose(found_33, covariance[np.ix_([0, 2, 1], [0, 2, 1])], atol=1e-9)


def test_the_uncertainty_scales_and_adds_a_floor():
    uncertainty = Uncertainty((2.0, 3.0, 1.0), (0.0, 0.4, 0.03))
    _, covariance_33 = camera_values(solution_of(0.0, 0.0, np.diag([100.0, 625.0, 100.0])), uncertainty)
    # Pitch: 3 * 0.1 and a floor of 0.4 make 0.5; roll: 0.04 and 0.03 make 0.05.
    assert np.sqrt(np.diag(covariance_33)) == pytest.approx([0.2, 0.5, 0.05])


def test_without_information_the_covariance_is_not_a_number():
    _, covariance_33 = camera_values(solution_of(0.0, 0.0, np.zeros((3, 3))), Uncertainty())
    assert np.isnan(covariance_33).all()


@pytest.fixture
def saved(calibrator, tmp_path):
    path = tmp_path / "calibration.safetensors"
    Calibrator(calibrator.network, Uncertainty((1.5, 2.0, 2.5), (0.01, 0.02, 0.03)), "cpu").save(
        path, {"held_out": ["a"]}
    )
    return path


def test_a_saved_calibrator_gives_the_same_answers(calibrator, saved, photo_hw3):
    again = Calibrator.load(saved, "cpu")
    assert again.uncertainty == Uncertainty((1.5, 2.0, 2.5), (0.01, 0.02, 0.03))
    assert again.header["held_out"] == ["a"]
    assert again.size_bytes == saved.stat().st_size
    tensors, _ = load_weights(saved, KIND, FORMAT_VERSION)
    assert {value.dtype for value in tensors.values()} <= {np.dtype(np.float16), np.dtype(np.int64)}
    again.uncertainty = calibrator.uncertainty
    before, after = calibrator.estimate(photo_hw3), again.estimate(photo_hw3)
    assert after.focal_px == pytest.approx(before.focal_px, rel=0.01)  # half precision
    assert (after.pitch_rad, after.roll_rad) == pytest.approx((before.pitch_rad, before.roll_rad), abs=0.01)


def test_the_network_is_run_folded_and_kept_and_saved_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr("geo_perception.runtime.device.half_precision", lambda device: None)
    network = random_network()
    for module in network.backbone.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    calibrator = Calibrator(network, device="cpu")
    view_hw3 = np.random.default_rng(0).integers(0, 256, (96, 128, 3)).astype(np.uint8)
    with torch.inference_mode():
        expected = network(torch.from_numpy(view_hw3).permute(2, 0, 1)[None].float())
    answer = calibrator.run(view_hw3)
    for name, value in vars(expected).items():
        torch.testing.assert_close(getattr(answer, name), value, rtol=1e-3, atol=1e-3)
    assert calibrator.network is network
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    calibrator.save(tmp_path / "weights.safetensors", {})
    tensors, _ = load_weights(tmp_path / "weights.safetensors", KIND, FORMAT_VERSION)
    assert tensors.keys() == state.keys()


def test_weights_that_do_not_fit_are_refused(saved, tmp_path):
    tensors, header = load_weights(saved, KIND, FORMAT_VERSION)
    cases = {
        "no_network": (tensors, {k: v for k, v in header.items() if k != "network"}),
        "other_width": (tensors, header | {"network": header["network"] | {"width": 32}}),
        "odd_width": (tensors, header | {"network": header["network"] | {"width": 17}}),
        "unknown_key": (tensors, header | {"network": header["network"] | {"depth": 3}}),
        "unknown_backbone": (tensors, header | {"network": header["network"] | {"backbone": "no_such_net"}}),
        "no_uncertainty": (tensors, {k: v for k, v in header.items() if k != "uncertainty"}),
        "a_tensor_less": ({k: v for k, v in tensors.items() if k != "fields.bias"}, header),
        "a_tensor_more": (tensors | {"extra": np.zeros(2, np.float16)}, header),
    }
    for name, (changed, facts) in cases.items():
        path = tmp_path / f"{name}.safetensors"
        save_weights(path, changed, facts)
        with pytest.raises(InputError, match="does not fit the calibration network"):
            Calibrator.load(path, "cpu")


def test_files_of_another_kind_or_damaged_ones_are_refused(saved, tmp_path):
    tensors, header = load_weights(saved, KIND, FORMAT_VERSION)
    save_weights(tmp_path / "scene.safetensors", tensors, header | {"kind": "scene"})
    with pytest.raises(InputError, match="is a scene file"):
        Calibrator.load(tmp_path / "scene.safetensors", "cpu")
    save_weights(tmp_path / "later.safetensors", tensors, header | {"format_version": FORMAT_VERSION + 1})
    with pytest.raises(InputError, match="format 2, this version reads 1"):
        Calibrator.load(tmp_path / "later.safetensors", "cpu")
    content = bytearray(saved.read_bytes())
    content[:20] = b"\xff" * 20
    (tmp_path / "damaged.safetensors").write_bytes(bytes(content))
    with pytest.raises(InputError, match="damaged"):
        Calibrator.load(tmp_path / "damaged.safetensors", "cpu")
    content = bytearray(saved.read_bytes())
    content[-3] ^= 0x10
    (tmp_path / "changed.safetensors").write_bytes(bytes(content))
    with pytest.raises(InputError, match="has changed since it was written"):
        Calibrator.load(tmp_path / "changed.safetensors", "cpu")
    with pytest.raises(InputError, match="does not exist"):
        Calibrator.load(tmp_path / "nowhere.safetensors", "cpu")


def test_a_package_without_reference_weights_says_how_to_make_some(monkeypatch):
    monkeypatch.setattr(estimator, "REFERENCE_WEIGHTS", "not-there.safetensors")
    with pytest.raises(InputError, match=r"without its reference weights; .*geo-train calibration fit"):
        Calibrator.load(device="cpu")


def test_the_header_is_plain_json(saved):
    _, header = load_weights(saved, KIND, FORMAT_VERSION)
    assert json.loads(json.dumps(header)) == header
    assert header["network"] == {"backbone": "test_resnet", "width": 16, "context_width": 48, "context_layers": 1}


def test_warming_up_leaves_the_answers_as_they_are(calibrator, photo_hw3):
    before = calibrator.estimate(photo_hw3)
    calibrator.warm_up()
    assert calibrator.estimate(photo_hw3).focal_px == before.focal_px


def test_either_of_the_two_answers_can_be_asked_alone(photo_hw3):
    """The direct head alone is its own guess; the fields alone do not hear it, but start there."""
    calibrator = Calibrator(random_network(), device="cpu")
    view, _ = network_view(photo_hw3)
    output = calibrator.run(view)
    calibrator.fields = False
    direct = calibrator.solve(output)
    assert torch.allclose(direct.log_focal_b, output.log_focal_b, atol=1e-3)
    assert torch.allclose(direct.up_b3, output.up_b3, atol=1e-3)
    calibrator.fields, calibrator.direct = True, False
    fields = calibrator.solve(output)
    assert not torch.allclose(fields.up_b3, output.up_b3, atol=1e-3)
