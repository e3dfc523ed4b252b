"""What a map keeps of how its points look as keypoints."""

import numpy as np
import pytest

from geo_perception.localization.map_keypoints import CHANNELS, MapKeypoints


def unit(count: int, seed: int = 0, rank: int = 128) -> np.ndarray:
    """Unit vectors that lie in `rank` dimensions."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(count, rank)) @ np.linalg.qr(rng.normal(size=(128, rank)))[0].T
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def distances(a_nd: np.ndarray, b_md: np.ndarray) -> np.ndarray:
    return np.linalg.norm(a_nd[:, None] - b_md[None], axis=2)


def test_distances_stay_what_they_are_where_the_channels_suffice():
    descriptors_pc, asked_kc = unit(200, rank=20), unit(200, rank=20)[:30]
    keypoints = MapKeypoints.compressed(descriptors_pc)
    assert keypoints.descriptors_pd.dtype == np.int8
    assert keypoints.descriptors_pd.shape == (200, CHANNELS)
    found_kp = distances(keypoints.project(asked_kc), keypoints.wanted_pd)
    off_kp = np.abs(found_kp - distances(asked_kc, descriptors_pc))
    assert np.median(off_kp) < 0.005
    assert off_kp.max() < 0.1  # where one of the few largest values was cut
    np.testing.assert_array_equal(found_kp.argmin(axis=1), np.arange(30))


def test_channels_are_those_in_which_points_differ_most():
    descriptors_pc = np.zeros((50, 128), np.float32)
    descriptors_pc[:, 7], descriptors_pc[:, 90] = np.linspace(-1, 1, 50), 0.1 * np.cos(np.arange(50))
    keypoints = MapKeypoints.compressed(descriptors_pc, channels=2)
    assert abs(keypoints.projection_dc[0, 7]) == pytest.approx(1.0, abs=1e-3)
    assert abs(keypoints.projection_dc[1, 90]) == pytest.approx(1.0, abs=1e-3)


def test_the_arrays_of_a_file_give_them_back():
    keypoints = MapKeypoints.compressed(unit(40))
    tensors = keypoints.to_tensors()
    assert sum(array.nbytes for array in tensors.values()) < 40 * CHANNELS + 2 * 128 * CHANNELS + 4 * CHANNELS + 8
    again = MapKeypoints.from_tensors(tensors | {"points.offset_d": np.zeros(3)})
    np.testing.assert_array_equal(again.descriptors_pd, keypoints.descriptors_pd)
    np.testing.assert_allclose(again.project(unit(5)), keypoints.project(unit(5)), atol=2e-3)
    assert again.step == pytest.approx(keypoints.step)
    assert MapKeypoints.from_tensors({"points.offset_d": np.zeros(3)}) is None


@pytest.mark.parametrize("change", ["descriptors_pd", "projection_dc"])
def test_arrays_that_do_not_fit_together_are_refused(change):
    tensors = MapKeypoints.compressed(unit(40)).to_tensors()
    tensors[f"keypoints.{change}"] = tensors[f"keypoints.{change}"][:, :-1]
    with pytest.raises(ValueError, match="different sizes"):
        MapKeypoints.from_tensors(tensors)
    del tensors[f"keypoints.{change}"]
    with pytest.raises(KeyError):
        MapKeypoints.from_tensors(tensors)
