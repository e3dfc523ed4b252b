"""Training crops on the fly: the same number gives the same batch, and the labels are those of the pixels."""

import cv2
import numpy as np
import pytest
import torch
from geo_training.calibration.config import CalibrationTrainingConfig
from geo_training.calibration.data.crops import CropDistribution, CropSpec, render_crop
from geo_training.calibration.data.panoramas import list_panoramas
from geo_training.calibration.data.stream import CropSources, CropStream, make_batch, quick_crop, softened, true_cameras
from geo_training.calibration.fit import split_of
from geo_training.engine import whole_batch
from geo_training.engine.augmentation import PhotometricConfig

from geo_perception.calibration.fields import image_grid, perspective_fields
from geo_perception.geometry import up_from_attitude

CPU = torch.device("cpu")
PLAIN_LIGHT = PhotometricConfig(**dict.fromkeys(PhotometricConfig.model_fields, 0.0))
PLAIN = CalibrationTrainingConfig(batch=4, soften=0.0, augmentation=PLAIN_LIGHT, seed=5)


@pytest.fixture(scope="module")
def globe(tmp_path_factory):
    """A panorama that tells where each pixel looks: red is the sine of the elevation, green and blue are the cosine
    and the sine of the azimuth."""
    folder = tmp_path_factory.mktemp("globe")
    elevation = (np.pi / 2 - (np.arange(256) + 0.5) / 256 * np.pi)[:, None]
    azimuth = ((np.arange(512) + 0.5) / 512 * 2 * np.pi - np.pi)[None]
    red, green, blue = np.broadcast_arrays(np.sin(elevation), np.cos(azimuth), np.sin(azimuth))
    picture = np.round(127.5 + 127 * np.stack([blue, green, red], -1)).astype(np.uint8)  # OpenCV writes BGR
    cv2.imwrite(str(folder / "globe.png"), picture)
    return list_panoramas(folder)


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    """Five panoramas of one grey level each, with a little structure: 40, 80, ... 200."""
    folder = tmp_path_factory.mktemp("colours")
    for number in range(1, 6):
        cv2.imwrite(str(folder / f"p{number}.png"), np.full((32, 64, 3), 40 * number, np.uint8))
    return list_panoramas(folder)


def levels_of(stream, count):
    """The grey levels that are seen in `count` batches."""
    seen = set()
    for batch in stream.batches(0, count):
        seen |= {round(float(image.float().mean()) / 40) * 40 for image in batch.image_b3hw}
    return seen


def test_the_same_number_gives_the_same_batch_whatever_came_before(globe):
    config = CalibrationTrainingConfig(batch=2, seed=5)
    stream = CropStream(CropSources(globe), config, CPU)
    made = dict(zip((3, 4), stream.batches(3, 2), strict=True))
    again = CropStream(CropSources(globe), config, CPU).batch(4)
    assert torch.equal(made[4].image_b3hw, again.image_b3hw)
    assert torch.equal(made[4].truth.up_b3, again.truth.up_b3)
    assert torch.equal(made[4].truth.log_focal_b, again.truth.log_focal_b)
    assert not torch.equal(made[3].truth.log_focal_b, made[4].truth.log_focal_b)
    other = CropStream(CropSources(globe), config.model_copy(update={"seed": 6}), CPU)
    assert not torch.equal(other.batch(4).truth.log_focal_b, again.truth.log_focal_b)


def test_processes_make_their_rows_of_a_batch(globe, monkeypatch):
    config = CalibrationTrainingConfig(batch=4, seed=5)
    whole = CropStream(CropSources(globe), config, CPU).batch(4)
    monkeypatch.setattr(whole_batch, "world", lambda: 2)
    for rank in range(2):
        monkeypatch.setattr(whole_batch, "rank", lambda rank=rank: rank)
        own = CropStream(CropSources(globe), config, CPU).batch(4)
        assert torch.equal(own.image_b3hw, whole.image_b3hw[2 * rank : 2 * rank + 2])
        assert torch.equal(own.truth.up_b3, whole.truth.up_b3[2 * rank : 2 * rank + 2])


def test_batches_come_in_order_and_no_more_than_asked(globe):
    stream = CropStream(CropSources(globe), CalibrationTrainingConfig(batch=1, seed=1), CPU)
    made = list(stream.batches(7, 5))
    assert len(made) == 5
    for offset in (0, 4):
        assert torch.equal(made[offset].image_b3hw, stream.batch(7 + offset).image_b3hw)
    assert list(stream.batches(0, 0)) == []


def test_every_format_has_sides_that_are_multiples_of_32(globe):
    stream = CropStream(CropSources(globe), CalibrationTrainingConfig(batch=1), CPU)
    assert all(side % 32 == 0 for size in stream.sizes_px for side in size)
    assert len(set(stream.sizes_px)) >= 4
    image_b3hw = stream.batch(0).image_b3hw
    assert image_b3hw.dtype == torch.uint8
    assert tuple(image_b3hw.shape[:1:-1]) in stream.sizes_px


def test_the_labels_are_those_of_the_pixels_flipped_or_not(globe):
    """Red tells the sine of the latitude, which the labels predict; a flip that kept the roll would be 2 roll off.
    In an image that is not flipped, the azimuth grows to the right; in a flipped one, to the left."""
    stream = CropStream(CropSources(globe), PLAIN, CPU)
    turns = set()
    for number in range(3):
        batch = stream.batch(number)
        height, width = batch.image_b3hw.shape[-2:]
        truth = batch.truth
        _, sine_bn = perspective_fields(truth.log_focal_b, truth.up_b3, image_grid(height, width, 1))
        told = (batch.image_b3hw.double() - 127.5) / 127
        error_bn = (told[:, 0].flatten(1) - sine_bn).abs()
        assert error_bn.mean() < 0.01
        assert error_bn.max() < 0.06
        for image_3hw, up_3 in zip(told, truth.up_b3, strict=True):
            # A step along the level direction at the centre, to the right of up.
            right_2 = 6 * torch.nn.functional.normalize(torch.stack([-up_3[1], up_3[0]]), dim=0)
            places = [(height // 2 + round(float(k * right_2[1])), width // 2 + round(float(k * right_2[0])))
                      for k in (-1, 1)]  # fmt: skip
            (c1, s1), (c2, s2) = (image_3hw[1:, y, x].tolist() for y, x in places)
            turns.add(np.sign(c1 * s2 - s1 * c2))
    assert turns == {1.0, -1.0}


def test_true_cameras_are_those_of_the_specs():
    truth = true_cameras([CropSpec(256, 192, 222.0, 0.3, -0.4), CropSpec(224, 224, 112.0, 0.0, 0.0)], CPU)
    assert truth.log_focal_b.tolist() == pytest.approx([np.log(222 / (np.sqrt(256 * 192) / 2)), 0.0])
    np.testing.assert_allclose(truth.up_b3, up_from_attitude([0.3, 0.0], [-0.4, 0.0]), atol=1e-6)


def test_a_batch_has_channels_first():
    image = np.zeros((32, 64, 3), np.uint8)
    image[3, 5] = (10, 20, 30)
    batch = make_batch([image, image], [CropSpec(64, 32, 50.0, 0.0, 0.0)] * 2, CPU)
    assert batch.image_b3hw.shape == (2, 3, 32, 64)
    assert batch.image_b3hw[1, :, 3, 5].tolist() == [10, 20, 30]


@pytest.mark.parametrize("factor", [1.0, 1.7, 3.0])
def test_softening_keeps_size_and_mean_and_takes_detail(factor):
    image = np.random.default_rng(0).integers(0, 256, (96, 160, 3)).astype(np.uint8)
    soft = softened(image, factor)
    assert (soft.shape, soft.dtype) == (image.shape, np.uint8)
    assert soft.mean() == pytest.approx(image.mean(), abs=1)
    if factor == 1.0:
        np.testing.assert_array_equal(soft, image)
    else:
        assert soft.std() < 0.7 * image.std()


def test_softening_moves_nothing():
    ramp = np.repeat(np.repeat(np.arange(96, dtype=np.uint8)[None, :, None], 64, 0), 3, 2) * 2
    assert np.abs(softened(ramp, 2.0).astype(int) - ramp)[4:-4, 4:-4].max() <= 1


def test_the_share_that_is_softened_is_the_config_s(globe):
    sharp, soft = (
        CropStream(CropSources(globe), PLAIN.model_copy(update={"soften": share}), CPU).batch(0) for share in (0, 1)
    )
    assert soft.image_b3hw.shape == sharp.image_b3hw.shape
    assert not torch.equal(soft.image_b3hw, sharp.image_b3hw)


def test_a_quick_crop_is_nearly_the_exact_one(globe):
    """Also where the panorama is halved first."""
    for focal_px in (15.0, 60.0, 300.0):
        spec = CropSpec(64, 64, focal_px, 0.3, 0.2, 3.0)
        exact = render_crop(cv2.cvtColor(cv2.imread(str(globe[0].path)), cv2.COLOR_BGR2RGB), spec)
        difference = np.abs(quick_crop(globe[0], spec).astype(int) - exact)
        assert difference.mean() < 1.5


def test_held_out_and_validation_panoramas_are_never_drawn(colours):
    config = PLAIN.model_copy(update={"held_out": ("p1", "p4"), "validation": ("p5",), "batch": 8})
    config = config.model_copy(update={"crops": CropDistribution(sizes_px=((32, 32),), vfov_deg=(40, 60))})
    split = split_of(colours, config)
    stream = CropStream(CropSources(split.learned), config, CPU)
    stream.sizes_px = [(32, 32)]  # small ones will do
    assert levels_of(stream, 8) == {80, 120}


def test_the_share_of_synthetic_crops_is_the_config_s(colours):
    config = PLAIN.model_copy(update={"batch": 50})
    synthetic = config.synthetic.model_copy(update={"share": 0.3})
    stream = CropStream(CropSources(colours[:1], colours[4:]), config.model_copy(update={"synthetic": synthetic}), CPU)
    stream.sizes_px = [(32, 32)]
    dark = sum(int(image.float().mean() < 100) for number in range(4) for image in stream.batch(number).image_b3hw)
    assert dark == pytest.approx(140, abs=26)  # of 200; four standard deviations
    only = synthetic.model_copy(update={"share": 1.0})
    stream = CropStream(
        CropSources(colours[:1], colours[4:]), config.model_copy(update={"synthetic": only, "batch": 8}), CPU
    )
    stream.sizes_px = [(32, 32)]
    assert levels_of(stream, 2) == {200}
    stream = CropStream(CropSources(colours[:1]), config.model_copy(update={"synthetic": only, "batch": 8}), CPU)
    stream.sizes_px = [(32, 32)]
    assert levels_of(stream, 2) == {40}  # without any, all are real
