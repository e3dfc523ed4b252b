"""A folder of scenes that changes while it is in use: what counts, what is told, and what goes on."""

import os
import shutil
import time

import numpy as np
import pytest
from tiny_scene import CAMERA
from two_scenes import LEFT, RIGHT, TwoScenes, placed_text

from geo_perception.geometry import pose_error
from geo_perception.localization.scene import FORMAT_VERSION, KIND
from geo_perception.localization.scene_folder import read_scene_folder
from geo_perception.localization.scene_set import MultiSceneLocalizer
from geo_perception.localization.scene_watch import FolderLook
from geo_perception.runtime.weights import load_weights, save_weights


@pytest.fixture
def folder(two_scenes: TwoScenes, tmp_path):
    """The left scene alone."""
    folder = two_scenes.copied(tmp_path / "scenes", placed=False)
    (folder / f"{RIGHT}.safetensors").unlink()
    return folder


def put(two_scenes, folder, name, as_name=None):
    shutil.copy(two_scenes.folder / f"{name}.safetensors", folder / f"{as_name or name}.safetensors")


def changed_header(path, **changes):
    tensors, header = load_weights(path, KIND, FORMAT_VERSION)
    save_weights(path, tensors, header | changes)


def test_a_scene_counts_when_it_was_the_same_at_two_looks(two_scenes, folder):
    look = FolderLook(read_scene_folder(folder))
    assert look.again() is None
    whole = (two_scenes.folder / f"{RIGHT}.safetensors").read_bytes()
    with (folder / f"{RIGHT}.safetensors").open("wb") as half:
        half.write(whole[: len(whole) // 2])
        half.flush()
        assert look.again() is None
        half.write(whole[len(whole) // 2 :])
    assert look.again() is None  # it has just been written
    change = look.again()
    assert (change.added, change.replaced, change.removed) == ((RIGHT,), (), ())
    assert list(change.folder.scenes) == [LEFT, RIGHT]
    assert change.folder.problems == {}
    assert look.again() is None


def test_what_is_removed_goes_and_what_is_replaced_is_read_again(two_scenes, folder):
    put(two_scenes, folder, RIGHT)
    look = FolderLook(read_scene_folder(folder))
    put(two_scenes, folder, RIGHT, as_name=LEFT)
    os.utime(folder / f"{LEFT}.safetensors", ns=(1, 1))
    (folder / f"{RIGHT}.safetensors").unlink()
    first = look.again()
    assert (first.removed, list(first.folder.scenes)) == ((RIGHT,), [LEFT])
    second = look.again()
    assert second.replaced == (LEFT,)
    other = read_scene_folder(folder).scenes[LEFT]
    assert np.array_equal(second.folder.scenes[LEFT].landmarks_map_l3, other.landmarks_map_l3)


@pytest.mark.parametrize("harm", ["damaged", "of another backbone", "of no scale"])
def test_what_cannot_be_used_is_told_once_and_harms_no_other(two_scenes, folder, harm):
    look = FolderLook(read_scene_folder(folder))
    put(two_scenes, folder, RIGHT)
    path = folder / f"{RIGHT}.safetensors"
    if harm == "damaged":
        path.write_bytes(path.read_bytes()[:-100])
    elif harm == "of no scale":
        changed_header(path, metric=False)
    else:
        changed_header(path, backbone=load_weights(path, KIND, FORMAT_VERSION)[1]["backbone"] | {"sha256": "f" * 64})
    assert look.again() is None
    change = look.again()
    assert (change.added, list(change.folder.scenes)) == ((), [LEFT])
    assert str(path) in change.folder.problems[RIGHT]
    assert "\n" not in change.folder.problems[RIGHT]
    assert look.again() is None
    put(two_scenes, folder, RIGHT)
    look.again()
    mended = look.again()
    assert (mended.added, mended.folder.problems) == ((RIGHT,), {})


def test_a_replacement_that_cannot_be_used_leaves_the_former(two_scenes, folder):
    look = FolderLook(read_scene_folder(folder))
    (folder / f"{LEFT}.safetensors").write_bytes(b"nothing")
    look.again()
    change = look.again()
    assert (change.replaced, list(change.folder.scenes), list(change.folder.problems)) == ((), [LEFT], [LEFT])


def test_a_folder_that_is_gone_leaves_what_was_there(two_scenes, folder):
    look = FolderLook(read_scene_folder(folder))
    folder.rename(folder.with_name("away"))
    change = look.again()
    assert list(change.folder.scenes) == [LEFT]
    assert "holds no scene any more" in next(iter(change.folder.problems.values()))
    assert look.again() is None
    folder.with_name("away").rename(folder)
    back = look.again()
    assert (back.added, back.removed, back.folder.problems) == ((), (), {})


def test_scenes_yaml_is_read_again_and_waits_for_the_scenes_it_places(two_scenes, folder):
    look = FolderLook(read_scene_folder(folder))
    (folder / "scenes.yaml").write_text(placed_text())
    look.again()
    early = look.again()
    assert early.folder.frames.place_of(LEFT) is None
    assert "there is no right.safetensors" in early.folder.problems["scenes.yaml"]
    put(two_scenes, folder, RIGHT)
    placed = look.again()
    assert placed.folder.problems == {}
    assert placed.folder.frames.frame_of(LEFT) == "map"
    assert look.again().folder.frames.place_of(RIGHT) is not None
    (folder / "scenes.yaml").unlink()
    look.again()
    assert look.again().folder.frames.frame_of(LEFT) == f"map/{LEFT}"


@pytest.fixture
def queries(two_scenes):
    """A picture of each scene that was not mapped, with its pose in the scene's own frame."""
    found = {}
    for name in (LEFT, RIGHT):
        dataset = two_scenes.dataset(name)
        frame = dataset.of_split("test")[0]
        found[name] = dataset.image(frame), frame.T_world_camera
    return found


def followed(localizer, count=1, limit_s=20.0):
    """The changes that come, at least so many."""
    changes, until_s = [], time.monotonic() + limit_s
    while len(changes) < count:
        assert time.monotonic() < until_s
        time.sleep(0.02)
        changes += localizer.follow()
    return changes


def test_a_scene_is_found_that_came_while_it_runs_and_one_that_is_removed_stays_as_long_as_it_is_used(
    two_scenes, folder, queries
):
    localizer = MultiSceneLocalizer.load(folder, "cpu", engine="torch")
    localizer.watch(0.05)
    try:
        assert localizer.estimate(queries[LEFT][0], CAMERA).scene == LEFT
        assert not localizer.estimate(queries[RIGHT][0], CAMERA).localized
        put(two_scenes, folder, RIGHT)
        assert followed(localizer)[0].added == (RIGHT,)
        for _ in range(4):
            result = localizer.estimate(queries[RIGHT][0], CAMERA)
        assert (result.localized, result.scene) == (True, RIGHT)
        assert pose_error(queries[RIGHT][1], result.T_map_camera)[0] < 0.06
        (folder / f"{RIGHT}.safetensors").unlink()
        assert followed(localizer)[0].removed == (RIGHT,)
        assert list(localizer.folder.scenes) == [LEFT, RIGHT]
        assert localizer.estimate(queries[RIGHT][0], CAMERA).scene == RIGHT
        assert localizer.problems == {}
        for _ in range(6):
            left = localizer.estimate(queries[LEFT][0], CAMERA)
            localizer.follow()
        assert (left.localized, left.scene) == (True, LEFT)
        assert list(localizer.folder.scenes) == list(localizer.loaded) == [LEFT]
        assert not localizer.estimate(queries[RIGHT][0], CAMERA).localized
    finally:
        localizer.unwatch()


def test_a_file_that_is_being_replaced_is_not_read_before_it_is_whole(two_scenes, folder, queries):
    put(two_scenes, folder, RIGHT)
    localizer = MultiSceneLocalizer.load(folder, "cpu", engine="torch")
    localizer.watch(0.3)
    try:
        assert localizer.estimate(queries[LEFT][0], CAMERA).scene == LEFT
        path = folder / f"{LEFT}.safetensors"
        whole = (two_scenes.folder / f"{RIGHT}.safetensors").read_bytes()
        with path.open("wb") as half:
            half.write(whole[: len(whole) // 2])
            half.flush()
            assert localizer.estimate(queries[LEFT][0], CAMERA).localized
            assert localizer.problems == {}
            half.write(whole[len(whole) // 2 :])
        assert followed(localizer)[0].replaced == (LEFT,)
        (folder / f"{RIGHT}.safetensors").unlink()
        followed(localizer)
        localizer.forget()
        result = localizer.estimate(queries[RIGHT][0], CAMERA)
        assert (result.localized, result.scene) == (True, LEFT)  # it is the other scene by now
        T_true = queries[RIGHT][1]
        assert pose_error(T_true, result.T_map_camera)[0] < 0.06
    finally:
        localizer.unwatch()
