"""The policy for ROS security against what live nodes really have: a name that it lacks is refused on the robot."""

import importlib.util
import os
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import ros_support
from rclpy.node import NodeNameNonExistentError
from ros_support import ENVIRONMENT, Peer, active_node

ROOT = Path(__file__).resolve().parents[3]
POLICY = ROOT / "security" / "policy.xml"
STANDIN = ROOT / "tests" / "support" / "tf2_standin"
NODES = ("calibration_node", "depth_node", "localization_node")
RULES = {"topics": ("publish", "subscribe"), "services": ("reply",)}
ACTIONS = ("publish", "subscribe", "reply")
# What a node has only where it takes the images for its process, with other parameters or remappings than here, or in
# other distributions.
SOMETIMES = {
    "/camera/image_raw", "/camera/image_raw/compressed", "/calibration_node/camera_info", "/calibration_node/attitude",
    "/localization_node/matched_landmarks", "/localization_node/pose", "/tf", "/tf_static", "/parameter_events",
}  # fmt: skip


def full_name(name: str, node: str) -> str:
    """As ROS expands it, for a node without a namespace."""
    return f"/{node}/{name[2:]}" if name.startswith("~/") else f"/{name.lstrip('/')}"


def allowed(profile: ET.Element) -> dict[str, set[str]]:
    """The names of a profile by what it may do with them."""
    found: dict[str, set[str]] = {}
    for group in profile:
        ((action, rule),) = group.attrib.items()
        assert action in RULES[group.tag]
        assert rule == "ALLOW"
        names = [entry.text for entry in group]
        assert {entry.tag for entry in group} == {group.tag.removesuffix("s")}
        assert len(set(names)) == len(names)
        found.setdefault(action, set()).update(full_name(name, profile.get("node")) for name in names)
    return found


def enclaves() -> dict[str, dict[str, dict[str, set[str]]]]:
    """What each node may do, by the enclave's last name."""
    policy = ET.parse(POLICY).getroot()
    assert (policy.tag, policy.get("version")) == ("policy", "0.2.0")
    found = {}
    for enclave in policy.find("enclaves"):
        profiles = enclave.find("profiles")
        assert {profile.get("ns") for profile in profiles} == {"/"}
        name = enclave.get("path").removeprefix("/geo_perception/")
        found[name] = {profile.get("node"): allowed(profile) for profile in profiles}
    return found


def test_each_node_has_an_enclave_and_one_process_an_enclave_for_all():
    found = enclaves()
    assert set(found) == {*NODES, "perception_container"}
    for node in NODES:
        assert set(found[node]) == {node}
        assert found[node][node] == found["perception_container"][node]


@pytest.mark.slow
def test_the_policy_names_all_that_live_nodes_have(tiny_scene, tmp_path, monkeypatch):
    found = importlib.util.find_spec("tf2_ros")
    if found is None or "tf2_standin" in found.origin:  # other tests may have put it on this process's path alone
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(STANDIN), os.environ.get("PYTHONPATH", "")]))
    given = ["-p", f"scene:={tiny_scene.scene_path}", "-p", "lazy:=false", "-p", "use_sim_time:=true"]
    given += ["-p", "localization_node:tf_mode:=map_odom", "-r", "image:=/camera/image_raw"]
    monkeypatch.setitem(ENVIRONMENT, "PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    # A node of the same name that another test of this process has left would be asked in its stead.
    monkeypatch.setattr(ros_support, "DOMAIN_ID", ros_support.DOMAIN_ID + 50)
    monkeypatch.setitem(ENVIRONMENT, "ROS_DOMAIN_ID", str(ros_support.DOMAIN_ID))
    log = tmp_path / "nodes.log"
    with active_node("geo_perception.ros.container", "--ros-args", *given, log=log) as process, Peer("looker") as peer:
        for node in NODES:
            process.wait_for_text(f"[{node}]: activate: done", 120)
        policy = enclaves()

        def names(node: str, action: str) -> set[str]:
            of = {
                "publish": peer.node.get_publisher_names_and_types_by_node,
                "subscribe": peer.node.get_subscriber_names_and_types_by_node,
                "reply": peer.node.get_service_names_and_types_by_node,
            }[action]
            try:
                return {name for name, _ in of(node, "/")}
            except NodeNameNonExistentError:  # not discovered yet
                return set()

        def unseen() -> dict[tuple[str, str], set[str]]:
            """What nodes may always have, and was not discovered, by node and action."""
            found = {
                (n, action): policy[n][n][action] - names(n, action) - SOMETIMES for n in NODES for action in ACTIONS
            }
            return {key: missing for key, missing in found.items() if missing}

        assert peer.spin_until(lambda: not unseen(), 30), unseen()
        peer.spin_for(1.0)
        for node in NODES:
            for action in ACTIONS:
                assert names(node, action) <= policy[node][node][action], (node, action)
            assert not peer.node.get_client_names_and_types_by_node(node, "/")
        assert "/tf" in {name for name, _ in peer.node.get_publisher_names_and_types_by_node("localization_node", "/")}
