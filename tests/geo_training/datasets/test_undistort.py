"""Undistorting: the target is a pinhole inside the recorded view, and points land where both cameras say."""

import cv2
import numpy as np
import pytest
from geo_training.datasets.undistort import MAX_SIDE_TAN, Undistorter

from geo_perception.errors import InputError
from geo_perception.geometry import Camera

BARREL = Camera(320, 240, 200.0, 202.0, 158.0, 121.0, "plumb_bob", (-0.25, 0.06, 0.001, -0.0005))
CUSHION = Camera(320, 240, 200.0, 200.0, 159.5, 119.5, "plumb_bob", (0.15, 0.0, 0.0, 0.0))
FISHEYE = Camera(320, 240, 95.0, 95.0, 159.5, 119.5, "equidistant", (0.01, 0.0, 0.0, 0.0))


@pytest.mark.parametrize("recorded", [BARREL, CUSHION, FISHEYE], ids=["barrel", "cushion", "fisheye"])
def test_every_pixel_of_the_target_was_recorded(recorded):
    undistorter = Undistorter(recorded)
    target = undistorter.target
    assert (target.model, target.width_px, target.height_px) == ("pinhole", 320, 240)
    assert target.fx_px / target.fy_px == pytest.approx(recorded.fx_px / recorded.fy_px)
    white = undistorter.image(np.full((240, 320, 3), 255, np.uint8))
    assert white.min() == 255


def test_a_wide_fisheye_is_cut_at_fifty_degrees():
    target = Undistorter(FISHEYE).target
    sides = np.abs(target.normalize([[0, 119.5], [319, 119.5], [159.5, 0], [159.5, 239]]))
    assert sides.max() <= MAX_SIDE_TAN + 1e-9


def test_a_point_lands_where_the_target_projects_it():
    undistorter = Undistorter(BARREL)
    rays_n3 = undistorter.target.bearings([[60.0, 50.0], [250.0, 180.0]])
    image = np.zeros((240, 320), np.uint8)
    for x, y in BARREL.project(rays_n3):
        cv2.circle(image, (round(x * 16), round(y * 16)), 4 * 16, 255, -1, cv2.LINE_AA, shift=4)
    straight = undistorter.image(image).astype(float)
    for (x, y), window in zip(undistorter.target.project(rays_n3), ((0, 160), (160, 320)), strict=True):
        part = straight[:, slice(*window)]
        rows, columns = np.mgrid[:240, slice(*window)]
        assert (part * columns).sum() / part.sum() == pytest.approx(x, abs=0.25)
        assert (part * rows).sum() / part.sum() == pytest.approx(y, abs=0.25)


def test_depth_is_never_mixed():
    depth_m = np.ones((240, 320), np.float32)
    depth_m[:, 160:] = 5.0
    assert set(np.unique(Undistorter(BARREL).depth(depth_m))) == {1.0, 5.0}


def test_what_is_straight_stays_as_it_is():
    image = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)
    for recorded in (BARREL.without_distortion(), Camera(320, 240, 200, 200, 160, 120, "plumb_bob", (1e-6, 0, 0, 0))):
        undistorter = Undistorter(recorded)
        assert not undistorter.is_distorted
        assert undistorter.target.K.tolist() == recorded.K.tolist()
        np.testing.assert_array_equal(undistorter.image(image), image)


def test_a_lens_that_leaves_no_image_is_refused():
    with pytest.raises(InputError, match="leaves no image"):
        Undistorter(Camera(320, 240, 1e7, 1e7, 160, 120, "equidistant", (0.0, 0.0, 0.0, 0.0)))


def test_what_shrinks_is_averaged():
    # The rim of a cushion is recorded larger than it is in the straight image.
    recorded = Camera(640, 480, 400.0, 400.0, 319.5, 239.5, "plumb_bob", (0.6, 0.0, 0.0, 0.0))
    undistorter = Undistorter(recorded)
    squares = np.where(np.indices((480, 640)).sum(0) % 2, 255, 0).astype(np.uint8)
    corner = undistorter.image(squares)[:80, :100].astype(float)
    assert abs(corner.mean() - 127.5) < 2
    assert corner.std() < 16  # interpolated alone: 43
