"""A lens that bends: what it makes of segments, what views say of it together, and images that are freed of it."""

import numpy as np
import pytest
from bent import through
from calibration_peer import weights_with_lines
from drawn_room import room
from geo_training.calibration.data.crops import CropSpec

from geo_perception.calibration.estimator import Calibrator
from geo_perception.calibration.known import KnownCamera
from geo_perception.calibration.lens import BENDS, MIN_GAIN, MIN_VIEWS, LensBend, LensPool, pooled_bend
from geo_perception.calibration.result import Calibration, CalibrationVerdict
from geo_perception.calibration.scale import image_scale
from geo_perception.calibration.segments import segments_of
from geo_perception.geometry import Camera

NO_BEND = BENDS.index(0.0)


def test_a_segment_is_straightened_as_its_points_are():
    rng = np.random.default_rng(0)
    middle_s2, angle_s = rng.uniform(-0.9, 0.9, (20, 2)), rng.uniform(0, np.pi, 20)
    along_s2 = 1e-4 * np.stack([np.cos(angle_s), np.sin(angle_s)], axis=1)
    bent = segments_of(np.hstack([middle_s2 - along_s2, middle_s2 + along_s2]), 1e-6)
    found = bent.straightened(-0.3)

    def free(points_n2):
        return points_n2 / (1 - 0.3 * (points_n2**2).sum(axis=1, keepdims=True))

    expected = segments_of(np.hstack([free(middle_s2 - along_s2), free(middle_s2 + along_s2)]), 1e-6)
    np.testing.assert_allclose(found.middle_s2, expected.middle_s2, atol=1e-6)
    np.testing.assert_allclose(found.along_s2, expected.along_s2, atol=1e-4)
    np.testing.assert_allclose(found.half_length_s, expected.half_length_s, rtol=1e-3)
    assert bent.straightened(0.0) is bent


@pytest.mark.parametrize("bend", [-0.3, -0.1, 0.04])
def test_the_camera_bends_as_the_lens_does(bend):
    """Pixels of every radius, against r / (1 + bend r^2) in units of the image's scale."""
    camera, scale = LensBend(bend, 0.01).camera(500.0, 640, 480), image_scale(480, 640)
    seen_n = np.linspace(0.1, 1.1, 9)
    pixels_n2 = np.stack([319.5 + seen_n * scale * 0.8, 239.5 + seen_n * scale * 0.6], axis=1)
    bearings_n3 = camera.bearings(pixels_n2)
    true_n = np.hypot(bearings_n3[:, 0], bearings_n3[:, 1]) / bearings_n3[:, 2] * 500.0 / scale
    np.testing.assert_allclose(true_n, seen_n / (1 + bend * seen_n**2), rtol=0.02)
    # Which pixel shows what does not depend on the focal length that is stated.
    other = LensBend(bend, 0.01).camera(900.0, 640, 480).bearings(pixels_n2)
    np.testing.assert_allclose(other[:, 0] / other[:, 2] * 900, bearings_n3[:, 0] / bearings_n3[:, 2] * 500, rtol=2e-3)


def test_a_strong_bend_of_a_wide_image_gives_a_camera_that_works():
    """Out there the model has no answer; the camera still is one, and looks further out the further a pixel is."""
    camera = LensBend(-0.36, 0.02).camera(500.0, 1920, 480)
    pixels_n2 = np.stack([959.5 + np.linspace(10, 700, 8), np.full(8, 239.5)], axis=1)
    across_n = np.asarray(camera.bearings(pixels_n2))[:, 0]
    assert np.isfinite(camera.distortion).all()
    assert (np.diff(across_n) > 0).all()
    far = segments_of(np.array([[1.9, 0.1, 1.95, 0.3], [0.1, 0.1, 0.3, 0.2]]), 0.003).straightened(-0.5)
    assert np.isfinite(far.middle_s2).all()
    assert (far.half_length_s > 0).all()
    assert far.middle_s2[0, 0] > 1.9


def costs(least_at: float, gain: float, width: float = 0.1) -> np.ndarray:
    """A parabola that is least there, and `gain` higher without a bend."""
    parabola_k = ((np.array(BENDS) - least_at) / width) ** 2
    return gain * parabola_k / parabola_k[NO_BEND]


def test_views_that_agree_tell_the_bend():
    found = pooled_bend([costs(-0.2, 6.0)] * 4)
    assert found.bend == pytest.approx(-0.2, abs=0.01)
    # Twice the width of the parabola over all four views, whose gains are cut: between that and what is told at most.
    assert 0.04 < found.sigma < 0.12
    assert not found.beyond


def test_a_cushion_at_the_end_of_what_is_tried_is_as_certain_as_the_step():
    found = pooled_bend([np.linspace(28, 0, len(BENDS))] * 4)
    assert found.bend == BENDS[-1]
    assert 0.04 < found.sigma < 0.1


def test_few_views_or_little_gain_tell_none():
    assert pooled_bend([]) is None
    assert pooled_bend([costs(-0.2, 50.0)] * (MIN_VIEWS - 1)) is None
    assert pooled_bend([costs(-0.2, 0.9 * MIN_GAIN / 4)] * 4) is None
    assert pooled_bend([costs(0.0001, 0.0001)] * 12) is None


def test_one_view_that_is_misled_does_not_decide():
    content = np.where(np.arange(len(BENDS)) == NO_BEND, 0.0, 1.0)
    assert pooled_bend([costs(-0.3, 500.0), *[content] * 5]) is None


def test_a_bend_at_the_end_is_beyond_what_can_be_told():
    pool = LensPool()
    for _ in range(4):
        pool.add(np.arange(len(BENDS), dtype=float))
    assert pool.bend().beyond


def test_the_answer_has_the_lens_in_its_camera():
    values = {"focal_px": 500.0, "pitch_rad": 0.0, "roll_rad": 0.0}
    plain = Calibration(CalibrationVerdict.CALIBRATED, "", 640, 480, **values)
    assert plain.camera == Camera(640, 480, 500.0, 500.0, 319.5, 239.5)
    bent = Calibration(CalibrationVerdict.CALIBRATED, "", 640, 480, **values, lens=LensBend(-0.2, 0.01))
    assert bent.camera == LensBend(-0.2, 0.01).camera(500.0, 640, 480)
    assert bent.camera.model == "rational_polynomial"


SIZE, FOCAL_PX = (640, 480), 400.0
VIEWS = [(0.12, -0.08, 0.6), (0.05, 0.1, 1.0), (-0.1, 0.02, 0.35), (0.2, 0.05, 0.8)]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return weights_with_lines(tmp_path_factory.mktemp("weights") / "w.safetensors", 440.0, *SIZE)


def lens(k1: float) -> Camera:
    return Camera(*SIZE, FOCAL_PX, FOCAL_PX, 319.5, 239.5, "plumb_bob", (k1, 0.0, 0.0, 0.0))


def views(camera: Camera) -> list[np.ndarray]:
    return [through(camera, CropSpec(*SIZE, FOCAL_PX, p, r, 0.0), yaw) for p, r, yaw in VIEWS]


def test_images_of_a_bending_lens_are_freed_of_it(weights):
    calibrator, camera = Calibrator.load(weights, "cpu"), lens(-0.2)
    answers = calibrator.estimate_many(views(camera))
    assert answers[0].lens is not None
    assert answers[0].focal_px == pytest.approx(FOCAL_PX, rel=0.05)
    for answer, (pitch_rad, roll_rad, _) in zip(answers, VIEWS, strict=True):
        assert np.degrees(answer.pitch_rad - pitch_rad) == pytest.approx(0, abs=1.0)
        assert np.degrees(answer.roll_rad - roll_rad) == pytest.approx(0, abs=0.7)
    # The camera that is told looks where the lens does: within two degrees out to the corners, seven where it is not.
    pixels_n2 = np.array([(5, 5), (5, 240), (320, 5), (634, 474), (150, 100)], float)
    found_n3, true_n3 = (np.asarray(one.bearings(pixels_n2)) for one in (answers[0].camera, camera))
    apart_deg = np.degrees(np.arccos(np.clip((found_n3 * true_n3).sum(axis=1), -1, 1)))
    assert apart_deg.max() < 2.0


def test_a_known_focal_length_leaves_the_lens_open_and_a_known_camera_does_not(weights):
    calibrator, seen = Calibrator.load(weights, "cpu"), views(lens(-0.2))
    prior = KnownCamera.of_focal(FOCAL_PX, *SIZE, focal_sigma=0.02)
    (answer, *_) = calibrator.estimate_many(seen, known=prior)
    assert answer.lens is not None
    assert answer.focal_px == pytest.approx(FOCAL_PX, rel=0.03)
    (answer, *_) = calibrator.estimate_many(seen, known=KnownCamera(lens(-0.2)))
    assert answer.lens is None


def test_a_straight_lens_is_left_as_it_is(weights):
    calibrator = Calibrator.load(weights, "cpu")
    straight = [room(CropSpec(*SIZE, FOCAL_PX, pitch, roll, 0.0), yaw) for pitch, roll, yaw in VIEWS]
    answers = calibrator.estimate_many(straight)
    assert {answer.lens for answer in answers} == {None}
    assert answers[0].camera.model == "pinhole"


def test_what_bends_too_strongly_is_refused_in_words(weights, monkeypatch):
    calibrator = Calibrator.load(weights, "cpu")
    steep_k = np.arange(len(BENDS), dtype=float) * 3
    monkeypatch.setattr(calibrator, "_bend_costs", lambda seen: steep_k)
    (answer, *_) = calibrator.estimate_many(views(lens(-0.1)))
    assert answer.verdict is CalibrationVerdict.BENT
    assert not answer.trusted
    assert "undistort it, or give the CameraInfo of its lens" in answer.detail


def test_an_image_without_lines_says_nothing_of_the_lens(weights):
    calibrator = Calibrator.load(weights, "cpu")
    assert calibrator.bend_costs(np.zeros((480, 640, 3), np.uint8)) is None
    gradient_hw3 = np.tile(np.linspace(0, 255, 640).astype(np.uint8)[None, :, None], (480, 1, 3))
    assert calibrator.bend_costs(gradient_hw3) is None
