"""A focal length to begin with: by images of a drawn room, by EXIF, and not where it is known or nothing is seen."""

import numpy as np
import pycolmap
import pytest
from bent import through
from drawn_room import room
from geo_training.calibration.data.crops import CropSpec
from geo_training.datasets.importers.source import guessed_camera
from geo_training.datasets.pictures import EXIF_SIGMA
from geo_training.datasets.scene import SceneDataset
from geo_training.datasets.scene_writer import SceneWriter
from geo_training.mapping import camera_guess
from geo_training.mapping.camera_guess import guess_cameras
from geo_training.mapping.colmap_io import to_pycolmap
from geo_training.mapping.features import FeatureStore

from geo_perception.geometry import Camera

FOCAL_PX = 480.0
VIEWS = [(0.12, -0.08, 0.6), (0.05, 0.1, 1.0), (-0.1, 0.02, 0.3), (0.2, 0.05, 0.8), (0.1, 0.0, 0.4)]


@pytest.fixture(scope="module")
def images():
    return [room(CropSpec(640, 480, FOCAL_PX, pitch, roll, 0.0), yaw) for pitch, roll, yaw in VIEWS]


def dataset_of(root, images, camera, known=False) -> SceneDataset:
    with SceneWriter(root, ["drawn rooms"]) as writer:
        camera_id = writer.add_camera(camera, known=known)
        for number, image_hw3 in enumerate(images):
            writer.add_frame("walk", number * 10**9, camera_id, image_rgb=image_hw3)
    return SceneDataset(root)


def test_the_images_tell_it_and_mapping_begins_with_it(images, tmp_path):
    usual = guessed_camera(640, 480)  # 768 px
    dataset = dataset_of(tmp_path / "data", images, usual)
    guesses = guess_cameras(dataset, dataset.frames)
    (camera_id,) = dataset.cameras
    guess = guesses[camera_id]
    assert guess.camera.focal_px == pytest.approx(FOCAL_PX, rel=0.15)
    assert abs(np.log(guess.camera.focal_px / FOCAL_PX)) < 0.3 * np.log(usual.focal_px / FOCAL_PX)
    assert abs(np.log(guess.camera.focal_px / FOCAL_PX)) < 2.5 * guess.sigma
    store = FeatureStore(dataset, guesses={camera_id: guess.camera})
    with pycolmap.Database.open(store.path) as database:
        (camera,) = database.read_all_cameras()
    assert camera.params[0] == guess.camera.focal_px
    assert camera.model.name == "SIMPLE_RADIAL"
    assert not camera.has_prior_focal_length


def test_a_lens_that_bends_is_a_part_of_the_guess(tmp_path):
    lens = Camera(640, 480, FOCAL_PX, FOCAL_PX, 319.5, 239.5, "plumb_bob", (-0.25, 0.0, 0.0, 0.0))
    bent = [through(lens, CropSpec(640, 480, FOCAL_PX, pitch, roll, 0.0), yaw) for pitch, roll, yaw in VIEWS]
    dataset = dataset_of(tmp_path / "data", bent, guessed_camera(640, 480))
    (guess,) = guess_cameras(dataset, dataset.frames).values()
    assert guess.camera.focal_px == pytest.approx(FOCAL_PX, rel=0.2)
    # COLMAP's one coefficient, to first order: that of the lens, for the focal length that is guessed.
    expected = -0.25 * (guess.camera.focal_px / FOCAL_PX) ** 2
    assert to_pycolmap(guess.camera, known=False).params[3] == pytest.approx(expected, rel=0.5)


def test_what_exif_said_weighs_more_than_what_nobody_said(images, tmp_path):
    (by_exif,) = guess_cameras(
        (dataset := dataset_of(tmp_path / "exif", images, guessed_camera(640, 480, 500.0))), dataset.frames
    ).values()
    assert by_exif.camera.focal_px == pytest.approx(500, rel=0.08)
    assert by_exif.sigma < EXIF_SIGMA


def test_a_camera_that_is_known_is_not_asked_for(images, tmp_path, monkeypatch):
    monkeypatch.setattr(camera_guess.Calibrator, "load", lambda **_: pytest.fail("no network is needed"))
    dataset = dataset_of(tmp_path / "data", images, Camera(640, 480, 480.0, 480.0, 319.5, 239.5), known=True)
    assert guess_cameras(dataset, dataset.frames) == {}


def test_images_that_show_nothing_leave_the_usual_guess(tmp_path):
    black = [np.zeros((480, 640, 3), np.uint8)] * 3
    dataset = dataset_of(tmp_path / "data", black, guessed_camera(640, 480))
    assert guess_cameras(dataset, dataset.frames) == {}
    assert guess_cameras(dataset, []) == {}


def test_images_that_cannot_be_read_are_passed_over(images, tmp_path):
    dataset = dataset_of(tmp_path / "data", images, guessed_camera(640, 480))
    dataset.image_path(dataset.frames[0]).write_text("no image")
    (guess,) = guess_cameras(dataset, dataset.frames).values()
    assert guess.camera.focal_px == pytest.approx(FOCAL_PX, rel=0.2)


def test_the_same_dataset_keeps_its_features_and_another_guess_begins_anew(images, tmp_path):
    dataset = dataset_of(tmp_path / "data", images, guessed_camera(640, 480))
    (camera_id,) = dataset.cameras
    one, again, other = (
        FeatureStore(dataset, guesses={camera_id: guessed_camera(640, 480, focal_px)}).signature
        for focal_px in (480.0, 480.0, 500.0)
    )
    assert one == again != other
