"""`geo-eval depth` with real networks that have learned nothing."""

import json
import shutil
from functools import partial

import cv2
import numpy as np
import pytest
from command_line import invoke
from geo_training.cli import evaluate
from geo_training.datasets.scene import SceneDataset
from geo_training.datasets.scene_writer import SceneWriter
from html_page import Page

from geo_perception.depth import estimator
from geo_perception.geometry import Camera, make_pose, so3_exp


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Depth and motion of networks with random weights."""
    import torch
    from geo_training.depth.networks.pose_network import PoseEstimator, PoseNetwork, PoseNetworkConfig

    from geo_perception.depth.network import make_depth_network

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("weights")
    network = make_depth_network(
        {"architecture": "encoder_decoder", "backbone": "test_efficientnet", "widths": (8, 8, 8, 8, 8)}
    )
    estimator.DepthEstimator(network, device="cpu", area_px=96 * 64).save(folder / "blank.safetensors", {})
    motion = PoseEstimator(PoseNetwork(PoseNetworkConfig()), (96, 64), "cpu")
    motion.save(folder / "blank.pose.safetensors", {})
    return folder / "blank.safetensors"


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    """Seven frames with depth and poses; the last five are test."""
    root, rng = tmp_path_factory.mktemp("data") / "walk", np.random.default_rng(1)
    with SceneWriter(root, sources=["test"]) as writer:
        camera_id = writer.add_camera(Camera(96, 64, 80.0, 80.0, 47.5, 31.5))
        for i in range(7):
            image = cv2.resize(rng.integers(0, 255, (8, 12, 3), np.uint8), (96, 64))
            depth_m = np.full((64, 96), 3.0, np.float32)
            depth_m[10:50, 20:60] = 1.5
            T_world_camera = make_pose(so3_exp(np.array([0, 0.1 * i, 0])), [np.sin(i), np.cos(i), 0.3 * i])
            writer.add_frame("walk", i * 10**8, camera_id, image_rgb=image, depth_m=depth_m,
                             T_world_camera=T_world_camera, split="train" if i < 2 else "test")  # fmt: skip
        writer.describe(scale="metric", scale_source="test")
    return root


run = partial(invoke, evaluate)


def answer(result):
    return " ".join(result.output.replace("│", " ").split())


def test_a_dataset_is_measured_and_reported(weights, walk, tmp_path):
    out, page = tmp_path / "out.json", tmp_path / "page.html"
    motion = weights.with_suffix(".pose.safetensors")
    result = run("depth", weights, walk, "--odometry", motion, "--device", "cpu", "--json", out, "--report", page)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("5 frames; its own scale: abs_rel ")
    content = json.loads(out.read_text())
    metrics = content["figures"]
    asked = {"abs_rel", "sq_rel", "rms", "log_rms", "d1", "d2", "d3", "abs_rel_one_scale", "abs_rel_unscaled", "scale",
             "scale_spread", "edge", "edge_precision", "edge_recall", "edge_width_px", "ause", "ause_random",
             "rank_correlation", "confidence", "confidence_actual", "ate5_m", "ate5_std_m", "ate_m", "rpe_m", "rpe_deg",
             "frame_ms_p50", "frame_ms_p99", "failed"}  # fmt: skip
    assert asked <= set(metrics)
    # Depth is 3 m and 1.5 m; an untrained network is nearly flat.
    assert 0 < metrics["abs_rel"] < 0.5
    assert metrics["frames"] == len(content["frames"]) == metrics["odometry_frames"] == 5
    assert content["config"] == {"preset": "indoor", "crop": "none", "cap_m": 10.0, "min_m": 0.001, "split": None}
    assert content["metadata"]["weights"].startswith(str(weights))
    assert content["metadata"]["data"] == f"{walk} (split test)"
    shown = Page(page.read_text())
    assert shown.open == []
    assert shown.images >= 5
    assert "Motion of the camera" in " ".join(shown.words)


def test_maps_are_completed_by_true_depths_where_asked(weights, walk, tmp_path):
    out, page, kept = tmp_path / "out.json", tmp_path / "page.html", tmp_path / "kept.npz"
    common = "depth", weights, walk, "--points", 60, "--json", out
    result = run(*common, "--device", "cpu", "--report", page, "--predictions", kept)
    assert result.exit_code == 0, result.output
    assert "completed by 60 points: abs_rel 0." in answer(result)
    content = json.loads(out.read_text())
    figures = content["figures"]
    # A box of 1.5 m before a wall of 3 m, of which an untrained network sees nothing; sixty points do but for its edge.
    assert figures["field_abs_rel"] < 0.6 * figures["abs_rel"]
    assert figures["field_d1"] > figures["d1"]
    assert 0.5 < figures["field_coverage_90"] <= 1
    assert content["config"]["points"] == 60
    assert "a field, by 60 true depths" in page.read_text()
    again = run(*common, "--from-predictions", kept)
    assert again.exit_code == 0, again.output
    assert json.loads(out.read_text())["figures"]["field_abs_rel"] == pytest.approx(figures["field_abs_rel"])
    many = run("depth", weights, walk, "--points", 7000, "--device", "cpu")
    assert "no image has 7000 pixels of true depth" in answer(many)
    assert run("depth", weights, walk, "--device", "cpu", "--json", out).exit_code == 0
    assert not any("field" in key for key in json.loads(out.read_text())["figures"])


def test_options_are_laid_over_the_preset(weights, walk, tmp_path):
    out = tmp_path / "out.json"
    result = run("depth", weights, walk, "--split", "train", "--preset", "kitti", "--cap", 2, "--device", "cpu",
                 "--json", out)  # fmt: skip
    assert result.exit_code == 0, result.output
    content = json.loads(out.read_text())
    assert content["config"] == {"preset": "kitti", "crop": "garg", "cap_m": 2.0, "min_m": 0.001, "split": "train"}
    assert content["figures"]["frames"] == 2
    assert [row["to_m"] for row in content["by_distance"]] == [1.625]  # only the near one
    assert run("depth", weights, walk, "--preset", "kitti", "--crop", "none", "--device", "cpu").exit_code == 0


def test_an_error_above_the_limit_is_exit_1(weights, walk):
    result = run("depth", weights, walk, "--device", "cpu", "--max-abs-rel", 0.0001)
    assert result.exit_code == 1
    assert "above 0.0001" in result.output
    assert run("depth", weights, walk, "--device", "cpu", "--max-abs-rel", 10).exit_code == 0
    nothing = run("depth", weights, walk, "--device", "cpu", "--max-abs-rel", 10, "--cap", 0.5)
    assert nothing.exit_code == 1
    assert "cannot be checked" in nothing.output


def test_the_reference_weights_are_a_word(weights, walk, monkeypatch, tmp_path):
    monkeypatch.setattr(estimator, "reference_weights", lambda: weights)
    result = run("depth", "reference", walk, "--device", "cpu", "--json", tmp_path / "out.json")
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "out.json").read_text())["metadata"]["weights"].startswith("the reference weights")


@pytest.fixture(scope="module")
def kept(weights, walk, tmp_path_factory):
    """The predictions of depth and motion, the result of the run that wrote them, and how it was called."""
    folder = tmp_path_factory.mktemp("kept")
    common = "depth", weights, walk, "--odometry", weights.with_suffix(".pose.safetensors")
    result = run(*common, "--device", "cpu", "--predictions", folder / "p.npz", "--json", folder / "r.json")
    assert result.exit_code == 0, result.output
    return folder / "p.npz", json.loads((folder / "r.json").read_text()), common


def test_kept_predictions_give_the_same_result_with_the_times_of_the_first_run(kept, tmp_path):
    path, first, common = kept
    out, page = tmp_path / "again.json", tmp_path / "page.html"
    result = run(*common, "--from-predictions", path, "--json", out, "--report", page)
    assert result.exit_code == 0, result.output
    again = json.loads(out.read_text())
    assert again["metadata"].pop("predictions").startswith(f"{path}; times are of the run that wrote it (processor ")
    assert again == first  # the times, too, so no network ran
    assert "Motion of the camera" in " ".join(Page(page.read_text()).words)


def test_kept_predictions_can_be_compared_in_another_way(kept, weights, walk, tmp_path):
    path, first, common = kept
    results = []
    for more in (("--from-predictions", path), ("--device", "cpu")):
        result = run(*common, *more, "--cap", 2, "--json", tmp_path / "near.json")
        assert result.exit_code == 0, result.output
        figures = json.loads((tmp_path / "near.json").read_text())["figures"]
        results.append({name: value for name, value in figures.items() if not name.startswith("frame_ms")})
    assert results[0] == results[1]
    assert results[0]["abs_rel"] != first["figures"]["abs_rel"]


def test_a_file_of_predictions_holds_the_maps_as_they_came(kept, weights, walk):
    dataset = SceneDataset(walk)
    frames = dataset.of_split("test")
    with np.load(kept[0]) as file:
        header, *rows = map(json.loads, file["lines"].tobytes().decode().splitlines())
        last_hw = file["depth_hw/4"]
    assert (header["kind"], header["frames"]) == ("depth predictions", 5)
    assert header["paths"][0]["frames"] == [row["name"] for row in rows] == [frame.name for frame in frames]
    expected = estimator.DepthEstimator.load(weights, "cpu").estimate(
        dataset.image(frames[-1]), dataset.camera(frames[-1])
    )
    assert last_hw.dtype == np.float32
    np.testing.assert_array_equal(last_hw, expected.depth_hw)


def test_predictions_of_something_else_are_one_line(kept, weights, walk, tmp_path):
    path, _, common = kept
    cut, other, dusk = tmp_path / "cut.npz", tmp_path / "other.jsonl", tmp_path / "dusk"
    cut.write_bytes(path.read_bytes()[:-200])
    other.write_text('{"kind": "calibration predictions", "format_version": 1, "frames": 0}\n')
    shutil.copytree(walk, dusk)
    image = next((dusk / "images" / "walk").glob("*6.jpg"))
    cv2.imwrite(str(image), cv2.imread(str(image)) // 2)
    for arguments, words in (
        ((*common, "--from-predictions", cut), "is no file of predictions, or it is damaged or cut short"),
        ((*common, "--from-predictions", other), "holds calibration predictions; depth predictions are needed here"),
        ((*common, "--from-predictions", path, "--split", "all"), "(split test); the frames given here are others"),
        (("depth", weights, dusk, *common[3:], "--from-predictions", path), "have changed since"),
        (("depth", weights, walk, "--from-predictions", path), "holds the answers of other weights"),
    ):
        result = run(*arguments)
        assert result.exit_code == 1
        assert words in answer(result)
        assert len(result.output.strip().splitlines()) == 1


def test_no_network_has_a_device_where_predictions_are_read(kept):
    for more, words in ((("--device", "cpu"), "no network runs"), (("--predictions", "p.npz"), "kept already")):
        result = run(*kept[2], "--from-predictions", kept[0], *more)
        assert result.exit_code == 2
        assert words in answer(result)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--split", "middle"), 2, "'middle' is none of train, val, test, all"),
        (("--preset", "outdoor"), 2, "'outdoor' is none of auto, kitti, indoor"),
        (("--crop", "eigen"), 2, "'eigen' is none of garg, none"),
        (("--cap", "0"), 2, "--cap"),
        (("--split", "val"), 1, "has no frame of split 'val'"),
        (("--odometry", "no.safetensors"), 1, "does not exist"),
    ],
)
def test_a_mistake_is_answered(weights, walk, arguments, code, words):
    result = run("depth", weights, walk, "--device", "cpu", *arguments)
    assert result.exit_code == code
    assert words in answer(result)
    assert "Traceback" not in result.output


def test_wrong_files_and_folders_are_one_line(weights, walk, tmp_path):
    for arguments, words in (((tmp_path / "no.safetensors", walk), "does not exist"),
                             ((weights, tmp_path / "nowhere"), "is not a folder"),
                             ((weights, tmp_path), "holds no dataset.json"),
                             ((weights.with_suffix(".pose.safetensors"), walk), "")):  # fmt: skip
        result = run("depth", *arguments, "--device", "cpu")
        assert result.exit_code == 1
        assert words in result.output
        assert len(result.output.strip().splitlines()) == 1


def test_a_dataset_without_depth_is_one_line(weights, tmp_path):
    with SceneWriter(tmp_path / "drive", sources=["test"]) as writer:
        camera_id = writer.add_camera(Camera(96, 64, 80.0, 80.0, 47.5, 31.5))
        for i in range(3):
            writer.add_frame("drive", i, camera_id, image_rgb=np.zeros((64, 96, 3), np.uint8))
    result = run("depth", weights, tmp_path / "drive", "--device", "cpu")
    assert result.exit_code == 1
    assert "no image has true depth; give a dataset with depth/" in answer(result)
    motion = weights.with_suffix(".pose.safetensors")
    unposed = run("depth", weights, tmp_path / "drive", "--odometry", motion, "--device", "cpu")
    assert unposed.exit_code == 1
    assert "no 5 frames in a row with true poses" in answer(unposed)
