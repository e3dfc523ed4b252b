"""Time: nodes that go by different clocks, and stamps that are of another time, late, or in the future."""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import median

from geo_training.evaluation.doctor.finding import Finding, error, warning
from geo_training.evaluation.doctor.snapshot import IMAGE_KINDS, INFO_KIND, NodeSeen, Snapshot, Stream
from geo_training.evaluation.doctor.taken import image_topic, info_topic

LATE_S, EARLY_S = 0.5, 0.1
TF_LATE_S, TF_EARLY_S = 2.0, 2.0  # what is post-dated, as AMCL does it, is not early
OTHER_TIME_S = 600.0
_NAMED = 4
_SET = "set use_sim_time alike on every node: true with a simulator or `ros2 bag play --clock`, else false"


def clock_findings(snapshot: Snapshot) -> Iterator[Finding]:
    """Mixed clocks, and stamps that do not go with the clock of the node that takes them."""
    ours = [node for node in snapshot.ours if node.use_sim_time is not None]
    simulated = [node.name for node in ours if node.use_sim_time]
    plain = [node.name for node in ours if not node.use_sim_time]
    if simulated and plain:
        yield error(
            "clocks-mixed", plain[0],
            f"{_names(simulated)} goes by the simulated clock, {_names(plain)} by the wall's", _SET,
        )  # fmt: skip
    elif ours:
        others = _others(snapshot, bool(simulated))
        if others:
            theirs, own = "the wall's clock", "the simulated one"
            if not simulated:
                theirs, own = "the simulated clock", "the wall's"
            yield warning(
                "clocks-mixed", others[0], f"{_names(others)} goes by {theirs}, the perception nodes by {own}", _SET
            )
    yield from _clock(snapshot, simulated, plain)
    for node in ours:
        names = {image_topic(snapshot, node), info_topic(snapshot, node)}
        names |= {topic.name for topic, _ in snapshot.inputs(node)}
        for name in sorted(names - {""}):
            stream = snapshot.stream(name)
            if stream is not None and stream.messages:
                yield from _stamps(snapshot, node, stream)
    if ours:
        yield from _transforms(snapshot, bool(simulated))


def _names(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _others(snapshot: Snapshot, simulated: bool) -> list[str]:
    """Who sends TF or odometry by the other clock. Who publishes /clock does not go by it, and cameras are judged by
    their stamps: what bridges a simulator has them from there."""
    senders = {end.node for end in snapshot.topic("/tf").publishers}
    for topic in snapshot.topics:
        senders |= {end.node for end in topic.publishers if end.kind == "nav_msgs/msg/Odometry"}
    return sorted(
        node.name for node in snapshot.nodes
        if node.name in senders and not node.capability and node.name not in snapshot.clock_publishers
        and node.use_sim_time is not None and node.use_sim_time != simulated
    )  # fmt: skip


def _clock(snapshot: Snapshot, simulated: list[str], plain: list[str]) -> Iterator[Finding]:
    if simulated and not snapshot.clock_publishers:
        yield error(
            "clock-missing", "/clock", f"{_names(simulated)} goes by the simulated clock, and nobody publishes it",
            "start the simulator, play the bag with --clock, or set use_sim_time to false",
        )  # fmt: skip
    elif simulated and (snapshot.clock_ns is None or snapshot.clock_ns[0] == snapshot.clock_ns[1]):
        yield warning(
            "clock-stands", "/clock", f"it did not advance in {snapshot.seconds:g} s",
            "go on with the simulation or the bag",
        )  # fmt: skip
    if snapshot.clock_publishers and plain and not simulated:
        yield warning(
            "clocks-mixed", "/clock",
            f"{_names(list(snapshot.clock_publishers))} publishes a simulated clock, and {_names(plain)} goes by the "
            "wall's",
            _SET,
        )  # fmt: skip


def _stamps(snapshot: Snapshot, node: NodeSeen, stream: Stream) -> Iterator[Finding]:
    if stream.kind == INFO_KIND and any(end.latched for end in snapshot.topic(stream.topic).publishers):
        return  # it may have come once, long ago
    if all(message.stamp_ns == 0 for message in stream.messages):
        yield error(
            "stamps-zero", stream.topic, "its messages have no stamps", "let the driver stamp them when it takes them"
        )
        return
    age_s = _median_age_s(stream, bool(node.use_sim_time))
    if math.isnan(age_s):
        return
    what = "images" if stream.kind in IMAGE_KINDS else "messages"
    clock = "/clock" if node.use_sim_time else "the wall clock"
    if abs(age_s) > OTHER_TIME_S:
        yield error(
            "clocks-mixed", stream.topic,
            f"the stamps of its {what} are of another time: {_apart(age_s)} {clock}, by which {node.name} goes",
            _SET + "; between machines, set their clocks (NTP, PTP)",
        )  # fmt: skip
    elif age_s > LATE_S:
        yield warning(
            "stamps-late", stream.topic, f"its {what} are {age_s:.2f} s old when they come (half of them older)",
            "shorten what lies between camera and node (queues, republishers, a slow link), or set the machines' "
            "clocks",
        )  # fmt: skip
    elif age_s < -EARLY_S:
        yield warning(
            "stamps-early", stream.topic, f"the stamps of its {what} are {-age_s:.2f} s ahead of {clock}",
            "set the clocks of the machines (NTP, PTP), and look at the driver's time offset",
        )  # fmt: skip


def _median_age_s(stream: Stream, simulated: bool) -> float:
    ages_s = [message.age_s(simulated) for message in stream.messages if message.stamp_ns]
    known_s = [age_s for age_s in ages_s if not math.isnan(age_s)]
    return median(known_s) if known_s else math.nan


def _apart(age_s: float) -> str:
    hours = abs(age_s) / 3600
    amount = f"{hours / 24:.0f} days" if hours > 48 else f"{hours:.1f} hours"
    return f"{amount} {'before' if age_s > 0 else 'after'}"


def _transforms(snapshot: Snapshot, simulated: bool) -> Iterator[Finding]:
    for transform in snapshot.transforms or ():
        age_s = transform.newest.age_s(simulated)
        if transform.static or math.isnan(age_s) or -TF_EARLY_S <= age_s <= TF_LATE_S:
            continue
        late = age_s > 0
        yield warning(
            "stamps-late" if late else "stamps-early", transform.child,
            f"the transform {transform.parent} to {transform.child} is stamped {abs(age_s):.1f} s "
            f"{'before' if late else 'after'} {'/clock' if simulated else 'the wall clock'} when it comes",
            f"{_SET}; between machines, set their clocks (NTP, PTP)",
        )  # fmt: skip
