"""Training a head: the buffer, the config, and the command as a user runs it."""

import json

import numpy as np
import pytest
import torch
from geo_training.cli import train
from geo_training.localization.buffer import FeatureBuffer
from geo_training.localization.config import HeadTrainingConfig, load_config
from geo_training.localization.fit import held_out_frames
from geo_training.localization.views import View
from typer.testing import CliRunner

from geo_perception.errors import InputError
from geo_perception.runtime.backbone import create_backbone


class CountingViews:
    """Views that say which they are by their colour."""

    def __init__(self):
        self.made = []

    def __call__(self, frame, view, generation):
        self.made.append((frame, view, generation))
        image = np.full((64, 96, 3), (frame * 20 + view * 7 + generation * 3) % 256, np.uint8)
        return View(image, None, np.eye(4), np.full((5, 2), float(frame)), np.ones(5, np.int8))


@pytest.fixture(scope="module")
def backbone():
    return create_backbone()


def buffer_of(backbone, make_view, **changes):
    options = {
        "frames": 6,
        "views": 2,
        "budget_bytes": 1 << 30,
        "refresh": 0.5,
        "device": torch.device("cpu"),
        "seed": 1,
    }
    return FeatureBuffer(backbone, make_view, **(options | changes))


def test_the_budget_decides_how_many_views_are_kept(backbone):
    one = buffer_of(backbone, CountingViews()).slot_bytes
    # Half precision: channels over the cells of each stride.
    assert one == 2 * sum(c * (64 // s) * (96 // s) for c, s in zip(backbone.channels, backbone.strides, strict=True))
    tight = buffer_of(backbone, CountingViews(), views=8, budget_bytes=one * 6 * 3)
    assert (tight.views, tight.left_out, len(tight)) == (3, 5, 18)
    assert buffer_of(backbone, CountingViews(), views=8, budget_bytes=1).views == 1


def test_an_epoch_meets_every_slot_once_in_an_order_of_its_own(backbone):
    buffer = buffer_of(backbone, CountingViews(), refresh=0.0)
    epochs = [
        [float(value) for batch in buffer.batches(epoch, 4) for value in batch.pixels_bl2[:, 0, 0]]
        for epoch in (0, 1, 0)
    ]
    assert sorted(epochs[0]) == sorted(list(range(6)) * 2)
    assert epochs[0] != epochs[1]
    assert epochs[0] == epochs[2]


def test_a_share_of_the_slots_is_made_anew_each_epoch(backbone):
    views = CountingViews()
    buffer = buffer_of(backbone, views, refresh=0.5)
    list(buffer.batches(0, 4))
    before = len(views.made)
    list(buffer.batches(1, 4))
    assert 4 <= len(views.made) - before <= 8  # half of twelve, give or take the turn they are in
    generations = {number: buffer.generation(number, 4) for number in range(12)}
    assert set(generations.values()) == {2}


def test_several_processes_share_an_epoch(backbone):
    buffer = buffer_of(backbone, CountingViews(), refresh=0.0)
    parts = [sum(len(b.pixels_bl2) for b in buffer.batches(0, 2, rank, 3)) for rank in range(3)]
    assert parts == [4, 4, 4]


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
        load_config(path)
    path.write_text("augmentation:\n  zoom: large\n")
    with pytest.raises(InputError, match=r"config key 'augmentation\.zoom'"):
        load_config(path)
    path.write_text("- a\n")
    with pytest.raises(InputError, match="keys and values"):
        load_config(path)
    path.write_text("steps: 5\n")
    assert load_config(path, batch=2, seed=None) == HeadTrainingConfig(steps=5, batch=2)


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
    import shutil

    root = tmp_path / "bare"
    shutil.copytree(tiny_scene.dataset_root, root)
    (root / "landmarks.safetensors").unlink()
    result = CliRunner().invoke(train, ["localization", "head", str(root), "--out", str(tmp_path / "s.safetensors")])
    assert result.exit_code == 1
    assert "geo-train landmarks" in result.stderr
    assert not (tmp_path / "s.safetensors").exists()


def test_the_command_without_out_is_wrong_usage(tmp_path):
    assert CliRunner().invoke(train, ["localization", "head", str(tmp_path)]).exit_code == 2
