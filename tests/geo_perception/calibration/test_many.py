"""Many images of one camera: one focal length and an attitude each."""

from dataclasses import replace

import numpy as np
import pytest
from drawn_room import room
from geo_training.calibration.data.crops import CropSpec

from geo_perception.calibration.known import KnownCamera
from geo_perception.calibration.result import CalibrationVerdict
from geo_perception.errors import InputError
from geo_perception.geometry import Camera

FOCAL_PX, GUESS_PX = 480.0, 540.0
BLACK = np.zeros((480, 640, 3), np.uint8)


def spec(pitch_rad: float, roll_rad: float = 0.0) -> CropSpec:
    return CropSpec(640, 480, FOCAL_PX, pitch_rad, roll_rad, 0.0)


ATTITUDES = [(0.12, -0.08), (0.05, 0.1), (-0.1, 0.02), (0.2, 0.05)]
# Into corners, which tell the focal length, and along walls, which hardly do.
YAWS = [0.6, 1.0, 0.05, 0.03]


@pytest.fixture(scope="module")
def rooms():
    return [room(spec(*attitude), yaw) for attitude, yaw in zip(ATTITUDES, YAWS, strict=True)]


def test_all_have_one_focal_length_and_each_its_attitude(calibrator, rooms):
    alone, together = [calibrator.estimate(image) for image in rooms], calibrator.estimate_many(rooms)
    assert len({answer.focal_px for answer in together}) == 1
    assert np.ptp([answer.sigma_focal_px for answer in together]) < 1e-9
    assert together[0].focal_px == pytest.approx(FOCAL_PX, rel=0.03)
    # What the images into corners tell of the focal length helps those along walls.
    assert together[2].sigma_focal_px < 0.5 * alone[2].sigma_focal_px
    assert max(abs(answer.focal_px - FOCAL_PX) for answer in alone) > abs(together[0].focal_px - FOCAL_PX)
    for answer, (pitch_rad, roll_rad) in zip(together, ATTITUDES, strict=True):
        assert np.degrees(answer.pitch_rad - pitch_rad) == pytest.approx(0, abs=0.7)
        assert np.degrees(answer.roll_rad - roll_rad) == pytest.approx(0, abs=0.5)
        assert f"f {answer.focal_px:.0f} +- {answer.sigma_focal_px:.0f} px" in answer.detail
        assert np.linalg.eigvalsh(answer.covariance_33).min() > 0


def test_without_a_shared_camera_each_is_as_if_alone(calibrator, rooms):
    for answer, image in zip(calibrator.estimate_many(rooms, shared_intrinsics=False), rooms, strict=True):
        assert answer.focal_px == calibrator.estimate(image).focal_px


def test_images_that_show_nothing_keep_their_verdict_and_their_place(calibrator, rooms):
    answers = calibrator.estimate_many([BLACK, rooms[0], np.zeros((2, 2), np.uint8), rooms[1]])
    verdicts = [answer.verdict for answer in answers]
    assert verdicts[0] is CalibrationVerdict.NO_STRUCTURE
    assert verdicts[2] is CalibrationVerdict.BAD_IMAGE
    assert answers[1].focal_px == answers[3].focal_px == pytest.approx(FOCAL_PX, rel=0.03)


def test_no_usable_image_and_no_image_at_all(calibrator):
    assert calibrator.estimate_many([]) == []
    (answer,) = calibrator.estimate_many([BLACK])
    assert answer.verdict is CalibrationVerdict.NO_STRUCTURE


def test_one_image_is_answered_as_by_itself(calibrator, rooms):
    (answer,), alone = calibrator.estimate_many(rooms[:1]), calibrator.estimate(rooms[0])
    assert answer.focal_px == pytest.approx(alone.focal_px)
    assert answer.sigma_focal_px == pytest.approx(alone.sigma_focal_px)


def test_images_of_several_sizes_are_of_no_one_camera(calibrator, rooms):
    with pytest.raises(InputError, match="one camera took images of several sizes"):
        calibrator.estimate_many([rooms[0], rooms[1][:240]])


def test_a_known_focal_length_counts_once_not_once_an_image(calibrator, rooms):
    calibrator.options = replace(calibrator.options, lines=False)  # each image says 540 within 15 %
    prior = KnownCamera.of_focal(FOCAL_PX, 640, 480, focal_sigma=0.1)
    pooled = 0.15 * (0.2 + 0.8 / 4) ** 0.5
    information = np.array([pooled**-2.0, 0.1**-2.0])
    expected = np.exp(information @ np.log([GUESS_PX, FOCAL_PX]) / information.sum())
    answers = calibrator.estimate_many(rooms, known=prior)
    assert answers[0].focal_px == pytest.approx(expected, rel=2e-3)
    assert answers[0].sigma_focal_px / answers[0].focal_px == pytest.approx(information.sum() ** -0.5, rel=0.01)


def test_a_known_vertical_holds_for_every_image(calibrator, rooms):
    up_3 = np.array([0.0, -1.0, 0.0])
    answers = calibrator.estimate_many(rooms[:2], known=KnownCamera(up_3=up_3, up_sigma_rad=1e-4))
    for answer in answers:
        assert (answer.pitch_rad, answer.roll_rad) == pytest.approx((0, 0), abs=2e-3)


def test_the_lens_of_a_known_camera_stays_while_its_focal_length_is_told(calibrator, rooms):
    lens = Camera(640, 480, 500.0, 500.0, 319.5, 239.5, "plumb_bob", (0.0001, 0.0, 0.0, 0.0))
    answers = calibrator.estimate_many(rooms, known=KnownCamera(lens, focal_sigma=0.2))
    assert answers[0].focal_px == pytest.approx(FOCAL_PX, rel=0.03)


def test_a_turn_of_images_in_order_tells_the_focal_length(calibrator):
    """Nothing else does here: without lines every image says 540."""
    calibrator.options = replace(calibrator.options, lines=False)
    pan = [room(spec(0.0), yaw_rad) for yaw_rad in np.arange(0.3, 0.75, 0.03)]
    turned = calibrator.estimate_many(pan, in_order=True)
    assert turned[0].focal_px == pytest.approx(FOCAL_PX, rel=0.04)
    assert turned[0].sigma_focal_px < 0.06 * FOCAL_PX
    assert calibrator.estimate_many(pan)[0].focal_px == pytest.approx(GUESS_PX, rel=1e-3)
