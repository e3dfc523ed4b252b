"""What the launch files start, worked out from their arguments. No launch library here, so that it can be tested
without one."""

from __future__ import annotations

import atexit
import contextlib
import json
import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from geo_perception.errors import InputError

# Launch arguments of every launch file whose answer "nothing" leaves the value to params_file, or to the node.
_LEFT_TO_FILE = ("image_transport",)
_SWITCHES = ("use_sim_time", "autostart")


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
    parameters = _common_parameters(given, "tf_mode", "base_frame")
    if given["scene"]:
        parameters["scene"] = _path(given["scene"])
    return NodeStart(
        "localization", _params_file(given["params_file"]), parameters, _camera_remappings(given, calibrated_here)
    )


def calibration_start(given: Mapping[str, str], params_file: str) -> NodeStart:
    """The calibration node. Its `camera_info` is what the driver says, which it compares with its own estimate.
    Raises InputError when params_file is not a file."""
    parameters = _common_parameters(given, "attitude_frame")
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
    """The depth node. Where it is not given the topics of its scale's sources, those are the localization node's
    landmarks with `localized_here`, and with `calibrated_here` the calibration node's attitude; its camera is chosen
    as that of the localization node is.

    Raises InputError when params_file is not a file, or camera_height not a length.
    """
    parameters = _common_parameters(given)
    if weights:
        parameters["weights"] = _path(weights)
    if given["camera_height"]:
        parameters["camera_height_m"] = _length_m("camera_height", given["camera_height"])
    here = {}
    if localized_here:
        here["matched_landmarks"] = "localization_node/matched_landmarks"
    if calibrated_here:
        here["attitude"] = "calibration_node/attitude"
    sources = ((name, given.get(name) or here.get(name)) for name in ("matched_landmarks", "attitude", "odometry"))
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


def _common_parameters(given: Mapping[str, str], *left_to_file: str) -> dict[str, object]:
    parameters: dict[str, object] = {key: given[key] == "true" for key in _SWITCHES}
    # What is not given must not hide what params_file says.
    return parameters | {key: given[key] for key in (*_LEFT_TO_FILE, *left_to_file) if given.get(key)}


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
