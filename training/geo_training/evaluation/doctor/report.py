"""What the doctor says: lines for a person, JSON for a machine."""

from __future__ import annotations

from collections import Counter
from typing import Any

from geo_training.evaluation.doctor.finding import Finding
from geo_training.evaluation.doctor.snapshot import Snapshot, Stream
from geo_training.evaluation.doctor.taken import image_topic, info_topic


def looked_at(snapshot: Snapshot) -> str:
    """What was looked at, in a line."""
    ours = ", ".join(f"{node.name} ({node.state or 'no answer'})" for node in snapshot.ours) or "no perception node"
    heard = ", ".join(f"{stream.topic} ({len(stream.messages)})" for stream in snapshot.streams) or "no input"
    return (
        f"looked for {snapshot.seconds:g} s at {len(snapshot.nodes)} nodes and {len(snapshot.topics)} topics: {ours}; "
        f"heard {heard}"
    )


def count_words(findings: list[Finding]) -> str:
    """`2 errors, 1 warning`."""
    counted = Counter(finding.severity.value for finding in findings)
    return ", ".join(f"{count} {name}{'s' if count > 1 else ''}" for name, count in counted.items())


def as_json(snapshot: Snapshot, findings: list[Finding]) -> dict[str, Any]:
    return {
        "healthy": not findings,
        "findings": [finding.as_json() for finding in findings],
        "notes": list(snapshot.notes),
        "seconds": snapshot.seconds,
        "nodes": [
            {
                "name": node.name,
                "capability": node.capability,
                "state": node.state,
                "use_sim_time": node.use_sim_time,
                "image": image_topic(snapshot, node),
                "camera_info": info_topic(snapshot, node),
                "status": node.status.message if node.status else None,
            }
            for node in snapshot.ours
        ],
        "inputs": [_stream(stream) for stream in snapshot.streams],
        "transforms": None if snapshot.transforms is None else [[t.parent, t.child] for t in snapshot.transforms],
        "machine": {
            "cores": snapshot.machine.cores,
            "threads_running": snapshot.machine.running,
            "perception_threads_running": sum(process.running for process in snapshot.machine.processes),
        },
    }


def _stream(stream: Stream) -> dict[str, Any]:
    return {
        "topic": stream.topic,
        "type": stream.kind,
        "messages": len(stream.messages),
        "published_meanwhile": stream.published,
        "frame_id": stream.frame_id,
        "size_bytes": stream.size_bytes or None,
    }
