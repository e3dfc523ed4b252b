"""Which CameraInfo belongs to an image, and what is refused."""

from types import SimpleNamespace

import pytest
from sensor_msgs.msg import CameraInfo

from geo_perception.errors import InputError
from geo_perception.geometry import Camera
from geo_perception.ros.camera_info import UncalibratedCamera
from geo_perception.ros.camera_source import (
    CameraSource,
    NoCamera,
    OtherCamera,
    camera_from_parameters,
    camera_of_image,
)
from geo_perception.ros.topics import (
    camera_info_topic,
    image_topic,
    is_rectified,
    rectified_sentence,
    without_transport,
)


def info(focal_px: float, frame_id: str = "", **changes) -> CameraInfo:
    k_9 = [focal_px, 0.0, 319.5, 0.0, focal_px, 239.5, 0.0, 0.0, 1.0]
    message = CameraInfo(**{"width": 640, "height": 480, "k": k_9} | changes)
    message.header.frame_id = frame_id
    return message


def focal_px(source: CameraSource, stamp_ns: int, received_s: float, max_age_s: float) -> float:
    return source.find(stamp_ns, received_s, max_age_s, "camera", 640, 480).camera.fx_px


class TestCameraSource:
    def test_the_same_stamp_wins_over_the_newest(self):
        source = CameraSource()
        for stamp_ns, told_px in ((10, 500.0), (20, 510.0), (30, 520.0)):
            source.add(info(told_px), stamp_ns, received_s=stamp_ns * 0.1)
        assert focal_px(source, 20, 3.0, 10.0) == 510.0
        assert focal_px(source, 25, 3.0, 10.0) == 520.0

    def test_an_old_one_is_refused_unless_age_does_not_matter(self):
        source = CameraSource()
        source.add(info(500.0), 10, received_s=1.0)
        assert focal_px(source, 99, 10.9, max_age_s=10.0) == 500.0
        with pytest.raises(NoCamera, match=r"came 10\.5 s before the image; .* camera_info_max_age_s to 0"):
            focal_px(source, 99, 11.5, max_age_s=10.0)
        assert focal_px(source, 99, 1e6, max_age_s=0.0) == 500.0

    def test_none_and_zeros(self):
        source = CameraSource()
        assert not source.ready()
        with pytest.raises(NoCamera):
            focal_px(source, 1, 0.0, 0.0)
        source.add(info(0.0), 1, 0.0)
        source.add(CameraInfo(width=640, height=480), 2, 0.0)
        with pytest.raises(UncalibratedCamera):
            focal_px(source, 2, 0.0, 0.0)

    def test_time_that_is_rewound_keeps_only_what_came_before(self):
        source = CameraSource()
        source.add(info(500.0), 100, 0.0)
        source.add(info(510.0), 5, 1.0)
        source.clear(now_ns=5)
        assert focal_px(source, 100, 1.0, 0.0) == 510.0

    def test_a_latched_one_outlives_age_resets_and_time_that_is_rewound(self):
        source = CameraSource()
        source.add(info(500.0), 100, 0.0, latched=True)
        for now_ns in (None, 5):
            source.clear(now_ns)
            assert source.ready()
            assert focal_px(source, 7, 1e6, max_age_s=10.0) == 500.0
        source.add(info(510.0), 6, 1.0)
        assert focal_px(source, 7, 2.0, max_age_s=10.0) == 510.0
        source.add(info(520.0), 200, 3.0, latched=True)
        source.clear()
        assert focal_px(source, 7, 3.0, max_age_s=10.0) == 520.0

    def test_one_that_is_said_to_come_only_once_is_kept_too(self):
        source = CameraSource()
        source.add(info(500.0), 100, 0.0)
        source.clear(published_once=True)
        assert focal_px(source, 7, 1e6, max_age_s=0.0) == 500.0
        forgetful = CameraSource()
        forgetful.add(info(500.0), 100, 0.0)
        forgetful.clear()
        assert not forgetful.ready()

    def test_a_camera_from_parameters_needs_no_message(self):
        camera = camera_from_parameters([500.0, 0, 319.5, 0, 500.0, 239.5, 0, 0, 1], 640, 480, "plumb_bob", [0.0] * 5)
        assert camera == Camera(640, 480, 500.0, 500.0, 319.5, 239.5)
        assert CameraSource(camera).find(1, 0.0, 0.0, "camera", 640, 480).camera is camera
        assert camera_from_parameters([0.0] * 9, 0, 0, "plumb_bob", [0.0] * 5) is None
        with pytest.raises(InputError, match="needs the size of its images"):
            camera_from_parameters([500.0, 0, 319.5, 0, 500.0, 239.5, 0, 0, 1], 0, 0, "plumb_bob", [0.0] * 5)


class TestCameraOfImage:
    def test_another_cameras_is_refused_where_frame_and_size_differ(self):
        with pytest.raises(OtherCamera, match=r"'left' and 640 x 480 .* 'right' and 320 x 240") as error:
            camera_of_image(info(500.0, "left"), False, "right", 320, 240)
        assert "\n" not in str(error.value)

    def test_of_the_same_size_it_is_told(self):
        found = camera_of_image(info(500.0, "left"), False, "right", 640, 480)
        assert found.camera.fx_px == 500.0
        assert "'left'" in found.inconsistencies["frame"]
        assert "'right'" in found.inconsistencies["frame"]

    @pytest.mark.parametrize(("told", "image"), [("", "left"), ("left", ""), ("", ""), ("/left", "left"), ("a", " a ")])
    def test_a_frame_without_a_name_or_with_a_slash_is_no_other(self, told, image):
        found = camera_of_image(info(500.0, told), False, image, 320, 240)
        assert found.camera.fx_px == 250.0
        assert list(found.inconsistencies) == ["size"]

    def test_the_size_that_counts_is_that_after_region_and_binning(self):
        binned = info(500.0, "left", binning_x=2, binning_y=2)
        found = camera_of_image(binned, False, "right", 320, 240)
        assert list(found.inconsistencies) == ["frame"]
        assert found.camera.fx_px == 250.0

    def test_p_of_zeros_is_told_where_there_is_a_lens(self):
        lens = info(500.0, d=[0.1, 0.0, 0.0, 0.0, 0.0], distortion_model="plumb_bob")
        found = camera_of_image(lens, True, "", 640, 480)
        assert found.camera == Camera(640, 480, 500.0, 500.0, 319.5, 239.5)
        assert "P of their CameraInfo is zero" in found.inconsistencies["projection"]
        assert camera_of_image(info(500.0), True, "", 640, 480).inconsistencies == {}
        lens.p = [400.0, 0.0, 300.0, 0.0, 0.0, 400.0, 200.0, 0.0, 0.0, 0.0, 1.0, 0.0]
        found = camera_of_image(lens, True, "", 320, 240)
        assert found.camera == Camera(320, 240, 200.0, 200.0, 149.75, 99.75)
        assert list(found.inconsistencies) == ["size"]


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

    @pytest.mark.parametrize(
        "topic",
        [
            "/camera/image_rect", "/camera/image_rect_color", "/camera/image_rect_mono", "image_rect",
            "/camera/image_rect/compressed", "/left/image_rect_color/theora", "/camera/color_rect", "/rect/image",
            "/rectified/image", "/stereo/rectified/left", "/camera/left_rectified/image_raw", "/camera/image_rectified",
            "/infra1/image_rect_raw", "/camera/image_undistorted", "/Camera/Image_Rect",
        ],
    )  # fmt: skip
    def test_names_of_rectified_images(self, topic):
        assert is_rectified(topic)
        assert not is_rectified(topic, "false")
        assert "P of their CameraInfo holds" in rectified_sentence(topic, "auto", "rectified")

    @pytest.mark.parametrize(
        "topic",
        [
            "/camera/image_raw", "/camera/image_raw/compressed", "/camera/image_unrectified",
            "/camera/image_not_rectified", "/rect_robot/image_raw",
            "/rectangle/image", "/direct/image", "/camera/correct", "/image_unrect/compressed",
        ],
    )  # fmt: skip
    def test_names_of_raw_images(self, topic):
        assert not is_rectified(topic)
        assert is_rectified(topic, "true")
        assert "K and D" in rectified_sentence(topic, "auto", "rectified")

    def test_the_transport_is_no_part_of_the_name(self):
        assert without_transport("/camera/image_raw/compressed") == "/camera/image_raw"
        assert without_transport("/camera/image_raw") == "/camera/image_raw"
        assert without_transport("/compressed") == "/compressed"
