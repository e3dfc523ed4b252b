"""Starts localization.

ros2 launch geo_perception localize.launch.py scene:=office.safetensors image:=/camera/image_raw
"""

import os

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

SHARE = get_package_share_directory("geo_perception")
SWITCH = ("true", "false")
# name, default, description, choices
ARGUMENTS = (
    ("scene", "", "scene file to localize in; nothing: the one in params_file", None),
    ("image", "image", "topic of the raw images; compressed ones are expected below it, at <image>/compressed", None),
    ("camera_info", "", "topic of the CameraInfo; nothing: camera_info beside the image", None),
    ("image_transport", "", "raw or compressed; nothing: as in params_file", ("", "raw", "compressed")),
    ("tf_mode", "", "none, map_odom or map_base; nothing: as in params_file", ("", "none", "map_odom", "map_base")),
    ("base_frame", "", "publish the pose of this frame instead of the camera's; nothing: as in params_file", None),
    ("params_file", os.path.join(SHARE, "config", "localization.yaml"), "parameters of the node", None),
    ("namespace", "", "namespace of the node", None),
    ("use_sim_time", "false", "take the time from /clock", SWITCH),
    ("autostart", "true", "configure and activate by itself", SWITCH),
    ("log_level", "info", "debug, info, warn, error or fatal", ("debug", "info", "warn", "error", "fatal")),
    ("rviz", "false", "open RViz with the pose, the landmarks and the detections", SWITCH),
    ("container", "false", "run in the one process that all perception nodes can share", SWITCH),
)


def _nodes(context):
    given = {name: LaunchConfiguration(name).perform(context) for name, *_ in ARGUMENTS}
    parameters = {key: given[key] == "true" for key in ("use_sim_time", "autostart")}
    # What is not given must not hide what params_file says.
    parameters |= {key: given[key] for key in ("image_transport", "tf_mode", "base_frame") if given[key]}
    if given["scene"]:
        parameters["scene"] = os.path.abspath(os.path.expanduser(given["scene"]))
    in_container = given["container"] == "true"
    remappings = [("image", given["image"])]
    if given["camera_info"]:
        remappings.append(("camera_info", given["camera_info"]))
    if in_container:
        # Several nodes live in that process: name the one that is meant.
        remappings = [(f"localization_node:{source}", target) for source, target in remappings]
    node = Node(
        package="geo_perception",
        executable="perception_container" if in_container else "localization_node",
        name=None if in_container else "localization_node",
        namespace=given["namespace"],
        parameters=[given["params_file"], parameters],
        remappings=remappings,
        arguments=[*(["localization"] if in_container else []), "--ros-args", "--log-level", given["log_level"]],
        output="screen",
    )
    if given["rviz"] == "false":
        return [node]
    config = os.path.join(SHARE, "rviz", "localization.rviz")
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        namespace=given["namespace"],
        arguments=["-d", config],
        parameters=[{"use_sim_time": parameters["use_sim_time"]}],
    )
    return [node, rviz]


def generate_launch_description():
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=description, choices=choices)
        for name, default, description, choices in ARGUMENTS
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=_nodes)])
