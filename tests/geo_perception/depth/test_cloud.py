"""Points of a depth map: where, which, and in which bytes."""

import numpy as np
import pytest

from geo_perception.depth.cloud import point_cloud
from geo_perception.errors import InputError
from geo_perception.geometry import Camera

CAMERA = Camera(4, 3, 2.0, 4.0, 1.0, 1.0)


def test_points_lie_on_the_rays_of_their_pixels():
    depth = np.full((3, 4), np.nan, np.float32)
    depth[0, 3], depth[2, 1] = 2.0, 4.0
    got = point_cloud(depth, CAMERA)
    assert got.dtype.names == ("x", "y", "z")
    assert got.itemsize == 12
    # ((3 - 1) / 2, (0 - 1) / 4, 1) * 2 and ((1 - 1) / 2, (2 - 1) / 4, 1) * 4
    np.testing.assert_array_equal(np.stack([got[n] for n in "xyz"], 1), [[2.0, -0.5, 2.0], [0.0, 1.0, 4.0]])


def test_only_known_near_and_confident_depths_become_points():
    depth = np.array([[1, np.nan, np.inf, -1], [0, 2, 3, 50], [4, 5, 6, 7]], np.float32)
    confidence = np.ones((3, 4), np.float32)
    confidence[2] = [0.49, 0.5, np.nan, 0.9]
    got = point_cloud(depth, CAMERA, confidence, 0.5, max_depth_m=10.0)
    np.testing.assert_array_equal(got["z"], [1, 2, 3, 5, 7])
    np.testing.assert_array_equal(got["confidence"], np.float32([1, 1, 1, 0.5, 0.9]))


def test_colour_is_packed_as_rviz_unpacks_it():
    view = np.zeros((3, 4, 3), np.uint8)
    view[1, 2] = 250, 128, 3
    depth = np.zeros((3, 4), np.float32)
    depth[1, 2] = 1.0
    got = point_cloud(depth, CAMERA, view_hw3=view)
    assert got.dtype.names == ("x", "y", "z", "rgb")
    assert got["rgb"].tobytes() == bytes([3, 128, 250, 0])


def test_stride_takes_every_nth_pixel_with_its_own_ray_confidence_and_colour():
    rng = np.random.default_rng(0)
    depth = rng.uniform(1, 2, (3, 4)).astype(np.float32)
    confidence, view = rng.random((3, 4)).astype(np.float32), rng.integers(0, 255, (3, 4, 3), np.uint8)
    whole = point_cloud(depth, CAMERA, confidence, 0.0, 1, view)
    some = point_cloud(depth, CAMERA, confidence, 0.0, 2, view)
    assert some.tobytes() == whole.reshape(3, 4)[::2, ::2].tobytes()


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, -3.0])
def test_map_without_depth_has_no_points(value):
    assert point_cloud(np.full((3, 4), value, np.float32), CAMERA).shape == (0,)


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="depth map has 5 x 3"):
        point_cloud(np.ones((3, 5), np.float32), CAMERA)
    with pytest.raises(InputError, match="confidence"):
        point_cloud(np.ones((3, 4), np.float32), CAMERA, np.ones((3, 3)))
    with pytest.raises(InputError, match="stride"):
        point_cloud(np.ones((3, 4), np.float32), CAMERA, stride_px=0)
