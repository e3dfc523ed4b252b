"""Lines beside the network: a drawn room, a network that is a little wrong, and what both together say."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from drawn_room import room
from geo_training.calibration.data.crops import CropSpec

from geo_perception.calibration.estimator import (
    FORMAT_VERSION,
    KIND,
    Calibrator,
    CalibratorOptions,
)
from geo_perception.calibration.uncertainty import LinesUncertainty
from geo_perception.errors import InputError
from geo_perception.runtime.weights import load_weights, save_weights

SPEC = CropSpec(640, 480, 480.0, 0.12, -0.08, 0.0)
GUESS_PX = 540.0  # of the network, which also says that the camera is level


@pytest.mark.parametrize("yaw_rad", [0.5, 1.1, 0.05])
def test_lines_make_a_network_right_that_is_a_little_wrong(calibrator, yaw_rad):
    answer = calibrator.estimate(room(SPEC, yaw_rad))
    assert answer.lines > 30
    # Along a wall one vanishing point is in the middle of the image and tells nothing of the focal length.
    assert answer.focal_px == pytest.approx(SPEC.focal_px, rel=0.03 if yaw_rad > 0.1 else 0.1)
    assert np.degrees(answer.pitch_rad - SPEC.pitch_rad) == pytest.approx(0, abs=0.7)
    assert np.degrees(answer.roll_rad - SPEC.roll_rad) == pytest.approx(0, abs=0.5)
    assert abs(answer.focal_px - SPEC.focal_px) < 3 * answer.sigma_focal_px
    assert (answer.sigma_focal_px < 0.1 * SPEC.focal_px) == (yaw_rad > 0.1)


def test_without_them_or_without_a_measure_of_belief_the_answer_is_the_networks(calibrator):
    image_hw3 = room(SPEC)
    calibrator.options = replace(calibrator.options, lines=False)
    alone = calibrator.estimate(image_hw3)
    assert (alone.lines, alone.focal_px) == (0, pytest.approx(GUESS_PX, rel=1e-3))
    calibrator.options, calibrator.lines_uncertainty = CalibratorOptions(), None
    unmeasured = calibrator.estimate(image_hw3)
    assert (unmeasured.lines, unmeasured.focal_px) == (0, alone.focal_px)


def test_where_there_are_no_lines_the_answer_is_the_networks_with_its_certainty(calibrator):
    spots_hw3 = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (480, 640, 3)).astype(np.uint8), (0, 0), 12)
    spots_hw3 = cv2.normalize(spots_hw3, None, 0, 255, cv2.NORM_MINMAX)
    answer = calibrator.estimate(spots_hw3)
    assert answer.lines == 0
    assert answer.focal_px == pytest.approx(GUESS_PX, rel=1e-3)
    assert answer.sigma_focal_px == pytest.approx(0.15 * GUESS_PX, rel=0.01)


def test_the_measure_of_belief_is_saved_and_counts(weights, calibrator):
    assert calibrator.lines_uncertainty == LinesUncertainty((1.5, 2.0, 2.5), (0.01, 0.002, 0.003))
    once = calibrator.estimate(room(SPEC))
    calibrator.lines_uncertainty = LinesUncertainty((3.0, 4.0, 5.0), (0.02, 0.004, 0.006))
    twice = calibrator.estimate(room(SPEC))
    np.testing.assert_allclose(np.diag(twice.covariance_33), 4 * np.diag(once.covariance_33), rtol=1e-6)


def test_weights_of_before_lines_are_taken_and_broken_ones_refused(weights, tmp_path):
    tensors, header = load_weights(weights, KIND, FORMAT_VERSION)
    save_weights(tmp_path / "old.safetensors", tensors, {k: v for k, v in header.items() if k != "lines_uncertainty"})
    assert Calibrator.load(tmp_path / "old.safetensors", "cpu").lines_uncertainty is None
    save_weights(tmp_path / "bad.safetensors", tensors, header | {"lines_uncertainty": {"scale_3": [1, 1, 1]}})
    with pytest.raises(InputError, match="does not fit the calibration network"):
        Calibrator.load(tmp_path / "bad.safetensors", "cpu")


def odd_images() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:480, :640]
    spiral = 40 * np.hypot(rows - 240, columns - 320) / 100 - np.arctan2(rows - 240, columns - 320)
    letters = np.full((480, 640), 240, np.uint8)
    for row in range(20, 480, 24):
        cv2.putText(letters, "the quick brown fox jumps over", (5, row), cv2.FONT_HERSHEY_SIMPLEX, 0.7, 10, 2)
    grey = {
        "stripes": (columns // 20 % 2) * 200,
        "a chessboard": ((columns // 40 + rows // 40) % 2) * 200,
        "a spiral": 127 + 100 * np.sin(spiral),
        "noise": rng.integers(0, 255, (480, 640)),
        "text": letters,
        "20 to 1": (np.mgrid[:64, :1280][1] // 10 % 2) * 200,
        "one pixel": np.full((1, 1), 90),
        "one row": np.arange(640)[None] % 256,
    }
    return {name: np.repeat(np.asarray(image)[..., None], 3, 2).astype(np.uint8) for name, image in grey.items()}


@pytest.mark.parametrize("name", odd_images())
def test_odd_images_get_a_verdict_and_no_certainty_beyond_the_floors(calibrator, name):
    answer = calibrator.estimate(odd_images()[name])
    if answer.covariance_33 is None:
        assert not answer.trusted
        return
    assert np.isfinite([answer.focal_px, answer.pitch_rad, answer.roll_rad]).all()
    assert (np.linalg.eigvalsh(answer.covariance_33) > 0).all()
    floors_3 = calibrator.lines_uncertainty.floor_3
    assert answer.sigma_focal_px >= floors_3[0] * answer.focal_px
    assert answer.sigma_pitch_rad >= floors_3[1]
    assert answer.sigma_roll_rad >= floors_3[2]
