"""Which camera a node takes for its images, over real DDS: latched CameraInfo, rectified images, other cameras'."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import rclpy
from node_peer import NodePeer
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from ros_support import DOMAIN_ID, stamped
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Float64

from geo_perception.errors import InputError
from geo_perception.geometry import Camera
from geo_perception.ros import qos
from geo_perception.ros.camera_info import info_fields
from geo_perception.ros.codec import fill_image
from geo_perception.ros.node_base import Outcome, PerceptionNode

LENS = Camera(64, 48, 50.0, 50.0, 31.5, 23.5, "plumb_bob", (-0.2, 0.05, 0.0, 0.0, 0.0))
P_12 = [44.0, 0.0, 30.5, 0.0, 0.0, 45.0, 22.5, 0.0, 0.0, 0.0, 1.0, 0.0]
RECTIFIED = Camera(64, 48, 44.0, 45.0, 30.5, 22.5)
PICTURE = np.full((48, 64, 3), 90, np.uint8)


class FocalNode(PerceptionNode):
    """Publishes the focal length of the camera it was given, and keeps what it worked on."""

    def __init__(self, **kwargs):
        self.seen: list[tuple[Camera, np.ndarray]] = []
        super().__init__("focal_node", **kwargs)

    def load(self) -> None:
        self.out = self.output(Float64, "~/focal")

    def compute(self, image_hw3, camera, frame):
        self.seen.append((camera, image_hw3))
        return camera.fx_px

    def publish(self, result, image_hw3, camera, frame) -> Outcome:
        self.out.publish(Float64(data=result))
        return Outcome(True, "seen")


class Rig:
    """A node in a participant and a thread of its own, and a peer that plays its camera."""

    def __init__(self, image: str = "/cam/image_raw", info: str = "/cam/camera_info", **parameters):
        self.context = Context()
        rclpy.init(context=self.context, domain_id=DOMAIN_ID)
        given = {"autostart": False, "lazy": False} | parameters
        topics = ["--ros-args", "-r", f"image:={image}", "-r", f"camera_info:={info}"]
        self.node = FocalNode(
            context=self.context, cli_args=topics,
            parameter_overrides=[Parameter(name.replace("__", "."), value=value) for name, value in given.items()],
        )  # fmt: skip
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.thread = threading.Thread(target=self._spin, daemon=True)
        self.stopping = False
        self.thread.start()
        self.peer = NodePeer("/focal_node", "camera")
        self.image, self.info = image, info
        self.images = self.peer.node.create_publisher(Image, image, qos.RESULT_OUT)
        self.second = 100

    def _spin(self) -> None:
        while not self.stopping:
            self.executor.spin_once(timeout_sec=0.05)

    def close(self) -> None:
        self.stopping = True
        self.thread.join()
        self.peer.close()
        self.executor.shutdown(timeout_sec=1.0)
        self.node._stop_and_release()
        self.node.destroy_node()
        self.context.try_shutdown()

    def activate(self) -> None:
        self.node.trigger_activate()
        assert self.peer.spin_until(lambda: self.images.get_subscription_count() > 0)

    def start(self) -> None:
        self.node.trigger_configure()
        self.activate()

    def stamped(self, message, frame: str = "camera"):
        return stamped(message, self.second * 10**9, frame)

    def tell(self, camera: Camera = LENS, profile=qos.RESULT_OUT, frame: str = "camera", **changes):
        """Publishes a CameraInfo once, from a publisher of its own."""
        publisher = self.peer.node.create_publisher(CameraInfo, self.info, profile)
        latched = profile is qos.LATCHED_OUT
        assert latched or self.peer.spin_until(lambda: publisher.get_subscription_count() > 0)
        publisher.publish(self.stamped(CameraInfo(**(info_fields(camera) | changes)), frame))
        return publisher

    def show(self, frame: str = "camera", picture=PICTURE) -> Camera:
        """Publishes an image, and returns the camera that the node took for it."""
        count = len(self.node.seen)
        self.second += 1
        self.images.publish(self.stamped(fill_image(Image(), picture), frame))
        assert self.peer.spin_until(lambda: len(self.node.seen) > count, 8), self.peer.values()
        return self.node.seen[-1][0]


@pytest.fixture
def rig(request) -> Iterator[Rig]:
    made = []

    def make(*arguments, **parameters) -> Rig:
        made.append(Rig(*arguments, **parameters))
        return made[0]

    yield make
    for each in made:
        each.close()


class TestLatched:
    def test_one_that_was_published_before_the_node_was_there_is_kept(self, rig):
        """Over activation, its age, a deactivation, a reset, stamps that go back and a clock that jumps back."""
        rig = rig(camera_info_max_age_s=0.3, use_sim_time=True)
        clock = rig.peer.node.create_publisher(Clock, "/clock", 10)
        publisher = rig.tell(profile=qos.LATCHED_OUT)
        rig.node.trigger_configure()
        assert rig.peer.spin_until(rig.node.images.cameras.source.ready), "not heard before activation"
        rig.activate()
        rig.peer.spin_for(0.5)
        assert rig.show() == LENS
        assert rig.peer.call_reset().success
        assert rig.show() == LENS
        rig.node.trigger_deactivate()
        rig.activate()
        assert rig.show() == LENS
        rig.second -= 60
        rig.show()
        assert rig.show() == LENS
        resets = rig.node.resets
        for second in (500, 501, 100):
            clock.publish(Clock(clock=rclpy.time.Time(seconds=second).to_msg()))
            rig.peer.spin_for(0.2)
        assert rig.peer.spin_until(lambda: rig.node.resets > resets)
        assert rig.show() == LENS
        assert publisher.get_subscription_count() == 2
        assert rig.peer.values()["incompatible QoS"] == "none"

    def test_a_publisher_that_latches_only_after_activation_is_heard(self, rig):
        rig = rig(camera_info_max_age_s=0.3)
        rig.start()
        publisher = rig.tell(profile=qos.LATCHED_OUT)
        assert rig.peer.spin_until(lambda: publisher.get_subscription_count() == 2)
        rig.peer.spin_for(0.5)
        assert rig.show() == LENS

    def test_a_new_one_replaces_it(self, rig):
        rig = rig()
        publisher = rig.tell(profile=qos.LATCHED_OUT)
        rig.start()
        rig.peer.spin_until(rig.node.images.cameras.source.ready)
        rig.show()
        other = Camera(64, 48, 70.0, 70.0, 31.5, 23.5)
        publisher.publish(rig.stamped(CameraInfo(**info_fields(other))))
        rig.peer.spin_for(0.3)
        assert rig.peer.call_reset().success
        assert rig.show() == other

    def test_a_cleaned_up_node_has_forgotten_it_and_hears_it_again(self, rig):
        rig = rig()
        publisher = rig.tell(profile=qos.LATCHED_OUT)
        rig.node.trigger_configure()
        assert rig.peer.spin_until(rig.node.images.cameras.source.ready)
        rig.node.trigger_cleanup()
        assert not rig.node.images.cameras.source.ready()
        assert rig.peer.spin_until(lambda: publisher.get_subscription_count() == 0)
        rig.start()
        assert rig.peer.spin_until(rig.node.images.cameras.source.ready)
        assert rig.show() == LENS

    def test_one_that_is_not_latched_is_heard_by_an_inactive_node_and_ages(self, rig):
        rig = rig(camera_info_max_age_s=1.0)
        rig.node.trigger_configure()
        rig.tell()
        assert rig.peer.spin_until(rig.node.images.cameras.source.ready)
        rig.activate()
        assert rig.show() == LENS
        rig.peer.spin_for(1.1)
        rig.second += 1
        rig.images.publish(rig.stamped(fill_image(Image(), PICTURE)))
        rig.peer.wait_for(lambda values: values.get("rejected: no CameraInfo") == "1")


class TestRectified:
    @pytest.mark.parametrize(
        ("image", "parameter", "camera"),
        [
            ("/cam/image_rect", "auto", RECTIFIED),
            ("/cam/image_raw", "auto", LENS),
            ("/cam/image_raw", "true", RECTIFIED),
            ("/cam/image_raw", True, RECTIFIED),
            ("/cam/image_rect_color", False, LENS),
        ],
    )
    def test_p_without_d_holds_by_name_or_parameter(self, rig, image, parameter, camera):
        rig = rig(image, rectified=parameter)
        rig.start()
        rig.tell(p=P_12)
        assert rig.show() == camera
        rig.peer.wait_for(lambda values: values["images are rectified"] == str(camera is RECTIFIED).lower())

    def test_the_compressed_topic_below_is_rectified_too(self, rig):
        rig = rig("/cam/image_rect", image_transport="compressed")
        rig.node.trigger_configure()
        assert rig.node.images.topic == "/cam/image_rect/compressed"
        assert rig.node.images.cameras.source.rectified

    def test_p_of_zeros_is_told_in_the_diagnostics(self, rig):
        rig = rig("/cam/image_rect")
        rig.start()
        rig.tell(p=np.zeros(12))
        assert rig.show() == LENS.without_distortion()
        rig.peer.wait_for(lambda values: "P of their CameraInfo is zero" in values["camera in doubt"])

    def test_a_wrong_word_and_a_contradiction_are_refused(self, rig):
        with pytest.raises(InputError, match="rectified is 'maybe'; use one of auto, true, false"):
            rig(rectified="maybe")
        lens = {"camera__k": list(LENS.K.reshape(-1)), "camera__width_px": 64, "camera__height_px": 48}
        rig = rig(rectified=True, camera__d=list(LENS.distortion), **lens)
        rig.node.trigger_configure()
        assert rig.node.failure.startswith("cannot configure: rectified says that the images have no distortion")


class TestOtherCameras:
    def test_of_the_same_size_it_is_taken_and_told(self, rig):
        rig = rig()
        rig.start()
        rig.tell(frame="left")
        assert rig.show("/right") == LENS
        values = rig.peer.wait_for(lambda values: values["camera in doubt"] != "no")
        assert "'left'" in values["camera in doubt"]
        assert "'right'" in values["camera in doubt"]

    def test_of_another_size_it_is_refused_and_named(self, rig):
        rig = rig()
        rig.start()
        rig.tell(LENS.resized(128, 96), frame="left")
        rig.second += 1
        rig.images.publish(rig.stamped(fill_image(Image(), PICTURE), "right"))
        values = rig.peer.wait_for(lambda values: values.get("rejected: CameraInfo of another camera") == "1")
        assert "'left' and 128 x 96" in values["last rejection"]
        assert rig.node.seen == []
        rig.tell(LENS, frame="right")
        assert rig.show("right") == LENS


def test_nan_in_d_is_one_rejected_frame_with_its_reason(rig):
    rig = rig()
    rig.start()
    rig.tell(d=[float("nan")] * 5)
    rig.second += 1
    rig.images.publish(rig.stamped(fill_image(Image(), PICTURE)))
    values = rig.peer.wait_for(lambda values: values.get("rejected: unusable CameraInfo") == "1")
    assert "D with numbers that are not finite" in values["last rejection"]


def test_the_bit_depth_of_a_topic_only_grows_and_can_be_given(rig):
    rig = rig()
    rig.start()
    rig.tell()

    def grey(*levels) -> int:
        samples = np.resize(np.array(levels, "<u2"), (48, 64))
        message = Image(height=48, width=64, encoding="mono16", step=128, data=samples.tobytes())
        count = len(rig.node.seen)
        rig.second += 1
        for _ in range(10):
            rig.images.publish(rig.stamped(message))
            if rig.peer.spin_until(lambda: len(rig.node.seen) > count, 2):
                break
        assert len(rig.node.seen) > count
        return int(rig.node.seen[-1][1][0, 0, 0])

    assert [grey(900, 10), grey(900, 4000), grey(900, 10)] == [224, 56, 56]
    assert rig.peer.call_reset().success
    rig.tell()
    assert grey(900, 10) == 56
    rig.peer.wait_for(lambda values: values.get("bits of a sample") == "12 of 16")
