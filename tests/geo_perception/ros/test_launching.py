"""What the launch files start for what they are given."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from geo_perception.errors import InputError
from geo_perception.ros.launching import NodeStart, calibration_start, depth_start, localization_start, process_starts
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

    def test_beside_localization_it_hears_the_landmarks_and_poses_found(self):
        start = depth_start(GIVEN, DEPTH, "", localized_here=True)
        assert start.remappings[1:] == [
            ("matched_landmarks", "localization_node/matched_landmarks"),
            ("camera_pose", "localization_node/pose"),
        ]

    def test_it_is_told_whose_pose_the_localization_publishes(self):
        given = GIVEN | {"base_frame": "base_link"}
        assert depth_start(given, DEPTH, "", localized_here=True).parameters["camera_pose_frame"] == "base_link"
        assert "camera_pose_frame" not in depth_start(given, DEPTH, "").parameters
        assert "camera_pose_frame" not in depth_start(given | {"camera_pose": "/p"}, DEPTH, "", True).parameters

    def test_beside_calibration_too_it_hears_its_camera_and_attitude(self):
        start = depth_start(GIVEN, DEPTH, "", localized_here=True, calibrated_here=True)
        assert start.remappings[1:] == [
            ("camera_info", "calibration_node/camera_info"),
            ("matched_landmarks", "localization_node/matched_landmarks"),
            ("camera_pose", "localization_node/pose"),
            ("attitude", "calibration_node/attitude"),
        ]

    def test_topics_that_are_named_win(self):
        named = {
            "matched_landmarks": "/m",
            "camera_pose": "/p",
            "attitude": "/a",
            "odometry": "/odom",
            "camera_info": "/cam/info",
        }
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


class TestLaunchFiles:
    """Each file with a stand-in for the launch library, which comes only with a ROS distribution."""

    @pytest.fixture
    def launch(self, monkeypatch):
        """Runs a launch file with arguments; what it declares, and the keywords of each Node that it starts."""

        def module(name: str, **members) -> None:
            monkeypatch.setitem(sys.modules, name, SimpleNamespace(**members))

        def substitution(name: str) -> SimpleNamespace:
            return SimpleNamespace(perform=lambda given: given[name])  # KeyError where it is not declared

        module("ament_index_python.packages", get_package_share_directory=lambda _: str(ROOT))
        module("launch", LaunchDescription=list)
        module(
            "launch.actions", DeclareLaunchArgument=lambda name, **more: (name, more),
            OpaqueFunction=lambda function: function,
        )  # fmt: skip
        module("launch.substitutions", LaunchConfiguration=substitution)
        module("launch_ros.actions", Node=lambda **more: more)

        def run(file: str, **changes: str):
            made = runpy.run_path(str(ROOT / "launch" / f"{file}.launch.py"))
            *declared, actions = made["generate_launch_description"]()
            defaults = {name: more["default_value"] for name, more in declared}
            assert set(changes) <= set(defaults)
            return dict(declared), actions(defaults | changes)

        return run

    @pytest.mark.parametrize(
        ("file", "node"), [("calibrate", "calibration"), ("depth", "depth"), ("localize", "localization")]
    )
    def test_one_node_with_the_parameters_of_its_capability(self, launch, file, node):
        declared, (started,) = launch(file, namespace="robot", image="/cam/image_raw")
        assert (started["executable"], started["name"], started["namespace"]) == (f"{node}_node",) * 2 + ("robot",)
        assert started["parameters"][0] == str(ROOT / "config" / f"{node}.yaml")
        own = yaml.safe_load(Path(started["parameters"][1]).read_text())
        # Not the time: a launch file around this one may have set that.
        assert own == {f"/**/{node}_node": {"ros__parameters": {"autostart": True}}}
        assert not started["respawn"]
        assert started["remappings"] == [("image", "/cam/image_raw")]
        for name, more in declared.items():
            assert more["description"], name
            assert more["choices"] is None or more["default_value"] in more["choices"], name

    @pytest.mark.parametrize("file", ["calibrate", "depth", "localize"])
    def test_rviz_beside_it_in_the_same_time(self, launch, file):
        _, (_, viewer) = launch(file, rviz="true", use_sim_time="true", namespace="robot")
        assert (viewer["package"], viewer["namespace"]) == ("rviz2", "robot")
        assert Path(viewer["arguments"][1]).is_file()
        assert viewer["parameters"] == [{"use_sim_time": True}]

    @pytest.mark.parametrize("file", ["calibrate", "depth", "localize"])
    @pytest.mark.parametrize(("given", "taken"), [("True", True), ("true", True), ("False", False)])
    def test_the_time_is_given_in_either_spelling(self, launch, file, given, taken):
        _, (started, viewer) = launch(file, rviz="True", use_sim_time=given)
        (own,) = yaml.safe_load(Path(started["parameters"][1]).read_text()).values()
        assert own["ros__parameters"]["use_sim_time"] is taken
        assert viewer["parameters"] == [{"use_sim_time": taken}]

    def test_rviz_has_the_time_that_was_set_around_it(self, launch):
        _, (_, viewer) = launch("depth", rviz="true")
        assert viewer["parameters"] == []

    def test_what_is_started_again_keeps_what_it_knew(self, launch, monkeypatch):
        monkeypatch.setenv("ROS_HOME", "/home/robot/.ros")
        _, processes = launch("localize", calibrate="true", depth="true", respawn="true", namespace="/fleet/r2")
        assert all(started["respawn"] and started["respawn_delay"] == 1.0 for started in processes)
        owns = [yaml.safe_load(Path(started["parameters"][1]).read_text()) for started in processes]
        files = [own.popitem()[1]["ros__parameters"].get("state_file") for own in owns]
        folder = "/home/robot/.ros/geo_perception"
        names = ("calibration", "localization", "depth")
        assert files == [f"{folder}/fleet_r2_{name}_node.json" for name in names]

    def test_a_folder_for_what_nodes_know_may_be_named(self, launch):
        _, (started,) = launch("depth", state_dir="/run/perception")
        (own,) = yaml.safe_load(Path(started["parameters"][1]).read_text()).values()
        assert own["ros__parameters"]["state_file"] == "/run/perception/depth_node.json"

    def test_all_three_as_processes_or_in_one(self, launch):
        three = {"calibrate": "true", "depth": "true"}
        _, processes = launch("localize", **three)
        names = [started["executable"] for started in processes]
        assert names == ["calibration_node", "localization_node", "depth_node"]
        _, (container,) = launch("localize", **three, container="true")
        assert container["executable"] == "perception_container"
        assert container["arguments"][:3] == ["calibration", "localization", "depth"]
        assert len(container["parameters"]) == 6
