"""The focal length from a turn: exact rotations of points, and of a picture all around."""

import cv2
import numpy as np
import pytest
from geo_training.calibration.data.crops import CropSpec, render_crop
from geo_training.calibration.data.panorama_files import load_panorama
from geo_training.calibration.data.panoramas import list_panoramas, split_panoramas
from geo_training.experiments.benches.calibration_panoramas import held_out_names
from scipy.spatial.transform import Rotation

from geo_perception.calibration.rotation_calibration import RotationSelfCalibration, focal_from_rotation
from geo_perception.geometry import focal_px_from_fov

WIDTH, HEIGHT = 480, 360


def points(count=150, seed=0):
    """Pixels from the principal point, spread over the image."""
    return (np.random.default_rng(seed).uniform(-0.5, 0.5, (count, 2)) * [WIDTH, HEIGHT]).astype(float)


def turned(before_n2, focal_px, rotation_deg_3):
    rays = np.column_stack([before_n2 / focal_px, np.ones(len(before_n2))])
    rays = rays @ Rotation.from_rotvec(np.radians(rotation_deg_3)).as_matrix().T
    return focal_px * rays[:, :2] / rays[:, 2:]


@pytest.mark.parametrize("focal_px", [200.0, 415.7, 900.0])
@pytest.mark.parametrize("rotation_deg", [(0, 20, 0), (-12, 5, 3)])
def test_exact_turns_give_the_exact_focal_length(focal_px, rotation_deg):
    before = points()
    found_px, sigma, turn_rad = focal_from_rotation(before, turned(before, focal_px, rotation_deg), WIDTH)
    assert found_px == pytest.approx(focal_px, rel=1e-4)
    assert turn_rad == pytest.approx(np.radians(np.linalg.norm(rotation_deg)), rel=1e-4)
    assert 0.02 <= sigma < 0.03  # the floor, and next to nothing else


def test_noise_and_wrong_tracks_are_borne():
    rng, before = np.random.default_rng(1), points()
    after = turned(before, 415.7, (0, 18, 0)) + rng.normal(0, 0.3, (150, 2))
    after[:15] += rng.uniform(30, 60, (15, 2))
    found_px, sigma, _ = focal_from_rotation(before, after, WIDTH)
    assert abs(np.log(found_px / 415.7)) < 3 * sigma
    assert sigma < 0.1


def test_a_turn_about_the_optical_axis_tells_nothing():
    before = points()
    assert focal_from_rotation(before, turned(before, 415.7, (0, 0, 25)), WIDTH) is None


def test_a_small_turn_tells_nothing():
    before = points()
    assert focal_from_rotation(before, turned(before, 415.7, (0, 4, 0)), WIDTH) is None


@pytest.mark.parametrize("step_m", [(0.6, 0, 0), (0, 0, 0.8), (0.4, 0.1, 0.3)])
def test_a_camera_that_moves_through_a_scene_is_no_turn(step_m):
    before, depth = points(), np.random.default_rng(2).uniform(1.5, 6.0, 150)
    scene = np.column_stack([before / 415.7, np.ones(150)]) * depth[:, None] - step_m
    keep = scene[:, 2] > 0.3
    assert focal_from_rotation(before[keep], 415.7 * scene[keep, :2] / scene[keep, 2:], WIDTH) is None


@pytest.fixture(scope="module")
def panorama_hw3():
    """Blobs of all sizes, the same over the seam."""
    rng, total = np.random.default_rng(3), np.zeros((512, 1024, 3), np.float32)
    for cells in (16, 48, 120):
        noise = rng.standard_normal((cells, 2 * cells, 3)).astype(np.float32)
        total += cv2.resize(noise, (1024, 512), interpolation=cv2.INTER_CUBIC)
    return np.clip(128 + 40 * total, 0, 255).astype(np.uint8)


def view(panorama_hw3, yaw_deg, focal_px=500.0):
    return render_crop(panorama_hw3, CropSpec(640, 480, focal_px, 0.1, 0.05, np.radians(yaw_deg)), supersample=2)


def test_a_panning_camera_is_measured_in_its_own_pixels(panorama_hw3):
    tracker = RotationSelfCalibration()
    found = [tracker.update(view(panorama_hw3, yaw)) for yaw in np.arange(-40, 40, 3.0)]
    measured = [turn.focal_px for turn in found if turn is not None]
    assert len(measured) >= 3
    assert np.median(measured) == pytest.approx(500, rel=0.02)


@pytest.mark.slow
def test_pans_through_real_panoramas_are_measured_within_two_percent(shared_data):
    focal_px, measured = float(focal_px_from_fov(640, np.radians(60.0))), []
    for panorama in split_panoramas(list_panoramas(shared_data / "panoramas"), held_out_names())[1]:
        picture, tracker = load_panorama(panorama.path), RotationSelfCalibration()
        specs = [CropSpec(640, 480, focal_px, -0.09, 0.05, np.radians(yaw)) for yaw in np.arange(0, 80, 4.0)]
        found = [tracker.update(render_crop(picture, spec, supersample=2)) for spec in specs]
        own = [turn.focal_px for turn in found if turn is not None]
        assert len(own) >= 2, panorama.name
        measured += own
    np.testing.assert_allclose(measured, focal_px, rtol=0.02)


def test_a_still_or_covered_camera_says_nothing(panorama_hw3):
    tracker, still = RotationSelfCalibration(), view(panorama_hw3, 0)
    assert [tracker.update(still) for _ in range(4)] == [None] * 4
    assert [tracker.update(np.zeros_like(still)) for _ in range(3)] == [None] * 3
    assert tracker.update(still) is None


def test_another_image_size_begins_anew(panorama_hw3):
    tracker = RotationSelfCalibration()
    tracker.update(view(panorama_hw3, 0))
    assert tracker.update(view(panorama_hw3, 12)[:400]) is None
