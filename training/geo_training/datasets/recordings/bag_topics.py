"""Which topics of a recording are its cameras: the ones named, or what there is where that leaves no doubt."""

from __future__ import annotations

import re
from dataclasses import dataclass

from geo_perception.errors import InputError
from geo_perception.ros.codec import ENCODINGS
from geo_perception.ros.topics import without_transport
from geo_training.datasets.recordings.bags import Recording, Topic

IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
INFO_TYPES = ("sensor_msgs/msg/CameraInfo",)
# Names of images that are no pictures of the scene: in the topic's own name, or a namespace's whole name.
_NO_PICTURE = ("depth", "disparity", "mask", "label", "confidence", "segmentation")
_PICTURE_ENCODINGS = {encoding.lower() for encoding in ENCODINGS}
# Depth in millimetres as often as the grey of a thermal camera.
_AMBIGUOUS_ENCODINGS = ("16uc1", "mono16")


@dataclass(frozen=True)
class CameraTopics:
    """One camera: its images, and its CameraInfo where there is one."""

    image: str
    info: str | None

    @property
    def name(self) -> str:
        """A name for files: `/camera/left/image_raw` is `camera_left`."""
        parts = [p for p in without_transport(self.image).split("/") if p]
        return re.sub(r"[^\w-]+", "_", "_".join(parts[:-1] or parts))


def choose_cameras(recording: Recording, images: tuple[str, ...], infos: tuple[str, ...]) -> list[CameraTopics]:
    """The cameras named by their image topics, or the only one there is.

    `infos` are CameraInfo topics in the order of `images`, or one for all; left out, the sibling of each image topic is
    taken. Raises InputError, listing the topics, when one is missing or the choice is not clear.
    """
    if images:
        chosen = [recording.require(name, "--image", *IMAGE_TYPES).name for name in dict.fromkeys(images)]
    else:
        chosen = [_only_camera(recording).name]
    if len(infos) > 1 and len(infos) != len(chosen):
        raise InputError(f"--camera-info was given {len(infos)} times for {len(chosen)} --image; give one for each")
    named = [recording.require(name, "--camera-info", *INFO_TYPES).name for name in infos]
    if named:
        named = named if len(named) == len(chosen) else named * len(chosen)
        return [CameraTopics(image, info) for image, info in zip(chosen, named, strict=True)]
    return [CameraTopics(image, _info_of(recording, image, alone=len(chosen) == 1)) for image in chosen]


def _only_camera(recording: Recording) -> Topic:
    there = recording.of_type(*IMAGE_TYPES)
    pictures = _pictures(recording, there)
    # A camera that is recorded raw and compressed is one camera; raw has lost nothing.
    names = {t.name for t in pictures}
    pictures = [t for t in pictures if without_transport(t.name) == t.name or without_transport(t.name) not in names]
    if len(pictures) == 1:
        return pictures[0]
    if pictures:
        raise InputError(
            f"{recording.path} has several image topics; pass --image (once for each camera) with some of: "
            f"{', '.join(t.name for t in pictures)}"
        )
    if there:
        raise InputError(
            f"{recording.path} has images of depth or labels only, as it seems; if one shows the scene, pass --image "
            f"with it: {recording.topic_list(*IMAGE_TYPES)}"
        )
    raise InputError(
        f"{recording.path} has no image topic: no sensor_msgs/Image or CompressedImage with messages; record one"
    )


def _pictures(recording: Recording, topics: list[Topic]) -> list[Topic]:
    """The topics that show the scene. A name above a camera says nothing of its images (`/depth_camera/color`): the
    encoding does, and the topic's own name."""
    sure, unsure = [], []
    for topic in topics:
        *namespaces, own = without_transport(topic.name).lower().split("/")
        if any(word in own for word in _NO_PICTURE) or topic.name.rpartition("/")[2] == "compressedDepth":
            continue
        encoding = _encoding(recording, topic)
        if encoding and encoding not in _PICTURE_ENCODINGS:
            continue
        whole_names = {name.rstrip("s") for name in namespaces} & set(_NO_PICTURE)
        if whole_names - {"depth"}:
            continue
        if encoding in _AMBIGUOUS_ENCODINGS:
            if not any(word in name for name in namespaces for word in _NO_PICTURE):
                unsure.append(topic)
        elif not whole_names or encoding:
            sure.append(topic)
    return sure or unsure


def _encoding(recording: Recording, topic: Topic) -> str:
    """The encoding of the first image of a topic, in small letters; empty where the message does not tell."""
    for _, _, message in recording.messages([topic.name]):
        if hasattr(message, "encoding"):
            return str(message.encoding).strip().lower()
        # image_transport writes `rgb8; jpeg compressed bgr8`, many drivers only `jpeg`.
        label, _, transport = str(getattr(message, "format", "")).partition(";")
        return label.strip().lower() if transport else ""
    return ""


def _info_of(recording: Recording, image: str, alone: bool) -> str | None:
    there = [topic.name for topic in recording.of_type(*INFO_TYPES)]
    base = without_transport(image)
    parent = base.rsplit("/", 1)[0]
    for name in (f"{parent}/camera_info", f"{base}/camera_info"):
        if name in there:
            return name
    return there[0] if alone and len(there) == 1 else None
