"""The QoS that the subscription to an input asks for: by parameters, by what its publishers offer, by rclpy's own
`qos_overrides.<topic>.subscription.<policy>`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

from geo_perception.errors import InputError
from geo_perception.ros.parameters import given_parameters

AUTO = "auto"
_POLICIES: dict[str, type[Enum]] = {"history": HistoryPolicy, "reliability": ReliabilityPolicy}


@dataclass(frozen=True)
class InputQos:
    """What a subscription asks for, to compare, and why, in words."""

    reliable: bool
    depth: int
    keep_all: bool = False
    why: str = ""

    @property
    def profile(self) -> QoSProfile:
        return QoSProfile(
            history=HistoryPolicy.KEEP_ALL if self.keep_all else HistoryPolicy.KEEP_LAST,
            depth=self.depth,
            reliability=ReliabilityPolicy.RELIABLE if self.reliable else ReliabilityPolicy.BEST_EFFORT,
            durability=DurabilityPolicy.VOLATILE,
        )

    def same(self, other: InputQos) -> bool:
        """Whether it asks for the same, for whatever reason."""
        return replace(self, why="") == replace(other, why="")

    def __str__(self) -> str:
        kept = "all" if self.keep_all else f"last {self.depth}"
        return f"{'reliable' if self.reliable else 'best effort'}, {kept}" + (f" ({self.why})" if self.why else "")


def wanted_qos(choice: str, depth: int, offered: Sequence[ReliabilityPolicy], now_reliable: bool) -> InputQos:
    """What to ask for with `choice` auto, best_effort or reliable, where the publishers offer these.

    auto: a reliable subscription loses nothing that was sent, and gets nothing from a publisher that is not reliable.
    So it is reliable where every publisher is. While there is none it stays as it is.
    """
    if choice != AUTO:
        return InputQos(choice == "reliable", depth, why="as the parameter reliability says")
    if not offered:
        return InputQos(now_reliable, depth, why="nobody publishes")
    count = sum(policy == ReliabilityPolicy.RELIABLE for policy in offered)
    who = f"{count} of {len(offered)} publisher{'s' if len(offered) > 1 else ''} offer{'s' * (len(offered) == 1)}"
    return InputQos(count == len(offered), depth, why=f"auto: {who} reliable")


class QosOverrides:
    """What a node was given as `qos_overrides.<topic>.subscription.<policy>` of one topic, as it is after remapping.

    Raises InputError when it makes no sense.
    """

    def __init__(self, node, topic: str):
        prefix, given = f"qos_overrides.{topic}.subscription.", given_parameters(node)
        self._kinds = [
            kind
            for kind in QoSOverridingOptions.with_default_policies().policy_kinds
            if prefix + kind.name.lower() in given
        ]
        self._values = {
            kind.name.lower(): _checked(
                prefix + kind.name.lower(), kind.name.lower(), given[prefix + kind.name.lower()].value
            )
            for kind in self._kinds
        }

    @property
    def options(self) -> QoSOverridingOptions:
        """For rclpy, which declares what was given. It would hold the first answer of `auto` for an override."""
        return QoSOverridingOptions(self._kinds)

    @property
    def reliability(self) -> bool:
        """Whether the reliability was given, so that it does not follow the publishers."""
        return "reliability" in self._values

    def applied(self, qos: InputQos) -> InputQos:
        """The QoS with what was given instead of what it has."""
        changes: dict[str, Any] = {}
        if "reliability" in self._values:
            changes["reliable"] = self._values["reliability"] == ReliabilityPolicy.RELIABLE
        if "history" in self._values:
            changes["keep_all"] = self._values["history"] == HistoryPolicy.KEEP_ALL
        if "depth" in self._values:
            changes["depth"] = self._values["depth"]
        return replace(qos, why="as qos_overrides says", **changes) if changes else qos


def _checked(name: str, policy: str, value: Any) -> Any:
    if policy not in _POLICIES:
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InputError(f"parameter {name} is '{value}'; give a whole number from 1 on")
        return value
    allowed = {
        "history": (HistoryPolicy.KEEP_LAST, HistoryPolicy.KEEP_ALL),
        "reliability": (ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT),
    }[policy]
    for one in allowed:
        if str(value).lower() == one.name.lower():
            return one
    raise InputError(f"parameter {name} is '{value}'; use {' or '.join(one.name.lower() for one in allowed)}")


class FollowedQos:
    """What the subscription to one input topic asks for, now that these publish there."""

    def __init__(self, node, topic: str, kind: str, depth_name: str | None, depth: int = 1):
        """`kind` is the type as ROS names it. The depth is that of the parameter, or a fixed one. Raises InputError."""
        self._node, self._topic, self._kind = node, topic, kind
        self._depth_name, self._depth = depth_name, depth
        self.overrides = QosOverrides(node, topic)
        self.present = InputQos(False, depth)

    @property
    def follows(self) -> bool:
        """Whether the reliability follows the publishers."""
        return self._node.value("reliability") == AUTO and not self.overrides.reliability

    def look(self) -> InputQos:
        """Looks who publishes, and returns what to ask for."""
        node = self._node
        depth = self._depth if self._depth_name is None else node.value(self._depth_name)
        offered = [
            info.qos_profile.reliability
            for info in (node.get_publishers_info_by_topic(self._topic) if self.follows else [])
            if info.topic_type == self._kind
        ]
        wanted = wanted_qos(node.value("reliability"), depth, offered, self.present.reliable)
        self.present = self.overrides.applied(wanted)
        return self.present
