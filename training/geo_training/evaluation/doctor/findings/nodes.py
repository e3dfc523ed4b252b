"""The nodes themselves: whether they run, what they say of themselves, and whether their inputs come."""

from __future__ import annotations

from collections.abc import Iterator

from geo_training.evaluation.doctor.finding import Finding, error, warning
from geo_training.evaluation.doctor.snapshot import IMAGE_KINDS, INFO_KIND, NodeSeen, Snapshot, Topic

DIAGNOSTICS_S = 3.0  # they come once a second
_NAMED = 4
_STEPS = {
    "unconfigured": "`ros2 lifecycle set {0} configure`, then `activate`, or start it with `autostart: true`",
    "inactive": "`ros2 lifecycle set {0} activate`, or start it with `autostart: true`",
    "finalized": "start the process again",
}


def node_findings(snapshot: Snapshot) -> Iterator[Finding]:
    """Nodes that are not active or not well, and inputs that nobody publishes or nothing comes on."""
    if not snapshot.ours:
        yield error(
            "no-node", "graph", "no perception node is to be seen",
            "start one, and look here with the same ROS_DOMAIN_ID, discovery range and middleware",
        )  # fmt: skip
    for node in snapshot.ours:
        yield from _state(snapshot, node)
        for topic, subscriber in snapshot.inputs(node):
            yield from _silence(snapshot, node, topic, subscriber.kind)


def _state(snapshot: Snapshot, node: NodeSeen) -> Iterator[Finding]:
    status = node.status
    why = f": {status.message}" if status is not None and status.level > 1 else ""
    if not node.state:
        yield error(
            "node-mute", node.name, f"it does not answer when it is asked for its state{why}",
            "wait where it still loads its model, else look into its log and start it again",
        )  # fmt: skip
    elif node.state != "active":
        step = _STEPS.get(node.state, "wait until the transition has ended").format(node.name)
        yield error(
            "node-not-active", node.name, f"it is {node.state}, so nothing is computed{why}",
            f"mend that, then {step}" if why else step,
        )  # fmt: skip
    elif status is None:
        if snapshot.seconds >= DIAGNOSTICS_S:
            yield warning(
                "diagnostics-silent", node.name, "it is active, and nothing of it came on /diagnostics",
                "look whether its process hangs, and whether /diagnostics is remapped",
            )  # fmt: skip
    elif status.level > 0:
        rejected = status.values.get("last rejection", "none")
        more = f" (last rejection: {rejected})" if rejected != "none" and rejected not in status.message else ""
        yield (error if status.level > 1 else warning)(
            "node-unwell", node.name, f"it says of itself: {status.message}{more}",
            "see the table of states in docs/nodes.md, and the other findings here",
        )  # fmt: skip


def _silence(snapshot: Snapshot, node: NodeSeen, topic: Topic, kind: str) -> Iterator[Finding]:
    fitting = [publisher for publisher in topic.publishers if publisher.kind == kind]
    if not fitting:
        if kind in IMAGE_KINDS:
            elsewhere = [
                other.name for other in snapshot.topics if not snapshot.is_result(other)
                and any(publisher.kind in IMAGE_KINDS for publisher in other.publishers)
            ]  # fmt: skip
            yield error(
                "image-missing", topic.name, f"{node.name} waits for images here, and nobody publishes them",
                f"remap image to where they are: {', '.join(elsewhere[:_NAMED])}" if elsewhere
                else "start the camera's driver; no images are published anywhere",
            )  # fmt: skip
        return
    stream = snapshot.stream(topic.name)
    if stream is None or stream.messages:
        return
    who = ", ".join(sorted({publisher.node for publisher in fitting})[:_NAMED])
    severe = kind in (*IMAGE_KINDS, INFO_KIND)
    yield (error if severe else warning)(
        "topic-silent", topic.name, f"{who} publishes here, and nothing came in {snapshot.seconds:g} s",
        "look at that node (paused, no camera, waiting for its own input), and at a firewall between the machines",
    )  # fmt: skip
