"""A network as an ONNX file: it gives what torch gives, or it is not written; and a node's estimator finds it."""

import json

import cv2
import numpy as np
import onnx
import pytest
import torch
from command_line import invoke
from geo_training.cli import train
from geo_training.evaluation.engines import export
from geo_training.evaluation.engines.export import export_graph, graph_bytes
from geo_training.evaluation.engines.subjects import load_subject

from geo_perception.calibration.estimator import Calibrator
from geo_perception.depth.estimator import DepthEstimator
from geo_perception.depth.onnx_estimator import load_depth_estimator
from geo_perception.errors import InputError
from geo_perception.localization.estimator import Localizer
from geo_perception.runtime import engine
from geo_perception.runtime.onnx_engine import METADATA_KEY


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch):
    monkeypatch.setattr(engine, "_chosen", type(engine._chosen)())


@pytest.fixture
def in_float32(monkeypatch):
    monkeypatch.setattr(engine.device, "half_precision", lambda device: None)


def test_a_depth_network_with_its_sharpener_is_written_and_found_beside_its_weights(depth_file, images, in_float32):
    out = depth_file.with_suffix(".onnx")
    differences = export_graph(load_subject(str(depth_file)), images, out)
    assert {difference.key for difference in differences} == {"median_pct", "p99_pct", "steps_pct"}
    assert all(difference.value < 0.02 for difference in differences)
    by_torch, by_graph = (DepthEstimator.load(depth_file, "cpu", name) for name in ("torch", "onnxruntime"))
    assert by_graph.choice.name == "onnxruntime"
    for image_hw3 in images:
        one, other = (estimator.estimate(image_hw3, None) for estimator in (by_graph, by_torch))
        np.testing.assert_allclose(one.depth_hw, other.depth_hw, rtol=1e-3)
        np.testing.assert_allclose(one.sigma_hw, other.sigma_hw, rtol=1e-3)


def test_normalizations_are_folded_and_the_file_says_of_what_it_was_made(depth_file):
    subject = load_subject(str(depth_file))
    model = onnx.load_from_string(graph_bytes(subject.frozen, subject.names))
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    assert [output.name for output in model.graph.output] == ["disparity", "log_sigma"]
    made_of = json.loads({entry.key: entry.value for entry in model.metadata_props}[METADATA_KEY])
    assert made_of["checksum"] == subject.frozen.checksum
    sides = [side.dim_param or side.dim_value for side in model.graph.input[0].type.tensor_type.shape.dim]
    assert sides == [1, 3, "height", "width"]


def test_a_calibration_network_is_written_and_used(calibration_file, images, in_float32):
    export_graph(load_subject(str(calibration_file)), images, calibration_file.with_suffix(".onnx"))
    by_torch, by_graph = (Calibrator.load(calibration_file, "cpu", engine=name) for name in ("torch", "onnxruntime"))
    for image_hw3 in images:
        one, other = (calibrator.estimate(image_hw3) for calibrator in (by_graph, by_torch))
        assert one.focal_px == pytest.approx(other.focal_px, rel=1e-3)
        assert (one.pitch_rad, one.roll_rad) == pytest.approx((other.pitch_rad, other.roll_rad), abs=1e-3)
    assert by_graph.choice.name == "onnxruntime"


def test_backbone_and_head_of_a_scene_are_one_graph(tiny_scene, tmp_path, in_float32):
    dataset = tiny_scene.dataset
    frames = dataset.of_split("test")
    scene = tmp_path / "tiny.safetensors"
    scene.write_bytes(tiny_scene.scene_path.read_bytes())
    result = invoke(train, "export", scene, "--images", dataset.root / "images", "--json", tmp_path / "said.json")
    assert result.exit_code == 0, result.output
    said = json.loads((tmp_path / "said.json").read_text())
    assert said["differences"]["lost_pct"] == 0
    assert said["differences"]["position_cm"] < 0.1
    localizer = Localizer.load(scene, "cpu", engine="onnxruntime")
    by_torch = Localizer.load(scene, "cpu", engine="torch")
    for frame in frames[:2]:
        one, other = (own.estimate(dataset.image(frame), dataset.camera(frame)) for own in (localizer, by_torch))
        np.testing.assert_allclose(one.T_map_camera, other.T_map_camera, atol=1e-3)
    assert localizer.choice.name == "onnxruntime"


def test_what_differs_is_not_written(depth_file, images, monkeypatch):
    subject, other = load_subject(str(depth_file)), load_subject(str(depth_file))
    with torch.no_grad():
        other.frozen.folded.network.predict[-1].bias += 0.02  # 2 % of the disparity
    wrong = graph_bytes(other.frozen, other.names)
    monkeypatch.setattr(export, "graph_bytes", lambda *_: wrong)
    out = depth_file.with_suffix(".onnx")
    with pytest.raises(InputError, match=r"nothing is written: the graph differs from torch; median difference of dep"):
        export_graph(subject, images, out)
    assert not out.exists()
    result = invoke(train, "export", depth_file, "--images", folder_of(images, depth_file.parent))
    assert result.exit_code == 1
    assert "99th percentile of it: 1.98 % (0.1 % allowed)" in result.stderr
    assert "Traceback" not in result.output


def folder_of(images, place):
    for index, image_hw3 in enumerate(images[:2]):
        cv2.imwrite(str(place / f"{index}.png"), cv2.cvtColor(image_hw3, cv2.COLOR_RGB2BGR))
    return place


def test_the_graph_of_other_weights_is_not_used(depth_file, calibration_file, images):
    export_graph(load_subject(str(calibration_file)), images, depth_file.with_suffix(".onnx"))
    estimator = DepthEstimator.load(depth_file, "cpu")
    assert estimator.choice.name != "onnxruntime"
    with pytest.raises(InputError, match=r"engine onnxruntime: .*is the graph of other weights, or of another version"):
        DepthEstimator.load(depth_file, "cpu", "onnxruntime").warm_up()


def test_a_graph_of_one_size_leaves_others_to_torch(depth_file, images):
    result = invoke(train, "export", depth_file, "--size", "256x192", "--images", folder_of(images, depth_file.parent))
    assert result.exit_code == 1
    assert "cannot be run on these images" in result.stderr  # the network sees them in 128 x 96
    export_graph(load_subject(str(depth_file)), images[:2], depth_file.with_suffix(".onnx"), (128, 96))
    estimator = DepthEstimator.load(depth_file, "cpu", "onnxruntime")
    estimator.estimate(images[0], None)
    assert estimator.choice.name == "onnxruntime"
    assert estimator.estimate(images[2], None).estimated
    assert estimator.choice.name == "torch"
    assert estimator.choice.why.startswith("onnxruntime failed (")


def test_who_gives_the_graph_as_weights_is_told_what_it_is(depth_file, images):
    out = depth_file.with_suffix(".onnx")
    export_graph(load_subject(str(depth_file)), images, out)
    with pytest.raises(InputError, match=r"write depth\.yaml beside it"):
        load_depth_estimator(out)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("depth",), "say where the graph"),
        (("nowhere.safetensors",), "is not there; give a weights file, a scene, depth or calibration"),
        (("depth", "--out", "graph.bin"), "must end with .onnx"),
        (("depth", "--out", "graph.onnx", "--size", "100x64"), "multiples of 32"),
        (("depth", "--out", "graph.onnx", "--to", "tensorrt"), "none of onnx"),
        (("depth", "--out", "graph.onnx", "--images", "nowhere"), "nowhere is not there"),
    ],
)
def test_what_cannot_be_exported_is_one_line(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = invoke(train, "export", *arguments)
    assert result.exit_code in (1, 2)
    assert message in " ".join(result.output.split())
    assert list(tmp_path.iterdir()) == []


def test_a_scene_needs_images_of_its_place(tiny_scene, tmp_path):
    result = invoke(train, "export", tiny_scene.scene_path, "--out", tmp_path / "a.onnx")
    assert result.exit_code == 1
    assert "give a folder of images of its place with --images" in result.stderr


def test_places_of_landmarks_are_judged_where_they_are_seen(tiny_scene):
    graph = Localizer.load(tiny_scene.scene_path, "cpu", engine="torch").frozen.folded
    exact = graph(engine.probe_image(64, 96))
    at, seen = graph.levels, torch.arange(exact[graph.levels].shape[1]) < 16
    exact[at + 1] = torch.where(seen, 0.5, 1e-9)[None]
    moved = [tensor.clone() for tensor in exact]
    moved[at][:, ~seen] += 100.0  # of landmarks that are not there
    assert engine.parity_problem(graph, moved, exact, exact) == ""
    moved[at][:, seen] += 2.5
    assert engine.parity_problem(graph, moved, exact, exact) == ""  # less than half a cell
    moved[at][:, seen] += 2.5
    assert "other answers than torch" in engine.parity_problem(graph, moved, exact, exact)
    moved = [*exact[:at], exact[at], exact[at + 1] + 0.1, *exact[at + 2 :]]
    assert "other answers than torch" in engine.parity_problem(graph, moved, exact, exact)
