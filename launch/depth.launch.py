"""Starts depth from one camera.

ros2 launch geo_perception depth.launch.py image:=/camera/image_raw camera_height:=0.45
"""

import os

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from geo_perception.ros.launching import depth_start, own_parameters_file, process_starts

SHARE = get_package_share_directory("geo_perception")
SWITCH = ("true", "false")
# name, default, description, choices
ARGUMENTS = (
    ("weights", "", "weights of the network; nothing: those in params_file, else the package's own", None),
    ("image", "image", "topic of the raw images; compressed ones are expected below it, at <image>/compressed", None),
    ("camera_info", "", "topic of the CameraInfo; nothing: camera_info beside the image", None),
    ("image_transport", "", "raw or compressed; nothing: as in params_file", ("", "raw", "compressed")),
    ("camera_height", "", "metres of the camera above the ground; nothing: as in params_file", None),
    ("attitude", "", "topic of the camera's attitude (calibration_node/attitude, say); nothing: `attitude`", None),
    ("matched_landmarks", "", "topic of landmarks with true depths (localization_node/matched_landmarks, say); "
     "nothing: `matched_landmarks`", None),
    ("odometry", "", "topic of odometry; nothing: `odometry`", None),
    ("params_file", os.path.join(SHARE, "config", "depth.yaml"), "parameters of the node", None),
    ("namespace", "", "namespace of the node", None),
    ("use_sim_time", "false", "take the time from /clock", SWITCH),
    ("autostart", "true", "configure and activate by itself", SWITCH),
    ("log_level", "info", "debug, info, warn, error or fatal", ("debug", "info", "warn", "error", "fatal")),
    ("rviz", "false", "open RViz with the picture of depth and the points", SWITCH),
    ("container", "false", "run in the one process that all perception nodes can share", SWITCH),
)  # fmt: skip


def _nodes(context):
    given = {name: LaunchConfiguration(name).perform(context) for name, *_ in ARGUMENTS}
    start = depth_start(given, given["params_file"], given["weights"])
    (process,) = process_starts([start], given["container"] == "true", given["log_level"])
    node = Node(
        package="geo_perception",
        executable=process.executable,
        name=process.name,
        namespace=given["namespace"],
        parameters=[start.params_file, own_parameters_file(start)],
        remappings=process.remappings,
        arguments=process.arguments,
        output="screen",
    )
    if given["rviz"] == "false":
        return [node]
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        namespace=given["namespace"],
        arguments=["-d", os.path.join(SHARE, "rviz", "depth.rviz")],
        parameters=[{"use_sim_time": given["use_sim_time"] == "true"}],
    )
    return [node, rviz]


def generate_launch_description():
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=description, choices=choices)
        for name, default, description, choices in ARGUMENTS
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=_nodes)])
