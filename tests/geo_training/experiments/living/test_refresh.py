"""A scene is refreshed where its place changed: end to end on one wall of a rendered room whose pictures moved."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from command_line import invoke
from geo_training.cli import train
from geo_training.console import NotGoodEnough
from geo_training.datasets.scene import SceneDataset
from geo_training.datasets.scene_writer import SceneWriter
from geo_training.experiments.living import refresh as refreshing
from geo_training.localization.config import HeadTrainingConfig
from geo_training.localization.data import HeadData
from geo_training.localization.fit import fit_head
from geo_training.synthetic.lighting import Lighting
from geo_training.synthetic.paths import camera_pose
from geo_training.synthetic.rearranging import _placed, bounds_of
from geo_training.synthetic.render import render
from geo_training.synthetic.room import Room
from tiny_scene import CAMERA, landmarks_of, make_dataset, map_of

from geo_perception.localization.scene import Scene
from geo_perception.localization.view_descriptors import ViewIndex, describe_frame
from geo_perception.runtime.frozen import FrozenNetwork

pytestmark = pytest.mark.slow  # a scene and a recording are rendered
ROOM, FRAMES = 4, 40


def _changed_room() -> Room:
    """Three of the pictures that the scene looks at are gone, and hang elsewhere on the wall no more."""
    room = Room.generate(ROOM)
    bounds, looked_at_3 = bounds_of(room), camera_pose(np.array([0.0, 0.0, 1.4]), np.radians(65), 0.0, 0.0)[:3, 2]
    pictures = [piece for piece in room.pieces if piece.name == "picture"]
    middles = [bounds[piece.instances].mean(axis=0) - [0.0, 0.0, 1.4] for piece in pictures]
    ahead = np.argsort([-(middle @ looked_at_3) / np.linalg.norm(middle) for middle in middles])
    return _placed(room, {}, [pictures[n] for n in ahead[:3]])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A scene in closed form of the tiny wall, its dataset, and a recording after the pictures were taken down."""
    root = tmp_path_factory.mktemp("living")
    make_dataset(root / "old")
    dataset = SceneDataset(root / "old")
    config = HeadTrainingConfig(steps=0, network_width_px=320, held_out=0.1, max_bytes=900_000, device="cpu")
    landmarks = landmarks_of(dataset)
    fit_head(HeadData(dataset, landmarks, map_of(dataset), config), root / "scene.safetensors", config)
    room, rng = _changed_room(), np.random.default_rng(8)
    lighting = Lighting.daylight(room)
    with SceneWriter(root / "new", sources=["the room after"], overwrite=True) as writer:
        camera_id = writer.add_camera(CAMERA)
        for index in range(FRAMES):
            position_3 = np.array([0.0, 0.0, 1.4]) + rng.uniform(-0.4, 0.4, 3)
            T = camera_pose(position_3, *(np.radians([65, 0, 0]) + np.radians([12, 6, 4]) * rng.uniform(-1, 1, 3)))
            shown = render(room, CAMERA, T, lighting, supersample=1)
            writer.add_frame("after", index * 250_000_000, camera_id, image_rgb=shown.image_rgb)
        writer.describe(scale="metric", scale_source="rendered", gravity_world=(0.0, 0.0, -1.0))
    return root


@pytest.fixture(scope="module")
def refreshed(place):
    """The command, run once; what it said and wrote."""
    done = invoke(train, "localization", "refresh", place / "scene.safetensors", place / "new", "--dataset",
                  place / "old", "--out", place / "fresh.safetensors", "--json", place / "fresh.json",
                  "--device", "cpu")  # fmt: skip
    assert done.exit_code == 0, done.output
    return Scene.load(place / "scene.safetensors"), Scene.load(place / "fresh.safetensors"), place


def test_old_landmarks_keep_number_place_and_answer_and_the_gone_ones_do_not(refreshed):
    old, new, _ = refreshed
    gone = np.array(new.header["refreshed"][-1]["landmarks"])
    living = np.setdiff1d(np.arange(len(old.landmarks_map_l3)), gone)

    assert len(gone) >= 3
    assert len(new.landmarks_map_l3) == len(old.landmarks_map_l3)
    np.testing.assert_array_equal(new.landmarks_map_l3[living], old.landmarks_map_l3[living])
    features = [torch.randn(1, c, 224 // s, 320 // s) for c, s in zip(old.backbone.channels, old.backbone.strides,
                                                                     strict=True)]  # fmt: skip
    with torch.no_grad():
        before, after = old.head(features).logits_blhw, new.head(features).logits_blhw
    torch.testing.assert_close(after[:, living], before[:, living], rtol=0, atol=0)
    assert (new.frame_id, new.network_focal_px, new.metric) == (old.frame_id, old.network_focal_px, old.metric)


def test_the_gone_landmarks_lie_where_the_pictures_were(refreshed):
    old, new, _ = refreshed
    before, after = bounds_of(Room.generate(ROOM)), bounds_of(_changed_room())
    taken = [box_23 for instances, box_23 in before.items() if instances not in after]
    gone_l3 = old.landmarks_map_l3[new.header["refreshed"][-1]["landmarks"]]
    inside_kl = [((gone_l3 > low_3 - 0.05) & (gone_l3 < high_3 + 0.05)).all(axis=1) for low_3, high_3 in taken]
    on_l = np.any(inside_kl, axis=0)

    assert on_l.mean() >= 0.7


def test_places_show_no_landmark_that_is_gone(refreshed):
    old, new, _ = refreshed
    gone = new.header["refreshed"][-1]["landmarks"]

    assert len(new.places) >= len(old.places)
    assert not new.places.visible_kl[: len(old.places), gone].any()
    assert new.places.visible_kl.shape[1] == len(new.landmarks_map_l3)


def test_it_is_proposed_by_how_the_place_looks_now(refreshed):
    old, new, place = refreshed
    network, dataset = FrozenNetwork(new.backbone, torch.device("cpu")), SceneDataset(place / "new")
    index = ViewIndex({"old": old.views, "new": new.views})
    shown = [dataset.image(frame) for frame in dataset.frames[::8]]
    shares = [dict(index.rank(describe_frame(network(image_hw3))))["new"] for image_hw3 in shown]

    assert len(new.views) > len(old.views)
    assert np.mean(shares) > 0.6


def test_the_figures_say_what_was_done(refreshed):
    _, new, place = refreshed
    content = json.loads((place / "fresh.json").read_text())

    assert content["figures"]["gone"] == len(new.header["refreshed"][-1]["landmarks"])
    assert content["figures"]["after"] >= content["figures"].get("before", 0.0) - 0.01
    assert content["health"]["verdict"] == "refresh"


def test_a_scene_of_a_place_that_did_not_change_is_left_alone(place):
    done = invoke(train, "localization", "refresh", place / "scene.safetensors", place / "old", "--dataset",
                  place / "old", "--out", place / "none.safetensors", "--device", "cpu")  # fmt: skip

    assert done.exit_code == 1
    assert "nothing to refresh" in " ".join(done.output.split())
    assert not (place / "none.safetensors").exists()


def test_a_scene_that_would_be_worse_on_the_old_frames_is_not_written(place, monkeypatch):
    broken = replace(Scene.load(place / "scene.safetensors"), points=None, places=None)
    broken.landmarks_map_l3 = broken.landmarks_map_l3 + np.random.default_rng(0).normal(0, 1, (64, 3))[
        : len(broken.landmarks_map_l3)
    ]  # fmt: skip
    with pytest.raises(NotGoodEnough, match="it is not written"):
        refreshing.never_worse(Scene.load(place / "scene.safetensors"), broken, SceneDataset(place / "old"), "cpu")


def test_an_output_that_exists_is_not_replaced_unasked(place, tmp_path):
    shutil.copy(place / "scene.safetensors", tmp_path / "there.safetensors")
    done = invoke(train, "localization", "refresh", place / "scene.safetensors", place / "new", "--dataset",
                  place / "old", "--out", tmp_path / "there.safetensors")  # fmt: skip

    assert done.exit_code != 0
    assert "pass --overwrite" in " ".join(done.output.split())
