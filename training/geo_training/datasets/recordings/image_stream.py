"""The images of one camera of a recording while they are read."""

from __future__ import annotations

from geo_perception.errors import InputError
from geo_perception.ros.codec import ImageDecoder
from geo_training.datasets.recordings.bag_cameras import RecordedInfos
from geo_training.datasets.recordings.bag_poses import CameraPoses
from geo_training.datasets.recordings.bag_topics import CameraTopics
from geo_training.datasets.recordings.bags import StampClock
from geo_training.datasets.recordings.recorded_world import RecordedWorld
from geo_training.datasets.recordings.sharpness import SharpestPerInterval, TimedImage


class ImageStream:
    """The images of one camera while they are read."""

    def __init__(
        self, topics: CameraTopics, sequence: str, fps: float, decoder: ImageDecoder, infos: RecordedInfos | None
    ):
        self.topics, self.sequence, self.decoder, self.infos = topics, sequence, decoder, infos
        self.selector = SharpestPerInterval(fps)
        self.frame_id = ""
        self.poses: CameraPoses | None = None
        self.world: RecordedWorld | None = None
        self.received = self.stored = self.posed = self.uncalibrated = 0
        self.undecodable = self.timeless = self.jumps = 0
        self.problem = ""
        self._clock = StampClock()
        self._last_ns: int | None = None

    def offer(self, message, receive_ns: int) -> TimedImage | None:
        """Takes in one image message; returns the best image of an interval once the next has begun."""
        self.received += 1
        stamp_ns = self._clock.stamp_ns(message, receive_ns)
        if stamp_ns is None:
            self.timeless += 1
            return None
        self.jumps += self._last_ns is not None and stamp_ns < self._last_ns
        self._last_ns = stamp_ns
        try:
            image_rgb = self.decoder.decode(message)
        except InputError as error:
            self.undecodable += 1
            self.problem = self.problem or str(error)
            return None
        return self.selector.offer(stamp_ns, image_rgb)
