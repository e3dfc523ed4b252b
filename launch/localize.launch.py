"""Starts localization, with `calibrate:=true` the calibration of its camera, and with `depth:=true` metric depth.

ros2 launch geo_perception localize.launch.py scene:=office.safetensors image:=/camera/image_raw
"""

from geo_perception.ros.launching import (
    IMAGE_ARGUMENTS,
    PROCESS_ARGUMENTS,
    LaunchArgument,
    calibration_start,
    depth_start,
    launch_description,
    localization_start,
    params_file,
    switch,
)

ARGUMENTS = (
    LaunchArgument("scene", "", "scene file to localize in; nothing: the one in params_file"),
    *IMAGE_ARGUMENTS,
    LaunchArgument(
        "camera_info", "", "topic of the driver's CameraInfo; nothing: camera_info beside the image, or with calibrate "
        "the estimate of calibration_node",
    ),
    LaunchArgument(
        "tf_mode", "", "none, map_odom or map_base; nothing: as in params_file", ("", "none", "map_odom", "map_base")
    ),
    LaunchArgument(
        "base_frame", "", "publish the pose of this frame instead of the camera's; nothing: as in params_file"
    ),
    params_file("localization"),
    switch("calibrate", False, "also start calibration_node on the same images"),
    params_file("calibration", "calibration_params_file"),
    LaunchArgument("weights", "", "weights of calibration_node; nothing: as in calibration_params_file"),
    LaunchArgument(
        "attitude_frame", "", "body frame of the camera for calibration_node; nothing: as in calibration_params_file"
    ),
    switch("depth", False, "also start depth_node on the same images; what is localized gives it metres"),
    params_file("depth", "depth_params_file"),
    LaunchArgument("depth_weights", "", "weights of depth_node; nothing: as in depth_params_file"),
    LaunchArgument(
        "camera_height", "", "metres of the camera above the ground, for depth_node; nothing: as in depth_params_file"
    ),
    LaunchArgument("odometry", "", "topic of odometry for depth_node; nothing: `odometry`"),
    *PROCESS_ARGUMENTS,
)  # fmt: skip


def _nodes(given):
    calibrate = given["calibrate"] == "true"
    starts = [localization_start(given, calibrated_here=calibrate)]
    if calibrate:
        starts.insert(0, calibration_start(given, given["calibration_params_file"]))
    if given["depth"] == "true":
        starts.append(depth_start(given, given["depth_params_file"], given["depth_weights"], True, calibrate))
    return starts


def generate_launch_description():
    return launch_description(ARGUMENTS, _nodes, rviz="localization")
