"""A recording through a folder of scenes: which of them answered, and when the robot went from one into the other."""

import json

import numpy as np
import pytest
import tiny_scene
from command_line import invoke
from geo_training.cli import evaluate
from geo_training.datasets.recordings.to_bag import bag_from_dataset
from geo_training.datasets.scene_writer import SceneWriter
from geo_training.evaluation.replay.scenes import scene_at, switches
from geo_training.metrics.pose import FrameOutcome
from two_scenes import LEFT, RIGHT, walk_views

STEP_S = 0.5


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    """A bag that leads from the left scene into the right one, two images a second, with true poses in the room."""
    folder = tmp_path_factory.mktemp("walk")
    with SceneWriter(folder / "frames", ["rendered room"]) as writer:
        writer.describe(scale="metric", scale_source="rendered", gravity_world=(0.0, 1.0, 0.0))
        camera_id = writer.add_camera(tiny_scene.CAMERA)
        for index, (image_rgb, T_room_camera) in enumerate(walk_views()):
            stamp_ns = (1000 + index) * round(STEP_S * 1e9)
            writer.add_frame("walk", stamp_ns, camera_id, image_rgb=image_rgb, T_world_camera=T_room_camera)
    bag_from_dataset(folder / "frames", folder / "walk", compressed=False)
    return folder / "walk"


def replayed(walk, two_scenes, folder, *more, placed=True):
    """The output and the JSON of a replay whose config names the folder of scenes beside it."""
    two_scenes.copied(folder / "scenes", placed)
    (folder / "replay.yaml").write_text("scene: scenes\ndevice: cpu\n")
    given = (walk, "--config", folder / "replay.yaml", "--json", folder / "out.json", "--report", folder / "out.html")
    done = invoke(evaluate, "replay", *given, *more)
    assert done.exit_code == 0, done.output
    return done.output, json.loads((folder / "out.json").read_text()), (folder / "out.html").read_text()


def check_walk(output, content, page):
    """It was in the left scene first, in the right one last, and went over once, in the middle of the walk."""
    answered = [(row["stamp_s"], row["scene"]) for row in content["frames"] if row["localized"]]
    scenes = [scene for _, scene in answered]
    first_right = scenes.index(RIGHT)
    assert scenes == [LEFT] * first_right + [RIGHT] * (len(scenes) - first_right)
    assert 5 < first_right < len(scenes) - 5
    moved_s = answered[first_right][0] - content["frames"][0]["stamp_s"]
    words = f"at {moved_s:.2f} s from {LEFT} to {RIGHT}"
    assert content["metadata"]["scene switches"] == words
    assert content["figures"]["scene_switches"] == 1
    assert f"scene switches: {words}" in output
    assert words in page
    for scene in (LEFT, RIGHT):
        figures = content["by_scene"][scene]
        assert figures["frames"] == scenes.count(scene)
        assert figures["median_cm"] < 6.0
        assert content["metadata"][f"in {scene}"].startswith(f"{scenes.count(scene)} frames localized; median")


def test_a_replay_in_process_says_which_scene_answered_and_when_it_switched(walk, two_scenes, tmp_path):
    check_walk(*replayed(walk, two_scenes, tmp_path))


def test_poses_in_frames_of_their_own_are_warned_of(walk, two_scenes, tmp_path):
    output, content, _ = replayed(walk, two_scenes, tmp_path, placed=False)
    assert f"poses are in the frames map/{LEFT}, map/{RIGHT}" in output.replace("\n", " ")
    assert content["by_scene"][LEFT]["median_cm"] < 6.0  # the left scene's frame is the room


@pytest.mark.slow
def test_a_live_replay_says_so_too(walk, two_scenes, tmp_path):
    check_walk(*replayed(walk, two_scenes, tmp_path, "--live"))


def test_the_scene_of_a_stamp_is_the_one_since_the_last_change():
    since = {10.0: LEFT, 12.123: RIGHT}
    assert scene_at(9_999_000_000, since) == ""
    assert scene_at(10_000_000_000, since) == LEFT
    assert scene_at(12_122_000_000, since) == LEFT
    assert scene_at(12_123_456_789, since) == RIGHT  # the diagnostics give milliseconds
    assert scene_at(5, {}) == ""


def test_frames_without_an_answer_are_no_switch():
    outcomes = [
        FrameOutcome(str(n), "walk", n, "", T_estimated=np.eye(4) if scene else None, scene=scene)
        for n, scene in enumerate([LEFT, "", LEFT, "", RIGHT, RIGHT, LEFT])
    ]
    assert [(after.name, former) for after, former in switches(outcomes)] == [("4", LEFT), ("6", RIGHT)]
