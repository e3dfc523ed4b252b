"""Features are tracked to where they went, and only those that come back are kept."""

import cv2
import numpy as np
import pytest

from geo_perception.filtering.feature_tracker import TrackerOptions, find_corners, track_features


@pytest.fixture(scope="module")
def texture_hw():
    noise_hw = np.random.default_rng(0).uniform(0, 255, (60, 80)).astype(np.float32)
    return cv2.resize(noise_hw, (320, 240), interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)


def shifted(image_hw, x_px, y_px):
    return cv2.warpAffine(image_hw, np.float32([[1, 0, x_px], [0, 1, y_px]]), image_hw.shape[::-1])


def test_corners_of_a_shifted_image_are_found_where_they_went(texture_hw):
    corners_n2 = find_corners(texture_hw, 100, 8)
    found_n2, tracked_n = track_features(texture_hw, shifted(texture_hw, 3.5, -2.0), corners_n2)
    assert tracked_n.mean() > 0.8
    np.testing.assert_allclose(np.median(found_n2[tracked_n] - corners_n2[tracked_n], axis=0), [3.5, -2.0], atol=0.05)


def test_a_guess_finds_a_motion_that_is_too_far_without_one(texture_hw):
    corners_n2, far_hw = find_corners(texture_hw, 100, 8), shifted(texture_hw, 90, 0)
    options = TrackerOptions(levels=1)
    _, without_n = track_features(texture_hw, far_hw, corners_n2, options=options)
    found_n2, with_n = track_features(texture_hw, far_hw, corners_n2, corners_n2 + [88, 1], options)
    assert with_n.sum() > 30 > np.sum(without_n)
    np.testing.assert_allclose(np.median(found_n2[with_n] - corners_n2[with_n], axis=0), [90, 0], atol=0.05)


def test_what_does_not_come_back_is_not_kept(texture_hw):
    other_hw = np.random.default_rng(1).integers(0, 255, texture_hw.shape, np.uint8)
    _, tracked_n = track_features(texture_hw, other_hw, find_corners(texture_hw, 100, 8))
    assert tracked_n.mean() < 0.1


def test_an_image_without_texture_has_no_corners():
    grey_hw = np.full((48, 64), 90, np.uint8)
    corners_n2 = find_corners(grey_hw, 100, 8)
    found_n2, tracked_n = track_features(grey_hw, grey_hw, corners_n2)
    assert corners_n2.shape == found_n2.shape == (0, 2)
    assert tracked_n.shape == (0,)
