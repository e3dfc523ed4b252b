"""What a doctor sees of a sound graph, made by hand: a test changes what it asks about."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from geo_training.evaluation.doctor.snapshot import (
    IMAGE_KINDS,
    INFO_KIND,
    LOCALIZATION,
    Endpoint,
    Info,
    Machine,
    Message,
    NodeSeen,
    Process,
    SceneFile,
    Snapshot,
    Status,
    Stream,
    Topic,
    Transform,
)

NODE, IMAGE, INFO_TOPIC = "/localization_node", "/camera/image_raw", "/camera/camera_info"
WALL_NS = 1_700_000_000 * 10**9
PERIOD_NS, LATENCY_NS, COUNT = 10**8, 2 * 10**7, 40
K = (210.0, 0.0, 159.5, 0.0, 210.0, 111.5, 0.0, 0.0, 1.0)
P = (210.0, 0.0, 159.5, 0.0, 0.0, 210.0, 111.5, 0.0, 0.0, 0.0, 1.0, 0.0)
INFO = Info(320, 224, K, (), P)
# z forward along the body's x, x to its right, y down.
R_BODY_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


def messages(count: int = COUNT, shift_s: float = 0.0, clock_s: float | None = None) -> tuple[Message, ...]:
    """Ten a second, 20 ms old when they come; their stamps shifted. `clock_s` is what /clock says at the first."""
    return tuple(
        Message(
            WALL_NS + index * PERIOD_NS - LATENCY_NS + round(shift_s * 1e9),
            WALL_NS + index * PERIOD_NS,
            None if clock_s is None else round(clock_s * 1e9) + index * PERIOD_NS,
            index + 1,
        )
        for index in range(count)
    )


def transform(parent: str, child: str, R_33: np.ndarray | None = None, **more: Any) -> Transform:
    T_parent_child = np.eye(4)
    if R_33 is not None:
        T_parent_child[:3, :3] = R_33
    given = {"static": False, "newest": Message(WALL_NS, WALL_NS + 10**7)} | more
    return Transform(parent, child, T_parent_child, **given)


def sound_node(**changes: Any) -> NodeSeen:
    values = {"received": "2", "processed": "2", "incompatible QoS": "none", "last rejection": "none"}
    statuses = tuple(
        Status(0, "localized: 40 landmarks", values | {"received": str(2 + 10 * second)}, WALL_NS + second * 10**9)
        for second in range(4)
    )
    parameters = {
        "image_transport": "raw", "rectified": "auto", "camera.k": [0.0] * 9, "camera.d": [0.0] * 5, "device": "auto",
        "tf_mode": "none", "base_frame": "", "odom_frame": "odom", "map_frame": "", "scene": "office.safetensors",
    }  # fmt: skip
    given = {"state": "active", "use_sim_time": False, "parameters": parameters, "statuses": statuses}
    return NodeSeen(NODE, LOCALIZATION, **(given | changes))


def sound_graph(**changes: Any) -> Snapshot:
    """A camera, and a localization node that works."""
    topics = (
        Topic(
            IMAGE, (Endpoint("/camera", IMAGE_KINDS[0]),), (Endpoint(NODE, IMAGE_KINDS[0], reliable=False),)
        ),
        Topic(INFO_TOPIC, (Endpoint("/camera", INFO_KIND),), (Endpoint(NODE, INFO_KIND, reliable=False),)),
    )  # fmt: skip
    streams = (
        Stream(IMAGE, IMAGE_KINDS[0], messages(), "camera_optical_frame", 320, 224, 320 * 224 * 3, "rgb8"),
        Stream(INFO_TOPIC, INFO_KIND, messages(), "camera_optical_frame", info=INFO),
    )
    scene = SceneFile({"width": 320.0, "height": 224.0, "fx": 210.0, "fy": 210.0}, 210.0)
    process = Process(7, "localization_node", 20, 1.0, frozenset({"openvino"}))
    given = {
        "nodes": (sound_node(), NodeSeen("/camera", use_sim_time=False)), "topics": topics, "streams": streams,
        "scenes": {NODE: scene}, "machine": Machine(4, 2.0, (process,)),
    }  # fmt: skip
    return Snapshot(10.0, **(given | changes))


def with_parameters(snapshot: Snapshot, **parameters: Any) -> Snapshot:
    """The graph whose first node has these; `__` stands for a dot."""
    first, *others = snapshot.nodes
    given = first.parameters | {name.replace("__", "."): value for name, value in parameters.items()}
    return replace(snapshot, nodes=(replace(first, parameters=given), *others))


def with_node(snapshot: Snapshot, **changes: Any) -> Snapshot:
    first, *others = snapshot.nodes
    return replace(snapshot, nodes=(replace(first, **changes), *others))


def with_stream(snapshot: Snapshot, topic: str, **changes: Any) -> Snapshot:
    streams = tuple(replace(one, **changes) if one.topic == topic else one for one in snapshot.streams)
    return replace(snapshot, streams=streams)


def with_topic(snapshot: Snapshot, topic: Topic) -> Snapshot:
    return replace(snapshot, topics=(*(one for one in snapshot.topics if one.name != topic.name), topic))
