"""The picture of depth: near is bright, unknown is grey."""

import numpy as np
import pytest

from geo_perception.depth.overlay import UNKNOWN_RGB, draw_depth
from geo_perception.errors import InputError


def test_near_is_bright_and_warm_far_is_dark_and_unknown_is_grey():
    depth = np.tile(np.linspace(1, 20, 60, dtype=np.float32), (10, 1))
    depth[0] = [np.nan, np.inf, -1.0, 0.0] * 15
    picture = draw_depth(depth)
    assert picture.shape == (10, 60, 3)
    assert picture.dtype == np.uint8
    assert (picture[0] == UNKNOWN_RGB).all()
    brightness = picture[1].astype(int).sum(axis=1)
    assert (np.diff(brightness) <= 5).all()
    assert brightness[0] > 500 > 60 > brightness[-1]
    assert picture[1, 2, 0] > picture[1, 2, 2]  # red above blue


def test_one_wild_pixel_does_not_take_the_colours_of_the_others():
    depth = np.tile(np.linspace(1, 20, 60, dtype=np.float32), (10, 1))
    wild = depth.copy()
    wild[5, 30] = 1e-6
    same = (draw_depth(depth) == draw_depth(wild)).all(axis=2)
    assert np.abs(draw_depth(depth).astype(int) - draw_depth(wild))[same].max() <= 12
    assert np.abs(draw_depth(depth)[1].astype(int) - draw_depth(wild)[1]).max() <= 12


def test_scale_does_not_change_the_picture():
    depth = np.random.default_rng(0).uniform(1, 9, (20, 30))
    assert np.abs(draw_depth(depth).astype(int) - draw_depth(7.0 * depth)).max() <= 2


def test_map_without_depth_and_map_of_one_depth_can_be_drawn():
    assert (draw_depth(np.full((5, 6), np.nan)) == UNKNOWN_RGB).all()
    even = draw_depth(np.full((5, 6), 2.0))
    assert (even == even[0, 0]).all()
    assert not (even == UNKNOWN_RGB).all()


def test_view_stands_to_the_left_as_high_as_the_map():
    view = np.full((40, 80, 3), (10, 200, 30), np.uint8)
    depth = np.random.default_rng(0).uniform(1, 9, (20, 30))
    picture = draw_depth(depth, view)
    assert picture.shape == (20, 40 + 30, 3)
    assert (picture[:, :40] == (10, 200, 30)).all()
    np.testing.assert_array_equal(picture[:, 40:], draw_depth(depth))


def test_what_is_no_map_or_view_is_refused():
    with pytest.raises(InputError, match="height x width"):
        draw_depth(np.ones((4, 5, 1)))
    with pytest.raises(InputError, match="view"):
        draw_depth(np.ones((4, 5)), np.ones((4, 5), np.uint8))
