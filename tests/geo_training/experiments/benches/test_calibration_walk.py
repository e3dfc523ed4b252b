"""Calibration on a walk: on drawn rooms, by a network that is a little wrong."""

import cv2
import numpy as np
import pytest
from calibration_peer import weights_with_lines
from drawn_room import room
from geo_training.calibration.data.crops import CropSpec
from geo_training.calibration.data.photographs import folder_examples
from geo_training.experiments.bench import BenchOptions, load_benchmark, run_benchmark
from geo_training.experiments.benches import calibration_walk as bench

from geo_perception.calibration import estimator
from geo_perception.calibration.estimator import Calibrator
from geo_perception.calibration.known import KnownCamera
from geo_perception.calibration.scale import image_scale

FOCAL_PX, FRAMES = 240.0, 24
LEVEL = "1 0 0 0  0 0 1 0  0 -1 0 1.5\n"  # z up in the world, the camera looks along its y


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return weights_with_lines(tmp_path_factory.mktemp("weights") / "w.safetensors", 270.0, 320, 240)


@pytest.fixture(scope="module")
def data_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    for walk in bench.WALKS:
        folder = root / bench.HOUSE / walk
        (folder / "rgb").mkdir(parents=True)
        for number in range(FRAMES):
            image_hw3 = room(CropSpec(320, 240, FOCAL_PX, 0.0, 0.0, 0.0), 0.3 + 0.04 * number)
            cv2.imwrite(str(folder / "rgb" / f"{number:05d}.png"), image_hw3[..., ::-1])
        (folder / "K.txt").write_text(f"{FOCAL_PX} 0 159.5\n0 {FOCAL_PX} 119.5\n0 0 1\n")
        (folder / "poses.txt").write_text(LEVEL * FRAMES)
    return root


def test_a_walk_comes_near_the_true_focal_length_and_says_how_near(weights, data_root):
    frames = folder_examples(data_root / bench.HOUSE / "walk_a", bench.HOUSE_DOWN, "images")
    calibrator = Calibrator.load(weights, "cpu")
    found = bench.walk_metrics(calibrator, frames)
    assert found["focal_error_pct_2s"] < 4
    assert found["focal_error_pct_end"] < found["focal_error_pct_max"] + 1e-9 < 6
    assert found["focal_interval"] == 1.0
    assert found["focal_restarts"] == 0
    assert found["settled_s"] == pytest.approx(0.4)  # the fifth image
    assert found["pitch_median_deg"] < 1
    assert found["roll_median_deg"] < 1
    trusted = bench.walk_metrics(calibrator, frames, KnownCamera(frames[0].camera))
    assert trusted["focal_error_pct_max"] < 1


def test_a_network_that_never_answers_is_infinitely_wrong(weights, data_root, monkeypatch):
    frames = folder_examples(data_root / bench.HOUSE / "walk_a", bench.HOUSE_DOWN, "images")
    calibrator = Calibrator.load(weights, "cpu")
    black = np.zeros((240, 320, 3), np.uint8)
    estimate = calibrator.estimate
    monkeypatch.setattr(calibrator, "estimate", lambda image_hw3, known: estimate(black, known))
    found = bench.walk_metrics(calibrator, frames[:3])
    assert found["focal_error_pct_max"] == found["settled_s"] == found["alone_pitch_median_deg"] == np.inf


def test_a_bent_image_shows_each_thing_where_the_lens_would():
    """A white dot on black: it moves towards the middle by the division model, and the corners stay."""
    camera = CropSpec(320, 240, FOCAL_PX, 0.0, 0.0, 0.0).camera
    dot = np.zeros((240, 320, 3), np.uint8)
    assert bench.bent_image(dot, camera, 0.0) is dot
    dot[117:123, 237:243] = 255
    dot[:6, :6] = 255
    bent_hw3 = bench.bent_image(dot, camera, -0.2)
    assert bent_hw3[0, 0, 0] == 255
    rows, columns = np.nonzero(bent_hw3[60:, 100:, 0] > 100)
    scale = image_scale(240, 320)
    corner = np.hypot(320, 240) / 2 / scale
    seen = (columns.mean() + 100 - 159.5) / scale
    assert rows.mean() + 60 == pytest.approx(119.5, abs=1.0)
    enlarged = 1 / (1 - 0.2 * corner**2)
    assert seen / (1 - 0.2 * seen**2) / enlarged == pytest.approx((239.5 - 159.5) / scale, rel=0.02)


def test_the_bend_of_bent_images_is_told(weights, data_root):
    frames = folder_examples(data_root / bench.HOUSE / "walk_a", bench.HOUSE_DOWN, "images")[::5]
    calibrator = Calibrator.load(weights, "cpu")
    assert bench.lens_metrics(calibrator, frames, 0.0) == {"told": 0.0, "error": 0.0, "sigma": np.inf}
    found = bench.lens_metrics(calibrator, frames, -0.2)
    assert found["told"] == pytest.approx(-0.2, abs=0.06)
    assert found["error"] < 2.5 * found["sigma"]


def test_the_benchmark_gives_what_it_names(weights, data_root, tmp_path, monkeypatch):
    monkeypatch.setattr(estimator, "reference_weights", lambda: weights)
    benchmark = load_benchmark("calibration-walk")
    content, evaluation = run_benchmark(benchmark, data_root, tmp_path / "work", BenchOptions("cpu"))
    assert evaluation is None
    assert set(benchmark.metrics) == set(content["figures"])
    assert content["figures"]["walk_b_trusted_pitch_median_deg"] < 1
