"""The head of a place: its options, and several processes that train it together."""

import threading
import time

import board_walk
import psutil
import pytest
from command_line import invoke
from geo_training.cli import train as geo_train
from geo_training.fleet import head
from geo_training.fleet.manifest import HeadOptions

from geo_perception.errors import InputError
from geo_perception.localization.scene import Scene

CONFIG = {"network_width_px": 320, "width": 32, "dilations": [1, 2], "fine_width": 16, "views": 2, "evaluations": 1,
          "held_out": 0.0, "closed_form_frames": 12}  # fmt: skip


def test_options_are_laid_over_the_config_and_a_device_of_its_own_stays():
    options = HeadOptions(config={"width": 48, "steps": 9}, steps=3, bytes="2M", seed=4)
    config = head.head_config(options, "cpu")
    assert (config.width, config.steps, config.max_bytes, config.seed, config.device) == (48, 3, 2_000_000, 4, "cpu")
    assert head.head_config(HeadOptions(config={"device": "cuda"}), "cpu").device == "cuda"


@pytest.fixture(scope="module")
def mapped(tmp_path_factory):
    root = tmp_path_factory.mktemp("mapped") / "dataset"
    board_walk.write_dataset(root, [("walk", 0, 16)])
    assert invoke(geo_train, "map", root, "--max-features", 1000).exit_code == 0
    assert invoke(geo_train, "landmarks", root, "--count", 60).exit_code == 0
    return root


@pytest.mark.slow
def test_two_processes_train_one_scene_by_torchrun(mapped, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    config = head.head_config(HeadOptions(config=CONFIG | {"batch": 2}, steps=4), "cpu")
    figures = head.train(mapped, tmp_path / "two.safetensors", config, processes=2)
    assert figures["scene_bytes"] == (tmp_path / "two.safetensors").stat().st_size
    assert len(Scene.load(tmp_path / "two.safetensors").landmarks_map_l3) > 20
    # Once more is from the beginning: what stood there is replaced.
    assert head.train(mapped, tmp_path / "two.safetensors", config, processes=2)["map_points"] == figures["map_points"]


@pytest.mark.slow
def test_what_torchruns_processes_are_refused_with_is_the_places_sentence(mapped, tmp_path):
    config = head.head_config(HeadOptions(config=CONFIG | {"batch": 3}, steps=4), "cpu")
    with pytest.raises(InputError, match=r"the training in 2 processes failed: .*3") as wrong:
        head.train(mapped, tmp_path / "s.safetensors", config, processes=2)
    assert "\n" not in str(wrong.value)


@pytest.mark.slow
def test_a_process_that_is_killed_is_no_fault_of_the_data(mapped, tmp_path):
    config = head.head_config(HeadOptions(config=CONFIG | {"batch": 2, "evaluations": 40}, steps=400), "cpu")

    def kill():
        while not (tmp_path / "s.safetensors.run" / "checkpoint.safetensors").exists():
            time.sleep(0.05)
        (launcher,) = [one for one in psutil.Process().children() if "torch.distributed.run" in one.cmdline()]
        launcher.children()[0].kill()

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    with pytest.raises(head.TrainingLost, match="the training in 2 processes failed: another process of the training"):
        head.train(mapped, tmp_path / "s.safetensors", config, processes=2)
    killer.join()
