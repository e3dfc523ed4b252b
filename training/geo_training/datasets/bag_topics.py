"""Which topics of a recording are its cameras: the ones named, or what there is where that leaves no doubt."""

from __future__ import annotations

import re
from dataclasses import dataclass

from geo_perception.errors import InputError
from geo_training.datasets.bags import Recording, Topic

IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
INFO_TYPES = ("sensor_msgs/msg/CameraInfo",)
# Images that are no pictures of the scene.
_NO_PICTURE = ("depth", "disparity", "mask", "label", "confidence", "theora")
_TRANSPORTS = ("compressed",)


@dataclass(frozen=True)
class CameraTopics:
    """One camera: its images, and its CameraInfo where there is one."""

    image: str
    info: str | None

    @property
    def name(self) -> str:
        """A name for files: `/camera/left/image_raw` is `camera_left`."""
        parts = [p for p in _without_transport(self.image).split("/") if p]
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
    pictures = [t for t in there if not any(word in t.name.lower() for word in _NO_PICTURE)]
    # A camera that is recorded raw and compressed is one camera; raw has lost nothing.
    names = {t.name for t in pictures}
    pictures = [t for t in pictures if _without_transport(t.name) == t.name or _without_transport(t.name) not in names]
    if len(pictures) == 1:
        return pictures[0]
    if not pictures:
        raise InputError(
            f"{recording.path} has no image topic with messages; its topics are: {recording.topic_list() or 'none'}"
        )
    raise InputError(
        f"{recording.path} has several image topics; pass --image (once for each camera) with some of: "
        f"{', '.join(t.name for t in pictures)}"
    )


def _info_of(recording: Recording, image: str, alone: bool) -> str | None:
    there = [topic.name for topic in recording.of_type(*INFO_TYPES)]
    base = _without_transport(image)
    parent = base.rsplit("/", 1)[0]
    for name in (f"{parent}/camera_info", f"{base}/camera_info"):
        if name in there:
            return name
    return there[0] if alone and len(there) == 1 else None


def _without_transport(name: str) -> str:
    base, _, last = name.rpartition("/")
    return base if last in _TRANSPORTS else name
