"""A scene-agnostic backbone: strategies, what moves and what does not, the file, resuming, refusals."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from command_line import invoke
from geo_training.cli import train
from geo_training.datasets.scene import SceneDataset
from geo_training.engine.loop import LoopConfig, make_accelerator, run_loop
from geo_training.localization.backbone.commands import held_out_summary
from geo_training.localization.backbone.config import BackboneTrainingConfig
from geo_training.localization.backbone.data import SceneStream, crop_view, name_scenes
from geo_training.localization.backbone.fit import BackboneTask, fit_backbone
from geo_training.localization.config import HeadTrainingConfig
from geo_training.localization.data import HeadData
from geo_training.localization.fit import fit_head
from geo_training.mapping.landmark_set import LandmarkSet
from tiny_scene import map_of

from geo_perception.errors import InputError
from geo_perception.localization.scene import Scene
from geo_perception.runtime.backbone import create_backbone
from geo_perception.runtime.weights import load_weights

NAME = "tf_efficientnet_lite0"
CPU = torch.device("cpu")
CONFIG = BackboneTrainingConfig(
    scenes=("dataset",), steps=2, batch=2, network_width_px=320, crop_px=96, linear_width=64, closed_form_frames=8,
    held_out=0.25, evaluations=1, unseen_share=1.0, device="cpu",
)  # fmt: skip


def part_of(root, config, frames: slice, landmarks: int) -> HeadData:
    """A scene of some frames of the tiny one, and of its first landmarks."""
    dataset = SceneDataset(root)
    names = [frame.name for frame in dataset.of_split("train")][frames]
    found = LandmarkSet.load(root).first(landmarks)
    rows = [found.frame_names.index(name) for name in names]
    found = replace(
        found, frame_names=names, visibility_fl=found.visibility_fl[rows], pixels_fl2=found.pixels_fl2[rows]
    )
    return HeadData(dataset, found, map_of(dataset), config.views())


@pytest.fixture(scope="module")
def data(tiny_scene):
    """Two scenes with other frames, and as many landmarks as they like."""
    root = tiny_scene.dataset_root
    return [part_of(root, CONFIG, slice(0, 22), 64), part_of(root, CONFIG, slice(22, 36), 40)]


def task_of(data, **changes) -> BackboneTask:
    config = CONFIG.model_copy(update=changes)
    return BackboneTask(name_scenes(data, config), config, create_backbone(), CPU)


def test_a_window_of_a_view_moves_its_landmarks_and_hides_those_beside_it():
    image_hw3 = np.arange(64 * 96 * 3).reshape(64, 96, 3)
    pixels_l2 = np.array([[50.0, 30.0], [10.0, 30.0], [50.0, np.nan], [60.0, 31.0]])
    state_l = np.array([1, 1, -1, 0], np.int8)
    window_hw3, moved_l2, seen_l = crop_view(image_hw3, pixels_l2, state_l, (32, 32), np.random.default_rng(4))
    top, left = np.argwhere(image_hw3[..., 0] == window_hw3[0, 0, 0])[0]
    assert (image_hw3[top : top + 32, left : left + 32] == window_hw3).all()
    np.testing.assert_array_equal(moved_l2, pixels_l2 - [left, top])
    inside_l = [(left <= x < left + 32) and (top <= y < top + 32) for x, y in pixels_l2]
    assert seen_l.tolist() == [state if inside else -1 for state, inside in zip(state_l, inside_l, strict=True)]
    whole_hw3, same_l2, _ = crop_view(image_hw3, pixels_l2, state_l, (64, 96), np.random.default_rng(4))
    assert (whole_hw3 == image_hw3).all()
    np.testing.assert_array_equal(same_l2, pixels_l2)


def steps_of(data, epoch=0, first=0, **changes):
    config = CONFIG.model_copy(update=changes)
    return list(SceneStream(name_scenes(data, config), config, CPU).batches(epoch, first))


def test_alternating_meets_every_batch_of_every_scene_once_in_one_order_over_all(data):
    steps = steps_of(data)
    assert all(len(step) == 1 for step in steps)
    scenes = [step[0].scene for step in steps]
    learned = [len(scene.training) for scene in data]
    assert [scenes.count(0), scenes.count(1)] == [-(-learned[0] // 2), -(-learned[1] // 2)]
    assert scenes != sorted(scenes)
    assert [step[0].scene for step in steps_of(data, epoch=1)] != scenes
    for step in steps:
        landmarks = len(data[step[0].scene].landmarks)
        assert step[0].image_b3hw.shape == (2, 3, 96, 96)
        assert step[0].pixels_bl2.shape == (2, landmarks, 2)
        assert step[0].state_bl.shape == (2, landmarks)


def test_accumulated_takes_every_scene_at_each_step_and_a_small_one_again(data):
    steps = steps_of(data, strategy="accumulated")
    assert [[batch.scene for batch in step] for step in steps] == [[0, 1]] * -(-len(data[0].training) // 2)
    # The second scene has fewer frames; it is seen again in other views.
    images = [tuple(step[1].image_b3hw.sum(dim=(1, 2, 3)).tolist()) for step in steps]
    assert len(set(images)) == len(images)


@pytest.mark.parametrize("strategy", ["alternating", "accumulated"])
def test_an_epoch_goes_on_with_the_same_steps(data, strategy):
    whole, rest = steps_of(data, 1, 0, strategy=strategy), steps_of(data, 1, 4, strategy=strategy)
    assert len(rest) == len(whole) - 4
    for one, other in zip(whole[4:], rest, strict=True):
        assert all(torch.equal(a.image_b3hw, b.image_b3hw) for a, b in zip(one, other, strict=True))


def test_a_step_of_alternating_leaves_the_other_head_as_it_is(data, tmp_path):
    task = task_of(data, steps=1)
    moved = next(task.batches(0))[0].scene
    task.prepare()
    before = {name: value.clone() for name, value in task.network.state_dict().items()}
    config = LoopConfig(steps=1, learning_rate=1e-3, warm_up=0.0, evaluations=1)
    result = run_loop(task, config, tmp_path / "run", make_accelerator(CPU, half=False), "f")
    after = result.network.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name.split(".")[1] for name in changed if name.startswith("heads.")} == {str(moved)}
    assert any(name.startswith("backbone.") for name in changed)


def test_only_factors_and_offsets_of_normalizations_learn_and_the_stem_does_not(data, tmp_path):
    task = task_of(data)
    before = {name: value.clone() for name, value in task.network.backbone.state_dict().items()}
    config = LoopConfig(steps=2, learning_rate=1e-2, warm_up=0.0, evaluations=1)
    result = run_loop(task, config, tmp_path / "run", make_accelerator(CPU, half=False), "f")
    after = result.network.backbone.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert not {name for name in changed if "running" in name or "num_batches" in name}
    assert not {name for name in changed if "conv_stem" in name or ".network.bn1." in name}
    assert any(name.endswith("bn2.weight") for name in changed)
    assert any(name.endswith("conv_pw.weight") for name in changed)


def test_the_gradient_of_accumulated_is_the_mean_over_the_scenes(data):
    task = task_of(data, strategy="accumulated")
    task.prepare()
    step = next(task.batches(0))

    def gradients(batches):
        task.network.zero_grad(set_to_none=True)
        terms = task.losses(task.network.eval(), batches)
        sum(weight * terms[name] for name, weight in task.loss_weights.items()).backward()
        return {name: p.grad.clone() for name, p in task.network.named_parameters() if p.grad is not None}

    both, alone = gradients(step), [gradients([batch]) for batch in step]
    assert set(both) == set(alone[0]) | set(alone[1])
    for name, gradient in both.items():
        mean = sum(own[name] for own in alone if name in own) / 2
        torch.testing.assert_close(gradient, mean, rtol=1e-3, atol=1e-3 * float(mean.abs().max()) + 1e-9)
    assert not {name for name in alone[0] if name.startswith("heads.1.")}


# So narrow that there is something to learn in so easy a scene.
TRAINED = {"steps": 60, "linear_width": 16, "backbone_rate": 0.3, "ema": 0.9}


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("backbone") / "shared.safetensors"
    return fit_backbone(CONFIG.model_copy(update=TRAINED), out, scenes=data)


def test_after_some_steps_more_landmarks_of_the_trained_scenes_are_found(trained):
    first, last = trained.history
    assert (first["step"], last["step"]) == (0, 60)
    for name in ("held_out_found", "held_out_found_dataset", "held_out_found_dataset_2"):
        assert last[name] > first[name]
    for name in ("held_out_px", "held_out_found", "held_out_recall_5cm_5deg"):
        assert trained.metrics[f"start_{name}"] == first[name]
        assert last[name] == pytest.approx((last[f"{name}_dataset"] + last[f"{name}_dataset_2"]) / 2)
    assert (trained.run_dir / "curves.html").is_file()


def test_heads_in_closed_form_find_other_landmarks_and_more_on_what_was_learned(trained, data):
    config = CONFIG.model_copy(update={"linear_width": 16})
    found = []
    for weights in (None, trained.path):
        task = BackboneTask(name_scenes(data, config), config, create_backbone(NAME, weights), CPU)
        task.prepare()
        found.append(task.evaluate(task.start)["held_out_found"])
    assert found[0] == trained.history[0]["held_out_found"]
    assert found[1] > found[0]


def test_the_file_says_what_it_was_trained_on_and_is_a_backbone(trained, data):
    _, header = load_weights(trained.path, "backbone", 1)
    backbone = create_backbone(NAME, trained.path)
    assert header["backbone"] == {"name": NAME, "sha256": backbone.checksum}
    assert header["began_with_sha256"] == create_backbone().checksum != backbone.checksum
    assert [(s["name"], s["frames"], s["landmarks"]) for s in header["scenes"]] == [
        ("dataset", 22, 64),
        ("dataset_2", 14, 40),
    ]
    assert [s["sha256"] for s in header["scenes"]] == [s.fingerprint for s in name_scenes(data, CONFIG)]
    assert header["config"]["strategy"] == "alternating"
    assert "scenes" not in header["config"]
    assert header["figures"]["held_out_px"] == trained.metrics["held_out_px"]
    with torch.no_grad():
        image = torch.rand(1, 3, 64, 64, generator=torch.manual_seed(0)) * 255
        assert not torch.allclose(backbone(image)[1], create_backbone()(image)[1])


def test_a_scene_knows_the_backbone_by_its_checksum(trained, tiny_scene, tmp_path):
    config = HeadTrainingConfig(
        steps=0, network_width_px=320, max_bytes=0, closed_form_frames=8, held_out=0.03, backbone_file=trained.path,
        device="cpu",
    )  # fmt: skip
    dataset = SceneDataset(tiny_scene.dataset_root)
    data = HeadData(dataset, LandmarkSet.load(tiny_scene.dataset_root), map_of(dataset), config)
    fit_head(data, tmp_path / "ours.safetensors", config)
    assert Scene.load(tmp_path / "ours.safetensors", trained.path).backbone.checksum
    with pytest.raises(InputError, match="was trained on other weights of tf_efficientnet_lite0"):
        Scene.load(tmp_path / "ours.safetensors")


@pytest.mark.parametrize("strategy", ["alternating", "accumulated"])
def test_an_interrupted_training_ends_as_one_that_was_not(data, tmp_path, monkeypatch, strategy):
    config = CONFIG.model_copy(
        update={"steps": 4, "evaluations": 2, "strategy": strategy, "unseen_share": 0.5, "held_out_frames": 1}
    )
    whole = fit_backbone(config, tmp_path / "whole.safetensors", scenes=data)
    losses, steps = BackboneTask.losses, []

    def cut(task, *arguments):
        steps.append(1)
        if len(steps) == 4:
            raise KeyboardInterrupt
        return losses(task, *arguments)

    monkeypatch.setattr(BackboneTask, "losses", cut)
    out = tmp_path / "cut.safetensors"
    with pytest.raises(KeyboardInterrupt):
        fit_backbone(config, out, scenes=data)
    assert not out.exists()
    resumed = fit_backbone(config, out, scenes=data)
    assert len(steps) == 6  # three, the one that was cut, and the two after the checkpoint
    assert create_backbone(NAME, out).checksum == create_backbone(NAME, whole.path).checksum
    drop = {"seconds", "train_s"}
    assert [{k: v for k, v in row.items() if k not in drop} for row in resumed.history] == [
        {k: v for k, v in row.items() if k not in drop} for row in whole.history
    ]


def test_heads_with_a_learned_part_and_a_fine_map_learn_too(data, tmp_path):
    config = CONFIG.model_copy(update={"width": 16, "fine_width": 8, "linear_width": 0})
    result = fit_backbone(config, tmp_path / "b.safetensors", scenes=data)
    assert [row["step"] for row in result.history] == [2]  # there is nothing to look at before the first step
    assert result.history[0]["fine"] > 0


def test_the_same_scene_twice_and_too_few_frames_are_told(data):
    with pytest.raises(InputError, match="are the same scene; name each scene once"):
        name_scenes([data[0], data[0]], CONFIG)
    with pytest.raises(InputError, match="make no batch of 64; lower batch"):
        name_scenes(data, CONFIG.model_copy(update={"batch": 64}))


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("steps: 3", "no scenes are given; list dataset folders under scenes"),
        ("scenes: []", "no scenes are given"),
        ("scenes: [{root}]\nstrategy: random", "'strategy': Input should be 'alternating' or 'accumulated'"),
        ("scenes: [{root}]\ncrop_px: 100", "'crop_px': Input should be a multiple of 32"),
        ("scenes: [{root}]\nlinear_width: 0", "the heads have no part; give width or linear_width"),
        ("scenes: [{root}]\nstep: 3", "'step' is not known; did you mean 'steps'"),
        ("scenes: [{root}]", "landmarks.safetensors does not exist; run `geo-train landmarks"),
        ("scenes: [{root}/nowhere]", "nowhere"),
    ],
)
def test_a_mistake_is_answered_with_one_line_and_nothing_is_written(tiny_scene, tmp_path, lines, words):
    root, config, out = tmp_path / "bare", tmp_path / "c.yaml", tmp_path / "b.safetensors"
    root.mkdir()
    for path in tiny_scene.dataset_root.iterdir():
        if path.name != "landmarks.safetensors":
            (root / path.name).symlink_to(path)
    config.write_text(lines.format(root=root))
    result = invoke(train, "localization", "backbone", config, "--out", out)
    assert result.exit_code == 1
    assert words in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bare", "c.yaml"]


def test_weights_that_are_there_are_kept_without_overwrite(tmp_path):
    config, out = tmp_path / "c.yaml", tmp_path / "b.safetensors"
    config.write_text(json.dumps({"scenes": [str(tmp_path)]}))
    out.write_bytes(b"weights")
    result = invoke(train, "localization", "backbone", config, "--out", out)
    assert (result.exit_code, out.read_bytes()) == (1, b"weights")
    assert "exists; pass --overwrite" in result.stderr


def test_the_summary_says_what_was_found_before_and_after():
    metrics = {"held_out_found": 0.75, "start_held_out_found": 0.71, "held_out_px": 3.84, "start_held_out_px": 4.5,
               "held_out_localized": 1.0}  # fmt: skip
    assert held_out_summary(metrics) == (
        "held-out frames of its own scenes: 75% of the landmarks within 8 px (before: 71%), 3.8 px off (before: 4.5), "
        "100% localized"
    )
