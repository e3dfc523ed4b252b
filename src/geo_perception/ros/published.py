"""Who publishes what, in a sentence for somebody whose input does not come."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
_NAMED = 4  # topics; a robot may have dozens
_TRANSPORTS = {IMAGE: "raw", COMPRESSED: "compressed"}


@dataclass(frozen=True)
class Publisher:
    """One publisher of a topic: its node, the type it sends, and its QoS in words."""

    node: str
    kind: str
    qos: str


def publishers_of(node, topic: str) -> list[Publisher]:
    """Those of a resolved topic that an rclpy node knows of."""
    return [
        Publisher(
            f"{info.node_namespace.rstrip('/')}/{info.node_name}", info.topic_type,
            f"{_policy_name(info.qos_profile.reliability)}, {_policy_name(info.qos_profile.durability)}",
        )
        for info in node.get_publishers_info_by_topic(topic)
    ]  # fmt: skip


def topics_of(node, kinds: Iterable[str]) -> list[tuple[str, str]]:
    """Every topic of these types that a node other than this one publishes, and its type, in order of their names."""
    # By the node of each publisher: the list of what one node publishes may lag behind.
    own, wanted = node.get_fully_qualified_name(), set(kinds)
    found = [
        (topic, kind)
        for topic, types in node.get_topic_names_and_types()
        for kind in types
        if kind in wanted and any(publisher.node != own for publisher in publishers_of(node, topic))
    ]
    return sorted(found)


def explain_missing(
    topic: str, kind: str, publishers: Sequence[Publisher], elsewhere: Sequence[tuple[str, str]], received: bool = False
) -> str:
    """Why nothing of use of this type comes on this topic, as far as its publishers and what is published elsewhere
    tell; `received` says that something does come."""
    fitting = [publisher for publisher in publishers if publisher.kind == kind]
    if fitting:
        who = ", ".join(f"{publisher.node} ({publisher.kind}, {publisher.qos})" for publisher in fitting[:_NAMED])
        return f"{topic} is published by {who}" + ("" if received else ", and nothing arrives")
    if publishers:
        other = publishers[0]
        remedy = "remap to a topic of that type"
        if {kind, other.kind} == set(_TRANSPORTS):
            remedy = f"set image_transport:={_TRANSPORTS[other.kind]}"
        return f"what {other.node} publishes on {topic} is {other.kind} ({other.qos}), not {kind}: {remedy}"
    camera_info = kind == CAMERA_INFO
    if not elsewhere:
        nothing = "no CameraInfo is published anywhere" if camera_info else "no images are published anywhere"
        return f"no publisher on {topic}; {nothing}: look at the driver, and at ROS_DOMAIN_ID"
    named = ", ".join(f"{name} ({other})" for name, other in elsewhere[:_NAMED])
    more = f" and {len(elsewhere) - _NAMED} more" if len(elsewhere) > _NAMED else ""
    sentence = (
        f"no publisher on {topic}; {'CameraInfo is' if camera_info else 'images are'} published on {named}{more}: "
    )
    if camera_info:
        return sentence + "remap camera_info"
    here = [other for name, other in elsewhere if name in (f"{topic}/compressed", topic.removesuffix("/compressed"))]
    if here and here[0] != kind:
        return sentence + f"set image_transport:={_TRANSPORTS[here[0]]}"
    if kind not in [other for _, other in elsewhere]:
        return sentence + f"remap image, and set image_transport:={_TRANSPORTS[elsewhere[0][1]]}"
    return sentence + "remap image"


def _policy_name(policy) -> str:
    return policy.name.lower().replace("_", " ")
