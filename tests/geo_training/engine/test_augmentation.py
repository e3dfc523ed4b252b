"""Other light: what each knob does alone, and that nothing else changes."""

import numpy as np
import pytest
from geo_training.engine.augmentation import PhotometricConfig, augment_photometric

NOTHING = dict.fromkeys(PhotometricConfig.model_fields, 0.0)


def changed(image_hw3, seed=0, **knobs):
    return augment_photometric(image_hw3, PhotometricConfig(**(NOTHING | knobs)), np.random.default_rng(seed))


@pytest.fixture
def image_hw3():
    return np.random.default_rng(4).integers(60, 180, (48, 64, 3)).astype(np.uint8)


def test_without_any_knob_the_image_stays(image_hw3):
    image, covered = changed(image_hw3)
    # The way to floating point and back may lose one grey level.
    assert np.abs(image.astype(int) - image_hw3).max() <= 1
    assert image.dtype == np.uint8
    assert not covered.any()


def test_the_same_seed_gives_the_same_light(image_hw3):
    config = PhotometricConfig()
    one, two, other = (augment_photometric(image_hw3, config, np.random.default_rng(seed))[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, two)
    assert (one != other).any()


def test_the_given_image_is_not_touched(image_hw3):
    before = image_hw3.copy()
    augment_photometric(image_hw3, PhotometricConfig(erase=1, blur=1, grey=1), np.random.default_rng(0))
    np.testing.assert_array_equal(image_hw3, before)


def test_brightness_is_one_factor_for_all(image_hw3):
    for seed in range(5):
        image, _ = changed(image_hw3, seed, brightness=0.3)
        factor = image.astype(float).sum() / image_hw3.sum()
        assert 0.69 < factor < 1.31
        assert np.abs(image - factor * image_hw3.astype(float)).max() <= 2


def test_colour_is_a_gain_for_each_channel(image_hw3):
    image, _ = changed(image_hw3, colour=0.3)
    gains = image.reshape(-1, 3).mean(0) / image_hw3.reshape(-1, 3).mean(0)
    assert np.ptp(gains) > 0.02
    assert np.abs(image - gains * image_hw3).max() <= 2


def test_contrast_keeps_the_mean(image_hw3):
    spreads = set()
    for seed in range(5):
        image, _ = changed(image_hw3, seed, contrast=0.35)
        assert image.mean() == pytest.approx(image_hw3.mean(), abs=1)
        spreads.add(round(image.std() / image_hw3.std(), 2))
    assert len(spreads) == 5
    assert 0.6 < min(spreads) < max(spreads) < 1.4


def test_gamma_is_a_power_of_the_grey_level():
    levels = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2).repeat(4, axis=0)
    image, _ = changed(levels, seed=3, gamma=0.3)
    assert (image[0, 0, 0], image[0, 255, 0]) == (0, 255)
    assert (np.diff(image[0, :, 0].astype(int)) >= 0).all()
    exponent = np.log(image[0, 128, 0] / 255) / np.log(128 / 255)
    assert exponent != pytest.approx(1, abs=0.02)
    assert np.abs(image[0, :, 0] - 255 * (np.arange(256) / 255) ** exponent).max() <= 2.5


def test_shading_is_smooth(image_hw3):
    flat = np.full((60, 80, 3), 100, np.uint8)
    image, _ = changed(flat, shading=0.3)
    assert np.ptp(image[..., 0]) > 10
    assert max(np.abs(np.diff(image[..., 0].astype(int), axis=axis)).max() for axis in (0, 1)) < 12


def test_grey_has_no_colour(image_hw3):
    image, _ = changed(image_hw3, grey=1)
    assert np.ptp(image, axis=2).max() == 0
    assert np.abs(image[..., 0] - image_hw3.mean(axis=2)).max() <= 1


def test_noise_is_alike_in_all_channels_and_no_stronger_than_said():
    flat = np.full((100, 100, 3), 128, np.uint8)
    for seed in range(4):
        image, _ = changed(flat, seed, noise=10)
        assert 0 < image.std() < 11
        assert np.ptp(image.astype(int), axis=2).max() == 0


def test_blur_keeps_light_and_place():
    """A spot in the middle: blurred, its centroid stays within a pixel."""
    spot = np.zeros((61, 61, 3), np.uint8)
    spot[28:33, 28:33] = 200
    y, x = np.mgrid[:61, :61]
    for seed in range(8):
        image, _ = changed(spot, seed, blur=1)
        light = image[..., 0].astype(float)
        assert light.max() < 200 or (light > 0).sum() > 25
        assert light.sum() == pytest.approx(25 * 200, rel=0.1)
        assert (light * x).sum() / light.sum() == pytest.approx(30, abs=1)
        assert (light * y).sum() / light.sum() == pytest.approx(30, abs=1)


def test_the_covered_box_is_told(image_hw3):
    image, covered = changed(image_hw3, seed=1, erase=1)
    rows, columns = np.flatnonzero(covered.any(1)), np.flatnonzero(covered.any(0))
    assert covered.sum() == len(rows) * len(columns) > 0  # one box
    assert 4 <= len(rows) <= 19  # a tenth to four tenths of 48
    assert 6 <= len(columns) <= 25
    assert np.ptp(image[covered], axis=0).max() == 0
    assert np.abs(image[~covered].astype(int) - image_hw3[~covered]).max() <= 1


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (32, 32)])
def test_any_size_is_taken(shape):
    image, covered = augment_photometric(
        np.full((*shape, 3), 90, np.uint8), PhotometricConfig(erase=1, blur=1), np.random.default_rng(0)
    )
    assert image.shape == (*shape, 3)
    assert covered.shape == shape
