"""Clips as batches: whatever is cut and flipped, geometry stays exact; and the same batch comes every time."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from geo_training.datasets.scene import SceneDataset
from geo_training.depth.config import DepthTrainingConfig
from geo_training.depth.data.clip_data import (
    ClipSource,
    ClipStream,
    _boundary,
    _Cut,
    _depth,
    clip_sources,
    training_size,
)
from geo_training.depth.data.clips import Clip
from geo_training.depth.losses.warp import back_project, project, sample
from geo_training.engine import whole_batch
from tiny_walk import CAMERA, WALL_M, make_walk, walk_pose

from geo_perception.errors import InputError
from geo_perception.geometry import invert_pose

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    return make_walk(tmp_path_factory.mktemp("walk") / "data", boundaries=True)


def config_of(*roots, **changes):
    options = {"size_px": (64, 64), "batch": 2, "augmentation": {"light": None}, "pretrained": False}
    return DepthTrainingConfig.load(None, **(options | {"datasets": list(roots)} | changes))


def stream_of(*roots, **changes) -> ClipStream:
    config = config_of(*roots, **changes)
    return ClipStream(clip_sources(config), config, CPU)


@pytest.mark.parametrize("flip", [False, True])
def test_a_known_point_appears_where_the_cut_camera_and_motion_say(flip):
    """A point of the world, its pixel in two frames, cut, brought to another size and flipped by hand."""
    cut = _Cut(7, 11, 46, 40, (96, 32), flip)
    point_world = np.array([0.13, -0.08, WALL_M])
    pixels, points = [], []
    for index in (2, 3):
        T_camera_world = invert_pose(walk_pose(index))
        point = T_camera_world[:3, :3] @ point_world + T_camera_world[:3, 3]
        x, y = CAMERA.project(point[None])[0]
        x, y = (x - 7 + 0.5) * 96 / 46 - 0.5, (y - 11 + 0.5) * 32 / 40 - 0.5
        pixels.append((95 - x if flip else x, y))
        points.append(point * [-1, 1, 1] if flip else point)
    K_33 = cut.K_33(CAMERA)
    T_source_target = cut.motion(invert_pose(walk_pose(3)) @ walk_pose(2))
    target, source = K_33 @ points[0], K_33 @ (T_source_target[:3, :3] @ points[0] + T_source_target[:3, 3])
    np.testing.assert_allclose(target[:2] / target[2], pixels[0])
    np.testing.assert_allclose(source[:2] / source[2], pixels[1])
    assert np.linalg.det(T_source_target[:3, :3]) == pytest.approx(1)


@pytest.mark.parametrize("number", range(4))
def test_true_depth_and_motion_of_a_batch_warp_its_sources_onto_its_targets(walk, number):
    """Flipped and zoomed at random, in pixels: were K or a motion wrong, these waves would not match."""
    batch = stream_of(walk.root, losses={"weights": {"photometric": 1.0, "depth": 1.0}}).batch(number)
    points = back_project(batch.depth_b1hw, batch.K_b33)
    for source in range(batch.sources):
        pixels, _ = project(points, batch.K_b33, batch.T_source_target_bs44[:, source])
        warped, inside = sample(batch.sources_bs3hw[:, source], pixels)
        apart = (warped - batch.target_b3hw).abs().mean(1, keepdim=True)[inside].mean()
        not_warped = (batch.sources_bs3hw[:, source] - batch.target_b3hw).abs().mean()
        assert apart < 0.02
        assert not_warped > 4 * apart


def test_a_batch_is_the_same_whenever_it_is_made(walk):
    stream, again = (stream_of(walk.root, augmentation={}) for _ in range(2))  # with the default light
    expected = stream.batch(5)
    for got in (again.batch(5), list(again.batches(3, 4))[2]):
        for name in ("view_b3hw", "target_b3hw", "sources_bs3hw", "K_b33", "T_source_target_bs44", "depth_b1hw"):
            torch.testing.assert_close(getattr(got, name), getattr(expected, name), rtol=0, atol=0)
    assert not torch.equal(stream.batch(6).target_b3hw, expected.target_b3hw)
    assert not torch.equal(expected.view_b3hw, expected.target_b3hw)  # only the view is in another light


def test_other_seeds_draw_other_batches(walk):
    config = config_of(walk.root)
    sources = clip_sources(config)
    one = ClipStream(sources, config, CPU).batch(0)
    seeded = ClipStream(sources, config.model_copy(update={"seed": 1}), CPU).batch(0)
    assert not torch.equal(one.target_b3hw, seeded.target_b3hw)


def test_processes_make_their_rows_of_a_batch(walk, monkeypatch):
    config = config_of(walk.root, batch=4)
    sources = clip_sources(config)
    whole = ClipStream(sources, config, CPU).batch(3)
    monkeypatch.setattr(whole_batch, "world", lambda: 2)
    for rank in range(2):
        monkeypatch.setattr(whole_batch, "rank", lambda rank=rank: rank)
        own = ClipStream(sources, config, CPU).batch(3)
        assert torch.equal(own.view_b3hw, whole.view_b3hw[2 * rank : 2 * rank + 2])
        assert torch.equal(own.K_b33, whole.K_b33[2 * rank : 2 * rank + 2])


def test_depth_is_taken_from_one_pixel_and_never_averaged(walk):
    stream = stream_of(walk.root, size_px=(32, 32), losses={"weights": {"photometric": 1.0, "depth": 1.0}})
    stored = np.unique(np.concatenate([walk.depth_m(frame).ravel() for frame in walk.frames]))
    for number in range(3):
        assert set(np.unique(stream.batch(number).depth_b1hw.numpy())) <= set(stored)


def test_depth_and_boundaries_are_only_read_where_a_term_needs_them(walk):
    batch = stream_of(walk.root, losses={"weights": {"photometric": 1.0}}).batch(0)
    assert not batch.depth_b1hw.any()
    assert not batch.boundary_b1hw.any()
    assert not batch.has_boundary_b.any()


def test_every_file_is_read_once(walk, monkeypatch):
    read = []
    for name in ("image", "depth_m"):
        original = getattr(SceneDataset, name)

        def counted(dataset, frame, name=name, original=original):
            read.append((name, frame.name))
            return original(dataset, frame)

        monkeypatch.setattr(SceneDataset, name, counted)
    stream = stream_of(walk.root, losses={"weights": {"photometric": 1.0, "depth": 1.0}})
    for number in range(8):
        stream.batch(number)
    assert {name for name, _ in read} == {"image", "depth_m"}
    assert len(read) == len(set(read))


@pytest.mark.parametrize("size_px", [(64, 64), (32, 32), (32, 64), (96, 96)])
def test_boundary_lines_survive_any_size(size_px):
    """Lines of one pixel, each where it was, and none fainter."""
    lines_hw = np.zeros((64, 64), np.float32)
    lines_hw[:, (21, 40)] = 1.0
    for flip in (False, True):
        got_hw = _boundary(_Cut(0, 0, 64, 64, size_px, flip), lines_hw, CAMERA)
        columns = np.flatnonzero(got_hw.min(0))
        centres = {(n + 0.5) * size_px[0] / 64 for n in (21, 40)}
        centres = {size_px[0] - c for c in centres} if flip else centres
        assert set(np.unique(got_hw)) == {0.0, 1.0}
        assert all(min(abs(column + 0.5 - c) for c in centres) <= max(0.5, size_px[0] / 64) for column in columns)
        assert all(min(abs(column + 0.5 - c) for column in columns) <= 0.5 for c in centres)


def test_boundaries_come_with_the_batch(walk):
    batch = stream_of(walk.root, size_px=(32, 32), losses={"weights": {"photometric": 1.0, "boundary": 1.0}}).batch(0)
    assert batch.has_boundary_b.all()
    assert (batch.boundary_b1hw.amax((1, 2, 3)) == 1).all()


def test_grey_recordings_work(tmp_path):
    batch = stream_of(make_walk(tmp_path / "grey", grey=True).root).batch(0)
    assert batch.target_b3hw.shape == (2, 3, 64, 64)
    assert batch.target_b3hw.std() > 0.05


def test_recordings_without_poses_give_clips_without_motions(tmp_path):
    root = make_walk(tmp_path / "free", poses=False).root
    batch = stream_of(root).batch(0)
    assert batch.T_source_target_bs44 is None
    assert batch.sources == 2
    with pytest.raises(InputError, match="frames without poses; set motion to learned"):
        clip_sources(config_of(root, motion="known"))


def test_one_source_without_a_pose_is_noticed_before_training(walk, monkeypatch):
    """Its target has one, so that only looking at all frames of a clip tells."""
    target, source = walk.frames[1], replace(walk.frames[0], T_world_camera=None)
    monkeypatch.setattr("geo_training.depth.data.clip_data.find_clips", lambda *_: [Clip(target, (source, source))])
    with pytest.raises(InputError, match="frames without poses"):
        clip_sources(config_of(walk.root, motion="known"))


def test_single_frames_have_no_sources(walk):
    stream = stream_of(walk.root, losses={"weights": {"depth": 1.0, "confidence": 0.1}})
    batch = stream.batch(0)
    assert len(stream.sources[0].clips) == 8
    assert batch.sources == 0
    assert batch.T_source_target_bs44.shape == (2, 0, 4, 4)
    assert (batch.depth_b1hw > 1).all()


def test_shares_say_how_often_a_dataset_is_drawn(walk, tmp_path):
    grey = make_walk(tmp_path / "grey", grey=True).root
    stream = stream_of(walk.root, grey, shares=[0.25, 0.75], batch=1, size_px=(32, 32))
    drawn = [torch.equal(t[:, 0], t[:, 1]) for t in (stream.batch(n).target_b3hw for n in range(60))]
    assert 0.55 < np.mean(drawn) < 0.92  # 3 standard deviations around 0.75
    by_clips = stream_of(walk.root, grey)
    np.testing.assert_allclose(by_clips.shares, 0.5)
    alone = stream_of(walk.root, grey, shares=[0, 1], batch=1)
    assert all(torch.equal(t[:, 0], t[:, 1]) for t in (alone.batch(n).target_b3hw for n in range(5)))


def test_the_size_follows_the_area_where_none_is_given(walk):
    source = ClipSource(walk, [Clip(walk.frames[0], ())])
    assert training_size(source, config_of(walk.root)) == (64, 64)
    assert training_size(source, DepthTrainingConfig.load(None, area_px=96 * 96)) == (96, 96)


def test_what_cannot_be_learned_from_is_refused(walk, tmp_path):
    with pytest.raises(InputError, match="no datasets are given"):
        clip_sources(config_of())
    bare = make_walk(tmp_path / "bare", depth=False).root
    with pytest.raises(InputError, match="needs boundary maps"):
        clip_sources(config_of(bare, losses={"weights": {"photometric": 1.0, "boundary": 1.0}}))
    with pytest.raises(InputError, match="no frames with depth"):
        clip_sources(config_of(bare, losses={"weights": {"depth": 1.0}}))


def test_a_damaged_image_is_named(tmp_path):
    dataset = make_walk(tmp_path / "damaged")
    stream = stream_of(dataset.root)
    dataset.image_path(dataset.frames[3]).write_bytes(b"no image")
    with pytest.raises(InputError, match="cannot be read as an image"):
        list(stream.batches(0, 12))


def test_opencv_still_resizes_as_the_cut_cameras_assume():
    """Pixel centres: the middle of the image stays the middle."""
    ramp = np.tile(np.arange(64, dtype=np.float32), (4, 1))
    assert cv2.resize(ramp, (32, 4), interpolation=cv2.INTER_AREA)[0, 3] == pytest.approx(6.5)


@pytest.mark.parametrize("size_px", [(32, 32), (24, 40), (64, 64)])
@pytest.mark.parametrize("flip", [False, True])
def test_depth_stays_where_its_pixel_is(size_px, flip):
    """Depth that is the column's number, in the pixels of the cut: never more than half a stored pixel off, and on the
    whole not to one side."""
    columns_hw = np.tile(np.arange(64, dtype=np.float32), (64, 1))
    cut = _Cut(0, 0, 64, 64, size_px, flip)
    expected = (np.arange(size_px[0]) + 0.5) * 64 / size_px[0] - 0.5
    off = _depth(cut, columns_hw, CAMERA)[0] - (expected[::-1] if flip else expected)
    assert np.abs(off).max() <= 0.5
    assert abs(off.mean()) <= 0.5
