"""Networks that give points up to a shift, a mask and a scale, as exports of MoGe-2 do."""

import numpy as np
import pytest
from tiny_onnx import write_network, write_points_network

from geo_perception.depth.card import packaged_cards
from geo_perception.depth.onnx_estimator import load_depth_estimator
from geo_perception.errors import InputError
from geo_perception.geometry import Camera

pytest.importorskip("onnx", reason="the package onnx is not installed")
pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
CAMERA = Camera(128, 96, 110.0, 112.0, 62.0, 49.0)
SEEN = CAMERA.resized(64, 48)
CARD = "name: tiny\noutput: points\noutput_name: points\nsize_px: [64, 48]\n"
MOGE = CARD + "mask_name: mask\nscale_name: metric_scale\nmetric: true\ninputs: {num_tokens: 1800}\n"
DEPTH_HW = 3.0 + 0.5 * np.sin(np.arange(64) / 9)[None] + 0.02 * np.arange(48)[:, None]


def points(shift=1.3) -> np.ndarray:
    x_hw, y_hw = np.meshgrid((np.arange(64) - SEEN.cx_px) / SEEN.fx_px, (np.arange(48) - SEEN.cy_px) / SEEN.fy_px)
    return np.stack([x_hw * DEPTH_HW, y_hw * DEPTH_HW, DEPTH_HW - shift], -1)[None].astype(np.float32)


def picture():
    return np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)


@pytest.mark.parametrize("planes_first", [False, True])
def test_points_become_depth_by_the_camera(tmp_path, planes_first):
    given = points().transpose(0, 3, 1, 2) if planes_first else points()
    estimator = load_depth_estimator(write_points_network(tmp_path, CARD, given), "cpu")
    np.testing.assert_allclose(estimator.estimate(picture(), CAMERA).depth_hw, DEPTH_HW, rtol=1e-4)
    assert not estimator.metric
    assert not estimator.shift_unknown


def test_all_that_moge_gives_is_used(tmp_path):
    mask = np.ones((1, 48, 64), np.float32)
    mask[:, :, 40:] = 0.3
    wrong = points()
    wrong[:, :, 40:] = 9.0
    estimator = load_depth_estimator(write_points_network(tmp_path, MOGE, wrong, mask, [2.5], tokens=True), "cpu")
    depth_hw = estimator.estimate(picture(), CAMERA).depth_hw
    np.testing.assert_allclose(depth_hw[:, :40], 2.5 * DEPTH_HW[:, :40], rtol=1e-4)
    assert np.isnan(depth_hw[:, 40:]).all()
    assert estimator.metric


def test_an_export_with_its_tokens_inside_takes_the_image_alone(tmp_path):
    path = write_points_network(tmp_path, MOGE, points(), np.ones((1, 48, 64)), [2.5])
    np.testing.assert_allclose(
        load_depth_estimator(path, "cpu").estimate(picture(), CAMERA).depth_hw, 2.5 * DEPTH_HW, rtol=1e-4
    )


def test_a_mask_also_goes_with_a_map(tmp_path):
    """The second network's first output is a map, and its mask is where that map says more than a half."""
    card = "name: tiny\noutput: depth\nmask_name: map\nsize_px: [64, 48]\nmean: [0.5, 0, 0]\n"
    answer = load_depth_estimator(write_network(tmp_path, card, size=(48, 64)), "cpu").estimate(picture(), CAMERA)
    map_hw = 2 * (answer.view_hw3[..., 0] / 255 - 0.5) + 1
    np.testing.assert_array_equal(np.isfinite(answer.depth_hw), map_hw.astype(np.float32) > 0.5)


def test_the_packaged_card_is_what_its_documentation_says():
    (card,) = [card for card in packaged_cards() if card.name == "MoGe-2"]
    assert (card.output, card.output_name, card.mask_name, card.scale_name) == (
        "points",
        "points",
        "mask",
        "metric_scale",
    )
    assert card.inputs == {"num_tokens": 1800}
    assert card.area_px == 1800 * card.multiple_px**2  # as many pixels as its tokens cover
    assert (card.range, card.mean, card.metric) == (1, (0.0, 0.0, 0.0), True)


@pytest.mark.parametrize(
    ("card", "network", "words"),
    [
        (CARD, {"points": np.ones((1, 48, 64, 2))}, r"'points' is of the shape .1, 48, 64, 2., not points"),
        (CARD, {"tokens": True}, r"it takes 2 inputs .image, num_tokens.; .* \(inputs in its card\)"),
        (MOGE, {}, "it gives points, not 'mask'; mend mask_name"),
        (MOGE, {"mask": np.ones((1, 48, 64))}, "it gives points, mask, not 'metric_scale'; mend scale_name"),
        (MOGE, {"mask": np.ones((1, 4, 6)), "scale": [1.0]}, "its mask 'mask' is of the shape .4, 6."),
        (MOGE, {"mask": np.ones((1, 48, 64)), "scale": [1.0, 2.0]}, "'metric_scale' is not one number"),
        (CARD + "canonical_focal_px: 300\n", {}, "points are of the camera that took the image"),
        (CARD + "inputs: [1800]\n", {}, "inputs must be numbers by the names"),
        (CARD + "inputs: {num_tokens: many}\n", {}, "inputs must be numbers by the names"),
    ],
)
def test_what_does_not_fit_is_refused_when_it_is_loaded(tmp_path, card, network, words):
    options = {"points": points()} | network
    with pytest.raises(InputError, match=words):
        load_depth_estimator(write_points_network(tmp_path, card, **options), "cpu")
