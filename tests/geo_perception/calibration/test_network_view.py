"""What the network sees of an image: its size, and exactly which part of it."""

import numpy as np
import pytest

from geo_perception.calibration.network_view import NETWORK_AREA_PX, network_size, network_view

SIZES_PX = [
    (640, 480),
    (1280, 720),
    (1920, 1080),
    (480, 640),
    (224, 224),
    (101, 333),
    (320, 240),
    (4000, 300),
    (33, 32),
]


@pytest.mark.parametrize("size_px", SIZES_PX)
def test_the_network_looks_at_about_the_same_area_of_every_format(size_px):
    width, height = network_size(*size_px)
    assert (width % 32, height % 32) == (0, 0)
    assert width * height == pytest.approx(NETWORK_AREA_PX, rel=0.15)
    aspect = np.clip(size_px[0] / size_px[1], 1 / 3, 3)
    assert width / height == pytest.approx(aspect, rel=0.2)


def test_the_sizes_of_common_formats():
    assert network_size(500, 500) == (224, 224)
    assert network_size(640, 480) == (256, 192)
    assert network_size(480, 640) == (192, 256)
    assert network_size(9000, 300) == (384, 128)


def spots(width_px, height_px, offsets_px, sigma_px):
    """White spots at places given from the image's centre, drawn exactly: a pixel's centre is at its index + 1/2."""
    y, x = np.mgrid[:height_px, :width_px] + 0.5
    picture = np.zeros((height_px, width_px))
    for dx, dy in offsets_px:
        squared = (x - width_px / 2 - dx) ** 2 + (y - height_px / 2 - dy) ** 2
        picture += 250 * np.exp(-squared / (2 * sigma_px**2))
    return np.repeat(np.clip(np.round(picture), 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def centre_near(view_hw3, place_px, radius_px):
    """The centroid of the light around a place, from the view's centre."""
    height, width = view_hw3.shape[:2]
    y, x = np.mgrid[:height, :width] + 0.5
    x, y = x - width / 2, y - height / 2
    light = view_hw3[..., 0] * (np.hypot(x - place_px[0], y - place_px[1]) < radius_px)
    return np.array([(x * light).sum(), (y * light).sum()]) / light.sum()


@pytest.mark.parametrize("size_px", [(640, 480), (517, 389), (1013, 477), (301, 603), (160, 120), (97, 61), (224, 224)])
def test_the_view_shows_each_point_where_its_factor_says(size_px):
    """That is what makes f = f_view / factor exact: offsets from the centre grow by the factor, alike in x and y."""
    width, height = size_px
    offsets = [(0.0, 0.0), (-0.3 * width, 0.27 * height), (0.31 * width, -0.33 * height), (0.3 * width, 0.3 * height)]
    _, factor = network_view(np.zeros((height, width, 3), np.uint8))
    sigma_px = 3 / factor if factor < 1 else 3.0
    view, _ = network_view(spots(width, height, offsets, sigma_px))
    assert view.shape == (*network_size(width, height)[::-1], 3)
    for offset in offsets:
        expected = np.array(offset) * factor
        found = centre_near(view, expected, 5 * sigma_px * factor)
        assert found == pytest.approx(expected, abs=0.06)


@pytest.mark.parametrize("size_px", SIZES_PX)
def test_the_factor_covers_the_view_and_no_more(size_px):
    view, factor = network_view(np.zeros((size_px[1], size_px[0], 3), np.uint8))
    shown = np.array(view.shape[1::-1]) / factor  # in pixels of the image
    assert (shown <= np.array(size_px) + 1e-9).all()
    assert np.isclose(shown, size_px).any()


def test_an_image_of_the_network_s_own_size_is_left_alone():
    image = np.random.default_rng(0).integers(0, 256, (224, 224, 3)).astype(np.uint8)
    view, factor = network_view(image)
    assert factor == 1
    np.testing.assert_array_equal(view, image)


def test_a_large_image_is_averaged():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (960, 1280, 3)).astype(np.uint8)
    view, factor = network_view(image)
    assert factor == 0.2
    np.testing.assert_allclose(view, image.reshape(192, 5, 256, 5, 3).mean(axis=(1, 3)), atol=1)


def test_a_window_of_a_large_image_is_averaged():
    # 1920 x 1080 is seen in 288 x 160 pixels: 6.67 to one, cut off at its sides; squares of one pixel are grey.
    squares = np.where(np.indices((1080, 1920)).sum(0) % 2, 255, 0).astype(np.uint8)
    view, _ = network_view(np.repeat(squares[..., None], 3, axis=2))
    assert view.shape == (160, 288, 3)
    np.testing.assert_allclose(view, 127.5, atol=8)
