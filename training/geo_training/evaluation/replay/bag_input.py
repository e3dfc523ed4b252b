"""A recording as queries: every frame of one camera, with its CameraInfo and, where the bag knows it, its true pose."""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from geo_perception.errors import InputError
from geo_perception.geometry import Camera
from geo_perception.ros.camera_source import OtherCamera, camera_of_image
from geo_perception.ros.codec import ImageDecoder
from geo_perception.ros.topics import is_rectified, rectified_sentence
from geo_training.datasets.recordings.bag_cameras import bits_sentence, image_decoder
from geo_training.datasets.recordings.bag_poses import CameraPoses, choose_poses, pose_topics
from geo_training.datasets.recordings.bag_topics import INFO_TYPES, choose_cameras
from geo_training.datasets.recordings.bags import Recording, Topic, header_stamp_ns
from geo_training.datasets.recordings.pose_options import PoseOptions
from geo_training.datasets.recordings.recorded_world import POSE_FRAME_KEY

COMPRESSED = "sensor_msgs/msg/CompressedImage"


@dataclass
class BagInput:
    """One camera of a recording. Make it with `open_bag`; messages are read again from disk on every pass.

    `infos` are CameraInfo messages by stamp (ascending), `poses` says how true poses are found, None where there are
    none. `rectified` says that the images are, `image_notes` what else is taken of them. `losses` are sentences about
    what could not be read, `inconsistencies` of cameras that were used.
    """

    path: Path
    image_topic: Topic
    info_topic: str
    info_stamps_ns: list[int]
    infos: list[object]
    poses: CameraPoses | None
    losses: list[str] = field(default_factory=list)
    rectified: bool = False
    image_frame: str = ""
    image_notes: list[str] = field(default_factory=list)
    decoder: ImageDecoder = field(default_factory=ImageDecoder)
    inconsistencies: list[str] = field(default_factory=list)

    @property
    def compressed(self) -> bool:
        return self.image_topic.msgtype == COMPRESSED

    @property
    def sequence(self) -> str:
        return self.path.stem

    @property
    def truth_label(self) -> str:
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
        info = self.info_at(stamp_ns)
        found = camera_of_image(info, self.rectified, self.image_frame, width_px, height_px)
        self.inconsistencies += [words for words in found.inconsistencies.values() if words not in self.inconsistencies]
        return found.camera

    def true_pose(self, stamp_ns: int) -> np.ndarray | None:
        """T_map_camera at the stamp, interpolated between the recorded poses; None where it is not known."""
        return None if self.poses is None else self.poses.at(stamp_ns)

    def images(self, names: list[str]) -> dict[str, np.ndarray]:
        """The named images as RGB, those that can be decoded."""
        found, wanted = {}, set(names)
        for name, _, message in self.messages():
            if name in wanted:
                try:
                    found[name] = self.decoder.decode(message)
                except InputError:
                    continue
            if len(found) == len(wanted):
                break
        return found


def open_bag(
    path: str | Path,
    image: str | None = None,
    camera_info: str | None = None,
    pose: PoseOptions | None = None,
    rectified: str = "auto",
    image_bits: int = 0,
) -> BagInput:
    """Reads what is small (CameraInfo, poses, TF) and finds the image topic. `rectified` (auto, true, false) and
    `image_bits` are as the nodes have them.

    Raises InputError when the path is no recording, a topic is missing or one of several has to be chosen (the message
    lists them), or there is no CameraInfo, or another camera's.
    """
    pose = pose or PoseOptions()
    with Recording(path) as recording:
        named = (image,) if image else (), (camera_info,) if camera_info else ()
        camera = choose_cameras(recording, *named)[0]
        if camera.info is None:
            there = recording.topic_list(*INFO_TYPES)
            remedy = f"pass --camera-info with one of: {there}" if there else "it holds none at all; record it"
            raise InputError(f"{path} has no CameraInfo for {camera.image}; {remedy}")
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
        decoder = image_decoder(recording, image_topic.name, image_bits)
        frame, size_px = _first_image(recording, image_topic.name, decoder)
        poses = recorded.for_camera(frame) if recorded else None
        infos.sort(key=lambda entry: entry[:2])
        stamps_ns, messages = [entry[0] for entry in infos], [entry[2] for entry in infos]
        losses = [*recording.losses, *(recorded.complaints if recorded else [])]
        is_rect = is_rectified(image_topic.name, rectified)
        words = [rectified_sentence(image_topic.name, rectified, "rectified")] if is_rect or rectified != "auto" else []
        words += filter(None, [bits_sentence(image_topic.name, decoder, image_bits)])
        bag = BagInput(
            Path(path), image_topic, info_topic.name, stamps_ns, messages, poses, losses, is_rect, frame, words, decoder
        )  # fmt: skip
        if size_px is not None:
            _refuse_other_camera(bag, size_px)
        return bag


def _first_image(recording: Recording, topic: str, decoder: ImageDecoder) -> tuple[str, tuple[int, int] | None]:
    """The frame of the images, and the width and height in pixels of the first that can be decoded."""
    frame = None
    for _, _, message in recording.messages([topic]):
        frame = str(message.header.frame_id) if frame is None else frame
        try:
            height_px, width_px = decoder.decode(message).shape[:2]
        except InputError:
            continue
        return frame, (width_px, height_px)
    return frame or "", None


def _refuse_other_camera(bag: BagInput, size_px: tuple[int, int]) -> None:
    try:
        camera_of_image(bag.infos[0], bag.rectified, bag.image_frame, *size_px)
    except OtherCamera as error:
        raise InputError(f"{bag.info_topic}: {error}") from None
    except InputError:  # a frame that it was not made for is a miss, and says why
        return
