"""The localization benchmarks from data to metrics, with the real COLMAP and a head that is trained for a few steps."""

import json
import math
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from board_walk import CAMERA, boards, poses_of_walk, render
from geo_training.datasets.scene import SceneDataset
from geo_training.evaluation.localization.evaluate import evaluate_dataset
from geo_training.experiments.bench import BenchOptions, StageCache, run_benchmark
from geo_training.experiments.benches import (
    backbone,
    localization_fox,
    localization_house,
    localization_office,
    localization_pipeline,
)
from geo_training.localization.config import HeadTrainingConfig
from geo_training.mapping.landmark_set import LandmarkSet
from geo_training.metrics.pose import FrameOutcome

from geo_perception.errors import InputError
from geo_perception.geometry import Camera, make_pose
from geo_perception.localization.estimator import Localizer, LocalizerOptions
from geo_perception.localization.result import Detections, Localization, Verdict
from geo_perception.localization.scene import FORMAT_VERSION, Scene
from geo_perception.runtime.backbone import create_backbone
from geo_perception.runtime.weights import load_weights

FRAMES, LANDMARKS = 12, 40
SMALL = {"width": 16, "dilations": (1,), "fine_width": 0, "network_width_px": 128, "views": 1, "steps": 3, "batch": 2,
         "evaluations": 1}  # fmt: skip
OPTIONS = BenchOptions(device="cpu", seed=2)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """An office with recorded poses, photographs of the same boards whose poses have no unit, and a house with three
    walks along them, 3 cm apart."""
    root, scene = tmp_path_factory.mktemp("data"), list(boards(1))
    _record(root / "office", scene, np.eye(4))
    fox, photographs = root / "fox", []
    (fox / "images").mkdir(parents=True)
    for index, T_world_camera in enumerate(poses_of_walk(FRAMES)):
        image_bgr = cv2.cvtColor(render(scene, T_world_camera)[0], cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(fox / "images" / f"{index:05d}.png"), image_bgr)
        # The axes of OpenGL: y up, z backward.
        matrix = (T_world_camera @ np.diag([1.0, -1.0, -1.0, 1.0])).tolist()
        photographs.append({"file_path": f"images/{index:05d}.png", "transform_matrix": matrix})
    lens = {"fl_x": CAMERA.fx_px, "fl_y": CAMERA.fy_px, "cx": CAMERA.cx_px + 0.5, "cy": CAMERA.cy_px + 0.5}
    size = {"w": CAMERA.width_px, "h": CAMERA.height_px}
    (fox / "transforms.json").write_text(json.dumps(lens | size | {"frames": photographs}))
    for name, shift_m in (("walk_a", 0.0), ("walk_b", 0.03), ("walk_c", 0.06)):
        _record(root / "house" / name, scene, make_pose(np.eye(3), [0, shift_m, 0]))
    return root


def _record(folder, scene, T_moved):
    """A recording of the boards: rgb/, K.txt, poses.txt."""
    (folder / "rgb").mkdir(parents=True)
    poses = [T_moved @ T_world_camera for T_world_camera in poses_of_walk(FRAMES)]
    for index, T_world_camera in enumerate(poses):
        image_bgr = cv2.cvtColor(render(scene, T_world_camera)[0], cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(folder / "rgb" / f"{index:05d}.png"), image_bgr)
    (folder / "K.txt").write_text(" ".join(map(str, CAMERA.K.ravel())))
    (folder / "poses.txt").write_text("\n".join(" ".join(map(str, T[:3].ravel())) for T in poses) + "\n")


@pytest.fixture(scope="module", autouse=True)
def few():
    """Blocks of two frames, few landmarks, a small head."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(localization_office, "BLOCK_FRAMES", 2)
        for bench in (localization_office, localization_fox, localization_house):
            monkeypatch.setattr(bench, "LANDMARKS", LANDMARKS)
        small = SimpleNamespace(load=lambda _, **given: HeadTrainingConfig(**SMALL | given))
        monkeypatch.setattr(localization_pipeline, "HeadTrainingConfig", small)
        yield


@pytest.fixture(scope="module")
def office(data, few, tmp_path_factory):
    """The benchmark in the office: its folder, what it writes, its evaluation."""
    work = tmp_path_factory.mktemp("office") / "work"
    return work, *run_benchmark(localization_office.BENCHMARK, data, work, OPTIONS)


def test_an_office_is_mapped_by_its_poses_and_only_the_later_blocks_are_asked(office):
    work, content, evaluation = office
    dataset = SceneDataset(work / "dataset")
    # 70 % of 12 are 8; then two to map and two to ask.
    assert [index for index, frame in enumerate(dataset.frames) if frame.split == "test"] == [10, 11]
    assert (content["config"]["split"]["train"], content["config"]["split"]["test"]) == (10, 2)
    assert len(evaluation.outcomes) == 2
    figures = content["figures"]
    assert figures["sift_recall_5cm_5deg"] == 1.0  # the boards are easy for SIFT on exact poses
    assert figures["map_to_scene_s"] == pytest.approx(figures["landmarks_s"] + figures["train_s"])
    scene_path = work / "scene.safetensors"
    assert figures["scene_bytes"] == scene_path.stat().st_size
    assert Scene.load(scene_path).metric
    landmarks = LandmarkSet.load(dataset.root)
    assert len(landmarks) == LANDMARKS
    assert not {frame.name for frame in dataset.of_split("test")} & set(landmarks.frame_names)
    assert content["config"]["head"]["seed"] == 2


def test_figures_of_a_scene_say_with_and_without_second_look_and_without_training(office):
    work, content, evaluation = office
    figures, dataset = content["figures"], SceneDataset(work / "dataset")

    def measured(name, second_look):
        options = LocalizerOptions(second_look=second_look)
        localizer = Localizer.load(work / f"{name}.safetensors", "cpu", options)
        return evaluate_dataset(localizer, dataset, localizer.scene.landmarks_map_l3, seed=2).metrics

    plain, looked, instant = measured("scene", False), measured("scene", True), measured("instant", True)
    for key in ("recall_5cm_5deg", "recall_2cm_2deg", "recall_1cm_1deg", "median_cm", "median_deg", "frames_missed"):
        assert figures[key] == plain[key]
        assert figures[f"second_look_{key}"] == looked[key] == evaluation.metrics[key]
        assert figures[f"instant_{key}"] == instant[key]
    for key in ("frame_ms_p50", "coverage_frames"):
        assert figures[key] == evaluation.metrics[key]
    assert figures["instant_bytes"] == (work / "instant.safetensors").stat().st_size
    assert content["config"]["head"]["steps"] == SMALL["steps"]


@pytest.mark.slow
def test_a_house_is_mapped_on_two_walks_and_on_one_and_a_third_is_asked_of_both(data, tmp_path):
    content, evaluation = run_benchmark(localization_house.BENCHMARK, data, tmp_path / "work", OPTIONS)
    for folder, mapped in (("dataset", ("walk_a", "walk_c")), ("alone/dataset", ("walk_a",))):
        dataset = SceneDataset(tmp_path / "work" / folder)
        assert dataset.sequences == sorted((*mapped, "walk_b"))
        assert {frame.sequence for frame in dataset.of_split("train")} == {*mapped}
        # Each second frame of the walk that is asked; nothing is learned from the others either.
        assert [frame.name for frame in dataset.of_split("test")] == [
            f"walk_b/{n:05d}.png" for n in range(1, FRAMES, 2)
        ]
        assert len(dataset.of_split("val")) == FRAMES / 2
        names = LandmarkSet.load(dataset.root).frame_names
        assert {name.split("/")[0] for name in names} == {*mapped}
        points = Scene.load(dataset.root.parent / "scene.safetensors").points
        assert len(points.keypoints) == points.point_a.max() + 1  # the map that COLMAP makes describes all of them
    assert [outcome.sequence for outcome in evaluation.outcomes] == ["walk_b"] * (FRAMES // 2)
    figures, config = content["figures"], content["config"]
    assert figures["sift_recall_5cm_5deg"] == figures["alone_sift_recall_5cm_5deg"] == 1.0
    assert figures["alone_sift_bytes"] < figures["sift_bytes"]
    assert figures["alone_scene_bytes"] == (tmp_path / "work" / "alone" / "scene.safetensors").stat().st_size
    assert config["split"]["mapped"] == ("walk_a", "walk_c")
    assert config["alone"]["split"]["mapped"] == ("walk_a",)


def test_photographs_are_mapped_together_and_measured_in_scene_depth(data, tmp_path):
    content, evaluation = run_benchmark(localization_fox.BENCHMARK, data, tmp_path / "work", OPTIONS)
    figures = content["figures"]
    assert figures["images_registered"] == FRAMES  # also those that are asked: the map's poses are the truth
    split = content["config"]["split"]
    assert (split["each"], split["train"], split["test"]) == (5, 10, 2)
    assert len(evaluation.outcomes) == 2
    assert figures["scene_depth"] > 0
    assert math.isfinite(figures["map_s"])
    assert not Scene.load(tmp_path / "work" / "scene.safetensors").metric


def test_a_map_that_is_not_good_enough_ends_the_benchmark_and_is_no_finished_stage(data, tmp_path):
    stages = StageCache(tmp_path / "work", {})
    root = localization_pipeline.import_stage(stages, data / "office", "images")
    for path in sorted((root / "images").rglob("*.png"))[2:]:
        cv2.imwrite(str(path), cv2.GaussianBlur(cv2.imread(str(path)), (0, 0), 30))
    with pytest.raises(InputError, match="the map is not good enough: "):
        localization_pipeline.map_stage(stages, root, "none")
    assert not (root / "map.json").exists()
    assert "map" not in json.loads((tmp_path / "work" / "stages.json").read_text())["stages"]


@pytest.mark.slow
def test_backbones_are_measured_on_scenes_that_the_trained_one_never_saw(data, tmp_path, monkeypatch):
    both = {name: backbone.BACKBONES[name] for name in ("imagenet", "agnostic")}
    small = {"BACKBONES": both, "COUNTS": (12, 24), "EACH_FRAME": 1, "ROOMS": 2, "ROOM_LANDMARKS": 30,
             "BLOCK_FRAMES": 2, "TRAINING": {"batch": 2, "crop_px": 64, "network_width_px": 128}}  # fmt: skip
    for name, value in small.items():
        monkeypatch.setattr(backbone, name, value)
    work = tmp_path / "work"
    options = BenchOptions(device="cpu", seed=2, minutes=0.01)
    result = backbone.run(data, StageCache(work, {}), options)
    _, header = load_weights(work / "house" / "backbone.safetensors", "backbone", 1)
    assert [scene["name"] for scene in header["scenes"]] == ["dataset", "dataset_2"]
    assert sum(scene["frames"] for scene in header["scenes"]) == 3 * FRAMES
    assert result.metrics["steps"] == header["config"]["steps"] >= 1
    sums = {"imagenet": create_backbone().checksum, "agnostic": header["backbone"]["sha256"]}
    assert sums["agnostic"] != sums["imagenet"] == header["began_with_sha256"]
    for name, checksum in sums.items():
        for count in (12, 24):
            _, scene = load_weights(work / "office" / f"{name}_{count}.safetensors", "scene", FORMAT_VERSION)
            assert scene["backbone"]["sha256"] == checksum
            assert scene["head"]["landmarks"] == count
            assert 0 <= result.metrics[f"office_{name}_{count}_recall_5cm_5deg"] <= 1
            assert 0 <= result.metrics[f"fox_{name}_{count}_recall_2pct_5deg"] <= 1
            assert 0 <= result.metrics[f"fox_{name}_{count}_found_8px"] <= 1
            assert result.metrics[f"fox_{name}_{count}_head_s"] > 0
    again = backbone.run(data, StageCache(work, {}), options)
    assert again.metrics == result.metrics  # nothing is done twice
    page = result.report.write_report(tmp_path / "page.html").read_text()
    assert "EfficientNet-Lite0, scene-agnostic (trained here)" in page
    assert "24 landmarks" in page


def test_the_share_of_landmarks_found_counts_those_inside_the_image_alone():
    camera, T_true = Camera(100, 80, 50.0, 50.0, 49.5, 39.5), np.eye(4)
    # At (49.5, 39.5), (99.5 - 0.5, 39.5), (24.5, 39.5) pixels; behind the camera; beside the image.
    landmarks_l3 = np.array([[0, 0, 2.0], [0.99, 0, 1.0], [-1, 0, 2.0], [0, 0, -2.0], [3, 0, 1.0]])
    landmark_n, pixels_n2 = np.array([0, 1, 4, 3]), np.array([[49.5, 47.4], [99.0, 48.0], [95.0, 39.5], [0.0, 0.0]])
    four = np.zeros(4)
    found = Detections(landmark_n, pixels_n2, landmarks_l3[landmark_n], four, four, four.astype(bool))
    answer = Localization(Verdict.NO_CONSENSUS, "", found)
    outcome = FrameOutcome("a", "a", 0, answer.verdict.value, T_true, camera=camera, localization=answer)
    # Three are inside; the first is 7.9 px off, the second 8.5, and the third is not detected.
    assert backbone.found_share([outcome], landmarks_l3) == pytest.approx(1 / 3)
    assert math.isnan(backbone.found_share([], landmarks_l3))
