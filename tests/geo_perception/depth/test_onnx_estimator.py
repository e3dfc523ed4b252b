"""Depth by an ONNX file: what the network sees is what its card says, and what it says is read as the card says."""

from pathlib import Path

import numpy as np
import pytest
from tiny_onnx import write_network

from geo_perception.depth.card_estimator import depth_of
from geo_perception.depth.onnx_estimator import OnnxDepthEstimator, load_depth_estimator
from geo_perception.depth.result import DepthVerdict
from geo_perception.errors import InputError
from geo_perception.geometry import Camera

pytest.importorskip("onnx", reason="the package onnx is not installed")
pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
FASTDEPTH = Path(__file__).parents[4] / "shared" / "data" / "models" / "fastdepth.onnx"
CARD = "name: tiny\noutput: {output}\narea_px: 3072\nmultiple_px: 16\n"
CAMERA = Camera(128, 96, 110.0, 112.0, 62.0, 49.0)


def picture(height=96, width=128):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def test_the_network_sees_the_image_as_its_card_has_it_and_gives_depth(tmp_path):
    card = CARD.format(output="depth") + "mean: [0.1, 0.2, 0.3]\nstd: [0.5, 1, 1]\n"
    estimator = load_depth_estimator(write_network(tmp_path, card), "cpu")
    answer = estimator.estimate(picture(), CAMERA)
    assert answer.verdict is DepthVerdict.ESTIMATED
    assert answer.depth_hw.shape == answer.view_hw3.shape[:2] == (48, 64)
    expected_hw = 2 * (answer.view_hw3[:, :, 0] / 255 - 0.1) / 0.5 + 1
    np.testing.assert_allclose(answer.depth_hw, expected_hw, rtol=1e-5)
    assert answer.sigma_hw is None


def test_white_may_be_255_and_the_size_fixed(tmp_path):
    card = "name: tiny\noutput: depth\nsize_px: [40, 20]\nrange: 255\n"
    answer = load_depth_estimator(write_network(tmp_path, card, size=(20, 40)), "cpu").estimate(picture(), CAMERA)
    assert answer.depth_hw.shape == (20, 40)
    np.testing.assert_allclose(answer.depth_hw, 2.0 * answer.view_hw3[:, :, 0] + 1, rtol=1e-5)
    assert (answer.camera.fx_px, answer.camera.fy_px) == pytest.approx((110 * 40 / 128, 112 * 20 / 96))


def test_what_is_of_a_canonical_focal_length_is_brought_to_the_camera(tmp_path):
    card = CARD.format(output="depth") + "canonical_focal_px: 11\n"
    estimator = load_depth_estimator(write_network(tmp_path, card), "cpu")
    answer, without = estimator.estimate(picture(), CAMERA), estimator.estimate(picture(), None)
    np.testing.assert_allclose(without.depth_hw, 2.0 * without.view_hw3[:, :, 0] / 255 + 1, rtol=1e-5)
    np.testing.assert_allclose(
        answer.depth_hw, (2.0 * answer.view_hw3[:, :, 0] / 255 + 1) * answer.camera.focal_px / 11, rtol=1e-5
    )


def test_outputs_are_read_as_what_they_are():
    given = np.array([[4.0, 2.0], [-1.0, np.nan]], np.float32)
    np.testing.assert_array_equal(depth_of(given, "depth"), np.array([[4, 2], [np.nan, np.nan]], np.float32))
    for kind in ("inverse_depth", "disparity"):
        far = 1 / (0.01 * np.percentile([4.0, 2.0], 98))  # what is at infinity or beyond
        np.testing.assert_allclose(depth_of(given, kind), [[0.25, 0.5], [far, np.nan]], rtol=1e-5)
    np.testing.assert_allclose(depth_of(given, "log_depth")[0], np.exp([4.0, 2.0]), rtol=1e-5)
    assert np.isnan(depth_of(np.zeros((2, 2), np.float32), "disparity")).all()


@pytest.mark.parametrize(
    ("card", "network", "words"),
    [
        (CARD.format(output="depth"), {"size": (20, 40)}, r"it takes images of \[1, 3, 20, 40\], its card says"),
        (CARD.format(output="depth"), {"inputs": 2}, "it takes 2 inputs .image, image1.; only networks of one image"),
        (CARD.format(output="depth"), {"channels": 3}, "'map' is of the shape .1, 3, 48, 64., not one map"),
        (CARD.format(output="depth") + "output_name: deep\n", {}, "it gives map, not 'deep'; mend output_name"),
        (CARD.format(output="depth") + "mean: [.nan, 0, 0]\n", {}, "nothing but invalid numbers"),
    ],
)
def test_a_network_that_its_card_does_not_fit_is_refused_when_it_is_loaded(tmp_path, card, network, words):
    with pytest.raises(InputError, match=words):
        load_depth_estimator(write_network(tmp_path, card, **network), "cpu")


def test_files_that_cannot_be_used_are_refused(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"missing\.onnx is not there; check the path"):
        load_depth_estimator(tmp_path / "missing.onnx", "cpu")
    (tmp_path / "fastdepth.onnx").write_bytes(b"no graph")
    with pytest.raises(InputError, match=r"fastdepth\.onnx is no ONNX file that can be run"):
        load_depth_estimator(tmp_path / "fastdepth.onnx", "cpu")
    with pytest.raises(InputError, match="no ONNX file is given"):
        OnnxDepthEstimator.load()
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(InputError, match="needs ONNX Runtime; run `pip install onnxruntime`"):
        load_depth_estimator(tmp_path / "fastdepth.onnx", "cpu")


def test_it_is_not_written_as_weights(tmp_path):
    estimator = load_depth_estimator(write_network(tmp_path, CARD.format(output="depth")), "cpu")
    with pytest.raises(InputError, match="copy its file"):
        estimator.save(tmp_path / "out.safetensors", {})
    assert not (tmp_path / "out.safetensors").exists()


def test_without_an_onnx_file_it_is_the_package_s_own_estimator():
    assert not isinstance(load_depth_estimator(device="cpu"), OnnxDepthEstimator)


@pytest.mark.skipif(not FASTDEPTH.is_file(), reason="the network of somebody else is not on this machine")
def test_a_real_network_works_by_the_card_that_comes_with_the_package():
    estimator = load_depth_estimator(FASTDEPTH, "cpu")
    assert (estimator.card.name, estimator.card.metric, estimator.header["licence"]) == ("FastDepth", True, "MIT")
    answer = estimator.estimate(picture(240, 320), Camera(320, 240, 300.0, 300.0, 159.5, 119.5))
    assert answer.depth_hw.shape == (224, 224)
    assert 0.1 < np.nanmedian(answer.depth_hw) < 30
