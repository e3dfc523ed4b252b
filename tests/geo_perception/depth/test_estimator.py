"""One image to depth: weights files, cameras with and without distortion, and images that cannot be used."""

import cv2
import numpy as np
import pytest
import torch

from geo_perception.depth.estimator import (
    CANONICAL_FOCAL_PX,
    FORMAT_VERSION,
    KIND,
    DepthEstimator,
    depth_map_size,
    focal_factor,
)
from geo_perception.depth.network import DepthNetwork
from geo_perception.depth.output import DepthOutput
from geo_perception.depth.result import DepthVerdict
from geo_perception.errors import InputError
from geo_perception.geometry import Camera
from geo_perception.runtime.weights import load_weights, save_weights

AREA_PX = 64 * 64
CAMERA = Camera(128, 96, 110.0, 112.0, 62.0, 49.0)


class Brightness(torch.nn.Module):
    """Disparity is what is bright: 1 + the mean of the colours. The uncertainty is 0.5 everywhere."""

    focal_normalized = True

    def forward(self, image_b3hw):
        disparity = 1 + image_b3hw.float().mean(1, keepdim=True)
        return DepthOutput([disparity], torch.full_like(disparity, float(np.log(0.5))))


def picture(height=96, width=128) -> np.ndarray:
    """Soft blobs of light."""
    noise = np.random.default_rng(0).normal(size=(height, width, 3)).astype(np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), 6)
    return np.clip(128 + 50 * noise / noise.std(), 0, 255).astype(np.uint8)


@pytest.fixture
def estimator():
    return DepthEstimator(Brightness(), "cpu", AREA_PX, sigma_scale=2.0)


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(0)
    return DepthEstimator(DepthNetwork(), "cpu", AREA_PX, sigma_scale=1.7)


class TestWeightsFile:
    @pytest.fixture(scope="class")
    def path(self, trained, tmp_path_factory):
        path = tmp_path_factory.mktemp("weights") / "depth.safetensors"
        trained.save(path, {"trained_on": ["nothing"]})
        return path

    def test_it_gives_the_same_depth_but_for_half_precision(self, trained, path):
        read = DepthEstimator.load(path, "cpu")
        assert (read.area_px, read.sigma_scale, read.header["trained_on"]) == (AREA_PX, 1.7, ["nothing"])
        assert read.size_bytes == path.stat().st_size
        one, other = (e.estimate(picture(), CAMERA) for e in (trained, read))
        np.testing.assert_allclose(other.depth_hw, one.depth_hw, rtol=0.02)
        np.testing.assert_allclose(other.sigma_hw, one.sigma_hw, rtol=0.02)

    def test_floats_are_stored_in_16_bits(self, path):
        tensors, header = load_weights(path, KIND, FORMAT_VERSION)
        kinds = {value.dtype for value in tensors.values() if value.dtype.kind == "f"}
        assert kinds == {np.dtype(np.float16)}
        assert header["network"]["architecture"] == "encoder_decoder"

    def test_the_network_is_run_folded_and_kept_and_saved_as_it_is(self, path, tmp_path, monkeypatch):
        monkeypatch.setattr("geo_perception.runtime.device.half_precision", lambda device: None)
        read = DepthEstimator.load(path, "cpu")
        image_b3hw = torch.from_numpy(picture(64, 64)).permute(2, 0, 1)[None] / 255
        with torch.inference_mode():
            expected_hw = 1 / read.network(image_b3hw).disparity[0][0, 0]
        np.testing.assert_allclose(read.estimate(picture(64, 64), None).depth_hw, expected_hw, rtol=1e-3)
        read.save(tmp_path / "again.safetensors", {"trained_on": ["nothing"]})
        (before, _), (after, _) = (
            load_weights(p, KIND, FORMAT_VERSION) for p in (path, tmp_path / "again.safetensors")
        )
        assert before.keys() == after.keys()
        assert all(np.array_equal(value, after[name]) for name, value in before.items())

    def test_a_cut_file_and_another_kind_are_refused(self, path, tmp_path):
        cut = tmp_path / "cut.safetensors"
        cut.write_bytes(path.read_bytes()[:5000])
        other = tmp_path / "other.safetensors"
        save_weights(other, {"a": np.zeros(2, np.float32)}, {"kind": "scene", "format_version": 1})
        for wrong in (cut, other, tmp_path / "none.safetensors"):
            with pytest.raises(InputError):
                DepthEstimator.load(wrong, "cpu")

    def test_errors_that_were_not_checked_are_not_stated(self, tmp_path):
        DepthEstimator(DepthNetwork(), "cpu", AREA_PX, sigma_scale=None).save(tmp_path / "unchecked.safetensors", {})
        result = DepthEstimator.load(tmp_path / "unchecked.safetensors", "cpu").estimate(
            np.tile(np.arange(64, dtype=np.uint8)[None, :, None], (64, 1, 3)), None
        )
        assert result.estimated
        assert result.sigma_hw is None
        assert result.confidence_hw is None

    @pytest.mark.parametrize("damage", [
        {"network": "unet"}, {"network": {"architecture": "encoder_decoder", "backbone": "no_such_network"}},
        {"network": {"architecture": "encoder_decoder", "widths": [8, 8, 8, 8, 8]}}, {"area_px": "wide"},
        {"network": {"architecture": "encoder_decoder", "depth": 3}}, {"sigma_scale": "wide"},
    ])  # fmt: skip
    def test_a_header_that_does_not_fit_is_refused(self, path, tmp_path, damage):
        tensors, header = load_weights(path, KIND, FORMAT_VERSION)
        save_weights(tmp_path / "damaged.safetensors", tensors, header | damage)
        with pytest.raises(InputError, match="make it again"):
            DepthEstimator.load(tmp_path / "damaged.safetensors", "cpu")

    def test_tensors_that_are_missing_or_too_many_are_refused(self, path, tmp_path):
        tensors, header = load_weights(path, KIND, FORMAT_VERSION)
        fewer = dict(list(tensors.items())[1:])
        for wrong in (fewer, {**tensors, "more": np.zeros(2, np.float16)}):
            save_weights(tmp_path / "damaged.safetensors", wrong, header)
            with pytest.raises(InputError, match="does not fit"):
                DepthEstimator.load(tmp_path / "damaged.safetensors", "cpu")


class TestCamera:
    def test_the_result_has_the_pinhole_of_its_pixels(self, estimator):
        result = estimator.estimate(picture(), CAMERA)
        assert result.estimated
        height, width = result.depth_hw.shape
        assert (width, height) == depth_map_size(128, 96, AREA_PX)
        assert result.camera == CAMERA.resized(width, height)
        assert result.view_hw3.shape == (height, width, 3)
        assert result.depth_hw.dtype == np.float32
        assert set(result.timings_s) == {"prepare", "network", "total"}

    def test_depth_is_one_over_disparity_times_the_focal_factor(self, estimator):
        result = estimator.estimate(picture(), CAMERA)
        disparity_hw = 1 + result.view_hw3.mean(2) / 255
        focal_px = np.sqrt(result.camera.fx_px * result.camera.fy_px)
        np.testing.assert_allclose(result.depth_hw, focal_px / CANONICAL_FOCAL_PX / disparity_hw, rtol=0.01)
        np.testing.assert_allclose(result.sigma_hw, 2.0 * 0.5, rtol=1e-5)
        np.testing.assert_allclose(result.confidence_hw, 1 - np.exp(-np.log(1.25)), rtol=1e-5)

    def test_a_longer_lens_that_takes_the_same_picture_is_farther_away(self, estimator):
        longer = Camera(128, 96, 330.0, 336.0, 62.0, 49.0)
        near, far = (estimator.estimate(picture(), camera) for camera in (CAMERA, longer))
        np.testing.assert_allclose(far.depth_hw, 3 * near.depth_hw, rtol=1e-5)
        assert focal_factor(longer) == pytest.approx(np.sqrt(330 * 336) / CANONICAL_FOCAL_PX)

    def test_a_network_in_its_own_unit_is_not_normalized(self, estimator):
        estimator.network.focal_normalized = False
        with_camera, without = (estimator.estimate(picture(), camera) for camera in (CAMERA, None))
        np.testing.assert_array_equal(with_camera.depth_hw, without.depth_hw)

    def test_without_a_camera_there_is_depth_but_no_camera(self, estimator):
        result = estimator.estimate(picture(), None)
        assert result.estimated
        assert result.camera is None
        assert np.isfinite(result.depth_hw).all()

    @pytest.mark.parametrize(("model", "distortion"), [
        ("plumb_bob", (-0.3, 0.08, 0.001, -0.001, 0.0)), ("equidistant", (0.02, -0.01, 0.003, 0.0)),
    ])  # fmt: skip
    def test_distortion_is_removed_and_what_the_lens_did_not_see_is_unknown(self, estimator, model, distortion):
        """The lens's picture of a pinhole's picture gives the pinhole's result back, but for resampling."""
        lens = Camera(128, 96, 110.0, 112.0, 62.0, 49.0, model, distortion)
        straight = picture()
        bent_x, bent_y = CAMERA.remap_to(CAMERA)
        pixels_n2 = np.stack([bent_x, bent_y], -1).reshape(-1, 2).astype(np.float64)
        source_n2 = CAMERA.project(np.concatenate([lens.normalize(pixels_n2), np.ones((len(pixels_n2), 1))], 1))
        map_hw2 = source_n2.reshape(96, 128, 2).astype(np.float32)
        bent = cv2.remap(straight, map_hw2[..., 0], map_hw2[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        expected, result = estimator.estimate(straight, CAMERA), estimator.estimate(bent, lens)
        assert result.camera == expected.camera
        assert result.camera.model == "pinhole"
        inner = slice(12, -12), slice(12, -12)
        np.testing.assert_allclose(result.depth_hw[inner], expected.depth_hw[inner], rtol=0.03)

    def test_beyond_the_lens_depth_is_not_a_number(self, estimator):
        # Pincushion: the pinhole of the same K sees farther than the image in its corners.
        lens = Camera(128, 96, 110.0, 112.0, 62.0, 49.0, "plumb_bob", (0.4, 0.0, 0.0, 0.0))
        result = estimator.estimate(picture(), lens)
        assert np.isnan(result.depth_hw[0, 0])
        assert np.isfinite(result.depth_hw).mean() > 0.5

    def test_an_image_of_another_size_than_its_camera_is_refused(self, estimator):
        with pytest.raises(InputError, match="128 x 64 and its camera 128 x 96"):
            estimator.estimate(picture(64), CAMERA)


class TestImages:
    def test_grey_images_work(self, estimator):
        grey = np.repeat(picture()[..., :1], 3, axis=2)
        assert estimator.estimate(grey, CAMERA).estimated

    @pytest.mark.parametrize("level", [0, 128, 255])
    def test_a_covered_lens_shows_no_structure(self, estimator, level):
        result = estimator.estimate(np.full((96, 128, 3), level, np.uint8), CAMERA)
        assert result.verdict is DepthVerdict.NO_STRUCTURE
        assert "covered" in result.detail
        assert result.depth_hw is None
        assert result.camera is not None

    @pytest.mark.parametrize("image", [
        None, "image", np.zeros((96, 128), np.uint8), np.zeros((96, 128, 4), np.uint8), np.zeros((0, 0, 3), np.uint8),
        np.zeros((96, 128, 3), np.float32), np.zeros((20, 128, 3), np.uint8), np.zeros((1 << 15, 32, 3), np.uint8),
    ], ids=str)  # fmt: skip
    def test_what_is_no_image_comes_back_as_such(self, estimator, image):
        result = estimator.estimate(image, None)
        assert result.verdict is DepthVerdict.BAD_IMAGE
        assert result.detail
        assert not result.estimated

    @pytest.mark.parametrize("size", [(32, 32), (33, 4000), (1000, 40), (97, 131)])
    def test_every_format_is_looked_at_as_about_the_same_area(self, trained, size):
        result = trained.estimate(picture(*size), None)
        assert result.estimated
        height, width = result.depth_hw.shape
        assert height % 32 == 0
        assert width % 32 == 0
        assert 0.4 * AREA_PX <= height * width <= 2.1 * AREA_PX

    def test_it_warms_up_without_a_camera(self, estimator):
        estimator.warm_up()
        assert estimator.estimate(picture(), CAMERA).estimated


def test_sizes_of_the_network_by_hand():
    assert depth_map_size(640, 480, 256 * 192) == (256, 192)
    assert depth_map_size(1242, 375, 256 * 192) == (416, 128)
    assert depth_map_size(100, 10000, 64 * 64) == (32, 128)  # a format of 1 to 4 at most
