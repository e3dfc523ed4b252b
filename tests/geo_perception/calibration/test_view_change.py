"""How alike images are: noise is no change, a slow turn adds up to one."""

import numpy as np
import pytest

from geo_perception.calibration.view_change import ViewChange


def wave(shift_px: float, noise: float = 0.0, gain: float = 1.0, seed: int = 0) -> np.ndarray:
    """Vertical stripes of 64 px width."""
    brightness_w = 128 + gain * 60 * np.sin(2 * np.pi * (np.arange(640) - shift_px) / 128)
    grey_hw = np.tile(brightness_w, (480, 1)) + noise * np.random.default_rng(seed).normal(size=(480, 640))
    return np.repeat(np.clip(grey_hw, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def test_a_still_view_with_noise_stays_alike_however_long():
    view = ViewChange()
    assert view.ncc(wave(0)) == 0.0
    assert all(view.ncc(wave(0, noise=8.0, seed=seed)) == 1.0 for seed in range(5))


def test_brightness_and_contrast_do_not_matter():
    view = ViewChange()
    view.ncc(wave(0))
    assert view.ncc(wave(0, gain=0.5)) == 1.0


def test_a_shift_by_an_eighth_of_a_wave_is_the_cosine_of_it():
    view = ViewChange()
    view.ncc(wave(0))
    assert view.ncc(wave(16)) == pytest.approx(np.cos(np.pi / 4), abs=0.01)


def test_what_is_opposite_is_nothing_alike():
    view = ViewChange()
    view.ncc(wave(0))
    assert view.ncc(wave(64)) == 0.0


def test_a_turn_too_slow_to_see_from_image_to_image_adds_up():
    view = ViewChange()
    view.ncc(wave(0))
    together = np.prod([view.ncc(wave(shift)) for shift in range(1, 33)])
    # 64 steps of one pixel are alike one by one (cos 0.049 = 0.9988).
    assert together < 0.9


def test_a_uniform_image_and_a_reset():
    view = ViewChange()
    assert view.ncc(np.full((48, 64, 3), 7, np.uint8)) == 0.0
    assert view.ncc(np.full((48, 64, 3), 7, np.uint8)) == 0.0
    view.ncc(wave(0))
    view.reset()
    assert view.ncc(wave(0)) == 0.0
