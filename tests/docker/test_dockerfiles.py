"""The Dockerfiles, as far as they can be looked at and run without Docker."""

import configparser
import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from dockerfile_reader import read_dockerfile
from ros_support import ENVIRONMENT, active_node

from geo_perception.runtime.engine import ENGINE_VARIABLE
from geo_perception.runtime.engine_cache import CACHE_VARIABLE

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
DOCKERFILES = sorted(DOCKER.glob("Dockerfile.*"))
# Not for a robot's image: its viewers, and a cv_bridge that is built for another NumPy.
LEFT_OUT = {"cv_bridge", "rviz2", "rviz_common", "rviz_default_plugins"}
both = pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)


def stage(path, name):
    (found,) = (stage for stage in read_dockerfile(path) if stage.name == name)
    return found


def scripts() -> set[str]:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    lines = parser["options.entry_points"]["console_scripts"].strip().splitlines()
    return {line.split("=")[0].strip() for line in lines}


def in_context(path: str) -> bool:
    """Whether .dockerignore lets this path of the repository into the build; the last line that matches decides."""
    taken = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.lstrip("!").removeprefix("**/")
        parents = [path, *(str(parent) for parent in Path(path).parents)]
        matched = any(fnmatch.fnmatch(part, pattern) for part in parents) and not (line == "*" and path == ".")
        if line and not line.startswith("#") and matched:
            taken = line.startswith("!")
    return taken


def test_there_is_one_for_each_kind_of_robot():
    assert [path.name for path in DOCKERFILES] == ["Dockerfile.cuda", "Dockerfile.jetson"]


@both
def test_what_is_built_with_stays_out_of_the_image(path):
    stages = read_dockerfile(path)
    assert [stage.name for stage in stages] == ["base", "builder", "runtime"]
    assert re.search(r":\S+$", stages[0].base)
    assert not stages[0].base.endswith(":latest")
    assert [stage.base for stage in stages[1:]] == ["base", "base"]
    copied = [" ".join(found.flags) for found in stages[-1].of("COPY")]
    assert copied == ["--from=builder", "--chmod=0755"]
    assert not any("pip" in found.text for found in stages[-1].of("RUN"))


@both
def test_every_step_of_the_shell_is_one(path):
    steps = [found for stage in read_dockerfile(path) for found in stage.of("RUN")]
    assert len(steps) >= 6
    for step in steps:
        done = subprocess.run(["bash", "-n"], input=step.text, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), step.text


@both
def test_it_installs_the_ros_packages_that_package_xml_names(path):
    asked = {element.text for element in ET.parse(ROOT / "package.xml").getroot().iter("exec_depend")}
    (step,) = (found for found in stage(path, "base").of("RUN") if "ros-jazzy-" in found.text)
    installed = set(re.findall(r"ros-jazzy-([\w-]+)", step.text)) - {"ros-core"}
    assert {name.replace("-", "_") for name in installed} == {
        name for name in asked if not name.startswith("python3-")
    } - LEFT_OUT


@both
def test_what_is_copied_is_there_and_reaches_the_build(path):
    for found in (found for stage in read_dockerfile(path) for found in stage.of("COPY")):
        for source in found.words[:-1]:
            if not any(flag.startswith("--from") for flag in found.flags):
                assert (ROOT / source).exists()
                assert in_context(source)
    for needed in ("docker/check_weights.py", "requirements.lock", "setup.py", "src/geo_perception/__init__.py",
                   "src/geo_perception/depth/weights/depth-reference.safetensors", "package.xml", "README.md",
                   "src/geo_perception/calibration/weights/calibration-reference.safetensors"):  # fmt: skip
        assert (ROOT / needed).is_file()
        assert in_context(needed)
    assert not any(
        in_context(path) for path in (".git/config", ".venv/bin/python", "docker/compose.yaml", "tests/x.py")
    )


@both
def test_executables_are_where_ros_looks_for_them(path, tmp_path):
    prefix = tmp_path / "prefix"
    (prefix / "bin").mkdir(parents=True)
    for name in scripts():
        (prefix / "bin" / name).write_text("#!/bin/sh\n")
        (prefix / "bin" / name).chmod(0o755)
    (step,) = (found for found in stage(path, "builder").of("RUN") if "lib/geo_perception" in found.text)
    subprocess.run(
        ["bash", "-c", step.text], env=os.environ | {"GEO_PERCEPTION_PREFIX": str(prefix)}, check=True, timeout=20
    )
    linked = list((prefix / "lib" / "geo_perception").iterdir())
    assert {path.name for path in linked} == {name for name in scripts() if not name.startswith("geo-")}
    assert all(os.access(path, os.X_OK) for path in linked)


@both
def test_weights_are_loaded_without_a_network_while_it_is_built(path):
    steps = stage(path, "builder").of("RUN")
    assert "--network=none" in steps[-1].flags
    assert steps[-1].words[-1] == "docker/check_weights.py"


def test_all_weights_come_with_the_packages():
    script = (
        "import runpy, socket\n"
        "def refuse(*_, **__): raise OSError('the network was asked for')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        f"runpy.run_path({str(DOCKER / 'check_weights.py')!r})"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "are here" in done.stdout


@both
def test_it_runs_as_nobody_in_particular_and_writes_only_where_it_may(path):
    runtime = stage(path, "runtime")
    (user,) = runtime.of("USER")
    assert user.text == "1000:1000"
    environment = runtime.environment()
    written = [environment[name] for name in ("HOME", "ROS_LOG_DIR", CACHE_VARIABLE, "CUDA_CACHE_PATH")]
    assert all(path.startswith(("/tmp", "/var/lib/geo_perception/")) for path in written)
    (folders,) = (found for found in runtime.of("RUN") if "install -d" in found.text)
    assert "-o 1000 -g 1000" in folders.text
    assert {"/scenes", "/var/lib/geo_perception/state", environment[CACHE_VARIABLE]} <= set(folders.words)


@both
def test_variables_are_those_that_somebody_reads(path):
    environment = stage(path, "base").environment() | stage(path, "runtime").environment()
    entrypoint = (DOCKER / "entrypoint.sh").read_text()
    ours = {name for name in environment if name.startswith("GEO_")}
    assert ours - {CACHE_VARIABLE, ENGINE_VARIABLE} == {"GEO_PERCEPTION_PREFIX"}
    for name in ("GEO_PERCEPTION_PREFIX", "ROS_PREFIX"):
        assert environment[name].startswith("/opt/")
        assert f"${{{name}}}" in entrypoint


@both
def test_the_command_is_one_of_ours(path):
    runtime = stage(path, "runtime")
    assert runtime.of("ENTRYPOINT")[0].words == ["/entrypoint.sh"]
    command = runtime.of("CMD")[0].words
    assert command[:3] == ["ros2", "launch", "geo_perception"]
    assert (ROOT / "launch" / command[3]).is_file()
    assert runtime.of("STOPSIGNAL")[0].text == "SIGINT"


def health_command(path) -> list[str]:
    (check,) = stage(path, "runtime").of("HEALTHCHECK")
    words = re.sub(r"^CMD\s+", "", check.text)
    return json.loads(words)


@pytest.fixture
def container(tmp_path):
    """The environment in which a container starts its entrypoint: a distribution, and an environment with the check."""
    prefix, distribution = tmp_path / "prefix", tmp_path / "ros"
    (prefix / "bin").mkdir(parents=True)
    (prefix / "lib" / "python3.99" / "site-packages").mkdir(parents=True)
    distribution.mkdir()
    (distribution / "setup.bash").write_text(
        "export AMENT_PREFIX_PATH=/ros PYTHONPATH=/ros/python:$PYTHONPATH SOURCED=yes\n"
    )
    executable = prefix / "bin" / "perception_health"
    executable.write_text(f'#!/bin/sh\nexec {sys.executable} -m geo_perception.ros.health_check "$@"\n')
    executable.chmod(0o755)
    return os.environ | ENVIRONMENT | {"ROS_PREFIX": str(distribution), "GEO_PERCEPTION_PREFIX": str(prefix)}


def entrypoint(container, *command: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [DOCKER / "entrypoint.sh", *command], env=container, capture_output=True, text=True, timeout=60, check=False
    )


def test_the_entrypoint_sources_the_distribution_and_puts_the_package_first(container):
    done = entrypoint(container, "sh", "-c", 'echo "$SOURCED $AMENT_PREFIX_PATH"; echo "$PYTHONPATH"; exit 7')
    prefix = container["GEO_PERCEPTION_PREFIX"]
    lines = done.stdout.splitlines()
    assert (done.returncode, lines[0]) == (7, f"yes {prefix}:/ros")
    assert lines[1].startswith(f"{prefix}/lib/python3.99/site-packages:/ros/python:")


@both
def test_the_health_check_tells_an_active_node_from_one_that_is_not(path, container, tmp_path):
    check = health_command(path)
    assert check[0] == "/entrypoint.sh"
    assert check[1] in scripts()
    with active_node("geo_perception.ros.container", "calibration", "--ros-args", log=tmp_path / "node.log"):
        well = entrypoint(container, *check[1:])
        assert (well.returncode, well.stdout) == (0, "/calibration_node: active\n")
    assert entrypoint(container, *check[1:], "--timeout", "1").returncode == 1


@both
def test_hadolint_has_nothing_to_say(path):
    hadolint = shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not on this machine")
    done = subprocess.run([hadolint, path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
