"""What was seen of a live ROS graph, as plain values: no ROS, so that what follows from it can be tried by hand."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

IMAGE_KINDS = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
INFO_KIND = "sensor_msgs/msg/CameraInfo"
CALIBRATION, LOCALIZATION, DEPTH = "calibration", "localization", "depth"


@dataclass(frozen=True)
class Endpoint:
    """A publisher or a subscription: its node, the type of its messages, its QoS as DDS tells it."""

    node: str
    kind: str
    reliable: bool = True
    latched: bool = False  # transient local
    deadline_s: float = math.inf
    lease_s: float = math.inf
    manual_liveliness: bool = False


@dataclass(frozen=True)
class Topic:
    """A topic and who is at its ends, the doctor left out."""

    name: str
    publishers: tuple[Endpoint, ...] = ()
    subscribers: tuple[Endpoint, ...] = ()


@dataclass(frozen=True)
class Message:
    """One message: its stamp, when it came by the wall clock and by /clock (None before that spoke), and its number
    among those of its publisher (None where the middleware does not count)."""

    stamp_ns: int
    wall_ns: int
    clock_ns: int | None = None
    number: int | None = None

    def age_s(self, simulated: bool) -> float:
        """How old it was when it came; NaN where that time is not known."""
        now_ns = self.clock_ns if simulated else self.wall_ns
        return math.nan if now_ns is None else (now_ns - self.stamp_ns) * 1e-9


@dataclass(frozen=True)
class Region:
    """The region of interest of a CameraInfo, in pixels of the sensor."""

    x_offset: int = 0
    y_offset: int = 0
    width: int = 0
    height: int = 0


@dataclass(frozen=True)
class Info:
    """The numbers of a CameraInfo, by its own names."""

    width: int
    height: int
    k: tuple[float, ...]
    d: tuple[float, ...] = ()
    p: tuple[float, ...] = (0.0,) * 12
    distortion_model: str = "plumb_bob"
    binning_x: int = 0
    binning_y: int = 0
    roi: Region = Region()


@dataclass(frozen=True)
class Stream:
    """What came on one topic while the doctor listened. Images have a size in pixels (0: not told) and in bytes, the
    largest; CameraInfo has the newest numbers."""

    topic: str
    kind: str
    messages: tuple[Message, ...] = ()
    frame_id: str = ""
    width_px: int = 0
    height_px: int = 0
    size_bytes: int = 0
    encoding: str = ""
    info: Info | None = None

    @property
    def published(self) -> int | None:
        """How many were published from the first that came to the last; None where that is not known."""
        numbers = [message.number for message in self.messages]
        if len(numbers) < 2 or None in numbers or sorted(numbers) != numbers:
            return None
        return numbers[-1] - numbers[0] + 1


@dataclass(frozen=True)
class Status:
    """What a node said of itself on /diagnostics, and when it came by the wall clock. `level`: 0 well, 1 warning,
    2 error."""

    level: int
    message: str
    values: dict[str, str] = field(default_factory=dict)
    wall_ns: int = 0


@dataclass(frozen=True)
class NodeSeen:
    """A node of the graph. `capability` is empty for a node that is not ours; where it does not answer, `state` is
    empty and `use_sim_time` None."""

    name: str
    capability: str = ""
    state: str = ""
    use_sim_time: bool | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    statuses: tuple[Status, ...] = ()

    @property
    def status(self) -> Status | None:
        """The newest."""
        return self.statuses[-1] if self.statuses else None


@dataclass(frozen=True)
class Transform:
    """The newest transform of a child frame by one parent, and when it came."""

    parent: str
    child: str
    T_parent_child: np.ndarray
    static: bool
    newest: Message


@dataclass(frozen=True)
class SceneFile:
    """What a scene file says of the camera that its place was mapped with; `problem` where it cannot be read here."""

    mapping_camera: dict[str, float] = field(default_factory=dict)
    network_focal_px: float = 0.0
    problem: str = ""


@dataclass(frozen=True)
class Process:
    """A process of ours on this machine: threads that ran or wanted to, on average; engines it has loaded."""

    pid: int
    command: str
    threads: int = 0
    running: float = 0.0
    libraries: frozenset[str] = frozenset()
    engine_variable: str = ""


@dataclass(frozen=True)
class Machine:
    """This machine while the doctor listened: cores that may be used, threads of all processes that wanted one
    (average; None where it is not known), GPUs."""

    cores: int = 1
    running: float | None = None
    processes: tuple[Process, ...] = ()
    gpus: int = 0
    x86: bool = True


@dataclass(frozen=True)
class Snapshot:
    """All that was seen in `seconds`. `transforms` is None where TF could not be read; `notes` say what was not seen
    and why. `clock_publishers` are the nodes that publish /clock, `clock_ns` what it said first and last."""

    seconds: float
    nodes: tuple[NodeSeen, ...] = ()
    topics: tuple[Topic, ...] = ()
    streams: tuple[Stream, ...] = ()
    transforms: tuple[Transform, ...] | None = None
    clock_publishers: tuple[str, ...] = ()
    clock_ns: tuple[int, int] | None = None
    scenes: dict[str, SceneFile] = field(default_factory=dict)  # by node
    machine: Machine = Machine()
    notes: tuple[str, ...] = ()

    @property
    def ours(self) -> tuple[NodeSeen, ...]:
        """The perception nodes."""
        return tuple(node for node in self.nodes if node.capability)

    def topic(self, name: str) -> Topic:
        return next((topic for topic in self.topics if topic.name == name), Topic(name))

    def stream(self, name: str) -> Stream | None:
        return next((stream for stream in self.streams if stream.topic == name), None)

    def inputs(self, node: NodeSeen) -> Iterator[tuple[Topic, Endpoint]]:
        """What a node of ours takes: image, camera_info and what goes beside them."""
        for topic in self.topics:
            for subscriber in topic.subscribers:
                if subscriber.node == node.name and topic.name not in _NOT_INPUTS:
                    yield topic, subscriber
        shared = self.shared_images(node)
        if shared is not None:
            yield shared

    def shared_images(self, node: NodeSeen) -> tuple[Topic, Endpoint] | None:
        """The images that a node takes by the subscription of another node of its process, as its diagnostics tell;
        None where it has one of its own, or takes none."""
        status = node.status
        topic = self.topic("" if status is None else status.values.get("image topic", "none"))
        ends = [end for end in topic.subscribers if end.kind in IMAGE_KINDS]
        if any(end.node == node.name for end in ends):
            return None
        names = {other.name for other in self.ours}
        return next(((topic, end) for end in ends if end.node in names), None)

    def is_result(self, topic: Topic) -> bool:
        """Whether a node of ours publishes it: a subscriber would make a lazy node work."""
        names = {node.name for node in self.ours}
        return any(publisher.node in names for publisher in topic.publishers)


_NOT_INPUTS = ("/clock", "/tf", "/tf_static", "/parameter_events", "/rosout", "/diagnostics")
