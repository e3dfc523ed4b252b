"""Objects by exact depth: a ball on the floor of a corner of a room, traced through every pixel."""

import numpy as np
import pytest
from command_line import invoke
from geo_training.cli import train
from geo_training.datasets.scene import SceneDataset
from geo_training.datasets.scene_writer import SceneWriter
from geo_training.depth.data.boundaries import choose_masks, load_boundary, make_boundaries
from geo_training.depth.data.depth_masks import DepthMasks, objects_of_depth
from geo_training.depth.data.instance_masks import MaskNetwork, read_ids

from geo_perception.errors import InputError
from geo_perception.geometry import Camera

WIDTH, HEIGHT = 240, 180
CAMERA = Camera(WIDTH, HEIGHT, 180.0, 180.0, 119.5, 89.5)
FLOOR_M, WALL_M, BALL_M, RADIUS_M = 1.0, 4.0, (0.3, 0.6, 2.8), 0.4  # below, ahead; the ball touches the floor


def rays():
    x_hw, y_hw = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    return np.dstack([(x_hw - 119.5) / 180, (y_hw - 89.5) / 180, np.ones((HEIGHT, WIDTH))])


def room():
    """Depth (H, W) of a floor and a wall."""
    ray_hw3 = rays()
    with np.errstate(divide="ignore"):
        floor_hw = np.where(ray_hw3[..., 1] > 0, FLOOR_M / ray_hw3[..., 1], np.inf)
    return np.minimum(floor_hw, WALL_M).astype(np.float32)


def with_ball():
    """That depth with a ball in it, and the ball's own pixels."""
    ray_hw3, centre_3 = rays(), np.array(BALL_M)
    a, b = (ray_hw3**2).sum(2), ray_hw3 @ centre_3
    root = b**2 - a * (centre_3 @ centre_3 - RADIUS_M**2)
    ball_hw = root > 0
    depth_hw = room()
    depth_hw[ball_hw] = ((b - np.sqrt(np.maximum(root, 0))) / a)[ball_hw]
    return depth_hw, ball_hw


def overlap(a_hw, b_hw):
    return (a_hw & b_hw).sum() / (a_hw | b_hw).sum()


def test_a_ball_that_stands_on_the_floor_is_one_object():
    depth_hw, ball_hw = with_ball()
    ids_hw = objects_of_depth(depth_hw, CAMERA)
    assert ids_hw.dtype == np.uint16
    assert np.unique(ids_hw).tolist() == [0, 1]
    assert overlap(ids_hw == 1, ball_hw) > 0.93


def test_floor_and_wall_are_no_objects():
    assert not objects_of_depth(room(), CAMERA).any()


def test_neither_the_unit_nor_the_size_of_the_depth_matters():
    depth_hw, ball_hw = with_ball()
    assert np.array_equal(objects_of_depth(1000 * depth_hw, CAMERA), objects_of_depth(depth_hw, CAMERA))
    small_hw = objects_of_depth(np.ascontiguousarray(depth_hw[::2, ::2]), CAMERA)
    assert overlap(small_hw == 1, ball_hw[::2, ::2]) > 0.85


def test_what_is_unknown_is_no_object():
    depth_hw, ball_hw = with_ball()
    depth_hw[:, :60] = 0
    depth_hw[115:125, 135:140] = 0  # a hole in the ball
    ids_hw = objects_of_depth(depth_hw, CAMERA)
    assert not ids_hw[depth_hw == 0].any()
    assert overlap(ids_hw > 0, ball_hw & (depth_hw > 0)) > 0.9
    assert not objects_of_depth(np.zeros((HEIGHT, WIDTH), np.float32), CAMERA).any()


@pytest.fixture
def dataset(tmp_path):
    """Two frames with depth, one without."""
    with SceneWriter(tmp_path / "balls", ["made up"]) as writer:
        writer.describe(scale="metric", scale_source="made up")
        camera_id = writer.add_camera(CAMERA)
        for number, depth_hw in enumerate((with_ball()[0], room(), None)):
            image = {"image_rgb": np.full((HEIGHT, WIDTH, 3), 90, np.uint8)}
            writer.add_frame("a", 10**8 * number, camera_id, depth_m=depth_hw, **image)
    return SceneDataset(tmp_path / "balls")


def test_boundaries_are_made_of_depth_and_its_masks_kept(dataset):
    counts = make_boundaries(dataset, DepthMasks(dataset))
    assert (counts.frames, counts.with_map, counts.made, counts.objects) == (3, 2, 2, 1)
    _, ball_hw = with_ball()
    boundary_hw = load_boundary(dataset, dataset.frames[0])
    rows, columns = np.nonzero(boundary_hw > 0.5)
    assert 0 < ball_hw[rows, columns].mean() < 1  # on both sides of its rim
    assert load_boundary(dataset, dataset.frames[2]) is None
    kept_hw = read_ids((dataset.root / "masks" / dataset.frames[0].name).with_suffix(".png"))
    assert overlap(kept_hw == 1, ball_hw) > 0.93
    again = make_boundaries(dataset, DepthMasks(dataset))
    assert (again.made, again.kept) == (0, 2)


def test_the_command_makes_them_and_goes_on_with_what_it_made(dataset):
    result = invoke(train, "depth", "boundaries", dataset.root, "--from-depth")
    assert result.exit_code == 0, result.output
    assert "2 of 3 frames have a map (2 made now), 0.5 objects a frame" in " ".join(result.output.split())
    assert "(0 made now)" in " ".join(invoke(train, "depth", "boundaries", dataset.root, "--from-depth").output.split())


def test_what_cannot_be_done_is_refused(dataset):
    with pytest.raises(InputError, match="pass one of --masks, --weights and --from-depth"):
        choose_masks(dataset, None, MaskNetwork(), ask_network=True, from_depth=True)
    for path in (dataset.root / "depth").rglob("*.png"):
        path.unlink()
    with pytest.raises(InputError, match="has no depth to find objects by"):
        choose_masks(SceneDataset(dataset.root), None, MaskNetwork(), ask_network=False, from_depth=True)
