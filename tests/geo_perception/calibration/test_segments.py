"""Straight segments of drawn images, whose places are known."""

import cv2
import numpy as np
import pytest

from geo_perception.calibration.fields import image_scale
from geo_perception.calibration.segments import MIN_LENGTH_PX, SIGMA_PX, find_segments, segments_of


def drawn(lines, width_px: int = 320, height_px: int = 240, thickness: int = 3) -> np.ndarray:
    image_hw3 = np.full((height_px, width_px, 3), 200, np.uint8)
    for x0, y0, x1, y1 in lines:
        cv2.line(image_hw3, (x0, y0), (x1, y1), (20, 40, 60), thickness, cv2.LINE_AA)
    return image_hw3


def test_both_edges_of_a_drawn_bar_are_found_where_they_are():
    segments = find_segments(drawn([(60, 50, 260, 130)], thickness=5))
    assert len(segments) == 2
    scale = image_scale(240, 320)
    angle_rad = np.arctan2(80, 200)
    np.testing.assert_allclose(np.abs(segments.along_s2 @ [np.cos(angle_rad), np.sin(angle_rad)]), 1, atol=1e-3)
    # To each side of the bar's middle, which is at (160, 90); the image's is at (159.5, 119.5).
    across_2 = np.array([-np.sin(angle_rad), np.cos(angle_rad)])
    off_px = (segments.middle_s2 * scale - [160 - 159.5, 90 - 119.5]) @ across_2
    assert off_px.sum() == pytest.approx(0, abs=0.3)
    np.testing.assert_allclose(np.abs(off_px), 3.0, atol=1.0)  # smoothing widens it
    np.testing.assert_allclose(2 * segments.half_length_s * scale, np.hypot(200, 80), rtol=0.06)
    np.testing.assert_allclose(segments.sigma_rad_s, SIGMA_PX / scale / segments.half_length_s)


def test_short_ones_are_left_out_and_blank_images_have_none():
    assert len(find_segments(drawn([(100, 100, 100 + int(MIN_LENGTH_PX) - 6, 100)]))) == 0
    assert len(find_segments(np.full((240, 320, 3), 90, np.uint8))) == 0
    assert len(find_segments(np.zeros((1, 1, 3), np.uint8))) == 0


def test_a_larger_picture_of_the_same_scene_has_the_same_segments():
    small = find_segments(drawn([(60, 50, 260, 130)], thickness=5))
    large = find_segments(drawn([(240, 200, 1040, 520)], 1280, 960, thickness=20))
    assert len(large) == len(small) == 2
    order = np.argsort(small.middle_s2[:, 1]), np.argsort(large.middle_s2[:, 1])
    np.testing.assert_allclose(large.middle_s2[order[1]], small.middle_s2[order[0]], atol=0.02)


def test_the_longest_are_kept(monkeypatch):
    monkeypatch.setattr("geo_perception.calibration.segments.MOST", 2)
    segments = find_segments(drawn([(20, 40, 300, 40), (20, 120, 80, 120), (20, 200, 100, 200)]))
    assert len(segments) == 2
    assert segments.middle_s2[:, 1] * image_scale(240, 320) == pytest.approx([40 - 119.5] * 2, abs=3.5)


def test_by_their_ends():
    segments = segments_of(np.array([[0.0, 0.0, 0.6, 0.8]]), 0.01)
    np.testing.assert_allclose(segments.middle_s2, [[0.3, 0.4]])
    np.testing.assert_allclose(segments.along_s2, [[0.6, 0.8]])
    assert segments.half_length_s[0] == pytest.approx(0.5)
    assert segments.sigma_rad_s[0] == pytest.approx(0.02)
