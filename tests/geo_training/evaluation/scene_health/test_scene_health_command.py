"""`geo-eval scene-health` on a real scene, its page, and what is asked wrongly."""

import json

import numpy as np
from command_line import invoke
from exact_landmarks import GROUND, RADIUS, World, landmarks, on_object
from flat_dataset import make_flat_dataset
from geo_training.cli import evaluate
from geo_training.evaluation.scene_health.judge import judge
from geo_training.evaluation.scene_health.report import render_report, stamp_label
from geo_training.evaluation.scene_health.verdict import SceneHealth, recording_health, verdict_of
from html_page import Page


def _health(moved: bool) -> SceneHealth:
    world = World()
    if moved:
        world.places_l3[on_object(4)] += [0.0, 0.0, 0.5]
        world.places_l3[on_object(9)] = np.nan
    observations = World().recording(0) + world.recording(1, start_s=1.7e9)
    judgement = judge(observations, landmarks(), RADIUS, GROUND)
    recordings = recording_health(["monday", "sunday"], observations, judgement)
    verdict, reasons = verdict_of(judgement, recordings)
    return SceneHealth(verdict, reasons, judgement, recordings, landmarks(), True, GROUND)


def test_a_scene_in_its_own_place_is_good(tiny_scene, tmp_path):
    out, page = tmp_path / "health.json", tmp_path / "health.html"
    done = invoke(evaluate, "scene-health", tiny_scene.scene_path, tiny_scene.dataset_root, "--json", out,
                  "--report", page, "--device", "cpu")  # fmt: skip

    assert done.exit_code == 0, done.output
    content = json.loads(out.read_text())
    assert content["verdict"] == "good"
    assert content["figures"]["lost_frames"] <= 2
    assert content["figures"]["vanished"] + content["figures"]["moved"] <= 3
    assert len(content["landmarks"]) == content["figures"]["landmarks"]
    assert Page(page.read_text()).loads == []


def test_recorded_poses_judge_as_well(tiny_scene, tmp_path):
    out = tmp_path / "health.json"
    done = invoke(evaluate, "scene-health", tiny_scene.scene_path, tiny_scene.dataset_root, "--json", out,
                  "--poses", "recorded", "--device", "cpu")  # fmt: skip

    assert done.exit_code == 0, done.output
    assert json.loads(out.read_text())["figures"]["lost_frames"] == 0


def test_a_recording_of_elsewhere_says_nothing_of_any_landmark(tiny_scene, tmp_path):
    make_flat_dataset(tmp_path / "elsewhere", walk=12)
    out = tmp_path / "health.json"
    done = invoke(evaluate, "scene-health", tiny_scene.scene_path, tmp_path / "elsewhere", "--json", out,
                  "--device", "cpu")  # fmt: skip

    assert done.exit_code == 1
    content = json.loads(out.read_text())
    assert content["verdict"] == "remap"
    assert content["figures"]["unknown"] == content["figures"]["landmarks"]


def test_too_few_frames_are_refused_in_a_line(tiny_scene):
    done = invoke(evaluate, "scene-health", tiny_scene.scene_path, tiny_scene.dataset_root, "--split", "val")

    assert done.exit_code != 0
    assert "has 0 frames of the split val, 10 are needed" in " ".join(done.output.split())


def test_what_is_no_dataset_is_refused(tiny_scene, tmp_path):
    done = invoke(evaluate, "scene-health", tiny_scene.scene_path, tmp_path)

    assert done.exit_code != 0
    assert "is not a dataset" in " ".join(done.output.split())


def test_the_page_shows_what_moved_what_vanished_and_since_when():
    health = _health(moved=True)
    page = Page(render_report(health, "geo-eval scene-health office.safetensors monday sunday"))
    words = " ".join(page.words)

    assert page.loads == []
    assert "Scene health: refresh" in words
    assert "6 landmarks are found elsewhere" in words
    assert "6 landmarks are not found any more" in words
    assert "sunday" in words
    assert "2023-11-14" in words  # 1.7e9 s


def test_the_page_of_a_good_scene_lists_nothing():
    words = " ".join(Page(render_report(_health(moved=False))).words)

    assert "Scene health: good" in words
    assert "Landmarks that are not where they were" not in words


def test_a_stamp_is_a_date_where_it_is_one():
    assert stamp_label(1.7e9) == "2023-11-14 22:13:20 UTC"
    assert stamp_label(12.34) == "12.3 s"
