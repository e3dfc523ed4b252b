"""Any name that a file can have goes through map, landmarks and the head's data; an interruption loses none."""

import sqlite3

import numpy as np
import pytest
from board_walk import CAMERA, boards, poses_of_walk, render
from command_line import invoke
from geo_training.cli import train
from geo_training.datasets.scene import SceneDataset
from geo_training.datasets.scene_writer import SceneWriter
from geo_training.localization.config import HeadTrainingConfig
from geo_training.localization.data import HeadData
from geo_training.mapping.colmap_io import read_model
from geo_training.mapping.features import FeatureOptions, FeatureStore
from geo_training.mapping.pairs import choose_pairs
from geo_training.mapping.scene_map import SceneMap

STEMS = [
    "a b", "ünï çødé 図", "#first", "50%", "q?x=1", "st*r [1]", "quo'te", 'dq"x', "semi;,comma", "trailing "
]  # fmt: skip


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    root = tmp_path_factory.mktemp("names") / "my data #1, ünï"
    with SceneWriter(root, ["rendered boards"]) as writer:
        camera_id = writer.add_camera(CAMERA)
        writer.describe(scale="metric", scale_source="rendered")
        scene = list(boards(1))
        for i, T in enumerate(poses_of_walk(len(STEMS))):
            image, depth_m = render(scene, T)
            writer.add_frame(
                "first floor # é", i * 250_000_000, camera_id, image_rgb=image, depth_m=depth_m, T_world_camera=T,
                stem=STEMS[i],
            )  # fmt: skip
    return SceneDataset(root)


def run(*arguments):
    result = invoke(train, *arguments)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def mapped(walk):
    run("map", walk.root)
    return walk


def test_every_frame_is_mapped_whatever_its_name(mapped):
    names = {frame.name for frame in mapped.frames}
    assert len(names) == len(STEMS)
    scene = SceneMap.load(mapped.root)
    assert set(scene.frame_names) == names
    seen_f = np.bincount(scene.tracks.frame_m, minlength=len(names))
    assert seen_f.min() > 100
    run("landmarks", mapped.root, "--count", 40)
    data = HeadData.open(mapped.root, HeadTrainingConfig())
    assert {frame.name for frame in data.frames} == names
    assert (data.view(0, 0, 0).state_l == 1).sum() >= 20


def test_a_map_in_text_keeps_the_names(mapped, tmp_path):
    read_model(mapped.root / "colmap").write_text(str(tmp_path))
    names = {image.name for image in read_model(tmp_path).images.values()}
    assert names == {frame.name for frame in mapped.frames}


def test_names_are_back_after_an_interruption_while_matching(mapped):
    store = FeatureStore(mapped, FeatureOptions())
    numbers = store.image_numbers()

    def interrupted():
        with store._named_by_number():
            assert set(store.image_numbers()) == {str(number) for number in numbers.values()}
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert store.image_numbers() == numbers


def test_names_are_back_after_a_kill_while_matching(mapped):
    store = FeatureStore(mapped, FeatureOptions())
    numbers = store.image_numbers()
    naming = store._named_by_number()
    naming.__enter__()  # and nothing after it ran
    assert FeatureStore(mapped, FeatureOptions()).image_numbers() == numbers
    pairs = choose_pairs(mapped.frames, mapped, store, True)[1]
    assert FeatureStore(mapped, FeatureOptions()).match(pairs) == 0
    with sqlite3.connect(store.path) as database:
        assert {name for (name,) in database.execute("select name from images")} == set(numbers)
