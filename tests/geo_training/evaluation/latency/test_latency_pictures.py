"""The pictures of the latency benchmark, and the messages they become."""

import numpy as np
import pytest
from geo_training.evaluation.latency.pictures import COMPRESSED, RAW, Pictures, brought_to_size, forth_and_back
from geo_training.evaluation.latency.publisher import FRAME_ID, serialized, stamp_of
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from geo_perception.geometry import Camera
from geo_perception.ros.codec import ImageDecoder

CAMERA = Camera(32, 24, 30.0, 30.0, 15.5, 11.5)


@pytest.fixture
def pictures():
    smooth_hw = np.add.outer(np.arange(24), np.arange(32)).astype(np.uint8)
    return Pictures(np.stack([np.dstack([smooth_hw + 40 * n] * 3) for n in range(3)]), CAMERA)


def test_pictures_are_shown_forth_and_back():
    assert [forth_and_back(3, number) for number in range(7)] == [0, 1, 2, 1, 0, 1, 2]
    assert forth_and_back(1, 5) == 0


def test_pictures_are_read_as_they_were_written(pictures, tmp_path):
    pictures.save(tmp_path / "pictures")
    again = Pictures.load(tmp_path / "pictures")
    assert np.array_equal(again.images_nhw3, pictures.images_nhw3)
    assert again.camera == CAMERA


def test_the_middle_of_a_wide_image_keeps_its_camera():
    """A point that the wide camera sees at (u, v) lies at twice the distance from the middle in the doubled crop."""
    wide = Camera(48, 24, 30.0, 30.0, 23.5, 11.5)
    image_hw3, camera = brought_to_size(np.zeros((24, 48, 3), np.uint8), wide, (64, 48))
    assert image_hw3.shape == (48, 64, 3)
    point_13 = np.array([[0.2, 0.1, 1.0]])
    assert wide.project(point_13)[0] == pytest.approx([29.5, 14.5])
    # 8 columns are cut off on the left; pixel centres: 2 (x + 0.5) - 0.5
    assert camera.project(point_13)[0] == pytest.approx([2 * (29.5 - 8 + 0.5) - 0.5, 2 * (14.5 + 0.5) - 0.5])


@pytest.mark.parametrize(("transport", "kind"), [(RAW, Image), (COMPRESSED, CompressedImage)])
def test_what_is_published_is_what_the_bare_estimator_decodes(pictures, transport, kind):
    images, info = serialized(pictures, transport)
    for message, fields, image_hw3 in zip(images, pictures.encoded(transport), pictures.images_nhw3, strict=True):
        received = deserialize_message(bytes(message), kind)
        assert received.header.frame_id == FRAME_ID
        decoded_hw3 = ImageDecoder().decode(received)
        assert np.array_equal(decoded_hw3, ImageDecoder().decode(fields))
        assert np.abs(decoded_hw3.astype(int) - image_hw3).max() <= (0 if transport == RAW else 8)
    told = deserialize_message(bytes(info), CameraInfo)
    assert np.array(told.k).reshape(3, 3) == pytest.approx(CAMERA.K)


def test_a_stamp_is_read_without_deserializing():
    message = Image()
    message.header.stamp.sec, message.header.stamp.nanosec = 1700000000, 250000000
    assert stamp_of(serialize_message(message)) == 1700000000250000000
