"""What is known of a camera beforehand: believed as far as it says, and its lens taken off the image first."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from bent import through
from drawn_room import room
from geo_training.calibration.data.crops import CropSpec

from geo_perception.calibration.fields import image_scale
from geo_perception.calibration.known import KnownCamera
from geo_perception.calibration.result import CalibrationVerdict
from geo_perception.errors import InputError
from geo_perception.geometry import Camera, up_from_attitude
from geo_perception.runtime.image import Resampler

SPEC = CropSpec(640, 480, 480.0, 0.12, -0.08, 0.0)
PLAIN = Camera(640, 480, 480.0, 480.0, 319.5, 239.5)
GUESS_PX = 540.0  # of the network, which also says that the camera is level
UP = up_from_attitude(SPEC.pitch_rad, SPEC.roll_rad)


@pytest.fixture
def without_lines(calibrator):
    calibrator.options = replace(calibrator.options, lines=False)
    return calibrator


def patches_hw3() -> np.ndarray:
    spots_hw3 = np.random.default_rng(0).integers(0, 255, (480, 640, 3)).astype(np.uint8)
    return cv2.normalize(cv2.GaussianBlur(spots_hw3, (0, 0), 12), None, 0, 255, cv2.NORM_MINMAX)


def test_a_known_focal_length_is_the_answer_with_its_own_certainty(without_lines):
    found = without_lines.estimate(patches_hw3(), KnownCamera(PLAIN, focal_sigma=0.01))
    # By inverse variances of the logarithm: 0.01 against 0.15.
    expected = np.exp((np.log(480) / 0.01**2 + np.log(540) / 0.15**2) / (0.01**-2 + 0.15**-2))
    assert found.focal_px == pytest.approx(expected, rel=1e-4)
    assert found.sigma_focal_px / found.focal_px == pytest.approx((0.01**-2 + 0.15**-2) ** -0.5, rel=1e-3)
    assert (found.pitch_rad, found.roll_rad) == pytest.approx((0, 0), abs=1e-3)


def test_a_known_vertical_is_the_attitude_with_its_own_certainty(without_lines):
    found = without_lines.estimate(patches_hw3(), KnownCamera(up_3=9.81 * UP, up_sigma_rad=0.002))
    assert found.pitch_rad == pytest.approx(SPEC.pitch_rad, abs=1e-3)
    assert found.roll_rad == pytest.approx(SPEC.roll_rad, abs=1e-3)
    assert found.sigma_pitch_rad == pytest.approx(0.002, rel=0.01)
    assert found.sigma_roll_rad == pytest.approx(0.002 / np.cos(SPEC.pitch_rad), rel=0.01)
    assert found.focal_px == pytest.approx(GUESS_PX, rel=0.01)


def test_both_leave_nothing_open(without_lines):
    found = without_lines.estimate(patches_hw3(), KnownCamera(PLAIN, 1e-4, UP, 1e-4))
    assert found.focal_px == pytest.approx(480, rel=1e-4)
    assert (found.pitch_rad, found.roll_rad) == pytest.approx((SPEC.pitch_rad, SPEC.roll_rad), abs=1e-4)


def test_what_is_known_makes_the_rest_more_exact_by_the_lines(calibrator):
    """Along a wall lines tell little of the focal length, and of the pitch what it leaves open."""
    image_hw3 = room(SPEC, 0.05)
    alone, with_focal = calibrator.estimate(image_hw3), calibrator.estimate(image_hw3, KnownCamera(PLAIN, 0.002))
    assert with_focal.lines > 30
    assert abs(with_focal.pitch_rad - SPEC.pitch_rad) < max(abs(alone.pitch_rad - SPEC.pitch_rad), 0.003)
    assert with_focal.sigma_pitch_rad < alone.sigma_pitch_rad
    assert with_focal.sigma_focal_px <= 0.002 * with_focal.focal_px
    with_up = calibrator.estimate(image_hw3, KnownCamera(up_3=UP, up_sigma_rad=0.001))
    assert abs(with_up.focal_px - 480) < abs(alone.focal_px - 480) + 1.0
    assert with_up.sigma_focal_px < alone.sigma_focal_px


def test_what_is_known_is_no_more_believed_than_it_says(calibrator):
    """A focal length that is off by a fifth and says so gives way to the lines."""
    found = calibrator.estimate(room(SPEC, 0.5), KnownCamera.of_focal(580.0, 640, 480, focal_sigma=0.2))
    assert found.focal_px == pytest.approx(480, rel=0.04)


def test_the_lens_is_taken_off_first(calibrator):
    """A room through a lens that bends its lines, with its principal point off the centre."""
    lens = Camera(640, 480, 470.0, 480.0, 350.0, 215.0, "plumb_bob", (-0.25, 0.08, 0.0, 0.0))
    seen_hw3 = through(lens, SPEC, 0.5)
    found = calibrator.estimate(seen_hw3, KnownCamera(lens))
    assert found.focal_px == pytest.approx(np.sqrt(470 * 480), rel=0.01)
    assert found.lines > 30
    assert np.degrees(found.pitch_rad - SPEC.pitch_rad) == pytest.approx(0, abs=0.7)
    assert np.degrees(found.roll_rad - SPEC.roll_rad) == pytest.approx(0, abs=0.5)
    ignorant = calibrator.estimate(seen_hw3)
    assert abs(ignorant.pitch_rad - SPEC.pitch_rad) > 3 * abs(found.pitch_rad - SPEC.pitch_rad)


def test_a_plain_camera_leaves_the_image_as_it_is():
    image_hw3 = patches_hw3()
    assert KnownCamera(PLAIN).plain_image(image_hw3) is image_hw3
    assert KnownCamera(up_3=UP).plain_image(image_hw3) is image_hw3
    off = replace(PLAIN, cx_px=330.0)
    expected_hw3 = Resampler(off, PLAIN).image(image_hw3, cv2.BORDER_REPLICATE)
    np.testing.assert_array_equal(KnownCamera(off).plain_image(image_hw3), expected_hw3)


def test_units_are_those_of_the_image():
    term = KnownCamera(PLAIN, focal_sigma=0.02, up_3=2 * UP, up_sigma_rad=0.05).term(np.array([0.0, -1.0, 0.0]))
    assert term.log_focal == pytest.approx(np.log(480 / image_scale(480, 640)))
    np.testing.assert_allclose(term.up_3, UP)
    np.testing.assert_allclose(term.information_33, np.diag([2500, 400, 400]))
    nothing = KnownCamera().term(UP)
    np.testing.assert_array_equal(nothing.information_33, np.zeros((3, 3)))


def test_knowing_nothing_changes_nothing(calibrator):
    image_hw3 = room(SPEC, 0.5)
    one, other = calibrator.estimate(image_hw3), calibrator.estimate(image_hw3, KnownCamera())
    assert other.focal_px == pytest.approx(one.focal_px, rel=1e-6)
    np.testing.assert_allclose(other.covariance_33, one.covariance_33, rtol=1e-4, atol=1e-9)


def test_a_bad_image_is_told_with_a_known_camera_too(calibrator):
    assert calibrator.estimate(np.zeros((4, 4), np.uint8), KnownCamera(PLAIN)).verdict is CalibrationVerdict.BAD_IMAGE
    covered = calibrator.estimate(np.zeros((480, 640, 3), np.uint8), KnownCamera(PLAIN))
    assert covered.verdict is CalibrationVerdict.NO_STRUCTURE


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"focal_sigma": 0.0}, "focal_sigma is 0; give a standard deviation above zero"),
        ({"up_sigma_rad": float("nan")}, "up_sigma_rad is nan"),
        ({"up_3": np.zeros(3)}, "up_3 points nowhere"),
        ({"up_3": np.ones(2)}, "up_3 points nowhere"),
        ({"up_3": np.array([0.0, np.inf, 0.0])}, "up_3 points nowhere"),
    ],
)
def test_what_cannot_be_known_is_refused(fields, words):
    with pytest.raises(InputError, match=words):
        KnownCamera(**fields)


def test_a_camera_of_another_size_is_refused(calibrator):
    with pytest.raises(InputError, match="the image is 640 x 480 pixels, the known camera's 320 x 240"):
        calibrator.estimate(patches_hw3(), KnownCamera.of_focal(250.0, 320, 240))
    with pytest.raises(InputError, match="not positive"):
        KnownCamera.of_focal(-1.0, 320, 240)
