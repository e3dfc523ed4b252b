"""Which images and which CameraInfo a node takes, as far as its subscriptions tell. Pure functions on the snapshot."""

from __future__ import annotations

import posixpath

from geo_perception.ros.topics import without_transport
from geo_training.evaluation.doctor.snapshot import IMAGE_KINDS, INFO_KIND, NodeSeen, Snapshot, Stream


def image_topic(snapshot: Snapshot, node: NodeSeen) -> str:
    """The topic of a node's images; empty where it cannot be told.

    A lazy node that nobody listens to takes none. Its CameraInfo lies beside them, so the images there are its own
    where there is one topic of its transport only.
    """
    subscribed = [topic.name for topic, end in snapshot.inputs(node) if end.kind in IMAGE_KINDS]
    if subscribed:
        return subscribed[0]
    beside = posixpath.dirname(info_topic(snapshot, node))
    kind = IMAGE_KINDS[node.parameters.get("image_transport") == "compressed"]
    found = [
        topic.name
        for topic in snapshot.topics
        if beside and posixpath.dirname(without_transport(topic.name)) == beside and not snapshot.is_result(topic)
        and any(publisher.kind == kind for publisher in topic.publishers)
        and (kind == IMAGE_KINDS[0] or topic.name.endswith("/compressed"))
    ]  # fmt: skip
    return found[0] if len(found) == 1 else ""


def info_topic(snapshot: Snapshot, node: NodeSeen) -> str:
    """The topic of a node's CameraInfo; empty where it takes none."""
    return next((topic.name for topic, end in snapshot.inputs(node) if end.kind == INFO_KIND), "")


def images_of(snapshot: Snapshot, node: NodeSeen) -> Stream | None:
    """The images of a node that came; None where none did."""
    stream = snapshot.stream(image_topic(snapshot, node))
    return stream if stream is not None and stream.messages else None


def infos_of(snapshot: Snapshot, node: NodeSeen) -> Stream | None:
    """The CameraInfo of a node that came; None where none did, or where it is another node's result."""
    stream = snapshot.stream(info_topic(snapshot, node))
    return stream if stream is not None and stream.info is not None else None
