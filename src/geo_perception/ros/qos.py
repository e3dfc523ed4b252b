"""The QoS profiles of all nodes by name, and the events that tell who is connected."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks, UnsupportedEventTypeError
except ImportError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks, UnsupportedEventTypeError

# Images and CameraInfo in: see `input_qos`.
CAMERA_INFO_DEPTH = 10
# One that was published before we came; only a publisher that latches matches it.
LATCHED_CAMERA_INFO_IN = QoSProfile(
    depth=10, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)
# Side inputs: what comes beside the images and is looked up by its stamp.
SIDE_INPUT_IN = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT, durability=DurabilityPolicy.VOLATILE)
ODOMETRY_IN = QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT, durability=DurabilityPolicy.VOLATILE)
# Results: reliable connects to every subscriber.
RESULT_OUT = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.VOLATILE)
# What is published once and kept for whoever comes later.
LATCHED_OUT = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def policy_name(event) -> str:
    """The policy an incompatible-QoS event is about."""
    try:
        from rclpy.qos import qos_policy_name_from_kind
    except ImportError:
        return f"policy {event.last_policy_kind}"
    return str(qos_policy_name_from_kind(event.last_policy_kind))


def publisher_events(on_incompatible: Callable, on_matched: Callable):
    """Event callbacks of a publisher. Before rclpy 4.0 there are no matched events; count subscribers there."""
    try:
        return PublisherEventCallbacks(incompatible_qos=on_incompatible, matched=on_matched)
    except TypeError:
        return PublisherEventCallbacks(incompatible_qos=on_incompatible)


def subscribe(
    node,
    kind: type,
    topic: str,
    callback: Callable,
    profile: QoSProfile,
    on_incompatible: Callable,
    on_lost: Callable | None = None,
    overriding=None,
):
    """A subscription of an rclpy node that tells of peers with other QoS, and with `on_lost` of lost messages where the
    middleware knows of them. `overriding` are rclpy's QoS overriding options."""

    def create(events: SubscriptionEventCallbacks):
        return node.create_subscription(
            kind, topic, callback, profile, event_callbacks=events, qos_overriding_options=overriding
        )

    if on_lost is not None:
        try:
            return create(SubscriptionEventCallbacks(incompatible_qos=on_incompatible, message_lost=on_lost))
        except UnsupportedEventTypeError:
            pass
    return create(SubscriptionEventCallbacks(incompatible_qos=on_incompatible))
