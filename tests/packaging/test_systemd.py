"""The unit that starts the nodes at boot."""

import re
import runpy
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UNIT = ROOT / "systemd" / "geo_perception.service"


def service() -> list[tuple[str, str]]:
    """The settings of the service in their order; a name may come twice."""
    section = UNIT.read_text().split("[Service]")[1].split("[Install]")[0]
    lines = [line for line in section.splitlines() if line and not line.startswith("#")]
    return [tuple(line.split("=", 1)) for line in lines]


def test_systemd_understands_it():
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd is not on this machine")
    done = subprocess.run([analyze, "verify", UNIT], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_it_launches_what_there_is():
    settings = dict(service())
    command = re.fullmatch(r"/bin/bash -c '(.*)'", settings["ExecStart"])[1]
    done = subprocess.run(["bash", "-n"], input=command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    launch = re.search(r"exec ros2 launch geo_perception (\S+) (.*)$", command)
    arguments = {argument.name for argument in runpy.run_path(str(ROOT / "launch" / launch[1]))["ARGUMENTS"]}
    given = dict(word.split(":=") for word in launch[2].split())
    assert set(given) <= arguments
    assert given["state_dir"] == f"/var/lib/{settings['StateDirectory']}"


def test_the_nodes_are_asked_to_end_and_have_time_for_it():
    settings = dict(service())
    assert (settings["KillSignal"], settings["KillMode"], settings["Restart"]) == ("SIGINT", "mixed", "always")
    assert int(settings["TimeoutStopSec"]) > 5  # what launch waits before it sends SIGTERM


def test_what_it_writes_it_may_write():
    environment = dict(
        pair.split("=", 1) for name, value in service() if name == "Environment" for pair in value.split()
    )
    settings = dict(service())
    assert environment["GEO_PERCEPTION_CACHE"] == f"/var/cache/{settings['CacheDirectory']}"
    assert environment["ROS_LOG_DIR"] == f"/var/log/{settings['LogsDirectory']}"
    assert (settings["ProtectSystem"], settings["PrivateTmp"]) == ("strict", "yes")
