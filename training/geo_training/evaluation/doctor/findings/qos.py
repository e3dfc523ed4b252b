"""Quality of service: ends of a topic that DDS does not connect, and images that it loses on the way."""

from __future__ import annotations

from collections.abc import Iterator

from geo_training.evaluation.doctor.finding import Finding, error, warning
from geo_training.evaluation.doctor.snapshot import IMAGE_KINDS, Endpoint, NodeSeen, Snapshot, Stream, Topic
from geo_training.evaluation.doctor.taken import image_topic

# A message is cut into datagrams of 64 kB, and best effort loses all of it with any of them. What is larger than this
# does not fit into the shared memory that Fast DDS has by default either.
LARGE_BYTES = 1 << 19
LOST_SHARE, LOST_SLACK, FEWEST = 0.05, 3, 10
_UNSEEN = ("/parameter_events", "/rosout")


def incompatibility(publisher: Endpoint, subscriber: Endpoint) -> str:
    """Which policy keeps DDS from connecting these two, in words; empty where none does."""
    if subscriber.reliable and not publisher.reliable:
        return "reliability: best effort is offered, reliable is asked for"
    if subscriber.latched and not publisher.latched:
        return "durability: volatile is offered, transient local is asked for"
    if subscriber.deadline_s < publisher.deadline_s:
        return f"deadline: {publisher.deadline_s:g} s is offered, {subscriber.deadline_s:g} s is asked for"
    if subscriber.manual_liveliness and not publisher.manual_liveliness:
        return "liveliness: automatic is offered, manual is asked for"
    if subscriber.lease_s < publisher.lease_s:
        return f"liveliness lease: {publisher.lease_s:g} s is offered, {subscriber.lease_s:g} s is asked for"
    return ""


def qos_findings(snapshot: Snapshot) -> Iterator[Finding]:
    """Refused and lossy connections of the perception nodes, on either side."""
    names = {node.name for node in snapshot.ours}
    refused: set[str] = set()
    for topic in snapshot.topics:
        if topic.name in _UNSEEN:
            continue
        for finding in _refusals(topic, names):
            refused.add(topic.name)
            yield finding
    for node in snapshot.ours:
        told = node.status.values.get("incompatible QoS", "none") if node.status is not None else "none"
        if told != "none" and not any(topic in told for topic in refused):
            yield error(
                "qos-incompatible", node.name, f"it met a peer that DDS does not connect it with: {told}",
                "let what is offered be at least what is asked for: reliable, transient local",
            )  # fmt: skip
        yield from _losses(snapshot, node)


def _refusals(topic: Topic, names: set[str]) -> Iterator[Finding]:
    for subscriber in topic.subscribers:
        for publisher in topic.publishers:
            if subscriber.node not in names and publisher.node not in names:
                continue
            if subscriber.kind != publisher.kind:
                same = any(other.kind == subscriber.kind for other in topic.publishers)
                yield (warning if same else error)(
                    "type-differs", topic.name,
                    f"{publisher.node} publishes {publisher.kind}, {subscriber.node} asks for {subscriber.kind}",
                    _type_mend(publisher.kind, subscriber.kind),
                )  # fmt: skip
                continue
            reason = incompatibility(publisher, subscriber)
            # A node may subscribe twice, once for what is latched; one connection is enough.
            twins = [
                other for other in topic.subscribers if other.node == subscriber.node and other.kind == publisher.kind
            ]
            if reason and all(incompatibility(publisher, twin) for twin in twins):
                yield error(
                    "qos-incompatible", topic.name,
                    f"{publisher.node} and {subscriber.node} are not connected ({reason})",
                    f"let {publisher.node} offer it, or {subscriber.node} ask for less",
                )  # fmt: skip


def _type_mend(published: str, asked: str) -> str:
    if {published, asked} == set(IMAGE_KINDS):
        return f"set image_transport to {'compressed' if published == IMAGE_KINDS[1] else 'raw'}"
    return "remap one of them to a topic of its own type"


def _losses(snapshot: Snapshot, node: NodeSeen) -> Iterator[Finding]:
    name = image_topic(snapshot, node)
    stream = snapshot.stream(name)
    if stream is None or not stream.messages:
        return
    topic = snapshot.topic(name)
    publishers = [publisher for publisher in topic.publishers if publisher.kind == stream.kind]
    subscribers = [end for taken, end in snapshot.inputs(node) if taken.name == name]
    lost = lost_images(node, stream) if subscribers and len(publishers) == 1 else None
    if lost is not None:
        missing, published = lost
        yield warning(
            "images-lost", name, f"{missing} of {published} images did not reach {node.name}",
            _loss_mend(publishers, subscribers, stream),
        )  # fmt: skip
        return
    unreliable = [end for end in (*publishers, *subscribers) if not end.reliable]
    if stream.kind == IMAGE_KINDS[0] and stream.size_bytes >= LARGE_BYTES and unreliable:
        yield warning(
            "images-may-be-lost", name,
            f"raw images of {stream.size_bytes / 1e6:.1f} MB go to {node.name} by best effort, which loses a whole "
            "image with any part of it",
            _loss_mend(publishers, subscribers, stream),
        )  # fmt: skip


def lost_images(node: NodeSeen, stream: Stream) -> tuple[int, int] | None:
    """(missing, published) between the node's first and its last count of what it received; None where none are missing
    or where it cannot be told. What the publisher numbered counts as published, heard by the doctor or not."""
    counted = [(s.wall_ns, int(s.values["received"])) for s in node.statuses if s.values.get("received", "").isdigit()]
    if stream.published is None:
        return None
    known = [(number, count) for at_ns, count in counted if (number := _number_at(stream, at_ns)) is not None]
    if len(known) < 2:
        return None
    (first_number, first), (last_number, last) = known[0], known[-1]
    if last < first:
        return None
    published = last_number - first_number
    missing = published - (last - first)
    return (missing, published) if published >= FEWEST and missing > LOST_SLACK + LOST_SHARE * published else None


def _number_at(stream: Stream, wall_ns: int) -> int | None:
    return next((message.number for message in reversed(stream.messages) if message.wall_ns <= wall_ns), None)


def _loss_mend(publishers: list[Endpoint], subscribers: list[Endpoint], stream: Stream) -> str:
    ways = []
    if any(not publisher.reliable for publisher in publishers):
        ways.append("let the driver publish reliably")
    if any(not subscriber.reliable for subscriber in subscribers):
        ways.append("let the node ask for reliable images (its parameter `reliability`)")
    if stream.kind == IMAGE_KINDS[0]:
        ways.append("take compressed images (`image_transport: compressed`)")
    return ", or ".join([*ways, "publish fewer or smaller images"])
