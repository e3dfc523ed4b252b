"""A focal length that was settled before this process began is believed, for a time, and not against the images."""

import math
from dataclasses import replace

import numpy as np
import pytest

from geo_perception.calibration.fusion import CalibrationFusion, FusionOptions, RememberedFocal
from geo_perception.calibration.result import Calibration, CalibrationVerdict

OPTIONS = FusionOptions(focal_walk=0.001, min_frames=5, image_focal_sigma=0.0, place_error=0.0)
KNOWN = RememberedFocal(500.0, 0.02, 640, 480, 100.0)
MAX_AGE_S = 60.0


def seen(focal_px: float = 500.0, sigma: float = 0.1, size_px=(640, 480)) -> Calibration:
    covariance_33 = np.diag([(sigma * focal_px) ** 2, 1.6e-3, 1.6e-3])
    return Calibration(
        CalibrationVerdict.CALIBRATED, "", *size_px, focal_px=focal_px, pitch_rad=0.1, roll_rad=0.0,
        covariance_33=covariance_33,
    )  # fmt: skip


def fusion_that_remembers(known: RememberedFocal = KNOWN, options: FusionOptions = OPTIONS) -> CalibrationFusion:
    fusion = CalibrationFusion(options)
    fusion.remember(known, MAX_AGE_S)
    return fusion


def test_it_is_settled_at_the_first_image_and_joined_with_what_that_says():
    fused = fusion_that_remembers().update(seen(520.0), 116.0)
    aged = 0.02**2 + 0.001**2 * 16
    weights = np.array([1 / aged, 1 / 0.1**2])
    expected = math.exp((weights * np.log([500.0, 520.0])).sum() / weights.sum())
    assert fused.focal_settled
    assert fused.focal_px == pytest.approx(expected, rel=1e-9)
    assert fused.sigma_focal_px / fused.focal_px == pytest.approx(1 / math.sqrt(weights.sum()))
    assert "remembered from 16 s before" in fused.detail


def test_an_image_that_shows_nothing_leaves_it_as_it_is_remembered():
    dark = Calibration(CalibrationVerdict.NO_STRUCTURE, "dark", 640, 480)
    fused = fusion_that_remembers().update(dark, 109.0)
    assert fused.focal_settled
    assert fused.focal_px == pytest.approx(500.0)
    assert fused.sigma_focal_px / 500.0 == pytest.approx(math.hypot(0.02, 0.001 * 3))


@pytest.mark.parametrize(
    ("known", "stamp_s", "size_px"),
    [
        (KNOWN, 161.0, (640, 480)),  # too long ago
        (KNOWN, 99.0, (640, 480)),  # the clock went back
        (KNOWN, 110.0, (320, 240)),  # another size
        (replace(KNOWN, focal_px=math.nan), 110.0, (640, 480)),
        (replace(KNOWN, sigma=0.0), 110.0, (640, 480)),
    ],
)
def test_what_does_not_hold_is_not_believed(known, stamp_s, size_px):
    fused = fusion_that_remembers(known).update(seen(size_px=size_px), stamp_s)
    assert not fused.focal_settled
    assert fused.sigma_focal_px / fused.focal_px == pytest.approx(0.1)


def test_it_is_asked_of_the_first_image_only():
    fusion = fusion_that_remembers()
    fusion.update(seen(), 99.0)
    assert not fusion.update(seen(), 110.0).focal_settled


def test_images_of_another_zoom_are_followed_as_ever():
    fusion = fusion_that_remembers()
    fused = [fusion.update(seen(900.0, 0.05), 110.0 + i) for i in range(12)]
    assert not fused[3].focal_settled
    assert [one.event for one in fused if one.event] == ["the focal length changed from 500 to 900 px"]
    assert fused[-1].focal_px == pytest.approx(900.0)
    assert "remembered" not in fused[-1].detail


def test_a_reset_forgets_it():
    fusion = fusion_that_remembers()
    fusion.reset()
    assert not fusion.update(seen(), 110.0).focal_settled


class TestWhatToRemember:
    def test_nothing_before_it_is_settled(self):
        fusion = CalibrationFusion(OPTIONS)
        assert fusion.settled_focal() is None
        fusion.update(seen(), 1.0)
        assert fusion.settled_focal() is None

    def test_the_settled_focal_length(self):
        fusion = CalibrationFusion(replace(OPTIONS, focal_walk=0.0))
        for i in range(5):
            fused = fusion.update(seen(), 1.0 + i)
        kept = fusion.settled_focal()
        assert (kept.focal_px, kept.width_px, kept.height_px, kept.stamp_s) == (pytest.approx(500.0), 640, 480, 5.0)
        assert kept.sigma == pytest.approx(fused.sigma_focal_px / 500.0) == pytest.approx(0.1 / math.sqrt(5))

    def test_remembered_again_and_again_one_place_does_not_become_certain(self):
        options = replace(OPTIONS, focal_walk=0.0)
        known = KNOWN
        for _ in range(20):
            fusion = fusion_that_remembers(known, options)
            fusion.update(seen(sigma=0.02), 110.0)
            known = replace(fusion.settled_focal(), stamp_s=100.0)
        assert known.sigma == pytest.approx(0.02)
