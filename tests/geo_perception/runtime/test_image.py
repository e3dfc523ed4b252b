"""What an image must be before a network looks at it."""

import numpy as np
import pytest

from geo_perception.runtime.image import image_problem


def test_a_usable_image_has_no_problem():
    assert image_problem(np.zeros((32, 40, 3), np.uint8), 32) == ""
    assert image_problem(np.zeros((40, 80, 3), np.uint8)[:, ::-2], 32) == ""  # a view of another image


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (None, "not an array of uint8"),
        ([[1, 2], [3]], "not an array of uint8"),
        (np.zeros((64, 64, 3), np.float32), "not an array of uint8"),
        (np.zeros((64, 64, 3), np.int8), "not an array of uint8"),
        (np.zeros((64, 64), np.uint8), r"shape is (64, 64), not"),
        (np.zeros((64, 64, 4), np.uint8), r"shape is (64, 64, 4), not"),
        (np.zeros((), np.uint8), r"shape is (), not"),
        (np.zeros((31, 64, 3), np.uint8), "only 64 x 31 pixels"),
        (np.zeros((0, 64, 3), np.uint8), "only 64 x 0 pixels"),
        (np.zeros((32, 1 << 15, 3), np.uint8), "32768 x 32 pixels, more than can be resampled"),
    ],
)
def test_what_is_wrong_is_said(image, words):
    assert words in image_problem(image, 32)


def test_the_smallest_side_is_the_callers():
    image_hw3 = np.zeros((40, 40, 3), np.uint8)
    assert image_problem(image_hw3, 40) == ""
    assert "40 x 40" in image_problem(image_hw3, 41)
