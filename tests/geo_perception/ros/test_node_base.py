"""What every node does with time, and with an inference that hangs. The node lives in this process, its peer's messages
come over real DDS."""

import time
from collections.abc import Iterator

import numpy as np
import pytest
from node_peer import HostingPeer
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.qos import qos_profile_sensor_data
from ros_support import Peer, stamped
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from slow_node import SlowNode
from std_msgs.msg import Float64

from geo_perception.ros import node_base
from geo_perception.ros.codec import fill_image

FAR = "far from the frames around it"
PICTURE = np.full((8, 8, 3), 90, np.uint8)


class Camera(HostingPeer):
    """Shows images to a node."""

    def __init__(self, **parameters):
        super().__init__(SlowNode, "camera", **parameters)
        self.slow = self.hosted
        self.images = self.node.create_publisher(Image, "image", qos_profile_sensor_data)
        self.answers = self.collect(Float64, "/slow_node/answer")

    def close(self) -> None:
        self.slow.go_on.set()
        super().close()

    def show(self, stamp_s: float) -> None:
        self.images.publish(stamped(fill_image(Image(), PICTURE), round(stamp_s * 1e9)))
        self.spin_for(0.03)

    def answered(self) -> list[float]:
        return [round(answer.data, 3) for answer in self.answers]


@pytest.fixture
def camera() -> Iterator[Camera]:
    with Camera() as camera:
        yield camera


def test_what_an_image_still_asks_for_is_done_once_its_answer_is_out_and_counted(camera):
    slow, counted = camera.slow, []
    slow.follow_up = lambda frame: counted.append((len(slow.published), slow.statistics.snapshot(0.0).processed))
    camera.start(camera.images)
    camera.show(10.0)
    assert camera.spin_until(lambda: counted == [(1, 1)])


class TestAnInferenceThatHangs:
    @pytest.fixture
    def hung(self, camera, monkeypatch) -> Camera:
        """A node that was deactivated while its inference hangs."""
        monkeypatch.setattr(node_base, "WORKER_STOP_S", 0.1)
        camera.start(camera.images)
        camera.slow.go_on.clear()
        camera.show(10.0)
        assert camera.slow.begun.wait(5)
        assert camera.slow.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
        return camera

    def test_keeps_the_node_from_being_activated_until_it_has_ended(self, hung):
        slow = hung.slow
        began_s = time.monotonic()
        assert slow.trigger_activate() == TransitionCallbackReturn.FAILURE
        assert time.monotonic() - began_s < 2
        values = hung.wait_for()
        assert values["message"].startswith("cannot activate: an inference that was asked to stop is still running")
        assert values["level"] == 2
        slow.go_on.set()
        assert hung.spin_until(lambda: not slow.left_behind)
        assert slow.published == []  # what it had worked on belongs to no activation any more
        assert slow.trigger_activate() == TransitionCallbackReturn.SUCCESS
        assert hung.spin_until(lambda: hung.images.get_subscription_count() > 0)
        hung.show(11.0)
        assert hung.spin_until(lambda: hung.answered() == [11.0])
        assert hung.wait_for()["processed"] == "1"

    def test_keeps_the_node_from_being_configured_anew_beside_it(self, hung):
        slow = hung.slow
        assert "an inference still runs" in hung.wait_for()["message"]
        assert slow.trigger_cleanup() == TransitionCallbackReturn.SUCCESS
        assert slow.trigger_configure() == TransitionCallbackReturn.FAILURE
        slow.go_on.set()
        assert hung.spin_until(lambda: not slow.left_behind)
        assert slow.published == []
        assert slow.trigger_configure() == TransitionCallbackReturn.SUCCESS
        assert slow.trigger_activate() == TransitionCallbackReturn.SUCCESS

    def test_is_still_told_after_a_reset(self, camera):
        camera.start(camera.images)
        camera.slow.go_on.clear()
        camera.show(10.0)
        assert camera.slow.begun.wait(5)
        camera.slow.reset("asked")
        assert camera.slow.statistics.snapshot(time.monotonic()).busy_s > 0
        camera.slow.go_on.set()
        assert camera.spin_until(lambda: camera.slow.statistics.snapshot(time.monotonic()).busy_s is None)
        assert camera.slow.published == []


class TestStamps:
    @pytest.mark.parametrize(
        ("stray_s", "reason"),
        [(0.0, "no stamp"), (20.0, f"stamp {FAR}"), (2e9, f"stamp {FAR}")],
    )
    def test_one_wrong_stamp_is_dropped_and_counted_and_resets_nothing(self, camera, stray_s, reason):
        camera.start(camera.images)
        for stamp_s in (100.0, 100.1, stray_s, 100.2, 100.3):
            camera.show(stamp_s)
        assert camera.spin_until(lambda: camera.answered()[-1:] == [100.3])
        assert camera.answered() == [100.0, 100.1, 100.2, 100.3]
        values = camera.wait_for()
        assert (values[f"rejected: {reason}"], values["rejected"], values["received"]) == ("1", "1", "5")
        assert (values["resets"], values["last reset"]) == ("0", "none")

    def test_the_same_stamp_twice_resets_nothing(self, camera):
        camera.start(camera.images)
        for stamp_s in (100.0, 100.1, 100.1, 100.2):
            camera.show(stamp_s)
        assert camera.spin_until(lambda: camera.answered()[-1:] == [100.2])
        assert camera.wait_for()["resets"] == "0"

    def test_a_recording_that_begins_again_resets_once_and_says_so(self, camera):
        camera.start(camera.images)
        for stamp_s in (100.0, 100.1, 50.0, 50.1, 50.2):
            camera.show(stamp_s)
        assert camera.spin_until(lambda: camera.answered()[-1:] == [50.2])
        values = camera.wait_for()
        assert (values["resets"], values["last reset"]) == ("1", "the images' stamps went back by 50.1 s")
        assert (values["received"], values["rejected"]) == ("3", "0")

    def test_a_single_image_after_which_nothing_comes_is_taken_in_the_end(self, camera):
        camera.start(camera.images)
        camera.show(100.0)
        camera.show(50.0)
        assert camera.answered() == [100.0]
        assert camera.spin_until(lambda: camera.answered() == [100.0, 50.0], 3)
        assert camera.wait_for()["resets"] == "1"

    def test_a_reset_that_was_asked_for_is_told_and_the_count_goes_on(self, camera):
        camera.start(camera.images)
        for _ in range(2):
            camera.call_reset()
        values = camera.wait_for()
        assert (values["resets"], values["last reset"]) == ("2", "asked by ~/reset")


def test_a_simulated_clock_that_rewinds_resets_and_one_that_trembles_does_not():
    with Camera(use_sim_time=True) as camera:
        clocks = camera.node.create_publisher(Clock, "/clock", 10)

        def tell(seconds: float) -> None:
            message = Clock()
            message.clock.sec, message.clock.nanosec = divmod(round(seconds * 1e9), 10**9)
            clocks.publish(message)
            camera.spin_for(0.1)

        assert camera.spin_until(lambda: clocks.get_subscription_count() > 0)
        for seconds in (100.0, 100.1, 100.05, 100.2):
            tell(seconds)
        assert camera.slow.get_clock().now().nanoseconds == 100_200_000_000
        assert camera.slow.resets == 0
        tell(5.0)
        assert (camera.slow.resets, camera.slow.last_reset) == (1, "the clock jumped back")


class TestWhatIsPublishedIsNamedWhereInputDoesNotCome:
    def message(self, camera, words: str) -> str:
        """The diagnostics' message, once it holds these words."""

        def said() -> bool:
            return any(words in status.message for array in camera.statuses for status in array.status)

        assert camera.spin_until(said, 8), camera.values()
        return next(s.message for a in reversed(camera.statuses) for s in a.status if words in s.message)

    def start(self, camera) -> None:
        camera.node.destroy_publisher(camera.images)
        HostingPeer.start(camera)

    def test_images_on_another_topic(self, camera):
        camera.node.create_publisher(Image, "/cam/image", 1)
        camera.node.create_publisher(CompressedImage, "/cam/image/compressed", 1)
        camera.slow.create_publisher(Image, "~/drawn", 1)  # its own are no camera
        self.start(camera)
        message = self.message(camera, "no publisher on")
        assert message.startswith("no image on /image for ")
        # Processes that were killed a moment ago may still be known; the whole sentence is tested without DDS.
        assert "s; no publisher on /image; images are published on " in message
        assert "/cam/image (sensor_msgs/msg/Image)" in message
        assert "/cam/image/compressed (sensor_msgs/msg/CompressedImage)" in message
        assert message.endswith(": remap image")
        assert "drawn" not in message

    def test_another_type_on_the_same_topic(self, camera):
        with Peer("driver") as driver:  # a process of its own: DDS knows one type of a topic in each
            driver.node.create_publisher(CompressedImage, "/image", qos_profile_sensor_data)
            self.start(camera)
            assert self.message(camera, "not sensor_msgs/msg/Image").endswith(
                "what /driver publishes on /image is sensor_msgs/msg/CompressedImage (best effort, volatile), not "
                "sensor_msgs/msg/Image: set image_transport:=compressed"
            )

    def test_a_driver_that_is_silent(self, camera):
        self.start(camera)
        camera.node.create_publisher(Image, "/image", 1)
        assert self.message(camera, "published by").endswith(
            "/image is published by /camera (sensor_msgs/msg/Image, reliable, volatile), and nothing arrives"
        )

    def test_camera_info_on_another_topic(self, camera):
        camera.slow.needs_camera = True
        camera.node.create_publisher(CameraInfo, "/cam/camera_info", 1)
        camera.start(camera.images)

        shown_s = iter(100 + 0.1 * index for index in range(1000))

        def told() -> bool:
            camera.show(next(shown_s))
            return any("CameraInfo is published on" in s.message for a in camera.statuses for s in a.status)

        assert camera.spin_until(told, 8), camera.values()
        assert "no publisher on /camera_info; CameraInfo is published on /cam/camera_info" in self.message(
            camera, "CameraInfo is published on"
        )
