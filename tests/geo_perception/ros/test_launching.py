"""What the launch files start for what they are given."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from geo_perception.errors import InputError
from geo_perception.ros.launching import (
    NodeStart,
    calibration_start,
    depth_start,
    localization_start,
    process_starts,
)
from geo_perception.runtime.interruption import GRACE_S

ROOT = Path(__file__).resolve().parents[3]
LOCALIZATION, CALIBRATION, DEPTH = (
    str(ROOT / "config" / f"{name}.yaml") for name in ("localization", "calibration", "depth")
)
GIVEN = {
    "scene": "", "weights": "", "image": "/cam/image_raw", "camera_info": "", "image_transport": "", "tf_mode": "",
    "base_frame": "", "attitude_frame": "", "params_file": LOCALIZATION, "use_sim_time": "false",
    "autostart": "true", "camera_height": "", "odometry": "",
}  # fmt: skip


class TestWhoseCameraIsUsed:
    def test_without_calibration_it_is_the_one_beside_the_image(self):
        assert localization_start(GIVEN).remappings == [("image", "/cam/image_raw")]

    def test_with_calibration_it_is_the_estimate(self):
        start = localization_start(GIVEN, calibrated_here=True)
        assert start.remappings == [("image", "/cam/image_raw"), ("camera_info", "calibration_node/camera_info")]
        # The calibration node must hear the driver, never itself.
        assert calibration_start(GIVEN, CALIBRATION).remappings == [("image", "/cam/image_raw")]

    def test_a_topic_that_is_named_wins_over_the_estimate_and_is_what_the_estimate_is_compared_with(self):
        given = GIVEN | {"camera_info": "/cam/info"}
        for start in (localization_start(given, calibrated_here=True), calibration_start(given, CALIBRATION)):
            assert start.remappings == [("image", "/cam/image_raw"), ("camera_info", "/cam/info")]


class TestWhereDepthHearsItsScale:
    def test_alone_it_keeps_its_own_names(self):
        start = depth_start(GIVEN, DEPTH, "")
        assert start.remappings == [("image", "/cam/image_raw")]
        assert (start.name, start.parameters) == ("depth_node", {"use_sim_time": False, "autostart": True})

    def test_beside_localization_it_hears_the_landmarks_found(self):
        start = depth_start(GIVEN, DEPTH, "", localized_here=True)
        assert start.remappings[1:] == [("matched_landmarks", "localization_node/matched_landmarks")]

    def test_beside_calibration_too_it_hears_its_camera_and_attitude(self):
        start = depth_start(GIVEN, DEPTH, "", localized_here=True, calibrated_here=True)
        assert start.remappings[1:] == [
            ("camera_info", "calibration_node/camera_info"),
            ("matched_landmarks", "localization_node/matched_landmarks"),
            ("attitude", "calibration_node/attitude"),
        ]

    def test_topics_that_are_named_win(self):
        named = {"matched_landmarks": "/m", "attitude": "/a", "odometry": "/odom", "camera_info": "/cam/info"}
        start = depth_start(GIVEN | named, DEPTH, "", localized_here=True, calibrated_here=True)
        assert dict(start.remappings[1:]) == named

    def test_weights_and_height_are_given_to_the_node(self):
        start = depth_start(GIVEN | {"camera_height": "0.45"}, DEPTH, "/w")
        assert start.parameters == {"use_sim_time": False, "autostart": True, "weights": "/w", "camera_height_m": 0.45}

    @pytest.mark.parametrize("height", ["tall", "-1", "0", "inf", "nan"])
    def test_a_height_that_is_none_is_refused(self, height):
        with pytest.raises(InputError, match=f"camera_height is '{height}'; give a length in metres"):
            depth_start(GIVEN | {"camera_height": height}, DEPTH, "")


def test_what_is_not_given_does_not_hide_the_file():
    assert localization_start(GIVEN).parameters == {"use_sim_time": False, "autostart": True}
    given = GIVEN | {"scene": "/s.safetensors", "tf_mode": "map_odom", "image_transport": "compressed"}
    assert localization_start(given).parameters == {
        "use_sim_time": False, "autostart": True, "scene": "/s.safetensors", "tf_mode": "map_odom",
        "image_transport": "compressed",
    }  # fmt: skip
    start = calibration_start(given | {"weights": "/w", "attitude_frame": "camera_link"}, CALIBRATION)
    assert start.params_file == CALIBRATION
    assert start.parameters == {
        "use_sim_time": False, "autostart": True, "image_transport": "compressed", "weights": "/w",
        "attitude_frame": "camera_link",
    }  # fmt: skip


class TestParametersFile:
    def test_a_home_and_a_relative_path_are_resolved_as_those_of_scene_and_weights_are(self, tmp_path, monkeypatch):
        (tmp_path / "mine.yaml").write_text("{}")
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.chdir(tmp_path)
        for given in ("~/mine.yaml", "mine.yaml"):
            assert localization_start(GIVEN | {"params_file": given}).params_file == str(tmp_path / "mine.yaml")
            assert calibration_start(GIVEN, given).params_file == str(tmp_path / "mine.yaml")

    @pytest.mark.parametrize("given", ["", "/nowhere/mine.yaml", os.sep])
    def test_one_that_is_not_there_is_refused_and_not_left_out(self, given):
        for start in (
            lambda: localization_start(GIVEN | {"params_file": given}),
            lambda: calibration_start(GIVEN, given),
            lambda: depth_start(GIVEN, given, ""),
        ):
            with pytest.raises(InputError, match=f"the parameters file '{given}' is not a file; give a YAML file"):
                start()


def test_a_node_ends_before_launch_loses_patience():
    """launch gives a process 5 s from SIGINT to SIGTERM."""
    assert GRACE_S < 5 / 2


class TestProcesses:
    STARTS = (calibration_start(GIVEN, CALIBRATION), localization_start(GIVEN, calibrated_here=True))

    def test_one_each(self):
        first, second = process_starts(self.STARTS, container=False, log_level="info")
        assert (first.executable, first.name) == ("calibration_node", "calibration_node")
        assert (second.executable, second.name) == ("localization_node", "localization_node")
        assert second.remappings == list(self.STARTS[1].remappings)
        assert second.arguments == ["--ros-args", "--log-level", "info"]

    def test_one_for_both_names_the_node_that_is_meant(self):
        (both,) = process_starts(self.STARTS, container=True, log_level="warn")
        assert (both.executable, both.name) == ("perception_container", None)
        assert both.arguments == ["calibration", "localization", "--ros-args", "--log-level", "warn"]
        assert both.remappings == [
            ("calibration_node:image", "/cam/image_raw"),
            ("localization_node:image", "/cam/image_raw"),
            ("localization_node:camera_info", "calibration_node/camera_info"),
        ]


def test_parameters_of_one_node_reach_only_it_in_any_namespace(tmp_path):
    import rclpy
    from ros_support import DOMAIN_ID

    starts = [NodeStart(name, "", {"mark": f"of {name}: # \"'"}, []) for name in ("calibration", "localization")]
    files = [tmp_path / f"{start.name}.yaml" for start in starts]
    for file, start in zip(files, starts, strict=True):
        file.write_text(start.parameters_yaml)
        assert json.loads(start.parameters_yaml)
    for namespace in ("", "/robot/front"):
        context = rclpy.Context()
        arguments = [word for file in files for word in ("--params-file", str(file))]
        rclpy.init(
            args=["--ros-args", *arguments, "-r", f"__ns:={namespace or '/'}"], context=context, domain_id=DOMAIN_ID
        )
        try:
            for start in starts:
                node = rclpy.create_node(start.name, context=context)
                assert node.declare_parameter("mark", "").value == f"of {start.capability}: # \"'"
                node.destroy_node()
        finally:
            context.try_shutdown()


def test_the_file_of_a_nodes_own_parameters_lasts_as_long_as_the_launch():
    code = (
        "from geo_perception.ros.launching import NodeStart, own_parameters_file\n"
        "path = own_parameters_file(NodeStart('depth', '', {'camera_height_m': 0.45}, []))\n"
        "print(path, open(path).read(), sep='\\n')"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    path, content = answer.stdout.splitlines()
    assert json.loads(content) == {"/**/depth_node": {"ros__parameters": {"camera_height_m": 0.45}}}
    assert Path(path).name.startswith("depth_node_")
    assert not Path(path).exists()


@pytest.mark.parametrize("name", ["calibration", "depth", "localization"])
def test_rviz_shows_only_topics_that_a_node_publishes(name):
    shown = yaml.safe_load((ROOT / "rviz" / f"{name}.rviz").read_text())["Visualization Manager"]["Displays"]
    topics = [display["Topic"]["Value"] for display in shown if "Topic" in display]
    assert topics
    for topic in topics:
        node, _, own = topic.rpartition("/")
        source = ROOT / "src" / "geo_perception" / node.removesuffix("_node") / "node.py"
        assert f'"~/{own}"' in source.read_text(), topic


@pytest.mark.parametrize("name", ["calibrate", "depth", "localize"])
def test_every_launch_argument_that_is_read_is_declared(name):
    """launch itself comes only with a ROS distribution, so the file is read, not run."""
    import ast

    source = (ROOT / "launch" / f"{name}.launch.py").read_text()
    table = next(
        node.value for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "ARGUMENTS"
    )  # fmt: skip
    declared = {entry.elts[0].value for entry in table.elts}

    class Reads(dict):
        def __missing__(self, key):
            raise AssertionError(f"{key} is read and not declared")

    given = Reads({key: CALIBRATION if key.endswith("params_file") else "" for key in declared})
    starts = []
    if name != "depth":
        starts.append(calibration_start(given, CALIBRATION))
    if name != "calibrate":
        starts.append(depth_start(given, DEPTH, given["depth_weights" if name == "localize" else "weights"]))
    if name == "localize":
        starts.append(localization_start(given, calibrated_here=True))
    assert len(process_starts(starts, container=False, log_level="info")) == len(starts)
