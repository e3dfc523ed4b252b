"""The world that a recording's poses are in, and what `to-bag` says of it in a bag's metadata."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from geo_training.datasets.recordings.bag_poses import CameraPoses
from geo_training.datasets.recordings.bags import Recording

# What `to-bag` writes into a bag's metadata: messages cannot say it.
GRAVITY_KEY, SCALE_KEY = "geo_perception.gravity_world", "geo_perception.scale"
POSE_FRAME_KEY = "geo_perception.pose_frame"
GRAVITY_Z_UP = (0.0, 0.0, -1.0)


@dataclass(frozen=True)
class RecordedWorld:
    """The world of a recording's poses: its frame, the topic, the scale (metric, unknown) and where gravity points."""

    recording: Path
    frame: str
    topic: str
    scale: str
    gravity: tuple[float, float, float] | None

    @classmethod
    def of(cls, poses: CameraPoses, recording: Recording) -> RecordedWorld:
        """ROS worlds have z up (REP 103) and metres; a bag made from a dataset says what its world has instead."""
        gravity, custom_data = GRAVITY_Z_UP, recording.custom_data
        if GRAVITY_KEY in custom_data:
            try:
                x, y, z = (float(word) for word in custom_data[GRAVITY_KEY].split())
                gravity = (x, y, z)
            except ValueError:
                gravity = None
        scale = custom_data.get(SCALE_KEY, "metric")
        return cls(recording.path, poses.world_frame, poses.source.topic, scale, gravity)
