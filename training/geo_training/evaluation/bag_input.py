"""A recording as queries: every frame of one camera, with its CameraInfo and, where the bag knows it, its true pose."""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from geo_perception.errors import InputError
from geo_perception.geometry import Camera
from geo_perception.ros.camera_info import camera_from_info
from geo_perception.ros.camera_source import fit_to_image
from geo_perception.ros.codec import decode_image
from geo_training.datasets.bag_poses import CameraPoses, PoseOptions, choose_poses, pose_topics
from geo_training.datasets.bag_topics import choose_cameras
from geo_training.datasets.bags import Recording, Topic, header_stamp_ns
from geo_training.datasets.from_bag import POSE_FRAME_KEY

COMPRESSED = "sensor_msgs/msg/CompressedImage"


@dataclass
class BagInput:
    """One camera of a recording. Make it with `open_bag`; messages are read again from disk on every pass.

    `infos` are CameraInfo messages by stamp (ascending), `poses` says how true poses are found, None where there are
    none. `losses` are sentences about what could not be read.
    """

    path: Path
    image_topic: Topic
    info_topic: str
    info_stamps_ns: list[int]
    infos: list[object]
    poses: CameraPoses | None
    losses: list[str] = field(default_factory=list)

    @property
    def compressed(self) -> bool:
        return self.image_topic.msgtype == COMPRESSED

    @property
    def sequence(self) -> str:
        return self.path.stem

    @property
    def truth_words(self) -> str:
        return "none in the recording" if self.poses is None else f"{self.poses.source.topic} ({self.poses.how})"

    def messages(self) -> Iterator[tuple[str, int, object]]:
        """Name, stamp in nanoseconds and message of every image, in the order of recording."""
        with Recording(self.path) as recording:
            for index, (_, receive_ns, message) in enumerate(recording.messages([self.image_topic.name])):
                yield f"{self.sequence}/{index:06d}", header_stamp_ns(message, receive_ns), message
            self.losses = list(dict.fromkeys([*self.losses, *recording.losses]))

    def info_at(self, stamp_ns: int) -> object:
        """The CameraInfo of this stamp, else the last one before it, else the first."""
        return self.infos[max(bisect.bisect_right(self.info_stamps_ns, stamp_ns) - 1, 0)]

    def camera_at(self, stamp_ns: int, width_px: int, height_px: int) -> Camera:
        """The camera of an image of this size. Raises InputError when its CameraInfo cannot be used for it."""
        return fit_to_image(camera_from_info(self.info_at(stamp_ns)), width_px, height_px)[0]

    def true_pose(self, stamp_ns: int) -> np.ndarray | None:
        """T_map_camera at the stamp, interpolated between the recorded poses; None where it is not known."""
        return None if self.poses is None else self.poses.at(stamp_ns)

    def images(self, names: list[str]) -> dict[str, np.ndarray]:
        """The named images as RGB, those that can be decoded."""
        found, wanted = {}, set(names)
        for name, _, message in self.messages():
            if name in wanted:
                try:
                    found[name] = decode_image(message)
                except InputError:
                    continue
            if len(found) == len(wanted):
                break
        return found


def open_bag(
    path: str | Path, image: str | None = None, camera_info: str | None = None, pose: PoseOptions | None = None
) -> BagInput:
    """Reads what is small (CameraInfo, poses, TF) and finds the image topic.

    Raises InputError when the path is no recording, a topic is missing or one of several has to be chosen (the message
    lists them), or there is no CameraInfo.
    """
    pose = pose or PoseOptions()
    with Recording(path) as recording:
        named = (image,) if image else (), (camera_info,) if camera_info else ()
        camera = choose_cameras(recording, *named)[0]
        if camera.info is None:
            raise InputError(
                f"{path} has no CameraInfo for {camera.image}; pass --camera-info with one of: {recording.topic_list()}"
            )
        image_topic, info_topic = recording.topics[camera.image], recording.topics[camera.info]
        recorded = choose_poses(recording, pose)
        if recorded is not None:
            recorded.child_frame = recording.custom_data.get(POSE_FRAME_KEY, "")
        topics = {info_topic.name: info_topic} | (pose_topics(recording, recorded) if recorded else {})
        infos: list[tuple[int, int, object]] = []
        for name, receive_ns, message in recording.messages(topics):
            if name == info_topic.name:
                infos.append((header_stamp_ns(message, receive_ns), len(infos), message))
            else:
                recorded.add(topics[name], receive_ns, message)
        if not infos:
            raise InputError(
                f"{path}: no message on {info_topic.name} can be read; pass --camera-info with another topic"
            )
        frame = next((m.header.frame_id for _, _, m in recording.messages([image_topic.name])), "")
        poses = recorded.for_camera(frame) if recorded else None
        infos.sort(key=lambda entry: entry[:2])
        stamps_ns, messages = [entry[0] for entry in infos], [entry[2] for entry in infos]
        losses = [*recording.losses, *(recorded.complaints if recorded else [])]
        return BagInput(Path(path), image_topic, info_topic.name, stamps_ns, messages, poses, losses)
