"""The processes of one measurement: a node (or the container), the camera and the bare estimators, and who listens."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from geo_perception.errors import InputError
from geo_training.evaluation.latency.figures import BareFrame, Slice
from geo_training.evaluation.latency.pictures import RAW
from geo_training.evaluation.latency.publisher import stamp_of
from geo_training.evaluation.replay.patience import Deadline
from geo_training.evaluation.replay.process import Process

IMAGE_TOPIC, INFO_TOPIC = "/camera/image_raw", "/camera/camera_info"
RESULTS = {"localization": "pose", "calibration": "camera_info", "depth": "relative_depth"}
# So that an answer to an image is published with that image, whatever the estimator thinks of it.
_PARAMETERS: dict[str, dict[str, Any]] = {
    "localization": {"agreeing_frames": 1},
    "calibration": {"min_frames": 1, "max_focal_sigma": 1.0},
    "depth": {},
}
_MAIN = "import sys; from geo_perception.ros.commands import {0}; sys.exit({0}())"
_START_S, _ANSWER_S, _ASK_EVERY_S = 120.0, 120.0, 0.5
_LAST_ANSWER_S, _DIAGNOSTICS_S = 0.5, 1.5
_SPIN_S = 0.02


@dataclass(frozen=True)
class Setup:
    """What all processes are told: folder of the pictures, scene file, device."""

    pictures: Path
    scene: Path
    device: str
    folder: Path  # for their jobs and parameters


def node_name(capability: str) -> str:
    return f"{capability}_node"


def asked(process: Process, question: Mapping[str, Any] | None, wait: Any = None, timeout_s: float = _ANSWER_S) -> dict:
    """The answer of a process that speaks in lines of JSON; without a question what it says next. `wait(seconds)` is
    called meanwhile. Raises InputError when the process ends or says nothing."""
    before = len(process.lines) if question is not None else 0
    if question is not None:
        process.ask(json.dumps(question))
    limit = Deadline(timeout_s)
    while len(process.lines) <= before:
        process.check()
        if limit.passed():
            raise InputError(f"{process.name} said nothing within {timeout_s:g} s")
        (wait or time.sleep)(_SPIN_S)
    return json.loads(process.lines[before])


def bare_process(setup: Setup, nodes: Sequence[str], environment: Mapping[str, str]) -> Process:
    """Loads the estimators of these nodes; `asked(process, None)` tells what runs them."""
    job = {"pictures": str(setup.pictures), "scene": str(setup.scene), "device": setup.device, "nodes": list(nodes)}
    path = _written(setup.folder / f"bare_{'_'.join(nodes)}.json", job)
    command = [sys.executable, "-m", "geo_training.evaluation.latency.bare", str(path)]
    return Process(command, environment, "the bare estimator", asked=True)


def camera_process(setup: Setup, transport: str, environment: Mapping[str, str]) -> Process:
    topic = IMAGE_TOPIC if transport == RAW else f"{IMAGE_TOPIC}/compressed"
    job = {"pictures": str(setup.pictures), "transport": transport, "image_topic": topic, "info_topic": INFO_TOPIC}
    path = _written(setup.folder / f"camera_{transport}.json", job)
    command = [sys.executable, "-m", "geo_training.evaluation.latency.publisher", str(path)]
    return Process(command, environment, "the camera", asked=True)


def node_command(setup: Setup, nodes: Sequence[str], transport: str, engines: Mapping[str, str]) -> list[str]:
    """One node by its own command, several as `perception_container`; the networks run by these engines."""
    given = {name: {"device": setup.device, "image_transport": transport, "engine": engines[name]} for name in nodes}
    if "localization" in given:
        given["localization"] |= {"scene": str(setup.scene.resolve()), "allow_unknown_scale": True}
    content = {f"/{node_name(n)}": {"ros__parameters": own | _PARAMETERS[n]} for n, own in given.items()}
    path = _written(setup.folder / f"{'_'.join(nodes)}_{transport}.yaml", content)  # JSON is YAML
    image = "image" if transport == RAW else "image/compressed"
    topic = IMAGE_TOPIC if transport == RAW else f"{IMAGE_TOPIC}/compressed"
    command = node_name(nodes[0]) if len(nodes) == 1 else "perception_container"
    which = [] if len(nodes) == 1 else list(nodes)
    remaps = ["-r", f"{image}:={topic}", "-r", f"camera_info:={INFO_TOPIC}"]
    return [sys.executable, "-c", _MAIN.format(command), *which, "--ros-args", "--params-file", str(path), *remaps]


@dataclass
class Listener:
    """Receives the results, states and diagnostics of nodes. Close it, or use it as a context."""

    nodes: Sequence[str]
    active: set[str] = field(default_factory=set)
    answers: dict[str, dict[int, float]] = field(default_factory=dict)
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    counted_s: dict[str, float] = field(default_factory=dict)

    def __enter__(self) -> Listener:
        import rclpy
        from diagnostic_msgs.msg import DiagnosticArray
        from geometry_msgs.msg import PoseWithCovarianceStamped
        from lifecycle_msgs.msg import TransitionEvent
        from lifecycle_msgs.srv import GetState
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.node import Node
        from rclpy.qos import QoSProfile, ReliabilityPolicy
        from sensor_msgs.msg import CameraInfo, Image

        self._context = rclpy.Context()
        rclpy.init(args=[], context=self._context)
        self._node = Node("latency_listener", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        profile = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
        kinds = {"localization": PoseWithCovarianceStamped, "calibration": CameraInfo, "depth": Image}
        add = self._node.create_subscription
        self._asking = {}
        for name in self.nodes:
            self.answers[name] = {}
            # Only the stamp is read: deserializing what was received is not the node's work.
            add(kinds[name], f"/{node_name(name)}/{RESULTS[name]}", self._on_result(name), profile, raw=True)
            add(TransitionEvent, f"/{node_name(name)}/transition_event", self._on_transition(name), profile)
            self._asking[name] = self._node.create_client(GetState, f"/{node_name(name)}/get_state")
        self._request = GetState.Request
        add(DiagnosticArray, "/diagnostics", self._on_diagnostics, profile)
        return self

    def __exit__(self, *_error: object) -> None:
        import rclpy

        self._executor.shutdown(timeout_sec=1.0)
        self._node.destroy_node()
        rclpy.try_shutdown(context=self._context)

    def spin(self, seconds: float) -> None:
        """Handles what comes within the time."""
        until_s = time.monotonic() + seconds
        while (left_s := until_s - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left_s)

    def wait_until_active(self, process: Process) -> None:
        """Raises InputError when the process ends or does not get there."""
        limit, asked_s = Deadline(_START_S), 0.0
        while len(self.active) < len(self.nodes):
            process.check()
            refusal = process.last_error()
            if refusal or limit.passed():
                raise InputError(f"{process.name} did not become active: {refusal or process.last_line()}")
            if time.monotonic() - asked_s > _ASK_EVERY_S:
                asked_s = time.monotonic()
                for name in set(self.nodes) - self.active:
                    self._ask(name)
            self.spin(_SPIN_S)

    def received(self, process: Process) -> dict[str, int]:
        """How many images each node has received by now, by diagnostics that are of now."""
        began_s = time.monotonic()
        limit = Deadline(_ANSWER_S)
        while any(self.counted_s.get(name, 0.0) < began_s + _DIAGNOSTICS_S for name in self.nodes):
            process.check()
            if limit.passed():
                raise InputError(f"{process.name} publishes no diagnostics: {process.last_line()}")
            self.spin(_SPIN_S)
        return {name: self.counts[name].get("received", 0) for name in self.nodes}

    def _ask(self, name: str) -> None:
        client = self._asking[name]
        if client.service_is_ready():
            question = client.call_async(self._request())
            question.add_done_callback(lambda done: self._on_state(name, done.result().current_state.label))

    def _on_state(self, name: str, label: str) -> None:
        if label == "active":
            self.active.add(name)

    def _on_transition(self, name: str) -> Any:
        return lambda message: self._on_state(name, message.goal_state.label)

    def _on_result(self, name: str) -> Any:
        found = self.answers[name]
        return lambda message: found.setdefault(stamp_of(message), time.monotonic())

    def _on_diagnostics(self, message: Any) -> None:
        for status in message.status:
            for name in self.nodes:
                if node_name(name) in status.name:
                    values = {value.key: value.value for value in status.values}
                    self.counts[name] = {key: int(value) for key, value in values.items() if value.isdigit()}
                    self.counted_s[name] = time.monotonic()


def resident_mb(process: Process) -> float:
    """Memory of a process that is in RAM, in 10^6 bytes."""
    return psutil.Process(process.process.pid).memory_info().rss / 1e6


def shown(listener: Listener, camera: Process, rate_hz: float, count: int, first: int) -> tuple[dict, dict]:
    """Lets the camera publish; when each image was published, by its stamp, and what was answered."""
    for found in listener.answers.values():
        found.clear()
    said = asked(camera, {"rate_hz": rate_hz, "count": count, "first": first}, listener.spin)
    published_s = {int(stamp): float(at_s) for stamp, at_s in said["published"]}
    began_s = time.monotonic()
    while time.monotonic() - began_s < _LAST_ANSWER_S:
        listener.spin(_SPIN_S)
    answers = {
        name: {stamp: at_s for stamp, at_s in found.items() if stamp in published_s}
        for name, found in listener.answers.items()
    }
    return published_s, answers


def slice_of(
    listener: Listener, camera: Process, bare: Process, transport: str, rate_hz: float, count: int, first: int,
    bare_first: bool,
) -> Slice:  # fmt: skip
    """The same images for both, one after the other."""
    question = {"transport": transport, "rate_hz": rate_hz, "count": count, "first": first}
    said = asked(bare, question, listener.spin) if bare_first else {}
    published_s, answers = shown(listener, camera, rate_hz, count, first)
    said = said or asked(bare, question, listener.spin)
    frames = [BareFrame(f["decode_s"], f["work_s"], frozenset(f["good"])) for f in said["frames"]]
    return Slice(published_s, answers, frames)


def _written(path: Path, content: Mapping[str, Any]) -> Path:
    path.write_text(json.dumps(content))
    return path
