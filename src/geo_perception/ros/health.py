"""The watchdog of a node and what it publishes on /diagnostics."""

from __future__ import annotations

import time
from dataclasses import replace

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType

from geo_perception.ros import qos
from geo_perception.ros.diagnostics import Condition, Health, Level, assess, status_message
from geo_perception.ros.published import CAMERA_INFO, COMPRESSED, IMAGE, explain_missing, publishers_of, topics_of
from geo_perception.runtime.memory import used_cuda

WATCHDOG_S = 0.2
DIAGNOSTICS_S = 1.0
_CLOCK_STANDS_S = 0.5


class HealthReporter:
    """Looks at a `PerceptionNode` five times a second by the steady clock, so that it also sees a simulated clock stop;
    publishes once a second, and at once when things get worse."""

    def __init__(self, node):
        self._node = node
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", qos.RESULT_OUT)
        self._timer = node.create_timer(
            WATCHDOG_S, node.guard(self._poll), clock=Clock(clock_type=ClockType.STEADY_TIME)
        )
        self._incompatible: dict[str, str] = {}
        self._published: tuple[Condition | None, float, str] = (None, 0.0, "")
        self._sent_s = 0.0
        self._level = Level.OK
        self._clock_ns, self._clock_s = -1, time.monotonic()
        self.open_since_s = time.monotonic()

    def on_incompatible(self, topic: str):
        """A callback for the incompatible-QoS event of this topic."""

        def note(event) -> None:
            if event.total_count_change > 0:
                self._incompatible[topic] = qos.policy_name(event)
                self._node.warn(
                    f"qos {topic}", f"{topic}: a peer with incompatible QoS ({qos.policy_name(event)}) is not connected"
                )

        return note

    def present(self) -> Health:
        node, now_s = self._node, time.monotonic()
        return Health(
            state=node.state,
            failure=node.failure,
            demanded=node.images.is_open,
            active_s=now_s - self.open_since_s,
            clock_stands=now_s - self._clock_s > _CLOCK_STANDS_S,
            incompatible_qos=", ".join(f"{topic} ({policy})" for topic, policy in sorted(self._incompatible.items())),
            input_topic=node.images.topic,
            input_qos=node.images.asked,
            gave_way=node.pace.gave_way,
            inconsistency=node.inconsistency,
            shortfall=node.shortfall,
            scene_problem=node.scene_problem,
            scene_conflict=node.scene_conflict,
            resets=node.resets,
            last_reset=node.last_reset,
            left_behind=node.left_behind,
            memory=node.memory.shortage(),
        )

    def forget_incompatible(self, topic: str | None = None) -> None:
        """Forgets the peers that did not fit, of one topic or of all."""
        if topic is None:
            self._incompatible.clear()
        else:
            self._incompatible.pop(topic, None)

    def _poll(self) -> None:
        node, now_s = self._node, time.monotonic()
        clock_ns = node.get_clock().now().nanoseconds
        if clock_ns != self._clock_ns:
            self._clock_ns, self._clock_s = clock_ns, now_s
        node.meet_demand()
        node.images.poll(now_s)
        health, frames = self.present(), node.statistics.snapshot(now_s)
        condition, _ = assess(health, frames)
        if condition in (Condition.INPUT_STOPPED, Condition.UNCALIBRATED):
            health = replace(health, published=self._what_is_published(condition, now_s))
        worse, self._level = condition.level > self._level, condition.level
        if worse or now_s - self._sent_s >= DIAGNOSTICS_S - WATCHDOG_S / 2:
            self._sent_s = now_s
            self._publish(health, frames)

    def _what_is_published(self, condition: Condition, now_s: float) -> str:
        """Looked up once a second: the graph of a robot is large."""
        asked, asked_s, explanation = self._published
        if asked is condition and now_s - asked_s < DIAGNOSTICS_S:
            return explanation
        node, images = self._node, self._node.images
        topic, kind, kinds, received = images.topic, images.kind, (IMAGE, COMPRESSED), False
        if condition is Condition.UNCALIBRATED:
            topic, kind, kinds = images.cameras.topic, CAMERA_INFO, (CAMERA_INFO,)
            received = images.cameras.source.ready()
        explanation = explain_missing(topic, kind, publishers_of(node, topic), topics_of(node, kinds), received)
        self._published = condition, now_s, explanation
        return explanation

    def _publish(self, health: Health, frames) -> None:
        node = self._node
        message = DiagnosticArray()
        message.header.stamp = node.get_clock().now().to_msg()
        name = f"{node.get_fully_qualified_name().lstrip('/')}: status"
        values = node.engine_values() | node.images.diagnostic_values() | node.pace.diagnostic_values()
        values |= node.diagnostic_values() | gpu_memory()
        message.status = [status_message(name, node.hardware_id, health, frames, values)]
        self._publisher.publish(message)


def gpu_memory() -> dict[str, str]:
    """The GPU memory of this process, where it uses one."""
    cuda = used_cuda()
    return {} if cuda is None else {"GPU memory (MB)": f"{cuda.memory_allocated() / 1e6:.1f}"}
