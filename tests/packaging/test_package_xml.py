"""package.xml names every ROS package that the code, the launch files and RViz's configurations use."""

import ast
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
TREE = ET.parse(ROOT / "package.xml").getroot()
RUNS = {element.text for element in TREE.iter("exec_depend")}
# What comes with another package that is named.
PART_OF = {"launch": "launch", "tf2_ros": "tf2_ros_py", "rclpy": "rclpy", "cv_bridge": "cv_bridge"}


def imported() -> set[str]:
    """The top names of all that the robot's half imports, also inside functions."""
    found = set()
    for path in [*(ROOT / "src").rglob("*.py"), *(ROOT / "launch").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                found.add(node.module.split(".")[0])
    return found


def test_what_is_imported_of_ros_is_named():
    packages = {
        PART_OF.get(name, name)
        for name in imported()
        if name in PART_OF or re.search(r"(_msgs|_srvs|_interfaces|^launch_ros|^ament_index_python)$", name)
    }
    assert {
        "rclpy",
        "sensor_msgs",
        "launch_ros",
        "tf2_ros_py",
        "rcl_interfaces",
        "ament_index_python",
    } <= packages | RUNS
    assert packages <= RUNS


def test_messages_that_are_named_by_their_type_are_named():
    """The doctor of a live graph and replays ask for messages by name."""
    text = "".join(path.read_text() for path in (ROOT / "training" / "geo_training" / "evaluation").rglob("*.py"))
    named = set(re.findall(r'"(\w+)/(?:msg|srv)/\w+"', text))
    assert {"tf2_msgs", "rosgraph_msgs"} <= named
    assert named <= RUNS


def test_what_launch_files_start_is_named():
    text = (ROOT / "src" / "geo_perception" / "ros" / "launching.py").read_text()
    packages = set(re.findall(r'package="(\w+)"', text))
    assert packages == {"geo_perception", "rviz2"}
    assert packages - {"geo_perception"} <= RUNS


def test_the_plugins_of_rviz_are_named():
    classes = set()
    for path in (ROOT / "rviz").glob("*.rviz"):
        assert yaml.safe_load(path.read_text())
        classes |= set(re.findall(r"Class: (\w+)/", path.read_text()))
    assert {"rviz_default_plugins", "rviz_common"} <= classes
    assert classes <= RUNS


def test_parameter_files_are_for_our_nodes():
    for path in (ROOT / "config").glob("*.yaml"):
        top = set(yaml.safe_load(path.read_text()))
        if path.stem not in ("nav2", "robot_localization"):  # fragments for the parameters of others
            assert top == {f"/**/{path.stem}_node"}


def test_the_versions_are_one():
    assert TREE.find("version").text == re.search(r"^version = (\S+)$", (ROOT / "setup.cfg").read_text(), re.M)[1]
