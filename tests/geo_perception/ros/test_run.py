"""How node processes end when a signal asks them to: quickly, in order where that can be, and without a traceback."""

import configparser
import importlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from process_end import end
from ros_support import ENVIRONMENT

ROOT = Path(__file__).resolve().parents[3]
COMMANDS = ("calibration_node", "localization_node", "depth_node", "perception_container")
SIGNALS = (signal.SIGINT, signal.SIGTERM)
QUICKLY_S = 5.0  # what launch waits after SIGINT: 1.5 s of grace, and a machine that is busy with other tests
# A node whose `load` sleeps in C, as a first inference does, and is active beside it where asked for.
LOADING = """
import ctypes, sys
from rclpy.parameter import Parameter
from geo_perception.ros.run import run_nodes
from slow_node import SlowNode

class Loading(SlowNode):
    def on_activated(self):
        if self.get_namespace() == "/ready":
            print("ready", flush=True)
            for node in made[1:]:
                node.create_timer(0.2, node.trigger_configure)  # once this one is active
    def load(self):
        super().load()
        if self.get_namespace() == "/loading":
            print("loading", flush=True)
            for _ in range(9):  # a signal wakes it
                ctypes.CDLL(None).sleep(5)

made = []
def node(name):
    def make():
        autostart = Parameter("autostart", value=name == "/ready" or len(sys.argv) == 2)
        made.append(Loading(namespace=name, parameter_overrides=[autostart]))
        return made[-1]
    return make

sys.exit(run_nodes([node(name) for name in sys.argv[1:]], []))
"""
# A node whose inference hangs in C.
HANGING = """
import ctypes, sys
from geo_perception.ros.run import run_nodes
from geo_perception.ros.worker import Frame
from slow_node import SlowNode
import numpy as np
from sensor_msgs.msg import Image
from geo_perception.ros.codec import fill_image

class Hanging(SlowNode):
    def on_activated(self):
        self.accept(Frame(fill_image(Image(), np.zeros((4, 4, 3), np.uint8)), 0.0, self.epoch))
    def compute(self, image_hw3, camera, frame):
        print("hanging", flush=True)
        for _ in range(9):
            ctypes.CDLL(None).sleep(5)

sys.exit(run_nodes([Hanging], []))
"""


def start(code: str, *arguments: str) -> subprocess.Popen:
    paths = os.pathsep.join([str(ROOT / "tests" / "support"), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | ENVIRONMENT | {"PYTHONPATH": paths}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT
    )


def read_until(process: subprocess.Popen, words: str) -> None:
    for line in process.stdout:
        if words in line:
            return
    raise AssertionError(f"the process ended without saying '{words}'")


def command_code(name: str) -> str:
    return f"import sys; from geo_perception.ros.commands import {name}; print('begun', flush=True); sys.exit({name}())"


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("delay_s", [0.05, 0.4, 0.9, 1.6])
def test_a_command_ends_at_once_while_it_is_still_importing_or_being_made(delay_s, number):
    for name in COMMANDS if delay_s == 0.4 else COMMANDS[1:2]:
        process = start(command_code(name), "--ros-args", "-p", "autostart:=false")
        read_until(process, "begun")
        time.sleep(delay_s)
        code, said, seconds = end(process, number)
        assert code == 0, (name, said)
        assert "Traceback" not in said
        assert "Error" not in said
        assert seconds < QUICKLY_S


def test_a_module_run_as_a_command_ends_at_once_while_it_is_still_importing():
    """`python -m` has no entry of ours before the module's own imports."""
    code = "import runpy; print('begun', flush=True); runpy.run_module('{}', run_name='__main__', alter_sys=True)"
    for module in ("geo_perception.calibration.node", "geo_perception.depth.node", "geo_perception.ros.container"):
        process = start(code.format(module))
        read_until(process, "begun")
        time.sleep(0.3)
        returned, said, seconds = end(process, signal.SIGINT)
        assert (returned, said) == (0, ""), module
        assert seconds < QUICKLY_S


@pytest.mark.parametrize("number", SIGNALS)
def test_a_node_that_loads_a_scene_ends_at_once(number):
    process = start(LOADING, "/loading")
    read_until(process, "loading")
    code, said, seconds = end(process, number)
    assert code == 0
    assert "Traceback" not in said
    assert seconds < 1.5


def test_a_node_at_work_beside_one_that_loads_has_its_moment():
    process = start(LOADING, "/ready", "/loading")
    read_until(process, "loading")
    code, said, seconds = end(process, signal.SIGINT)
    assert (code, said.strip()) == (0, "ended without waiting for what was still being done")
    assert 1.4 < seconds < QUICKLY_S


@pytest.mark.parametrize("number", SIGNALS)
def test_an_inference_that_hangs_is_not_waited_for(number):
    process = start(HANGING)
    read_until(process, "hanging")
    code, said, seconds = end(process, number)
    assert code == 0
    assert "Traceback" not in said
    assert seconds < QUICKLY_S


def test_a_second_signal_ends_it_without_waiting():
    process = start(HANGING)
    read_until(process, "hanging")
    code, said, seconds = end(process, signal.SIGINT, signal.SIGINT)
    assert code == 0
    assert said.strip().splitlines()[-1] == "ended at once"
    assert seconds < 1.4


def test_an_idle_node_ends_in_order():
    process = start(LOADING, "/ready")
    read_until(process, "activate: done")
    code, said, seconds = end(process, signal.SIGTERM)
    assert code == 0
    assert "shut down: done, now finalized" in said
    assert seconds < QUICKLY_S


def test_the_installed_commands_are_those_that_watch_for_signals_first():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    scripts = dict(line.split(" = ") for line in config["options.entry_points"]["console_scripts"].strip().splitlines())
    for name in COMMANDS:
        module, function = scripts[name].split(":")
        assert (module, function) == ("geo_perception.ros.commands", name)
        assert callable(getattr(importlib.import_module(module), function))
