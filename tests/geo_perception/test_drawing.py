"""What overlays are drawn with."""

import numpy as np
import pytest

from geo_perception.drawing import drawing_scale, write_caption


@pytest.mark.parametrize(("size_hw", "scale"), [((480, 640), 1.0), ((1080, 1920), 2.25), ((24, 32), 0.4)])
def test_lines_grow_with_the_smaller_side(size_hw, scale):
    assert drawing_scale(np.zeros((*size_hw, 3), np.uint8)) == scale


@pytest.mark.parametrize("text", ["", "calibrated", "a verdict that is far too long for one line " * 5])
@pytest.mark.parametrize("size_hw", [(480, 640), (60, 80), (3, 8)])
def test_a_caption_stays_in_a_dark_band_along_the_bottom(size_hw, text):
    canvas = np.full((*size_hw, 3), 90, np.uint8)
    write_caption(canvas, text)
    changed_h = (canvas != 90).any(axis=(1, 2))
    assert changed_h[-1]
    if size_hw[0] > 3:
        assert not changed_h[: size_hw[0] // 2].any()
    if text and size_hw[0] > 100:
        assert (canvas[:, -int(0.015 * size_hw[1]) :][changed_h] == 30).all(), "the text ends inside the image"
        assert canvas.max() > 90
