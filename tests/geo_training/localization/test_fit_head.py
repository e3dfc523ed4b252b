"""Training a head: the config, and the command as a user runs it."""

import json
import shutil

import cv2
import numpy as np
import pytest
import torch
from command_line import invoke
from geo_training.cli import train
from geo_training.datasets.scene import SceneDataset
from geo_training.localization.config import HeadTrainingConfig
from geo_training.localization.data import HeadData, held_out_frames
from geo_training.localization.fit import HeadTask, _rank, fit_head
from geo_training.mapping.landmark_set import SEEN, LandmarkSet
from tiny_scene import map_of

from geo_perception.errors import InputError
from geo_perception.geometry import pose_error
from geo_perception.localization.estimator import Localizer
from geo_perception.localization.scene import Scene
from geo_perception.localization.view_descriptors import ViewDescriptors, ViewIndex, describe_frame, describe_view
from geo_perception.runtime.backbone import create_backbone
from geo_perception.runtime.frozen import FrozenNetwork


def mapped(root, config):
    """The data of the tiny scene, with the map that it was rendered by."""
    dataset = SceneDataset(root)
    return HeadData(dataset, LandmarkSet.load(root), map_of(dataset), config)


SHORT = HeadTrainingConfig(
    steps=2, batch=2, views=1, evaluations=2, width=16, fine_width=0, network_width_px=320, closed_form_frames=8,
    bytes_per_frame=0, held_out=0.03, device="cpu",
)  # fmt: skip


def test_too_few_views_for_a_batch_are_told_before_their_features_are_made(tiny_scene, tmp_path):
    out, config = tmp_path / "s.safetensors", SHORT.model_copy(update={"batch": 5000})
    with pytest.raises(InputError, match=r"views are too few for a batch of 5000; lower batch"):
        fit_head(mapped(tiny_scene.dataset_root, config), out, config)
    assert not out.exists()


def test_a_scene_that_is_there_is_kept_without_overwrite(tiny_scene, tmp_path):
    out = tmp_path / "s.safetensors"
    out.write_bytes(b"a scene")
    command = ["localization", "head", str(tiny_scene.dataset_root), "--out", str(out), "--steps", "1"]
    result = invoke(train, *command)
    assert result.exit_code == 1
    assert "exists; pass --overwrite" in result.stderr
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"s.safetensors": b"a scene"}


@pytest.mark.parametrize("place", ["missing.pt", "/proc/s.safetensors"])
def test_a_place_that_cannot_take_the_scene_is_told_at_once(tmp_path, place):
    # The dataset is not even looked at.
    result = invoke(train, "localization", "head", tmp_path, "--out", tmp_path / place)
    assert result.exit_code == 1
    assert ("must end with .safetensors" if place == "missing.pt" else "cannot be written") in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_training_is_made_again_with_overwrite_and_embeds_its_backbone(tiny_scene, tmp_path):
    out = tmp_path / "s.safetensors"
    out.write_bytes(b"a scene")
    fit_head(mapped(tiny_scene.dataset_root, SHORT), out, SHORT, embed_backbone=True, overwrite=True)
    scene = Scene.load(out)
    assert scene.header["backbone"]["embedded"]
    assert scene.header["figures"]["skipped_steps"] == 0


def test_a_changed_map_does_not_go_on_from_an_old_checkpoint(tiny_scene, tmp_path, monkeypatch):
    root = shutil.copytree(tiny_scene.dataset_root, tmp_path / "walk")
    out, losses = tmp_path / "s.safetensors", HeadTask.losses
    steps = []

    def cut(task, *arguments):
        steps.append(1)
        if len(steps) == 2:
            raise KeyboardInterrupt
        return losses(task, *arguments)

    monkeypatch.setattr(HeadTask, "losses", cut)
    with pytest.raises(KeyboardInterrupt):
        fit_head(mapped(root, SHORT), out, SHORT)
    moved = shutil.copytree(root, tmp_path / "moved")
    images = sorted((root / "images").rglob("*.jpg"))
    images[0].write_bytes(images[1].read_bytes())
    with pytest.raises(InputError, match="another config, other data"):
        fit_head(mapped(root, SHORT), out, SHORT)
    fit_head(mapped(moved, SHORT), out, SHORT)  # the same data elsewhere
    assert len(steps) == 3
    assert out.is_file()


CLOSED_FORM = HeadTrainingConfig(steps=0, network_width_px=320, max_bytes=400_000, held_out=0.1, device="cpu")


@pytest.fixture(scope="module")
def closed_form(tiny_scene, tmp_path_factory):
    """What a training of no steps gives."""
    out = tmp_path_factory.mktemp("closed_form") / "s.safetensors"
    return fit_head(mapped(tiny_scene.dataset_root, CLOSED_FORM), out, CLOSED_FORM)


def test_no_steps_give_a_scene_that_localizes(tiny_scene, closed_form):
    localizer, dataset = Localizer.load(closed_form.path, "cpu"), tiny_scene.dataset
    assert localizer.scene.head.config.width == 0
    errors = []
    for frame in dataset.of_split("test"):
        result = localizer.estimate(dataset.image(frame), dataset.camera(frame))
        assert result.localized, result.detail
        assert 0.6 * result.searched_points <= result.agreeing_points <= result.searched_points
        errors.append(pose_error(frame.T_world_camera, result.T_map_camera)[0])
    assert max(errors) < 0.02


def test_the_history_begins_before_the_first_step(closed_form):
    rows = [json.loads(line) for line in (closed_form.run_dir / "history.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [0]
    assert rows[0]["held_out_localized"] == 1.0
    assert closed_form.metrics["held_out_px"] == rows[0]["held_out_px"] < 8
    assert closed_form.metrics["step"] == 0
    assert (closed_form.run_dir / "curves.html").is_file()


def test_a_scene_is_as_large_as_it_was_asked_to_be(closed_form):
    size = closed_form.path.stat().st_size
    assert 0.95 * 400_000 < size < 1.02 * 400_000
    assert closed_form.metrics["scene_bytes"] == size
    assert closed_form.metrics["map_points"] == len(Scene.load(closed_form.path).points) > 500


def test_a_scene_carries_how_each_view_that_it_was_made_from_looks(tiny_scene, closed_form):
    views = Scene.load(closed_form.path).views
    assert len(views) == len(mapped(tiny_scene.dataset_root, CLOSED_FORM).training)
    assert views.bytes_per_view < 1000
    assert (views.codes_vnk[0] != views.codes_vnk[1]).any()


def test_a_close_up_is_a_part_of_the_frame_magnified(tiny_scene):
    data = mapped(tiny_scene.dataset_root, CLOSED_FORM)
    whole_hw3 = data.view(3, 0, 0).image_hw3
    height_px, width_px = (side // 2 for side in whole_hw3.shape[:2])
    close_hw3 = data.close_up_hw3(3, 2.0, np.random.default_rng(5))
    assert close_hw3.shape == whole_hw3.shape
    smaller_hw3 = cv2.resize(close_hw3, (width_px, height_px), interpolation=cv2.INTER_AREA).astype(float)
    rng = np.random.default_rng(5)
    left_px, top_px = rng.integers(whole_hw3.shape[1] - width_px + 1), rng.integers(whole_hw3.shape[0] - height_px + 1)
    off_hw3 = np.abs(smaller_hw3 - whole_hw3[top_px : top_px + height_px, left_px : left_px + width_px])
    assert off_hw3.mean() < 3
    assert np.abs(smaller_hw3 - whole_hw3[:height_px, :width_px]).mean() > 3 * off_hw3.mean()


def test_a_scene_knows_what_it_saw_from_nearer_than_it_was_seen(tiny_scene, closed_form):
    data, scene = mapped(tiny_scene.dataset_root, CLOSED_FORM), Scene.load(closed_form.path)
    network = FrozenNetwork(scene.backbone, torch.device("cpu"))
    with torch.inference_mode():
        plain = ViewDescriptors.of([describe_view(network(data.view(n, 0, 0).image_hw3)) for n in data.training])
        index = ViewIndex({"it": scene.views, "the same without close-ups": plain})
        shares = [
            dict(index.rank(describe_frame(network(data.close_up_hw3(n, 1.75, np.random.default_rng(99))))))["it"]
            for n in data.training
        ]
    assert np.mean(shares) > 0.6


def test_map_points_fill_what_the_head_leaves_and_half_of_what_is_usual_at_least(tiny_scene):
    def room(head_bytes: int, **changes) -> int:
        config = CLOSED_FORM.model_copy(update=changes)
        data = mapped(tiny_scene.dataset_root, config)
        return HeadTask(data, create_backbone(), torch.device("cpu"))._point_bytes(head_bytes)

    # 38 frames of 8000 bytes are 304,000.
    assert room(100_000, max_bytes=None) == 204_000
    assert room(300_000, max_bytes=None) == 152_000
    assert room(300_000, max_bytes=1_000_000) == 700_000
    assert room(300_000, max_bytes=200_000) == -100_000


def test_a_scene_without_room_for_map_points_has_the_head_alone_and_says_so(tiny_scene, tmp_path, capsys):
    out, config = tmp_path / "s.safetensors", CLOSED_FORM.model_copy(update={"max_bytes": 50_000, "held_out": 0.0})
    result = fit_head(mapped(tiny_scene.dataset_root, config), out, config)
    assert "carries no map points, so it has no second look; allow it more --bytes" in " ".join(
        capsys.readouterr().err.split()
    )
    assert result.metrics["map_points"] == 0
    scene, dataset = Scene.load(out), tiny_scene.dataset
    assert scene.points is None
    frame = dataset.of_split("test")[0]
    found = Localizer(scene, "cpu").estimate(dataset.image(frame), dataset.camera(frame))
    assert found.localized
    assert found.searched_points == 0


def test_the_training_begins_exactly_at_the_closed_form(tiny_scene):
    config = SHORT.model_copy(update={"fine_width": 8, "linear_width": 1024})
    task = HeadTask(mapped(tiny_scene.dataset_root, config), create_backbone(), torch.device("cpu"))
    assert task.network.config.linear_width == sum(task.backbone.channels)  # there are no more directions than that
    task.prepare()
    view = task.data.view(task.data.training[0], 0, 0)
    features = task._features_of(view.image_hw3)
    with torch.no_grad():
        begun, start = task.network.eval()(features), task.start(features)
    # Sums in another order, where there are several threads.
    torch.testing.assert_close(begun.logits_blhw, start.logits_blhw, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(begun.invisible_l, start.invisible_l)
    assert start.fine_bdhw is None  # what has learned nothing moves no place
    assert begun.fine_bdhw is not None
    seen_l = view.state_l == SEEN
    off_px = np.linalg.norm(task.start.find(start).pixels_bl2[0].numpy() - view.pixels_l2, axis=1)[seen_l]
    assert np.median(off_px) < 8  # a cell


def test_a_training_that_makes_the_head_worse_keeps_the_one_it_began_from(tiny_scene, tmp_path, capsys):
    out = tmp_path / "s.safetensors"
    config = SHORT.model_copy(update={"learning_rate": 30.0, "held_out": 0.1, "steps": 1, "evaluations": 1})
    result = fit_head(mapped(tiny_scene.dataset_root, config), out, config)
    assert "training made the head worse on the held-out frames" in " ".join(capsys.readouterr().err.split())
    first, last = result.history
    assert (first["step"], last["step"]) == (0, 1)
    assert first["held_out_recall_5cm_5deg"] >= last["held_out_recall_5cm_5deg"]
    assert result.metrics["held_out_px"] == first["held_out_px"] != last["held_out_px"]
    head = Scene.load(out).head
    assert head.config.width == 0
    assert head.has_linear


def evaluation(recall: float, median_cm: float) -> dict:
    return {"held_out_localized": 1.0, "held_out_recall_5cm_5deg": recall, "held_out_median_cm": median_cm}


@pytest.mark.parametrize(
    ("worse", "better"),
    [
        (evaluation(0.8, 1.0), evaluation(0.9, 3.0)),  # more frames within 5 cm count before a smaller error
        (evaluation(0.9, 3.0), evaluation(0.9, 2.0)),
        (evaluation(0.0, np.inf), evaluation(0.0, 40.0)),
        ({"held_out_localized": 0.5, "held_out_median_scene_units": 0.1},
         {"held_out_localized": 0.6, "held_out_median_scene_units": 0.2}),
        ({"held_out_localized": 0.6, "held_out_median_scene_units": 0.2},
         {"held_out_localized": 0.6, "held_out_median_scene_units": 0.1}),
    ],
)  # fmt: skip
def test_evaluations_are_ranked_by_how_many_frames_localize_well_then_by_how_well(worse, better):
    assert _rank(worse) < _rank(better)


def test_without_held_out_frames_no_head_is_better_than_another():
    assert _rank({"step": 0}) == _rank({"step": 2, "loss": 1.0})


def test_a_head_without_closed_form_is_learned_alone(tiny_scene, tmp_path):
    out, config = tmp_path / "s.safetensors", SHORT.model_copy(update={"linear_width": 0, "held_out": 0.1})
    result = fit_head(mapped(tiny_scene.dataset_root, config), out, config)
    assert [record["step"] for record in result.history] == [1, 2]
    assert not Scene.load(out).head.has_linear


def test_no_steps_and_no_closed_form_are_no_head(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("steps: 0\nlinear_width: 0\n")
    with pytest.raises(InputError, match="steps 0 leaves only the closed form"):
        HeadTrainingConfig.load(path)


@pytest.mark.parametrize("size", ["large", "-1", "0", "3T"])
def test_a_size_that_is_none_is_told_before_the_dataset_is_looked_at(tmp_path, size):
    result = invoke(
        train, "localization", "head", tmp_path / "none", "--out", tmp_path / "s.safetensors", "--bytes", size
    )
    assert result.exit_code == 2
    assert f"'{size}' is not a size" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_held_out_frames_are_runs_of_neighbours():
    held = held_out_frames(100, 0.1)
    assert len(held) == 10
    assert held == sorted(set(held))
    gaps = np.diff(held)
    assert (gaps == 1).sum() == 5  # five runs of two
    assert held_out_frames(100, 0.0) == []
    assert held_out_frames(9, 0.1) == [4]


def test_an_unknown_key_or_a_wrong_type_is_named(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("steps: 5\nspeed: 9\n")
    with pytest.raises(InputError, match="config key 'speed'"):
        HeadTrainingConfig.load(path)
    path.write_text("augmentation:\n  zoom: large\n")
    with pytest.raises(InputError, match=r"config key 'augmentation\.zoom'"):
        HeadTrainingConfig.load(path)
    path.write_text("- a\n")
    with pytest.raises(InputError, match="keys and values"):
        HeadTrainingConfig.load(path)
    path.write_text("steps: 5\n")
    assert HeadTrainingConfig.load(path, batch=2, seed=None) == HeadTrainingConfig(steps=5, batch=2)


def test_the_run_keeps_config_and_history_and_no_checkpoint(tiny_scene):
    run_dir = tiny_scene.scene_path.with_name(tiny_scene.scene_path.name + ".run")
    assert json.loads((run_dir / "config.json").read_text())["steps"] == 200
    history = [json.loads(line) for line in (run_dir / "history.jsonl").read_text().splitlines()]
    assert history[-1]["held_out_px"] < 3
    assert not (run_dir / "checkpoint.safetensors").exists()
    page = (run_dir / "curves.html").read_text()
    assert "held-out" in page
    assert "<script src=" not in page  # it opens without a network


def test_the_command_answers_a_dataset_without_landmarks_with_one_line(tiny_scene, tmp_path):
    root = tmp_path / "bare"
    shutil.copytree(tiny_scene.dataset_root, root)
    (root / "landmarks.safetensors").unlink()
    result = invoke(train, "localization", "head", root, "--out", tmp_path / "s.safetensors")
    assert result.exit_code == 1
    assert "geo-train landmarks" in result.stderr
    assert not (tmp_path / "s.safetensors").exists()


def test_the_command_without_out_is_wrong_usage(tmp_path):
    assert invoke(train, "localization", "head", tmp_path).exit_code == 2
