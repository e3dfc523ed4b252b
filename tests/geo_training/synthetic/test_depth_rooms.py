"""Rendered walks as a dataset: depth and masks are exact, poses are true, bursts move as they should."""

from itertools import pairwise

import cv2
import numpy as np
import pytest
from geo_training.datasets.scene import SceneDataset
from geo_training.synthetic import depth_rooms
from geo_training.synthetic.depth_rooms import (
    FARTHEST_M,
    ROOM_STEP_M,
    STREET_STEP_M,
    DepthRoomOptions,
    depth_dataset,
    object_ids,
    render_scene,
)
from geo_training.synthetic.lighting import Lighting
from geo_training.synthetic.room import Room
from geo_training.synthetic.surfaces import Place, Surfaces
from geo_training.synthetic.textures import fractal_noise

from geo_perception.errors import InputError
from geo_perception.geometry import invert_pose, pose_error

SMALL = {"bursts": 2, "burst_frames": 4, "width_px": 80, "height_px": 60}
LIGHTING = Lighting((), (1.0, 1.0, 1.0), sky_rays=1)


def cloth(h, w):
    grey = fractal_noise(np.random.default_rng(h * w), h, w, 12, 5)
    return np.repeat(np.clip(40 + 200 * grey, 0, 255)[..., None], 3, axis=2).astype(np.uint8)


def bare_room(rng=None):
    """6 x 5 m, 2.6 m high; a table in the middle with a sheet of paper on it, a picture on a wall."""
    surfaces, width, depth, height = Surfaces(), 6.0, 5.0, 2.6
    floor, wall = surfaces.instance("floor"), surfaces.instance("wall")
    surfaces.quad(Place(), (-3, 2.5, 0), (width, 0, 0), (0, -depth, 0), cloth, floor, 60.0)
    for x, y, yaw, length in ((0, 2.5, 0, 6), (3, 0, -np.pi / 2, 5), (0, -2.5, np.pi, 6), (-3, 0, np.pi / 2, 5)):
        place = Place(x, y, 0, yaw)
        surfaces.quad(place, (-length / 2, 0, height), (length, 0, 0), (0, 0, -height), cloth, wall, 60.0)
    picture, table, paper = (surfaces.instance(name) for name in ("picture", "table", "paper"))
    surfaces.quad(Place(0, 2.49), (-0.5, 0, 1.9), (1, 0, 0), (0, 0, -0.8), cloth, picture, 60.0)
    surfaces.box(Place(), (1.0, 0.8, 0.7), cloth, table, None, 60.0)
    surfaces.box(Place(0, 0, 0.7), (0.3, 0.2, 0.01), cloth, paper, None, 60.0)
    stands = (np.array([[-0.5, -0.4], [0.5, -0.4], [0.5, 0.4], [-0.5, 0.4]]), 0.7)
    size_m = (width, depth, height)
    return Room(0, size_m, tuple(surfaces.quads), tuple(surfaces.instances), (stands,), (), (), ()), LIGHTING


def open_ground(rng=None):
    """Ground up to the horizon, with a house in the middle."""
    surfaces = Surfaces()
    ground, house = surfaces.instance("ground"), surfaces.instance("house")
    surfaces.quad(Place(), (-2000, 2000, 0), (4000, 0, 0), (0, -4000, 0), cloth, ground, 0.3)
    surfaces.box(Place(), (8.0, 8.0, 6.0), cloth, house, None, 20.0)
    stands = (np.array([[-4.0, -4], [4, -4], [4, 4], [-4, 4]]), 6.0)
    quads, names = tuple(surfaces.quads), tuple(surfaces.instances)
    return Room(0, (40.0, 40.0, 40.0), quads, names, (stands,), (), (), ()), LIGHTING


@pytest.fixture
def made_room(monkeypatch):
    monkeypatch.setattr(depth_rooms, "_room", bare_room)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    out = tmp_path_factory.mktemp("rooms") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(depth_rooms, "_room", bare_room)
        patch.setattr(depth_rooms, "_street", open_ground)
        assert depth_dataset(out, DepthRoomOptions(rooms=1, streets=1, **SMALL)) == 16
    return SceneDataset(out)


def mask_of(dataset, frame):
    return cv2.imread(str((dataset.root / "masks" / frame.name).with_suffix(".png")), cv2.IMREAD_UNCHANGED)


def test_a_burst_is_a_sequence_with_poses_depth_and_masks(dataset):
    assert dataset.sequences == ["room0000_0", "room0000_1", "street0000_0", "street0000_1"]
    assert (dataset.info.scale, dataset.info.gravity_world) == ("metric", (0.0, 0.0, -1.0))
    assert set(dataset.cameras) == {"room0000", "street0000"}
    for frame in dataset.frames:
        assert dataset.image(frame).shape == (60, 80, 3)
        assert dataset.depth_m(frame).shape == (60, 80)
        mask = mask_of(dataset, frame)
        assert (mask.dtype, mask.shape) == (np.uint16, (60, 80))
        assert frame.split == "train"
        assert abs(frame.T_world_camera[2, 0]) < 0.2  # upright: the camera's x is level but for a few degrees


def test_depth_and_pose_agree_with_the_scene(dataset):
    """Every pixel with depth lies in the room or street, on the floor, a wall, the table or the house."""
    for frame in dataset.frames:
        depth_m, camera = dataset.depth_m(frame), dataset.camera(frame)
        rows, columns = np.nonzero(depth_m)
        xy_n2 = camera.normalize(np.stack([columns, rows], axis=1))
        points_n3 = np.column_stack([xy_n2, np.ones(len(xy_n2))]) * depth_m[rows, columns][:, None]
        points_n3 = points_n3 @ frame.T_world_camera[:3, :3].T + frame.T_world_camera[:3, 3]
        ids = mask_of(dataset, frame)[rows, columns]
        x, y, z = np.abs(points_n3[:, 0]), np.abs(points_n3[:, 1]), points_n3[:, 2]
        tolerance = 1.5e-3 * np.maximum(depth_m[rows, columns], 1)
        if frame.sequence.startswith("room"):
            off = np.min([np.abs(z), np.abs(x - 3), np.abs(y - 2.5), np.abs(y - 2.49)], axis=0)
            on_table = (np.abs(z - 0.355) < 0.36) & (x < 0.502) & (y < 0.402)
            assert (on_table | (ids == 0)).all()
        else:
            off = np.abs(z)
            on_table = (x < 4.01) & (y < 4.01) & (z < 6.01)
            assert (on_table[ids > 0]).all()
        assert (off[ids == 0] < tolerance[ids == 0]).all()


def test_what_is_flat_on_the_shell_is_no_object_and_what_lies_on_one_is_part_of_it():
    names = ("nothing", "floor", "wall", "rug", "cabinet", "poster", "table", "chair", "magazine", "table", "paper")
    room = Room(0, (6.0, 5.0, 2.6), (), names, (), (), (), ())
    assert object_ids(room).tolist() == [0, 0, 0, 0, 4, 4, 6, 7, 6, 9, 9]


def test_far_ground_and_sky_have_no_depth(dataset):
    depths = [dataset.depth_m(frame) for frame in dataset.frames if frame.sequence.startswith("street")]
    assert max(depth_m.max() for depth_m in depths) < FARTHEST_M
    assert any((depth_m == 0).any() and (depth_m > 0).any() for depth_m in depths)


def test_bursts_move_as_much_as_said(dataset):
    for sequence in dataset.sequences:
        poses = [frame.T_world_camera for frame in dataset.frames if frame.sequence == sequence]
        steps = np.array([pose_error(a, b) for a, b in pairwise(poses)])
        low, high = ROOM_STEP_M if sequence.startswith("room") else STREET_STEP_M
        assert low - 0.03 < steps[:, 0].mean() < high + 0.03
        assert np.rad2deg(steps[:, 1]).max() < 8
        if sequence.startswith("street"):
            forward_m = (invert_pose(poses[0]) @ poses[-1])[2, 3]
            assert forward_m > 0


def test_the_same_seed_gives_the_same_frames(made_room):
    """Whatever else is made, and however many scenes: a scene hangs on the seed and its number only."""
    options = DepthRoomOptions(rooms=1, streets=0, seed=4, **SMALL)
    camera, bursts = render_scene(options, "room", 0)
    again, same = render_scene(options.model_copy(update={"rooms": 9}), "room", 0)
    assert camera == again
    for a, b in zip(bursts[1], same[1], strict=True):
        np.testing.assert_array_equal(a.image_rgb, b.image_rgb)
        np.testing.assert_array_equal(a.depth_m, b.depth_m)
    other, _ = render_scene(options.model_copy(update={"seed": 5}), "room", 0)
    assert other != camera
    hfov_deg = [np.rad2deg(2 * np.arctan(40 / c.fx_px)) for c in (camera, other)]
    assert all(45 <= angle <= 95 for angle in hfov_deg)


def test_what_stands_is_not_overwritten_and_nothing_half_made_is_left(made_room, tmp_path, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    options = DepthRoomOptions(rooms=1, streets=0, bursts=1, burst_frames=3, width_px=40, height_px=32)
    with pytest.raises(InputError, match="exists and is not empty"):
        depth_dataset(out, options)
    with pytest.raises(InputError, match="not a dataset of ours"):
        depth_dataset(out, options, overwrite=True)
    assert (out / "mine.txt").read_text() == "mine"
    with pytest.raises(InputError, match="no scene was asked for"):
        depth_dataset(tmp_path / "none", DepthRoomOptions(rooms=0, streets=0))

    def breaks(options, domain, index):
        raise InputError("no walk")

    monkeypatch.setattr(depth_rooms, "render_scene", breaks)
    (out / "mine.txt").unlink()
    with pytest.raises(InputError, match="no walk"):
        depth_dataset(out, options)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    monkeypatch.undo()
    monkeypatch.setattr(depth_rooms, "_room", bare_room)
    assert depth_dataset(out, options) == 3
    assert depth_dataset(out, options, overwrite=True) == 3
    assert len(SceneDataset(out)) == 3
