"""Looks at the live graph of this ROS domain for some seconds. The doctor's node publishes nothing, serves nothing, and
subscribes to inputs, diagnostics, TF and the clock only: a subscriber of a result would make a lazy node work."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

from geo_perception.errors import InputError
from geo_perception.runtime.weights import HEADER_KEY
from geo_training.console import progress_bar
from geo_training.evaluation.doctor.graph import NAME, nodes_of, topics_of
from geo_training.evaluation.doctor.machine import MachineWatch
from geo_training.evaluation.doctor.questions import Answers, Questions
from geo_training.evaluation.doctor.snapshot import LOCALIZATION, NodeSeen, SceneFile, Snapshot

_STEP_S, _SPIN_S, _DISCOVERY_S = 0.2, 0.02, 1.0
_PATIENCE = 0.4  # of the time, for nodes to say what they are


def observe(seconds: float) -> Snapshot:
    """What is seen within `seconds`. Raises InputError where ROS is not installed or does not start."""
    try:
        from rclpy.executors import ExternalShutdownException
    except ImportError as error:
        raise InputError(
            f"a live graph needs ROS ({error}); source its setup.bash, or install ros-jazzy-rclpy"
        ) from None
    try:
        with _spinning_node() as (node, spin):
            return _look(node, spin, seconds)
    except ExternalShutdownException:
        raise KeyboardInterrupt from None


@contextlib.contextmanager
def _spinning_node() -> Iterator[tuple]:
    import rclpy
    from rclpy.executors import SingleThreadedExecutor

    context = rclpy.Context()
    try:
        rclpy.init(args=[], context=context)
    except Exception as error:
        raise InputError(f"ROS does not start: {' '.join(str(error).split())}") from None
    with contextlib.ExitStack() as stack:
        stack.callback(rclpy.try_shutdown, context=context)
        name = f"{NAME}_{os.getpid()}"
        node = rclpy.create_node(name, context=context, start_parameter_services=False, enable_rosout=False)
        stack.callback(node.destroy_node)
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(node)
        stack.callback(executor.shutdown, timeout_sec=1.0)
        yield node, executor.spin_once


def _look(node, spin, seconds: float) -> Snapshot:
    from geo_training.evaluation.doctor.listening import Listener

    questions, listener, machine = Questions(node), Listener(node), MachineWatch()
    began_s = time.monotonic()
    passed_s = next_s = 0.0
    with progress_bar("looking at the graph", round(seconds / _STEP_S)) as advance:
        while (passed_s := time.monotonic() - began_s) < seconds:
            spin(timeout_sec=_SPIN_S)
            if passed_s < next_s:
                continue
            next_s = passed_s + _STEP_S
            machine.sample()
            questions.go_on(nodes_of(node))
            unknown = {name for name, answers in questions.answers.items() if not answers.known}
            if passed_s > _DISCOVERY_S and (not unknown or passed_s > _PATIENCE * seconds):
                listener.listen(_snapshot(node, questions, listener, seconds), unknown)
            advance()
    seen = _snapshot(node, questions, listener, seconds)
    notes, scenes = dict.fromkeys(seen.notes), {}
    for one in seen.ours:
        if one.capability == LOCALIZATION and one.parameters.get("scene"):
            scenes[one.name] = scene = read_scene(Path(one.parameters["scene"]).expanduser())
            if scene.problem:
                notes[f"{one.name}: its scene was not compared with the camera: {scene.problem}"] = None
    return Snapshot(
        seconds, seen.nodes, seen.topics, listener.streams(), listener.transforms(), seen.clock_publishers,
        listener.clock_ns, scenes, machine.result(), tuple(notes),
    )  # fmt: skip


def _snapshot(node, questions: Questions, listener, seconds: float) -> Snapshot:
    topics = topics_of(node)
    clock = next((topic for topic in topics if topic.name == "/clock"), None)
    publishers = tuple(sorted({end.node for end in clock.publishers})) if clock else ()
    present = set(nodes_of(node))
    nodes = tuple(_node(answers, listener) for name, answers in questions.answers.items() if name in present)
    notes = [f"{one.name} did not tell its parameters" for one in nodes if one.capability and not one.parameters]
    return Snapshot(
        seconds, nodes, topics, clock_publishers=publishers, notes=(*listener.notes, *notes)
    )  # fmt: skip


def _node(answers: Answers, listener) -> NodeSeen:
    statuses = listener.statuses.get(f"{answers.name.lstrip('/')}: status", ())
    return NodeSeen(
        answers.name,
        answers.capability,
        answers.present_state,
        answers.use_sim_time,
        answers.parameters or {},
        tuple(statuses),
    )


def read_scene(path: Path) -> SceneFile:
    """The camera that a scene file was made for, or the first one of a folder, by its header alone; a `problem` where
    it cannot be read here."""
    from safetensors import SafetensorError, safe_open

    if path.is_dir():
        path = min(path.glob("*.safetensors"), default=path)
    try:
        with safe_open(str(path), framework="numpy") as file:
            header = json.loads((file.metadata() or {})[HEADER_KEY])
        camera = {name: float(header["mapping_camera"][name]) for name in ("width", "height", "fx", "fy")}
        return SceneFile(camera, float(header["network_focal_px"]))
    except (OSError, SafetensorError):
        return SceneFile(problem=f"{path} cannot be read on this machine, or from this folder")
    except (KeyError, TypeError, ValueError):
        return SceneFile(problem=f"{path} does not say which camera it was made for")
