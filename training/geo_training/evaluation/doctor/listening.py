"""Listens to the inputs of the perception nodes, to their diagnostics, TF and the clock; never to a result."""

from __future__ import annotations

import importlib
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from geo_perception.errors import InputError
from geo_perception.geometry import pose_from_quaternion
from geo_perception.ros import qos
from geo_perception.ros.image_headers import read_header
from geo_perception.ros.messages import stamp_ns
from geo_training.evaluation.doctor.snapshot import (
    INFO_KIND,
    Info,
    Message,
    Region,
    Snapshot,
    Status,
    Stream,
    Topic,
    Transform,
)
from geo_training.evaluation.doctor.taken import image_topic

TF_KINDS = ("tf2_msgs/msg/TFMessage", "geometry_msgs/msg/TransformStamped")
# A driver may publish each message once, and TF all it knows at once.
_LATCHED_IN = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class Listener:
    """What comes while an rclpy node, which somebody else spins, is subscribed."""

    def __init__(self, node):
        self._node = node
        self._subscribed: set[tuple[str, str, bool]] = set()
        self._streams: dict[str, Stream] = {}
        self._messages: dict[str, list[Message]] = defaultdict(list)
        self._transforms: dict[tuple[str, str], Transform] = {}
        self._tf_read: set[str] = set()
        self.statuses: dict[str, list[Status]] = defaultdict(list)  # by the name of the status
        self.clock_ns: tuple[int, int] | None = None
        self.notes: dict[str, None] = {}  # in order, each once

    def listen(self, snapshot: Snapshot, unknown: set[str]) -> None:
        """Subscribes to what has come up since the last time. `unknown` are nodes that may yet prove to be ours: what
        they publish may be a result."""
        self._subscribe("/diagnostics", "diagnostic_msgs/msg/DiagnosticArray", self._on_diagnostics, qos.ODOMETRY_IN)
        if snapshot.topic("/clock").publishers:
            self._subscribe("/clock", "rosgraph_msgs/msg/Clock", self._on_clock, qos.SIDE_INPUT_IN)
        for name in ("/tf", "/tf_static"):
            self._listen_to_tf(snapshot.topic(name))
        for node in snapshot.ours:
            wanted = {(topic.name, end.kind) for topic, end in snapshot.inputs(node)}
            images = image_topic(snapshot, node)
            wanted |= {(images, end.kind) for end in snapshot.topic(images).publishers}
            for name, kind in sorted(wanted):
                topic = snapshot.topic(name)
                fitting = [end for end in topic.publishers if end.kind == kind]
                if not fitting or snapshot.is_result(topic):
                    continue
                if any(end.node in unknown for end in fitting):
                    self.notes[f"{name} was not listened to: it is not known what node publishes it"] = None
                    continue
                self._streams.setdefault(name, Stream(name, kind))
                heard = self._on_message(name)
                self._subscribe(name, kind, heard, qos.SIDE_INPUT_IN)
                if any(end.latched for end in fitting):
                    self._subscribe(name, kind, heard, _LATCHED_IN)

    def streams(self) -> tuple[Stream, ...]:
        return tuple(replace(stream, messages=_once(self._messages[name])) for name, stream in self._streams.items())

    def transforms(self) -> tuple[Transform, ...] | None:
        """None where what TF sends cannot be read here."""
        return tuple(self._transforms.values()) if self._tf_read else None

    def _listen_to_tf(self, topic: Topic) -> None:
        for kind in sorted({end.kind for end in topic.publishers} & set(TF_KINDS)):
            profile = qos.ODOMETRY_IN if topic.name == "/tf" else _LATCHED_IN
            static = topic.name == "/tf_static"
            if self._subscribe(topic.name, kind, self._on_transforms(static), profile):
                self._tf_read.add(topic.name)

    def _subscribe(self, topic: str, kind: str, callback: Callable, profile) -> bool:
        """Whether it is subscribed now; not where the message's type is not installed."""
        key = topic, kind, profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
        if key in self._subscribed:
            return True
        try:
            package, _, name = kind.split("/")
            message_class = getattr(importlib.import_module(f"{package}.msg"), name)
        except (ImportError, AttributeError, ValueError):
            self.notes[f"{topic} was not listened to: {kind} is not installed here"] = None
            return False
        try:
            self._node.create_subscription(message_class, topic, _with_info(callback), profile)
        except Exception as problem:  # a topic has one type in a process
            self.notes[f"{topic} was not listened to as {kind}: {str(problem).splitlines()[0]}"] = None
            return False
        self._subscribed.add(key)
        return True

    def _message(self, stamp, info: dict) -> Message:
        wall_ns = info.get("received_timestamp") or time.time_ns()
        now_ns = self.clock_ns[1] if self.clock_ns else None
        return Message(stamp_ns(stamp), wall_ns, now_ns, info.get("publication_sequence_number"))

    def _on_message(self, topic: str) -> Callable[[Any, dict], None]:
        def heard(message, info: dict) -> None:
            header = getattr(message, "header", None)
            if header is None:
                return
            self._messages[topic].append(self._message(header.stamp, info))
            stream = replace(self._streams[topic], frame_id=header.frame_id)
            self._streams[topic] = replace(stream, **_described(message, stream))

        return heard

    def _on_diagnostics(self, array, info: dict) -> None:
        wall_ns = info.get("received_timestamp") or time.time_ns()
        for status in array.status:
            level = status.level[0] if isinstance(status.level, bytes) else int(status.level)
            values = {value.key: value.value for value in status.values}
            self.statuses[status.name].append(Status(level, status.message, values, wall_ns))

    def _on_clock(self, clock, _info: dict) -> None:
        now_ns = stamp_ns(clock.clock)
        self.clock_ns = (self.clock_ns[0] if self.clock_ns else now_ns), now_ns

    def _on_transforms(self, static: bool) -> Callable[[Any, dict], None]:
        def heard(message, info: dict) -> None:
            for one in getattr(message, "transforms", [message]):
                t, q = one.transform.translation, one.transform.rotation
                parent, child = one.header.frame_id.lstrip("/"), one.child_frame_id.lstrip("/")
                try:
                    T_parent_child = pose_from_quaternion((t.x, t.y, t.z), (q.x, q.y, q.z, q.w))
                except InputError as problem:
                    self.notes[f"the transform {parent} to {child} is none: {problem}"] = None
                    continue
                newest = self._message(one.header.stamp, info)
                self._transforms[parent, child] = Transform(parent, child, T_parent_child, static, newest)

        return heard


def _with_info(callback: Callable[[Any, dict], None]) -> Callable:
    """The callback as this rclpy calls it: before Iron without what the middleware knows of a message."""
    from rclpy.subscription import Subscription

    if hasattr(Subscription, "CallbackType"):
        return lambda message, info: callback(message, info)
    return lambda message: callback(message, {})


def _once(messages: list[Message]) -> tuple[Message, ...]:
    """Two subscriptions to one topic hear a message twice."""
    return tuple({(message.stamp_ns, message.number): message for message in messages}.values())


def _described(message, stream: Stream) -> dict[str, Any]:
    """What a message tells besides its header, as fields of its stream."""
    if stream.kind == INFO_KIND:
        roi = message.roi
        info = Info(
            message.width, message.height, tuple(map(float, message.k)), tuple(map(float, message.d)),
            tuple(map(float, message.p)), message.distortion_model, message.binning_x, message.binning_y,
            Region(roi.x_offset, roi.y_offset, roi.width, roi.height),
        )  # fmt: skip
        return {"info": info}
    data = getattr(message, "data", None)
    if data is None or not hasattr(message, "header"):
        return {}
    size_bytes = max(stream.size_bytes, len(data))
    if hasattr(message, "encoding"):
        return {
            "width_px": message.width, "height_px": message.height, "size_bytes": size_bytes,
            "encoding": message.encoding,
        }  # fmt: skip
    if stream.width_px:
        return {"size_bytes": size_bytes}
    try:
        header = read_header(bytes(data))
    except InputError:
        return {"size_bytes": size_bytes}
    return {"width_px": header.width, "height_px": header.height, "size_bytes": size_bytes}
