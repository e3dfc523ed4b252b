"""Reads a live graph: its nodes, and its topics with who is at their ends. Nothing is subscribed to for it."""

from __future__ import annotations

import math

from geo_training.evaluation.doctor.snapshot import Endpoint, Topic

NAME = "geo_eval_doctor"
_LONGEST_S = 1e9  # DDS says "infinite" with a number


def topics_of(node) -> tuple[Topic, ...]:
    """Every topic that an rclpy node knows of, itself and its like left out."""
    found = []
    for name, _ in sorted(node.get_topic_names_and_types()):
        publishers = _ends(node.get_publishers_info_by_topic(name))
        subscribers = _ends(node.get_subscriptions_info_by_topic(name))
        if publishers or subscribers:
            found.append(Topic(name, publishers, subscribers))
    return tuple(found)


def nodes_of(node) -> list[str]:
    """The full names of the nodes, tools and doctors left out."""
    names = {
        f"{namespace.rstrip('/')}/{name}" for name, namespace in node.get_node_names_and_namespaces()
        if not name.startswith(("_", NAME))
    }  # fmt: skip
    return sorted(names)


def _ends(infos) -> tuple[Endpoint, ...]:
    from rclpy.qos import DurabilityPolicy, LivelinessPolicy, ReliabilityPolicy

    return tuple(
        Endpoint(
            f"{info.node_namespace.rstrip('/')}/{info.node_name}",
            info.topic_type,
            info.qos_profile.reliability == ReliabilityPolicy.RELIABLE,
            info.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL,
            _seconds(info.qos_profile.deadline),
            _seconds(info.qos_profile.liveliness_lease_duration),
            info.qos_profile.liveliness == LivelinessPolicy.MANUAL_BY_TOPIC,
        )
        for info in infos
        if not info.node_name.startswith((NAME, "_NODE_NAME_UNKNOWN_"))
    )


def _seconds(duration) -> float:
    seconds = duration.nanoseconds * 1e-9
    return seconds if 0 < seconds < _LONGEST_S else math.inf
