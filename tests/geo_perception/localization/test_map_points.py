"""Map points to compact tensors and back, and tensors that are no map points."""

from dataclasses import replace

import numpy as np
import pytest

from geo_perception.localization.map_keypoints import CHANNELS, SHARED_BYTES, MapKeypoints
from geo_perception.localization.map_points import BYTES_BESIDE_DESCRIPTOR, MapPoints

POINTS = 40


def map_points() -> MapPoints:
    """Appearances in a box of 10 x 4 x 2 m with descriptors of six channels."""
    rng = np.random.default_rng(0)
    points_a3 = rng.uniform([-5, -2, 0], [5, 2, 2], (POINTS, 3))
    points_a3[:2] = [-5, -2, 0], [5, 2, 2]
    direction_a3 = rng.normal(size=(POINTS, 3))
    return MapPoints(
        points_a3,
        np.arange(POINTS) // 2,
        rng.integers(-127, 128, (POINTS, 6)).astype(np.int8),
        direction_a3 / np.linalg.norm(direction_a3, axis=1, keepdims=True),
        rng.uniform(0, np.pi, POINTS),
        np.sort(rng.uniform(0.5, 20, (POINTS, 2)), axis=1),
        rng.normal(size=(6, 9)).astype(np.float32),
        rng.normal(size=6).astype(np.float32),
        (0, 2),
    )


def test_points_come_back_within_the_steps_they_are_kept_in():
    points = map_points()
    again = MapPoints.from_tensors(points.to_tensors())
    assert len(again) == POINTS
    # 65535 steps over the extent of each axis; the rest is half a step.
    assert (np.abs(again.points_map_a3 - points.points_map_a3) <= np.array([10, 4, 2]) / 65535 / 2 + 1e-12).all()
    np.testing.assert_allclose(again.points_map_a3[:2], [[-5, -2, 0], [5, 2, 2]], atol=1e-12)
    turn_a = np.arccos(np.clip((again.direction_a3 * points.direction_a3).sum(axis=1), -1, 1))
    assert turn_a.max() < 3**0.5 * 0.5 / 127 + 1e-3
    np.testing.assert_allclose(np.linalg.norm(again.direction_a3, axis=1), 1)
    # A cone is never narrower than it was: what was seen stays in it.
    wider_a = again.cone_rad_a - points.cone_rad_a
    assert wider_a.min() >= 0
    assert wider_a.max() <= np.pi / 255
    np.testing.assert_allclose(again.range_a2, points.range_a2, rtol=2**-11)
    for name in ("point_a", "descriptors_ad", "projection_dc", "offset_d"):
        np.testing.assert_array_equal(getattr(again, name), getattr(points, name))
    assert again.backbone_maps == (0, 2)


def test_an_appearance_takes_the_bytes_that_it_is_counted_with():
    points = map_points()
    tensors = points.to_tensors()
    shared = sum(tensors["points." + name].nbytes for name in ("low_high_23", "projection_dc", "offset_d"))
    each = sum(array.nbytes for name, array in tensors.items() if name != "points.backbone_maps") - shared
    assert each == POINTS * (BYTES_BESIDE_DESCRIPTOR + 6)


def test_what_points_look_like_as_keypoints_is_of_every_point():
    described = MapKeypoints.compressed(np.random.default_rng(1).normal(size=(POINTS // 2, 128)).astype(np.float32))
    points = replace(map_points(), keypoints=described)
    again = MapPoints.from_tensors(points.to_tensors())
    np.testing.assert_array_equal(again.keypoints.descriptors_pd, described.descriptors_pd)
    plain = sum(array.nbytes for array in map_points().to_tensors().values())
    with_keypoints = sum(array.nbytes for array in points.to_tensors().values())
    assert with_keypoints == plain + SHARED_BYTES + CHANNELS * POINTS // 2
    fewer = replace(points, keypoints=replace(described, descriptors_pd=described.descriptors_pd[1:]))
    with pytest.raises(ValueError, match="not every map point"):
        MapPoints.from_tensors(fewer.to_tensors())


def test_a_single_point_has_no_extent_and_keeps_its_place():
    points = map_points()
    one = MapPoints(*(getattr(points, name)[:1] for name in ("points_map_a3", "point_a", "descriptors_ad",
                                                             "direction_a3", "cone_rad_a", "range_a2")),
                    points.projection_dc, points.offset_d, points.backbone_maps)  # fmt: skip
    np.testing.assert_allclose(MapPoints.from_tensors(one.to_tensors()).points_map_a3, one.points_map_a3)


def test_tensors_of_other_things_are_no_points():
    assert MapPoints.from_tensors({"head.norm.weight": np.zeros(3)}) is None
    assert MapPoints.from_tensors(map_points().to_tensors() | {"head.norm.weight": np.zeros(3)}) is not None


@pytest.mark.parametrize("name", sorted(map_points().to_tensors()))
def test_a_tensor_that_is_missing_is_an_error(name):
    tensors = map_points().to_tensors()
    del tensors[name]
    with pytest.raises(KeyError):
        MapPoints.from_tensors(tensors)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("point_a", np.s_[:-1]),
        ("points_map_a3", np.s_[:-1]),
        ("descriptors_ad", np.s_[:, :5]),
        ("descriptors_ad", np.s_[:, 0]),
        ("direction_a3", np.s_[:, 0]),
        ("range_a2", np.s_[1:]),
        ("projection_dc", np.s_[:5]),
        ("offset_d", np.s_[:5]),
        ("low_high_23", np.s_[:1]),
    ],
)
def test_tensors_that_do_not_fit_together_are_an_error(name, part):
    tensors = map_points().to_tensors()
    tensors["points." + name] = tensors["points." + name][part]
    with pytest.raises(ValueError, match=r"map points|values|axis"):
        MapPoints.from_tensors(tensors)


def described_points() -> MapPoints:
    """The same, each point with a keypoint's descriptor that is its own number."""
    points = map_points()
    descriptors_pd = np.tile(np.arange(POINTS // 2, dtype=np.int8)[:, None], (1, CHANNELS))
    keypoints = MapKeypoints(descriptors_pd, np.zeros((CHANNELS, 128), np.float32), np.zeros(CHANNELS, np.float32), 1.0)
    return replace(points, keypoints=keypoints)


def test_what_is_kept_keeps_its_keypoint_and_the_two_looks_of_its_point():
    points, chosen_a = described_points(), np.arange(POINTS) >= 30
    kept = points.kept(chosen_a)

    np.testing.assert_array_equal(kept.points_map_a3, points.points_map_a3[30:])
    np.testing.assert_array_equal(kept.point_a, np.arange(10) // 2)
    np.testing.assert_array_equal(kept.keypoints.descriptors_pd[:, 0], np.arange(15, 20))


def test_parts_that_are_put_together_again_are_the_whole():
    points = described_points()
    first = np.arange(POINTS) < 12
    again = points.kept(first).with_more(points.kept(~first))

    for name in ("points_map_a3", "point_a", "descriptors_ad", "direction_a3", "cone_rad_a", "range_a2"):
        np.testing.assert_array_equal(getattr(again, name), getattr(points, name))
    np.testing.assert_array_equal(again.keypoints.descriptors_pd, points.keypoints.descriptors_pd)
    assert MapPoints.from_tensors(again.to_tensors()) is not None


def test_descriptors_of_others_in_the_same_space_take_its_steps():
    keypoints = replace(described_points().keypoints, step=0.5)
    others = keypoints.like_these(np.array([[1.0, -1.0, 0.24, 0.26, *([100.0] * (CHANNELS - 4))]]))

    assert others.descriptors_pd[0, :5].tolist() == [2, -2, 0, 1, 127]
    assert others.step == 0.5
