"""Crops as arrays: always the same ones, wherever they are kept."""

import collections

import numpy as np
import pytest
from geo_training.calibration.data import crop_data
from geo_training.calibration.data.crop_data import CropSet, CropSource
from geo_training.calibration.data.crops import ROBOT_DISTRIBUTION, CropDistribution, render_crop
from geo_training.calibration.data.panorama_files import load_panorama
from geo_training.calibration.data.panoramas import list_panoramas
from tiny_panoramas import TINY_CROP, make_tiny_panoramas

from geo_perception.errors import InputError

CROP = CropDistribution(**TINY_CROP)


@pytest.fixture(scope="module")
def panoramas(tmp_path_factory):
    return list_panoramas(make_tiny_panoramas(tmp_path_factory.mktemp("panoramas"), 2))


@pytest.mark.parametrize("cache", ["none", "memory", "disk"])
def test_a_crop_is_what_its_camera_sees_wherever_it_is_kept(panoramas, tmp_path, cache):
    source = CropSource(panoramas, CROP, 10, 3, cache, tmp_path)
    rows = np.array([7, 2])
    images_bhw3 = source.inputs(rows)
    for row, image_hw3 in zip(rows, images_bhw3, strict=True):
        panorama_hw3 = load_panorama(panoramas[row % 4].path)
        np.testing.assert_array_equal(image_hw3, render_crop(panorama_hw3, source.spec(int(row))))
        assert source.targets_n3[row, 0] == pytest.approx(source.spec(int(row)).focal_px / 80)


def test_a_crop_depends_on_the_seed_and_its_number_only(panoramas):
    few, many, other = (CropSource(panoramas, CROP, n, s) for n, s in ((5, 3), (9, 3), (5, 4)))
    np.testing.assert_array_equal(few.targets_n3, many.targets_n3[:5])
    assert not np.array_equal(few.targets_n3, other.targets_n3)


def test_a_disk_cache_is_made_once_for_the_same_crops(panoramas, tmp_path, monkeypatch):
    first = CropSource(panoramas, CROP, 6, 3, "disk", tmp_path).inputs(np.arange(6))
    monkeypatch.setattr(crop_data, "render_crop", lambda *_: pytest.fail("rendered again"))
    again = CropSource(panoramas, CROP, 6, 3, "disk", tmp_path).inputs(np.arange(6))
    np.testing.assert_array_equal(first, again)
    assert len(list(tmp_path.iterdir())) == 1  # nothing half written is left


def test_a_full_disk_is_told_before_anything_is_written(panoramas, tmp_path, monkeypatch):
    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.setattr(crop_data.shutil, "disk_usage", lambda _: usage(10, 0, 10))
    with pytest.raises(InputError, match="cache: none"):
        CropSource(panoramas, CROP, 6, 3, "disk", tmp_path).inputs(np.arange(1))


def test_several_sizes_are_refused(panoramas):
    with pytest.raises(InputError, match="give one"):
        CropSource(panoramas, ROBOT_DISTRIBUTION, 4, 0)


def test_a_set_of_parts_counts_through_them(panoramas):
    one, two = CropSource(panoramas, CROP, 6, 1, "memory"), CropSource(panoramas, CROP, 4, 2, "memory")
    crops = CropSet(((one, np.array([5, 0])),)) + CropSet.all_of(two) + CropSet(((one, np.empty(0, int)),))
    assert len(crops) == 6
    np.testing.assert_array_equal(crops.targets_n3, np.concatenate([one.targets_n3[[5, 0]], two.targets_n3]))
    images_bhw3 = crops.inputs(np.array([3, 1, 0]))
    np.testing.assert_array_equal(images_bhw3[0], two.inputs(np.array([1]))[0])
    np.testing.assert_array_equal(images_bhw3[1:], one.inputs(np.array([0, 5])))


def test_batches_are_whole_when_shuffled_and_all_when_not(panoramas):
    crops = CropSet.all_of(CropSource(panoramas, CROP, 10, 1))
    shuffled = list(crops.batches(4, np.random.default_rng(0)))
    assert [len(positions) for positions in shuffled] == [4, 4]
    assert len(set(np.concatenate(shuffled))) == 8
    assert np.concatenate(list(crops.batches(4))).tolist() == list(range(10))
    # A set smaller than a batch is one batch.
    assert [len(positions) for positions in crops.batches(64, np.random.default_rng(0))] == [10]
