"""Starts depth from one camera.

ros2 launch geo_perception depth.launch.py image:=/camera/image_raw camera_height:=0.45
"""

from geo_perception.ros.launching import (
    IMAGE_ARGUMENTS,
    PROCESS_ARGUMENTS,
    LaunchArgument,
    depth_start,
    launch_description,
    params_file,
)

ARGUMENTS = (
    LaunchArgument("weights", "", "weights of the network; nothing: those in params_file, else the package's own"),
    *IMAGE_ARGUMENTS,
    LaunchArgument("camera_info", "", "topic of the CameraInfo; nothing: camera_info beside the image"),
    LaunchArgument("camera_height", "", "metres of the camera above the ground; nothing: as in params_file"),
    LaunchArgument(
        "attitude", "", "topic of the camera's attitude (calibration_node/attitude, say); nothing: `attitude`"
    ),
    LaunchArgument(
        "matched_landmarks", "", "topic of landmarks with true depths (localization_node/matched_landmarks, say); "
        "nothing: `matched_landmarks`",
    ),
    LaunchArgument(
        "camera_pose", "", "topic of the camera's pose in a map in metres (localization_node/pose, say); nothing: "
        "`camera_pose`",
    ),
    LaunchArgument("odometry", "", "topic of odometry; nothing: `odometry`"),
    params_file("depth"),
    *PROCESS_ARGUMENTS,
)  # fmt: skip


def _nodes(given):
    return [depth_start(given, given["params_file"], given["weights"])]


def generate_launch_description():
    return launch_description(ARGUMENTS, _nodes, rviz="depth")
