"""What is given to other software: parameters for robot_localization and Nav2, a layout for Foxglove.

Names are those that their sources declare: robot_localization's `ros_filter.cpp` (branch ros2, 2024), Nav2's
`costmap_2d_ros.cpp`, `obstacle_layer.cpp` and `inflation_layer.cpp` (branch main, 2026).
"""

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import rclpy
import yaml
from ros_support import DOMAIN_ID

ROOT = Path(__file__).resolve().parents[3]
OF_ANY_NODE = ("use_sim_time", "start_type_description_service")
# Of the filter: those whose type this file relies on.
FILTER = {
    "frequency": float, "two_d_mode": bool, "publish_tf": bool, "map_frame": str, "odom_frame": str,
    "base_link_frame": str, "world_frame": str, "smooth_lagged_data": bool, "history_length": float,
    "reset_on_time_jump": bool, "sensor_timeout": float, "print_diagnostics": bool,
}  # fmt: skip
SENSOR = {"": str, "config": list, "differential": bool, "relative": bool, "queue_size": int}
SENSORS = {
    "odom": SENSOR | {
        "pose_use_child_frame": bool, "pose_rejection_threshold": float, "twist_rejection_threshold": float,
    },
    "pose": SENSOR | {"rejection_threshold": float},
    "imu": SENSOR | {
        "pose_rejection_threshold": float, "twist_rejection_threshold": float,
        "linear_acceleration_rejection_threshold": float, "remove_gravitational_acceleration": bool,
    },
}  # fmt: skip
COSTMAP = {
    "global_frame": str, "robot_base_frame": str, "update_frequency": float, "publish_frequency": float,
    "rolling_window": bool, "width": int, "height": int, "resolution": float, "robot_radius": float,
    "track_unknown_space": bool, "transform_tolerance": float, "plugins": list,
}  # fmt: skip
LAYERS = {
    "nav2_costmap_2d::ObstacleLayer": {
        "plugin": str, "enabled": bool, "footprint_clearing_enabled": bool, "min_obstacle_height": float,
        "max_obstacle_height": float, "combination_method": int, "observation_sources": str,
        "tf_filter_tolerance": float,
    },
    "nav2_costmap_2d::InflationLayer": {
        "plugin": str, "enabled": bool, "inflation_radius": float, "cost_scaling_factor": float,
        "inflate_unknown": bool, "inflate_around_unknown": bool,
    },
}  # fmt: skip
SOURCE = {
    "topic": str, "sensor_frame": str, "observation_persistence": float, "expected_update_rate": float,
    "data_type": str, "min_obstacle_height": float, "max_obstacle_height": float, "inf_is_valid": bool,
    "marking": bool, "clearing": bool,
    "obstacle_max_range": float, "obstacle_min_range": float, "raytrace_max_range": float, "raytrace_min_range": float,
}  # fmt: skip


def received(file: str, node: str, namespace: str = "/") -> dict:
    """The parameters that a node of this name gets from a file of `config/`, by ROS's own parser."""
    context = rclpy.Context()
    arguments = ["--ros-args", "--params-file", str(ROOT / "config" / file)]
    rclpy.init(args=arguments, context=context, domain_id=DOMAIN_ID)
    try:
        node = rclpy.create_node(
            node, namespace=namespace, context=context, automatically_declare_parameters_from_overrides=True
        )
        given = {name: one.value for name, one in node.get_parameters_by_prefix("").items() if name not in OF_ANY_NODE}
        node.destroy_node()
    finally:
        context.try_shutdown()
    return {name: list(value) if hasattr(value, "typecode") else value for name, value in given.items()}


def check(given: dict, known: dict) -> None:
    """Every name is known, and of its type: a whole number is no decimal one for ROS."""
    for name, value in given.items():
        assert name in known, name
        assert type(value) is known[name], (name, value)


def test_robot_localization_knows_every_parameter_of_its_file():
    given = received("robot_localization.yaml", "ekf_filter_node_map")
    sensors = {name: value for name, value in given.items() if re.match(r"(odom|pose|imu)\d", name)}
    check({name: value for name, value in given.items() if name not in sensors}, FILTER)
    for name, value in sensors.items():
        kind, own = re.fullmatch(r"(odom|pose|imu)0_?(.*)", name).groups()
        check({own: value}, SENSORS[kind])
        if own == "config":
            assert [type(one) for one in value] == [bool] * 15
    assert given["world_frame"] == given["map_frame"]  # so it sends map to odom
    # x y z roll pitch yaw: whole poses; of the attitude roll and pitch, since its heading is nothing.
    assert given["pose0_config"] == [True] * 6 + [False] * 9
    assert given["imu0_config"] == [False] * 3 + [True, True] + [False] * 10
    assert not given["pose0_differential"]
    assert not given["imu0_relative"]


@pytest.mark.parametrize("costmap", ["local_costmap", "global_costmap"])
def test_nav2_knows_every_parameter_of_its_file(costmap):
    given = received("nav2.yaml", costmap, f"/{costmap}")
    plain = {name: value for name, value in given.items() if "." not in name}
    check(plain, COSTMAP)
    for layer in plain["plugins"]:
        own = {name.removeprefix(f"{layer}."): v for name, v in given.items() if name.startswith(f"{layer}.")}
        check({name: value for name, value in own.items() if "." not in name}, LAYERS[own["plugin"]])
        sources = own.get("observation_sources", "").split()
        inner = {name: value for name, value in own.items() if "." in name}
        assert {name.partition(".")[0] for name in inner} == set(sources)
        for source in sources:
            told = {name.removeprefix(f"{source}."): value for name, value in inner.items()}
            check(told, SOURCE)
            assert told["data_type"] == "PointCloud2"
            assert told["topic"] == "/depth_node/points"
            assert told["raytrace_max_range"] > told["obstacle_max_range"]  # else what is far is never cleared
    assert {name.partition(".")[0] for name in given if "." in name} == set(plain["plugins"])


def test_nav2_starts_no_other_localization():
    text = (ROOT / "config" / "nav2.yaml").read_text()
    assert set(yaml.safe_load(text)) == {"local_costmap", "global_costmap"}
    assert "static_layer" not in text  # there is no map server


@pytest.mark.parametrize("file", ["robot_localization.yaml", "nav2.yaml", "geo_perception.json"])
def test_their_topics_are_published(file):
    folder = "foxglove" if file.endswith(".json") else "config"
    named = set(re.findall(r"(calibration|depth|localization)_node/([a-z_]+)", (ROOT / folder / file).read_text()))
    assert named
    # What the policy says is compared with live nodes where it is tested.
    published = {
        profile.get("node"): {(topic.text or "").removeprefix("~/") for topic in profile.iter("topic")}
        for profile in ET.parse(ROOT / "security" / "policy.xml").iter("profile")
    }
    for node, topic in named:
        assert topic in published[f"{node}_node"], topic


def test_the_foxglove_layout_shows_each_of_its_panels_once():
    layout = json.loads((ROOT / "foxglove" / "geo_perception.json").read_text())

    def panels(part) -> list[str]:
        if isinstance(part, str):
            return [part]
        assert part["direction"] in ("row", "column")
        assert 0 < part.get("splitPercentage", 50) < 100
        return panels(part["first"]) + panels(part["second"])

    shown = panels(layout["layout"])
    assert sorted(shown) == sorted(layout["configById"])
    assert {panel.partition("!")[0] for panel in shown} == {"3D", "Image", "Plot", "DiagnosticSummary"}
    for node in ("calibration", "depth", "localization"):
        assert f"/{node}_node/" in json.dumps(layout)
