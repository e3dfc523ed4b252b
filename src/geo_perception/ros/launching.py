"""What the launch files declare and start. The launch library, which comes only with a ROS distribution, is imported
where the description is made."""

from __future__ import annotations

import atexit
import contextlib
import json
import math
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from geo_perception.errors import InputError

# Launch arguments of every launch file whose answer "nothing" leaves the value to params_file, or to the node.
_LEFT_TO_FILE = ("image_transport",)
_SWITCHES = ("use_sim_time", "autostart")
_SWITCH_WORDS = ("true", "false", "True", "False")  # Python's are what a launch file around this one may pass on
_RESPAWN_DELAY_S = 1.0
_DEPTH_SOURCES = ("matched_landmarks", "camera_pose", "attitude", "odometry")  # topics that tell true depths


@dataclass(frozen=True)
class LaunchArgument:
    """An argument of a launch file. A default `in_share` is a path below the package's share folder."""

    name: str
    default: str
    description: str
    choices: tuple[str, ...] | None = None
    in_share: bool = False


def switch(name: str, default: bool, description: str) -> LaunchArgument:
    """An argument that is true or false."""
    return LaunchArgument(name, str(default).lower(), description, _SWITCH_WORDS)


def params_file(capability: str, name: str = "params_file") -> LaunchArgument:
    """The argument for the file with the parameters of a capability's node."""
    return LaunchArgument(name, f"config/{capability}.yaml", f"parameters of {capability}_node", in_share=True)


IMAGE_ARGUMENTS = (
    LaunchArgument("image", "image", "topic of the raw images; compressed ones are expected at <image>/compressed"),
    LaunchArgument(
        "image_transport", "", "raw or compressed; nothing: as in params_file", ("", "raw", "compressed")
    ),
)  # fmt: skip
PROCESS_ARGUMENTS = (
    LaunchArgument("namespace", "", "namespace of all that is started"),
    LaunchArgument(
        "use_sim_time", "", "take the time from /clock; nothing: as a launch file around this one has set it, else as "
        "in params_file", ("", *_SWITCH_WORDS),
    ),
    switch("autostart", True, "configure and activate without being asked"),
    LaunchArgument(
        "log_level", "info", "debug, info, warn, error or fatal", ("debug", "info", "warn", "error", "fatal")
    ),
    switch("rviz", False, "open RViz with what is published"),
    switch("container", False, "run in the one process that all perception nodes can share"),
    switch("respawn", False, "start again a second later what ended without being asked to"),
    LaunchArgument(
        "state_dir", "", "folder in which nodes keep what they know, to go on with it after they were killed; nothing: "
        "as in params_file, or with respawn ~/.ros/geo_perception",
    ),
)  # fmt: skip


@dataclass(frozen=True)
class NodeStart:
    """One node: its capability, the file with its parameters, those given besides, and its remappings."""

    capability: str
    params_file: str
    parameters: dict[str, object]
    remappings: list[tuple[str, str]]

    @property
    def name(self) -> str:
        return f"{self.capability}_node"

    @property
    def parameters_yaml(self) -> str:
        """The parameters given besides the file as a file of their own, for this node in whatever namespace."""
        return json.dumps({f"/**/{self.name}": {"ros__parameters": self.parameters}})  # JSON is YAML


@dataclass(frozen=True)
class ProcessStart:
    """One process: an executable of the package, the node's name where it is one node's, and what it holds."""

    executable: str
    name: str | None
    arguments: list[str]
    remappings: list[tuple[str, str]]
    nodes: list[NodeStart]


def localization_start(given: Mapping[str, str], calibrated_here: bool = False) -> NodeStart:
    """The localization node. With `calibrated_here` and without a topic for `camera_info`, its camera is the estimate
    of the calibration node in the same namespace. Raises InputError when params_file is not a file."""
    parameters = _common_parameters(given, "tf_mode", "base_frame") | _state_file(given, "localization_node")
    if given["scene"]:
        parameters["scene"] = _path(given["scene"])
    return NodeStart(
        "localization", _params_file(given["params_file"]), parameters, _camera_remappings(given, calibrated_here)
    )


def calibration_start(given: Mapping[str, str], params_file: str) -> NodeStart:
    """The calibration node. Its `camera_info` is what the driver says, which it compares with its own estimate.
    Raises InputError when params_file is not a file."""
    parameters = _common_parameters(given, "attitude_frame") | _state_file(given, "calibration_node")
    if given["weights"]:
        parameters["weights"] = _path(given["weights"])
    return NodeStart("calibration", _params_file(params_file), parameters, _camera_remappings(given))


def depth_start(
    given: Mapping[str, str],
    params_file: str,
    weights: str,
    localized_here: bool = False,
    calibrated_here: bool = False,
) -> NodeStart:
    """The depth node. Where it is not given the topics that tell true depths, those are the localization node's
    landmarks and poses with `localized_here`, and with `calibrated_here` the calibration node's attitude; its camera is
    chosen as that of the localization node is.

    Raises InputError when params_file is not a file, or camera_height not a length.
    """
    parameters = _common_parameters(given) | _state_file(given, "depth_node")
    if weights:
        parameters["weights"] = _path(weights)
    if given["camera_height"]:
        parameters["camera_height_m"] = _length_m("camera_height", given["camera_height"])
    here = {}
    if localized_here:
        here["matched_landmarks"] = "localization_node/matched_landmarks"
        here["camera_pose"] = "localization_node/pose"
        if given.get("base_frame") and not given.get("camera_pose"):
            parameters["camera_pose_frame"] = given["base_frame"]  # whose pose that is then
    if calibrated_here:
        here["attitude"] = "calibration_node/attitude"
    sources = ((name, given.get(name) or here.get(name)) for name in _DEPTH_SOURCES)
    remappings = _camera_remappings(given, calibrated_here) + [(name, topic) for name, topic in sources if topic]
    return NodeStart("depth", _params_file(params_file), parameters, remappings)


def own_parameters_file(start: NodeStart) -> str:
    """A file of the parameters that a node is given besides its params_file, removed when this process ends.

    A dictionary would reach every node of a process, and launch would leave its file behind.
    """
    with tempfile.NamedTemporaryFile("w", prefix=f"{start.name}_", suffix=".yaml", delete=False) as file:
        file.write(start.parameters_yaml)
    atexit.register(_remove, file.name)
    return file.name


def process_starts(nodes: Sequence[NodeStart], container: bool, log_level: str) -> list[ProcessStart]:
    """A process for each node, or one `perception_container` for all of them."""
    logging = ["--ros-args", "--log-level", log_level]
    if not container:
        return [ProcessStart(node.name, node.name, logging, node.remappings, [node]) for node in nodes]
    # Several nodes live in that process: name the one that is meant.
    remappings = [(f"{node.name}:{source}", target) for node in nodes for source, target in node.remappings]
    arguments = [*(node.capability for node in nodes), *logging]
    return [ProcessStart("perception_container", None, arguments, remappings, list(nodes))]


def launch_description(
    arguments: Iterable[LaunchArgument], nodes: Callable[[Mapping[str, str]], Sequence[NodeStart]], rviz: str
) -> Any:
    """The `launch.LaunchDescription` that declares `arguments`, starts what `nodes` makes of their values, and where it
    is asked for RViz with the package's `rviz/<rviz>.rviz`."""
    from ament_index_python.packages import get_package_share_directory
    from launch import LaunchDescription
    from launch.actions import DeclareLaunchArgument, OpaqueFunction
    from launch.substitutions import LaunchConfiguration
    from launch_ros.actions import Node

    share, arguments = get_package_share_directory("geo_perception"), list(arguments)

    def actions(context: Any) -> list[Any]:
        given = {argument.name: LaunchConfiguration(argument.name).perform(context) for argument in arguments}
        given |= {
            a.name: given[a.name].lower() for a in arguments if a.choices and set(_SWITCH_WORDS) <= set(a.choices)
        }
        started = [
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
                respawn=given["respawn"] == "true",
                respawn_delay=_RESPAWN_DELAY_S,
                output="screen",
            )
            for process in process_starts(nodes(given), given["container"] == "true", given["log_level"])
        ]
        if given["rviz"] == "true":
            viewer = Node(
                package="rviz2",
                executable="rviz2",
                namespace=given["namespace"],
                arguments=["-d", os.path.join(share, "rviz", f"{rviz}.rviz")],
                parameters=[{"use_sim_time": given["use_sim_time"] == "true"}] if given["use_sim_time"] else [],
            )
            started.append(viewer)
        return started

    declared = [
        DeclareLaunchArgument(
            argument.name,
            default_value=os.path.join(share, argument.default) if argument.in_share else argument.default,
            description=argument.description,
            choices=argument.choices,
        )
        for argument in arguments
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=actions)])


def _common_parameters(given: Mapping[str, str], *left_to_file: str) -> dict[str, object]:
    parameters: dict[str, object] = {key: given[key] == "true" for key in _SWITCHES if given[key]}
    # What is not given must not hide what params_file says.
    return parameters | {key: given[key] for key in (*_LEFT_TO_FILE, *left_to_file) if given.get(key)}


def _state_file(given: Mapping[str, str], name: str) -> dict[str, object]:
    """The parameter for the file in which a node keeps what it knows, where it is to have one."""
    folder = given.get("state_dir", "")
    if not folder and given.get("respawn") == "true":
        folder = os.path.join(os.environ.get("ROS_HOME") or os.path.join("~", ".ros"), "geo_perception")
    owner = "_".join([*filter(None, given.get("namespace", "").split("/")), name])
    return {"state_file": os.path.join(_path(folder), f"{owner}.json")} if folder else {}


def _camera_remappings(given: Mapping[str, str], calibrated_here: bool = False) -> list[tuple[str, str]]:
    remappings = [("image", given["image"])]
    if given["camera_info"]:
        remappings.append(("camera_info", given["camera_info"]))
    elif calibrated_here:
        remappings.append(("camera_info", "calibration_node/camera_info"))
    return remappings


def _length_m(name: str, given: str) -> float:
    try:
        length_m = float(given)
    except ValueError:
        length_m = math.nan
    if not 0 < length_m < math.inf:
        raise InputError(f"{name} is '{given}'; give a length in metres, 0.45 say")
    return length_m


def _params_file(given: str) -> str:
    path = _path(given)
    if not os.path.isfile(path):
        # launch_ros would warn, leave it out and start the node with other parameters than those meant.
        raise InputError(f"the parameters file '{given}' is not a file; give a YAML file of parameters")
    return path


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):  # somebody has tidied up
        os.remove(path)


def _path(given: str) -> str:
    return os.path.abspath(os.path.expanduser(given))
