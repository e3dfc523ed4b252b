"""The localization benchmarks from data to metrics, with the real COLMAP and a head that is trained for a few steps."""

import json
import math
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from board_walk import CAMERA, boards, poses_of_walk, render
from geo_training.datasets.scene import SceneDataset
from geo_training.experiments.bench import BenchOptions, StageCache, run_benchmark
from geo_training.experiments.benches import localization_fox, localization_office, localization_pipeline
from geo_training.localization.config import HeadTrainingConfig
from geo_training.mapping.landmark_set import LandmarkSet

from geo_perception.errors import InputError
from geo_perception.localization.scene import Scene

FRAMES, LANDMARKS = 12, 40
SMALL = {"width": 16, "dilations": (1,), "fine_width": 0, "network_width_px": 128, "views": 1, "steps": 3, "batch": 2,
         "evaluations": 1}  # fmt: skip
OPTIONS = BenchOptions(device="cpu", seed=2)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """An office with recorded poses, and photographs of the same boards whose poses have no unit."""
    root, scene = tmp_path_factory.mktemp("data"), list(boards(1))
    office, fox = root / "office", root / "fox"
    for folder in (office / "rgb", fox / "images"):
        folder.mkdir(parents=True)
    recorded, photographs = [], []
    for index, T_world_camera in enumerate(poses_of_walk(FRAMES)):
        image_bgr = cv2.cvtColor(render(scene, T_world_camera)[0], cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(office / "rgb" / f"{index:05d}.png"), image_bgr)
        cv2.imwrite(str(fox / "images" / f"{index:05d}.png"), image_bgr)
        recorded.append(" ".join(map(str, T_world_camera[:3].ravel())))
        # The axes of OpenGL: y up, z backward.
        matrix = (T_world_camera @ np.diag([1.0, -1.0, -1.0, 1.0])).tolist()
        photographs.append({"file_path": f"images/{index:05d}.png", "transform_matrix": matrix})
    (office / "K.txt").write_text(" ".join(map(str, CAMERA.K.ravel())))
    (office / "poses.txt").write_text("\n".join(recorded) + "\n")
    lens = {"fl_x": CAMERA.fx_px, "fl_y": CAMERA.fy_px, "cx": CAMERA.cx_px + 0.5, "cy": CAMERA.cy_px + 0.5}
    size = {"w": CAMERA.width_px, "h": CAMERA.height_px}
    (fox / "transforms.json").write_text(json.dumps(lens | size | {"frames": photographs}))
    return root


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """Blocks of two frames, few landmarks, a small head."""
    monkeypatch.setattr(localization_office, "BLOCK_FRAMES", 2)
    for bench in (localization_office, localization_fox):
        monkeypatch.setattr(bench, "LANDMARKS", LANDMARKS)
    small = SimpleNamespace(load=lambda _, **given: HeadTrainingConfig(**SMALL, **given))
    monkeypatch.setattr(localization_pipeline, "HeadTrainingConfig", small)


def test_an_office_is_mapped_by_its_poses_and_only_the_later_blocks_are_asked(data, tmp_path):
    content, evaluation = run_benchmark(localization_office.BENCHMARK, data, tmp_path / "work", OPTIONS)
    dataset = SceneDataset(tmp_path / "work" / "dataset")
    # 70 % of 12 are 8; then two to map and two to ask.
    assert [index for index, frame in enumerate(dataset.frames) if frame.split == "test"] == [10, 11]
    assert (content["config"]["split"]["train"], content["config"]["split"]["test"]) == (10, 2)
    assert len(evaluation.outcomes) == 2
    figures = content["figures"]
    assert figures["sift_recall_5cm_5deg"] == 1.0  # the boards are easy for SIFT on exact poses
    assert figures["map_to_scene_s"] == pytest.approx(figures["landmarks_s"] + figures["train_s"])
    scene_path = tmp_path / "work" / "scene.safetensors"
    assert figures["scene_bytes"] == scene_path.stat().st_size
    assert Scene.load(scene_path).metric
    landmarks = LandmarkSet.load(dataset.root)
    assert len(landmarks) == LANDMARKS
    assert not {frame.name for frame in dataset.of_split("test")} & set(landmarks.frame_names)
    assert content["config"]["head"]["seed"] == 2


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
