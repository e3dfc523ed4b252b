"""Starts the calibration of a camera.

ros2 launch geo_perception calibrate.launch.py image:=/camera/image_raw
"""

from geo_perception.ros.launching import (
    IMAGE_ARGUMENTS,
    PROCESS_ARGUMENTS,
    LaunchArgument,
    calibration_start,
    launch_description,
    params_file,
)

ARGUMENTS = (
    LaunchArgument("weights", "", "weights of the network; nothing: the one in params_file, else the package's own"),
    *IMAGE_ARGUMENTS,
    LaunchArgument(
        "camera_info", "", "topic of the driver's CameraInfo, to compare with; nothing: camera_info beside the image"
    ),
    LaunchArgument(
        "attitude_frame", "", "give the attitude for this body frame of the camera; nothing: as in params_file"
    ),
    params_file("calibration"),
    *PROCESS_ARGUMENTS,
)


def _nodes(given):
    return [calibration_start(given, given["params_file"])]


def generate_launch_description():
    return launch_description(ARGUMENTS, _nodes, rviz="calibration")
