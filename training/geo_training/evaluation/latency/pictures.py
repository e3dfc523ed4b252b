"""The pictures that nodes and bare estimators are shown, as one file that every process maps into its memory."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from geo_perception.geometry import Camera
from geo_perception.ros.codec import EncodedImage, encode_image, encode_jpeg
from geo_training.datasets.scene import camera_from_dict, camera_to_dict

SIZE_PX = 640, 480
RAW, COMPRESSED = "raw", "compressed"
JPEG_QUALITY = 90
_IMAGES, _CAMERA = "pictures.npy", "camera.json"


@dataclass(frozen=True)
class CompressedPicture:
    """The fields of a sensor_msgs CompressedImage."""

    format: str
    data: bytes


@dataclass(frozen=True)
class Pictures:
    """Images (N, H, W, 3), RGB uint8, all by one camera; they are shown forth and back."""

    images_nhw3: np.ndarray
    camera: Camera

    @classmethod
    def load(cls, folder: Path) -> Pictures:
        images_nhw3 = np.load(folder / _IMAGES, mmap_mode="r")
        return cls(images_nhw3, camera_from_dict(json.loads((folder / _CAMERA).read_text())))

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / _IMAGES, self.images_nhw3)
        (folder / _CAMERA).write_text(json.dumps(camera_to_dict(self.camera)))

    def encoded(self, transport: str) -> list[EncodedImage | CompressedPicture]:
        """Each as a message of this transport would hold it."""
        if transport == RAW:
            return [encode_image(image_hw3) for image_hw3 in self.images_nhw3]
        return [CompressedPicture("rgb8; jpeg compressed bgr8", encode_jpeg(i, JPEG_QUALITY)) for i in self.images_nhw3]


def forth_and_back(count: int, number: int) -> int:
    """Which of `count` pictures is shown as the `number`-th one, so that each is the neighbour of the one before."""
    if count == 1:
        return 0
    at = number % (2 * count - 2)
    return at if at < count else 2 * count - 2 - at


def brought_to_size(
    image_hw3: np.ndarray, camera: Camera, size_px: tuple[int, int] = SIZE_PX
) -> tuple[np.ndarray, Camera]:
    """The middle of an image that has the shape of `size_px`, in that size, and the camera that took it."""
    width_px, height_px = size_px
    scale = max(width_px / camera.width_px, height_px / camera.height_px)
    crop_w, crop_h = round(width_px / scale), round(height_px / scale)
    left, top = (camera.width_px - crop_w) // 2, (camera.height_px - crop_h) // 2
    part_hw3 = np.ascontiguousarray(image_hw3[top : top + crop_h, left : left + crop_w])
    seen = camera.cropped(left, top, crop_w, crop_h).resized(*size_px)
    return cv2.resize(part_hw3, size_px, interpolation=cv2.INTER_CUBIC), seen
