"""Visits to a rendered world as a dataset: a sequence each, with the poses and depth of what was rendered."""

import numpy as np
import pytest
from geo_training.datasets.scene import SceneDataset
from geo_training.synthetic.visits import CAMERA, RoomVisit, write_visits

from geo_perception.errors import InputError

VISITS = (
    RoomVisit("map", "train", 3, "own", 1, 2),
    RoomVisit("moved", "test", 3, "moved", 1, 2),
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    out = tmp_path_factory.mktemp("visits") / "dataset"
    assert write_visits(out, VISITS, "a rendered room") == 4
    return SceneDataset(out)


def test_each_visit_is_a_sequence_of_its_split_with_poses_and_depth(dataset):
    assert [(frame.sequence, frame.split) for frame in dataset.frames] == [("map", "train")] * 2 + [
        ("moved", "test")
    ] * 2
    assert dataset.info.scale == "metric"
    for visit in VISITS:
        way = visit.scene()[2]
        frames = [frame for frame in dataset.frames if frame.sequence == visit.sequence]
        np.testing.assert_allclose([frame.T_world_camera for frame in frames], way.T_world_camera, atol=1e-6)
        np.testing.assert_allclose([frame.stamp_s for frame in frames], way.stamps_s, atol=1e-9)
    for frame in dataset.frames:
        depth_m = dataset.depth_m(frame)
        assert depth_m.shape == (CAMERA.height_px, CAMERA.width_px)
        assert (depth_m > 0.2).mean() > 0.95
        # All that is seen lies within the room, 6 x 4.5 x 2.7 m.
        v, u = np.mgrid[0:360:20, 0:480:20].reshape(2, -1)
        rays_n3 = np.c_[CAMERA.normalize(np.c_[u, v]), np.ones(len(u))] * depth_m[v, u][:, None]
        world_n3 = rays_n3 @ frame.T_world_camera[:3, :3].T + frame.T_world_camera[:3, 3]
        assert (np.abs(world_n3 - [0, 0, 1.35]) <= np.array([3.0, 2.25, 1.35]) + 0.01).all()


def test_a_dataset_that_stands_is_kept(dataset):
    with pytest.raises(InputError, match="overwrite"):
        write_visits(dataset.root, VISITS, "a rendered room")
