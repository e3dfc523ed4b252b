"""Keypoints that are found by how they look, in made-up maps whose answers are known."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from made_up_points import CAMERA, T_ROUGH, T_TRUE, MadeUp

from geo_perception.geometry import pose_error
from geo_perception.localization import keypoint_search
from geo_perception.localization.keypoint_search import KeypointSearch, StandingOut
from geo_perception.localization.keypoints import Keypoints
from geo_perception.localization.map_keypoints import MapKeypoints

COUNT = 120


def unit(count: int, seed: int) -> np.ndarray:
    """Vectors as square roots of histograms are: unit length, nothing negative."""
    vectors = np.abs(np.random.default_rng(seed).normal(size=(count, 128)))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


class Described(MadeUp):
    """The made-up points with a descriptor each, in which they differ in a few channels most, and an image of them
    among clutter."""

    def __init__(self, clutter: int = 80, off_px: np.ndarray | float = 0.0):
        super().__init__(COUNT)
        rng = np.random.default_rng(3)
        self.descriptors_nc = unit(COUNT, 1)
        places_n2 = np.concatenate([self.pixels_n2 + off_px, rng.uniform([5, 5], [630, 470], (clutter, 2))])
        seen_nc = self.descriptors_nc + rng.normal(0, 0.01, (COUNT, 128))
        descriptors_kc = np.concatenate([seen_nc, unit(clutter, 2)]).astype(np.float32)
        self.order_k = rng.permutation(len(places_n2))
        self.keypoints = Keypoints(places_n2[self.order_k], np.arange(len(places_n2)), descriptors_kc[self.order_k])

    def search(self, descriptors_nc: np.ndarray | None = None) -> KeypointSearch:
        described = MapKeypoints.compressed(self.descriptors_nc if descriptors_nc is None else descriptors_nc)
        return KeypointSearch(self.map_points(keypoints=described), torch.device("cpu"))


def anywhere(search: KeypointSearch, keypoints: Keypoints):
    return search.anywhere(stand_out(search, keypoints), CAMERA)


def around(search: KeypointSearch, T_map_camera: np.ndarray, keypoints: Keypoints, index_m: np.ndarray):
    return search.around(T_map_camera, search.compared(keypoints), CAMERA, index_m)


def stand_out(search: KeypointSearch, keypoints: Keypoints) -> StandingOut:
    return search.standing_out(search.compared(keypoints))


def assert_exact(T_map_camera: np.ndarray, distance_m: float = 1e-4) -> None:
    off_m, off_rad = pose_error(T_TRUE, T_map_camera)
    assert off_m < distance_m
    assert off_rad < distance_m


def test_points_are_told_from_all_of_the_map_and_from_clutter():
    world = Described()
    found = anywhere(world.search(), world.keypoints)
    assert_exact(found.solution.T_map_camera)
    agreeing = found.solution.inlier_n
    assert agreeing.sum() >= 0.95 * COUNT
    np.testing.assert_allclose(found.pixels_n2[agreeing], world.pixels_n2[found.index_n[agreeing]], atol=1e-6)
    assert len(np.unique(found.index_n)) == len(found)


@pytest.mark.parametrize("chunk", [7, 119, 120])
def test_a_map_that_is_compared_part_by_part_gives_the_same(monkeypatch, chunk):
    world = Described()
    whole = stand_out(world.search(), world.keypoints)
    monkeypatch.setattr(keypoint_search, "_CHUNK", chunk)
    part = stand_out(world.search(), world.keypoints)
    for name in ("index_m", "pixels_m2", "ratio_m"):
        np.testing.assert_allclose(getattr(part, name), getattr(whole, name), atol=1e-3)


def test_points_that_look_alike_do_not_stand_out():
    world = Described()
    world.descriptors_nc[1::2] = world.descriptors_nc[::2]
    assert len(stand_out(world.search(world.descriptors_nc), world.keypoints)) < 0.1 * COUNT
    assert anywhere(world.search(world.descriptors_nc), world.keypoints) is None


def test_around_a_rough_pose_a_look_alike_elsewhere_does_no_harm():
    world = Described()
    world.descriptors_nc[1::2] = world.descriptors_nc[::2]
    seen_kc = np.concatenate([world.descriptors_nc, unit(80, 2)])[world.order_k]
    keypoints = replace(world.keypoints, descriptors_kc=seen_kc.astype(np.float32))
    found = around(world.search(world.descriptors_nc), T_ROUGH, keypoints, np.arange(COUNT))
    assert_exact(found.solution.T_map_camera)
    np.testing.assert_allclose(found.pixels_n2, world.pixels_n2[found.index_n], atol=1e-6)


def test_keypoints_beside_the_points_do_not_pull_the_pose_towards_them():
    off_n2 = np.where(np.arange(COUNT)[:, None] % 3 == 0, [7.0, 0.0], [0.0, 0.0])
    world = Described(off_px=off_n2)
    found = around(world.search(), T_ROUGH, world.keypoints, np.arange(COUNT))
    assert_exact(found.solution.T_map_camera)
    assert not (found.index_n % 3 == 0).any()


def test_a_place_of_several_orientations_counts_once():
    world = Described(clutter=0)
    keypoints = world.keypoints
    twice = Keypoints(keypoints.places_n2, np.tile(keypoints.place_k, 2), np.tile(keypoints.descriptors_kc, (2, 1)))
    for found in (
        anywhere(world.search(), twice),
        around(world.search(), T_ROUGH, twice, np.arange(COUNT)),
    ):
        assert_exact(found.solution.T_map_camera)
        assert len(np.unique(found.pixels_n2, axis=0)) == len(found) <= COUNT


@pytest.mark.parametrize("count", [0, 14])
def test_fewer_than_fifteen_keypoints_give_no_pose(count):
    world = Described(clutter=0)
    few = Keypoints(world.keypoints.places_n2[:count], np.arange(count), world.keypoints.descriptors_kc[:count])
    assert anywhere(world.search(), few) is None
    assert around(world.search(), T_TRUE, few, np.arange(COUNT)) is None
    assert around(world.search(), T_TRUE, world.keypoints, np.arange(count)) is None


def test_keypoints_that_look_otherwise_or_lie_elsewhere_give_no_pose():
    world = Described()
    other = replace(world.keypoints, descriptors_kc=unit(len(world.keypoints), 9))
    assert anywhere(world.search(), other) is None
    away = replace(world.keypoints, places_n2=world.keypoints.places_n2 + [60.0, 0.0])
    assert around(world.search(), T_TRUE, away, np.arange(COUNT)) is None


def test_strays_are_those_that_stand_out_as_points_elsewhere_in_the_image():
    world = Described()
    search, found = world.search(), stand_out(world.search(), world.keypoints)
    assert search.strays(found, T_TRUE, CAMERA) == 0
    assert search.strays(found, T_ROUGH, CAMERA) > 100  # which is off by more than 8 px
    moved_n2 = np.where(np.arange(COUNT)[:, None] < 30, [20.0, 0.0], [0.0, 0.0])
    assert search.strays(stand_out(search, Described(off_px=moved_n2).keypoints), T_TRUE, CAMERA) == 30
    weak = replace(found, ratio_m=np.full(len(found), 0.8))
    assert search.strays(weak, T_ROUGH, CAMERA) == 0
