"""Starts localization, with `calibrate:=true` the calibration of its camera, and with `depth:=true` metric depth.

ros2 launch geo_perception localize.launch.py scene:=office.safetensors image:=/camera/image_raw
"""

import os

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from geo_perception.ros.launching import (
    calibration_start,
    depth_start,
    localization_start,
    own_parameters_file,
    process_starts,
)

SHARE = get_package_share_directory("geo_perception")
SWITCH = ("true", "false")
# name, default, description, choices
ARGUMENTS = (
    ("scene", "", "scene file to localize in; nothing: the one in params_file", None),
    ("image", "image", "topic of the raw images; compressed ones are expected below it, at <image>/compressed", None),
    ("camera_info", "", "topic of the driver's CameraInfo; nothing: camera_info beside the image, or with calibrate "
     "the estimate of calibration_node", None),
    ("image_transport", "", "raw or compressed; nothing: as in params_file", ("", "raw", "compressed")),
    ("tf_mode", "", "none, map_odom or map_base; nothing: as in params_file", ("", "none", "map_odom", "map_base")),
    ("base_frame", "", "publish the pose of this frame instead of the camera's; nothing: as in params_file", None),
    ("params_file", os.path.join(SHARE, "config", "localization.yaml"), "parameters of localization_node", None),
    ("calibrate", "false", "also start calibration_node on the same images", SWITCH),
    ("calibration_params_file", os.path.join(SHARE, "config", "calibration.yaml"), "parameters of calibration_node",
     None),
    ("weights", "", "weights of calibration_node; nothing: as in calibration_params_file", None),
    ("attitude_frame", "", "body frame of the camera for calibration_node; nothing: as in calibration_params_file",
     None),
    ("depth", "false", "also start depth_node on the same images; the landmarks that are found give it metres", SWITCH),
    ("depth_params_file", os.path.join(SHARE, "config", "depth.yaml"), "parameters of depth_node", None),
    ("depth_weights", "", "weights of depth_node; nothing: as in depth_params_file", None),
    ("camera_height", "", "metres of the camera above the ground, for depth_node; nothing: as in depth_params_file",
     None),
    ("odometry", "", "topic of odometry for depth_node; nothing: `odometry`", None),
    ("namespace", "", "namespace of the nodes", None),
    ("use_sim_time", "false", "take the time from /clock", SWITCH),
    ("autostart", "true", "configure and activate by themselves", SWITCH),
    ("log_level", "info", "debug, info, warn, error or fatal", ("debug", "info", "warn", "error", "fatal")),
    ("rviz", "false", "open RViz with the pose, the landmarks and the detections", SWITCH),
    ("container", "false", "run in the one process that all perception nodes can share", SWITCH),
)  # fmt: skip


def _nodes(context):
    given = {name: LaunchConfiguration(name).perform(context) for name, *_ in ARGUMENTS}
    calibrate = given["calibrate"] == "true"
    starts = [localization_start(given, calibrated_here=calibrate)]
    if calibrate:
        starts.insert(0, calibration_start(given, given["calibration_params_file"]))
    if given["depth"] == "true":
        starts.append(depth_start(given, given["depth_params_file"], given["depth_weights"], True, calibrate))
    actions = [
        Node(
            package="geo_perception",
            executable=process.executable,
            name=process.name,
            namespace=given["namespace"],
            parameters=[
                *(start.params_file for start in process.nodes),
                *(own_parameters_file(start) for start in process.nodes),
            ],
            remappings=process.remappings,
            arguments=process.arguments,
            output="screen",
        )
        for process in process_starts(starts, given["container"] == "true", given["log_level"])
    ]
    if given["rviz"] == "true":
        rviz = Node(
            package="rviz2",
            executable="rviz2",
            namespace=given["namespace"],
            arguments=["-d", os.path.join(SHARE, "rviz", "localization.rviz")],
            parameters=[{"use_sim_time": given["use_sim_time"] == "true"}],
        )
        actions.append(rviz)
    return actions


def generate_launch_description():
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=description, choices=choices)
        for name, default, description, choices in ARGUMENTS
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=_nodes)])
