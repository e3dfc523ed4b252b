"""What is measured on: the crops are always the same, and the camera that is called true is the one that took them."""

import cv2
import numpy as np
import pytest
from geo_training.calibration.data.crop_set import CropFolder, CropSetConfig
from geo_training.calibration.data.crop_writer import write_crops
from geo_training.calibration.data.crops import CropDistribution
from geo_training.calibration.data.panoramas import list_panoramas
from geo_training.calibration.data.photographs import CalibrationExample, centred
from geo_training.evaluation.calibration.set import (
    crops_on_disk,
    largest_offset_deg,
    panorama_crops,
    photographs,
)
from tiny_panoramas import write_panoramas

from geo_perception.errors import InputError
from geo_perception.geometry import Camera

CROPS = CropDistribution(
    sizes_px=((64, 48), (48, 64)), vfov_deg=(40, 80), pitch_deg=(-15, 15), roll_deg=(-30, 30), max_fov_deg=120
)


@pytest.fixture
def folder(tmp_path):
    """Four panoramas, white above the horizon and dark below it."""
    image = np.full((128, 256, 3), 30, np.uint8)
    image[:64] = 220
    domains = {"a": "indoor", "b": "outdoor", "c": "indoor", "d": "outdoor"}
    return write_panoramas(tmp_path / "panoramas", {f"{name}.png": (domains[name], image) for name in domains})


def test_every_panorama_gives_the_same_number_of_crops(folder):
    queries = panorama_crops(list_panoramas(folder), CROPS, 3, seed=5)
    assert [query.name for query in queries] == [f"{name}/{i:04d}" for name in "abcd" for i in range(3)]
    assert [query.domain for query in queries[::3]] == ["indoor", "outdoor", "indoor", "outdoor"]
    assert len({query.truth for query in queries}) == 12


def test_the_crops_of_a_panorama_do_not_depend_on_the_others_but_on_the_seed(folder):
    panoramas = list_panoramas(folder)
    everything = {query.name: query for query in panorama_crops(panoramas, CROPS, 3, seed=5)}
    alone = panorama_crops(panoramas[2:3], CROPS, 2, seed=5)
    for query in alone:
        assert query.truth == everything[query.name].truth
        assert np.array_equal(query.load(), everything[query.name].load())
    assert panorama_crops(panoramas[2:3], CROPS, 2, seed=6)[0].truth != alone[0].truth


def test_the_true_horizon_is_where_the_image_has_it(folder):
    for query in panorama_crops(list_panoramas(folder)[:1], CROPS, 8):
        truth, image_hw3 = query.truth, query.load()
        assert image_hw3.shape == (truth.height_px, truth.width_px, 3)
        a, b, c = truth.horizon_3
        y_hw, x_hw = np.mgrid[: truth.height_px, : truth.width_px]
        above_hw = a * x_hw + b * y_hw + c
        assert (image_hw3[above_hw > 3] > 180).all()
        assert (image_hw3[above_hw < -3] < 70).all()


def test_crops_on_disk_are_the_crops_drawn(folder, tmp_path):
    out = tmp_path / "crops"
    config = CropSetConfig(crops=CROPS, count=4, validation_share=0.0, test_share=0.5, seed=5)
    write_crops(folder, out, config)
    stored = CropFolder(out)
    drawn = {query.truth: query for query in panorama_crops(list_panoramas(folder), CROPS, 4, seed=5)}
    queries = crops_on_disk(stored, "test")
    assert queries
    assert {query.domain for query in queries} == {"indoor", "outdoor"}
    for query in queries:
        assert np.array_equal(query.load(), drawn[query.truth].load())
    assert len(crops_on_disk(stored)) == len(stored)
    with pytest.raises(InputError, match="no crops of the split 'validation'; there are test, train"):
        crops_on_disk(stored, "validation")


def example(tmp_path, cy_px):
    path = tmp_path / "photo.png"
    cv2.imwrite(str(path), np.zeros((100, 200, 3), np.uint8))
    return CalibrationExample("walk/photo.png", path, Camera(200, 100, 100.0, 100.0, 99.5, cy_px), 0.1, -0.2)


def test_a_photograph_keeps_the_attitude_of_its_optical_axis_and_its_principal_point(tmp_path):
    (query,) = photographs([example(tmp_path, 49.5 + 10)], "office")
    assert (query.truth.pitch_rad, query.truth.roll_rad) == (0.1, -0.2)
    assert np.degrees(query.truth.vfov_rad) == pytest.approx(2 * np.degrees(np.arctan(0.5)))
    assert query.truth.principal_point_2 == (99.5, 59.5)
    assert query.domain == "office"
    assert query.load().shape == (100, 200, 3)
    assert largest_offset_deg([query]) == pytest.approx(np.degrees(np.arctan(0.1)))


def test_a_photograph_cut_around_its_principal_point_has_no_offset(tmp_path):
    (query,) = photographs([centred(example(tmp_path, 49.5 + 10))])
    assert largest_offset_deg([query]) == pytest.approx(0)
    assert query.load().shape == (80, 200, 3)
    assert largest_offset_deg([]) == 0.0
