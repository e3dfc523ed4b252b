"""The cameras of recorded images: their CameraInfo over time, and the bits of their samples."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

from geo_perception.errors import InputError
from geo_perception.geometry import Camera
from geo_perception.ros.camera_info import camera_from_info
from geo_perception.ros.camera_source import ImageCamera, bare_frame, camera_of_image
from geo_perception.ros.codec import ImageDecoder
from geo_training.datasets.recordings.bags import Recording


@dataclass
class RecordedInfos:
    """The CameraInfo of one camera over time; a driver that zooms or crops sends another.

    `rectified` says that the images are. `problem` is why there is none, where there is none.
    """

    rectified: bool = False
    stamps_ns: list[int] = field(default_factory=list)
    messages: list[object] = field(default_factory=list)
    problem: str = "it holds no CameraInfo"
    _last: tuple[Camera, str] | None = None

    def add(self, stamp_ns: int, message) -> None:
        """Takes in the next CameraInfo. One that makes no sense is left out."""
        try:
            kind = camera_from_info(message, self.rectified), bare_frame(message.header.frame_id)
        except InputError as error:
            self.problem = str(error)
            return
        if kind != self._last:
            self.stamps_ns.append(stamp_ns)
            self.messages.append(message)
            self._last = kind

    def __bool__(self) -> bool:
        return bool(self.messages)

    def at(self, stamp_ns: int, frame_id: str, width_px: int, height_px: int) -> ImageCamera | None:
        """The camera of an image of this stamp, frame and size: of the last CameraInfo before it, else of the first.
        None where there is no CameraInfo.

        Raises InputError when it is another camera's, or for images of another shape.
        """
        message = self._message_at(stamp_ns)
        return None if message is None else camera_of_image(message, self.rectified, frame_id, width_px, height_px)

    def lens_at(self, stamp_ns: int, width_px: int, height_px: int) -> Camera | None:
        """The lens that rectified images of this size were taken with; None where the CameraInfo does not tell."""
        message = self._message_at(stamp_ns) if self.rectified else None
        try:
            return None if message is None else camera_from_info(message).fitted(width_px, height_px)
        except InputError:
            return None

    def _message_at(self, stamp_ns: int) -> object | None:
        return self.messages[max(bisect_right(self.stamps_ns, stamp_ns) - 1, 0)] if self.messages else None


def image_decoder(recording: Recording, topic: str, image_bits: int = 0) -> ImageDecoder:
    """A decoder for all images of this topic. Where they have 16 bits a sample and `image_bits` does not say how many
    are in use, all are looked at first, so that the first image is made as bright as the last."""
    decoder = ImageDecoder(image_bits)
    if image_bits:
        return decoder
    for _, _, message in recording.messages([topic]):
        try:
            decoder.decode(message)
        except InputError:
            continue
        if not decoder.bits:
            break
    return decoder


def bits_sentence(topic: str, decoder: ImageDecoder, image_bits: int) -> str:
    """What is taken of 16-bit images; empty where there are none."""
    if not decoder.bits:
        return ""
    why = "as --image-bits says" if image_bits else "as its images need (--image-bits says otherwise)"
    return f"of 16 bits, the images on {topic} use {decoder.bits}, {why}"
