"""The compose file for a robot: who runs, with what rights, and that its commands are ours."""

import re
import runpy
from pathlib import Path

import pytest
import yaml
from dockerfile_reader import read_dockerfile

from geo_perception.runtime.engine import ENGINE_VARIABLE

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
each = pytest.mark.parametrize("name", sorted(SERVICES))


def filled(text: str) -> str:
    """With the defaults of its variables."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def test_a_robot_chooses_one_of_three():
    assert {name: service["profiles"] for name, service in SERVICES.items()} == {
        "perception": ["cuda"], "perception-jetson": ["jetson"], "perception-cpu": ["cpu"],
    }  # fmt: skip


@each
def test_it_can_change_nothing_but_its_volume(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert [path.split(":")[0] for path in service["tmpfs"]] == ["/tmp"]
    scenes, state = service["volumes"]
    assert filled(scenes) == "./scenes:/scenes:ro"
    assert state == "state:/var/lib/geo_perception"
    assert "state" in COMPOSE["volumes"]


@each
def test_dds_reaches_the_host_and_what_ended_comes_back(name):
    service = SERVICES[name]
    assert (service["network_mode"], service["ipc"]) == ("host", "host")
    assert (service["restart"], service["init"]) == ("unless-stopped", True)
    assert {"ROS_DOMAIN_ID", "FASTDDS_BUILTIN_TRANSPORTS", ENGINE_VARIABLE} == set(service["environment"])


@each
def test_it_is_built_from_a_file_that_is_there(name):
    build = SERVICES[name]["build"]
    context = (ROOT / "docker" / build["context"]).resolve()
    assert context == ROOT
    runtime = read_dockerfile(context / build["dockerfile"])[-1]
    assert SERVICES[name]["image"] == f"geo_perception:{build['dockerfile'].rsplit('.', 1)[-1]}"
    assert runtime.of("STOPSIGNAL")[0].text == SERVICES[name]["stop_signal"]


def test_a_gpu_is_asked_for_where_there_is_one():
    (device,) = SERVICES["perception"]["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert SERVICES["perception-jetson"]["runtime"] == "nvidia"
    assert "deploy" not in SERVICES["perception-cpu"]


@each
def test_it_launches_what_its_health_check_asks_for(name):
    command = [filled(word) for word in SERVICES[name]["command"]]
    assert command[:3] == ["ros2", "launch", "geo_perception"]
    arguments = {a.name: a for a in runpy.run_path(str(ROOT / "launch" / command[3]))["ARGUMENTS"]}
    given = dict(word.split(":=") for word in command[4:])
    assert set(given) <= set(arguments)
    for argument, value in given.items():
        assert arguments[argument].choices is None or value in arguments[argument].choices
    assert given["scene"].startswith("/scenes/")
    assert given["state_dir"].startswith("/var/lib/geo_perception/")
    started = {"localization_node"}
    started |= {"calibration_node"} if given["calibrate"] == "true" else set()
    started |= {"depth_node"} if given["depth"] == "true" else set()
    test = SERVICES[name]["healthcheck"]["test"]
    assert test[:3] == ["CMD", "/entrypoint.sh", "perception_health"]
    assert set(test[3:]) == started
