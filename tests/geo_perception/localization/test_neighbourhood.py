"""What is around a pose holds all that may be seen from near it, and much less than everything."""

from types import SimpleNamespace

import numpy as np
import pytest

from geo_perception.geometry import Camera, make_pose, so3_exp
from geo_perception.localization.neighbourhood import Neighbourhood

CAMERA = Camera(480, 360, 400.0, 400.0, 239.5, 179.5)
WIDE = Camera(480, 360, 120.0, 120.0, 239.5, 179.5)
SLACK_RAD = 0.9


def scattered(count=4000, seed=0):
    """Points in a room of 8 m, each seen by the map from a random direction, a meter or so away."""
    rng = np.random.default_rng(seed)
    direction_a3 = rng.normal(size=(count, 3))
    direction_a3 /= np.linalg.norm(direction_a3, axis=1, keepdims=True)
    return SimpleNamespace(
        points_map_a3=rng.uniform(-4, 4, (count, 3)), direction_a3=direction_a3,
        cone_rad_a=rng.uniform(0, 0.3, count), range_a2=np.tile([1.0, 2.0], (count, 1)),
    )  # fmt: skip


def seen_from(points, T_map_camera, camera):
    """By the definition: in the image, and no further from the direction that the map saw it from than allowed."""
    offset_a3 = points.points_map_a3 - T_map_camera[:3, 3]
    with np.errstate(all="ignore"):
        inside_a = camera.contains(camera.project(offset_a3 @ T_map_camera[:3, :3]))
    cosine_a = -(offset_a3 * points.direction_a3).sum(axis=1) / np.linalg.norm(offset_a3, axis=1)
    return np.flatnonzero(inside_a & (np.arccos(np.clip(cosine_a, -1, 1)) - points.cone_rad_a <= SLACK_RAD))


@pytest.mark.parametrize("camera", [CAMERA, WIDE], ids=["narrow", "wide"])
def test_nothing_that_may_be_seen_from_near_a_pose_is_lost(camera):
    points, rng = scattered(), np.random.default_rng(1)
    around = Neighbourhood(points)
    for _ in range(200):  # steps below and above what is taken for near
        step_3, turn_3 = rng.normal(scale=0.06, size=3), rng.normal(scale=0.04, size=3)
        T_map_camera = make_pose(so3_exp(turn_3), step_3)
        kept = around.around(T_map_camera, camera, SLACK_RAD)
        assert np.isin(seen_from(points, T_map_camera, camera), kept).all()
        assert (np.diff(kept) > 0).all()


def test_few_of_all_points_are_around_and_the_same_ones_as_long_as_the_pose_is_near():
    points = scattered()
    around = Neighbourhood(points)
    first = around.around(np.eye(4), CAMERA, SLACK_RAD)
    assert len(first) < 0.2 * len(points.points_map_a3)
    assert around.around(make_pose(np.eye(3), [0.05, 0, 0]), CAMERA, 0.3) is first
    elsewhere = around.around(make_pose(np.eye(3), [1.0, 0, 0]), CAMERA, SLACK_RAD)
    assert not np.array_equal(elsewhere, first)
    assert around.around(make_pose(np.eye(3), [1.0, 0, 0]), WIDE, SLACK_RAD) is not elsewhere


def test_who_allows_more_than_is_kept_gets_all_points():
    points = scattered(50)
    np.testing.assert_array_equal(Neighbourhood(points).around(np.eye(4), CAMERA, 2.0), np.arange(50))


def test_a_map_without_points_has_none_around():
    assert len(Neighbourhood(scattered(0)).around(np.eye(4), CAMERA, SLACK_RAD)) == 0
