"""A workspace as a robot has it: colcon installs executables that start, and runs tests."""

import configparser
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from geo_training.evaluation.replay.process import graph_of_its_own
from ros_support import ENVIRONMENT

pytest.importorskip("colcon_core", reason="colcon is not installed")
ROOT = Path(__file__).resolve().parents[2]


def colcon(workspace: Path, verb: str, *arguments: str) -> str:
    """Runs a verb of colcon on this package in a workspace elsewhere; nothing is written beside the sources."""
    environment = os.environ | ENVIRONMENT | {"COLCON_LOG_PATH": str(workspace / "log")}
    environment.pop("PYTEST_ADDOPTS", None)
    bases = ["--build-base", str(workspace / "build"), "--install-base", str(workspace / "install")]
    command = [sys.executable, "-m", "colcon", verb, "--base-paths", str(ROOT), *bases, *arguments]
    done = subprocess.run(command, env=environment, cwd=workspace, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    folder = tmp_path_factory.mktemp("workspace")
    colcon(folder, "build")
    return folder


def test_executables_start_with_the_python_of_the_environment(workspace):
    folder = workspace / "install" / "geo_perception" / "lib" / "geo_perception"
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    scripts = parser["options.entry_points"]["console_scripts"].strip().splitlines()
    assert {path.name for path in folder.iterdir()} == {line.split("=")[0].strip() for line in scripts}
    for path in folder.iterdir():
        assert path.read_text().splitlines()[0] == "#!/usr/bin/env python3"
    source = f'. "{workspace}/install/setup.sh"; export PATH="{Path(sys.executable).parent}:$PATH"; '
    for name, said in (("perception_health", "no perception node"), ("perception_container", "usage")):
        argument = "--timeout 0.2" if name == "perception_health" else "--help"
        with graph_of_its_own() as environment:  # in which there is no node of another test
            done = subprocess.run(
                ["sh", "-c", f"{source} exec {folder / name} {argument}"],
                env=environment, cwd=workspace, capture_output=True, text=True, check=False, timeout=60,
            )  # fmt: skip
        assert said in done.stdout, done.stderr


def test_what_a_distribution_looks_for_is_installed(workspace):
    share = workspace / "install" / "geo_perception" / "share"
    assert (share / "ament_index" / "resource_index" / "packages" / "geo_perception").is_file()
    for folder, pattern in (
        ("launch", "*.py"),
        ("config", "*.*"),
        ("rviz", "*.rviz"),
        ("security", "*.xml"),
        ("systemd", "*.service"),
    ):
        installed = {path.name for path in (share / "geo_perception" / folder).iterdir() if path.is_file()}
        assert installed == {path.name for path in (ROOT / folder).glob(pattern)}


def test_colcon_runs_the_tests(workspace):
    colcon(workspace, "test", "--pytest-args", "tests/geo_perception/geometry/test_pose.py", "-m", "not slow")
    suite = next(ET.parse(workspace / "build" / "geo_perception" / "pytest.xml").getroot().iter("testsuite"))
    counts = {name: int(suite.get(name)) for name in ("tests", "failures", "errors")}
    assert counts["tests"] > 20
    assert counts["failures"] == counts["errors"] == 0
