"""The installed commands: what they load before they are told what to do, and an interruption in that time."""

import configparser
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(name: str, *arguments: str) -> subprocess.Popen:
    code = f"from geo_training.commands import {name}; print('begun', flush=True); {name}()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=os.environ | {"NO_COLOR": "1"},
    )  # fmt: skip
    assert process.stdout.readline() == "begun\n"
    return process


@pytest.mark.parametrize("name", ["train", "evaluate"])
def test_an_interruption_in_the_first_moment_is_one_line_and_exit_130(name):
    process = run(name, "--help")
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=20)
    assert (process.returncode, said) == (130, "error: interrupted; run the same command again to go on\n")


def test_left_alone_it_runs():
    process = run("train", "--help")
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "dataset" in said


def test_no_slow_library_is_loaded_before_a_command_needs_it():
    code = "import geo_training.cli, sys; print(sorted({'plotly', 'pycolmap', 'timm', 'torch'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"


def test_they_are_what_is_installed():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    scripts = config["options.entry_points"]["console_scripts"].strip().splitlines()
    assert {"geo-train = geo_training.commands:train", "geo-eval = geo_training.commands:evaluate"} <= set(scripts)
