"""Which CameraInfo belongs to an image, and what is refused."""

from types import SimpleNamespace

import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo

from geo_perception.errors import InputError
from geo_perception.geometry import Camera
from geo_perception.ros.camera_source import (
    CameraSource,
    NoCamera,
    SizeMismatch,
    UncalibratedCamera,
    camera_from_parameters,
    fit_to_image,
)
from geo_perception.ros.topics import camera_info_topic, image_topic


def info(focal_px: float) -> CameraInfo:
    return CameraInfo(width=640, height=480, k=[focal_px, 0.0, 319.5, 0.0, focal_px, 239.5, 0.0, 0.0, 1.0])


class TestCameraSource:
    def test_the_same_stamp_wins_over_the_newest(self):
        source = CameraSource()
        for stamp_ns, focal_px in ((10, 500.0), (20, 510.0), (30, 520.0)):
            source.add(info(focal_px), stamp_ns, received_s=stamp_ns * 0.1)
        assert source.find(20, 3.0, 10.0).fx_px == 510.0
        assert source.find(25, 3.0, 10.0).fx_px == 520.0

    def test_an_old_one_is_refused_unless_age_does_not_matter(self):
        source = CameraSource()
        source.add(info(500.0), 10, received_s=1.0)
        assert source.find(99, 10.9, max_age_s=10.0).fx_px == 500.0
        with pytest.raises(NoCamera, match=r"came 10\.5 s before the image; .* camera_info_max_age_s to 0"):
            source.find(99, 11.5, max_age_s=10.0)
        assert source.find(99, 1e6, max_age_s=0.0).fx_px == 500.0

    def test_none_and_zeros(self):
        source = CameraSource()
        assert not source.ready()
        with pytest.raises(NoCamera):
            source.find(1, 0.0, 0.0)
        source.add(info(0.0), 1, 0.0)
        source.add(CameraInfo(width=640, height=480), 2, 0.0)
        with pytest.raises(UncalibratedCamera):
            source.find(2, 0.0, 0.0)

    def test_time_that_is_rewound_keeps_only_what_came_before(self):
        source = CameraSource()
        source.add(info(500.0), 100, 0.0)
        source.add(info(510.0), 5, 1.0)
        source.clear(now_ns=5)
        assert source.find(100, 1.0, 0.0).fx_px == 510.0

    def test_a_camera_from_parameters_needs_no_message(self):
        camera = camera_from_parameters([500.0, 0, 319.5, 0, 500.0, 239.5, 0, 0, 1], 640, 480, "plumb_bob", [0.0] * 5)
        assert camera == Camera(640, 480, 500.0, 500.0, 319.5, 239.5)
        assert CameraSource(camera).find(1, 0.0, 0.0) is camera
        assert camera_from_parameters([0.0] * 9, 0, 0, "plumb_bob", [0.0] * 5) is None
        with pytest.raises(InputError, match="needs the size of its images"):
            camera_from_parameters([500.0, 0, 319.5, 0, 500.0, 239.5, 0, 0, 1], 0, 0, "plumb_bob", [0.0] * 5)


class TestFitToImage:
    CAMERA = Camera(640, 480, 500.0, 500.0, 319.5, 239.5)

    def test_half_the_size_by_hand(self):
        scaled, was_scaled = fit_to_image(self.CAMERA, 320, 240)
        assert was_scaled
        np.testing.assert_allclose([scaled.fx_px, scaled.cx_px, scaled.cy_px], [250.0, 159.5, 119.5])
        assert fit_to_image(self.CAMERA, 640, 480) == (self.CAMERA, False)

    @pytest.mark.parametrize("size_px", [(640, 400), (480, 480), (320, 256)])
    def test_another_shape_is_refused(self, size_px):
        with pytest.raises(SizeMismatch, match="another shape"):
            fit_to_image(self.CAMERA, *size_px)


class TestTopics:
    @staticmethod
    def node(**remapped):
        def resolve(name, only_expand=False):
            return f"/robot/{name}" if only_expand else remapped.get(name.replace("/", "_"), f"/robot/{name}")

        return SimpleNamespace(resolve_topic_name=resolve)

    def test_the_compressed_topic_lies_below_the_image(self):
        assert image_topic(self.node(), "raw") == "/robot/image"
        assert image_topic(self.node(), "compressed") == "/robot/image/compressed"
        assert image_topic(self.node(image="/cam/image_raw"), "compressed") == "/cam/image_raw/compressed"
        assert image_topic(self.node(image="/cam/raw", image_compressed="/jpeg"), "compressed") == "/jpeg"

    def test_the_camera_info_lies_beside_the_image(self):
        assert camera_info_topic(self.node()) == "/robot/camera_info"
        assert camera_info_topic(self.node(image="/cam/image_raw")) == "/cam/camera_info"
        assert camera_info_topic(self.node(image="/cam/image_raw", camera_info="/own")) == "/own"
