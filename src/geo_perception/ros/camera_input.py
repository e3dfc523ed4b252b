"""A node's CameraInfo: its subscriptions, whether the images are rectified, and which camera took a frame."""

from __future__ import annotations

import time
from collections.abc import Callable

from rclpy.qos import DurabilityPolicy
from sensor_msgs.msg import CameraInfo

from geo_perception.errors import InputError
from geo_perception.ros import qos
from geo_perception.ros.camera_source import CameraSource, ImageCamera, camera_from_parameters
from geo_perception.ros.handover import Handover
from geo_perception.ros.input_qos import FollowedQos, InputQos
from geo_perception.ros.messages import stamp_ns
from geo_perception.ros.published import CAMERA_INFO
from geo_perception.ros.topics import camera_info_topic, is_rectified, rectified_sentence
from geo_perception.ros.worker import Frame


class CameraInput:
    """The cameras of the images of a `PerceptionNode`. CameraInfo is received from the time the node is configured.

    `on_message` is called for every CameraInfo that comes.
    """

    def __init__(self, node, on_message: Callable[[], None]):
        self._node, self._on_message = node, on_message
        self._infos = self._latched_infos = None
        self._qos: FollowedQos | None = None
        self._asked = InputQos(False, qos.CAMERA_INFO_DEPTH)
        self.handover = Handover()
        self._inconsistencies: dict[str, str] = {}
        self._warned: set[str] = set()
        self._rectified = ""
        self.source = CameraSource()
        self.topic = "camera_info"

    def configure(self, image_topic: str) -> None:
        """Reads the parameters. Raises InputError when the camera they give cannot be."""
        value = self._node.value
        rectified = str(value("rectified")).lower()
        self.topic = camera_info_topic(self._node)
        self._qos = FollowedQos(self._node, self.topic, CAMERA_INFO, None, qos.CAMERA_INFO_DEPTH)
        size_px, distortion = (value("camera.width_px"), value("camera.height_px")), value("camera.d")
        fixed = camera_from_parameters(value("camera.k"), *size_px, value("camera.distortion_model"), distortion)
        if fixed is not None and fixed.model != "pinhole" and rectified == "true":
            raise InputError(
                "rectified says that the images have no distortion, camera.d gives one; set one of the two"
            )
        self.source = CameraSource(fixed, is_rectified(image_topic, rectified))
        self._inconsistencies, self._warned = {}, set()
        self._rectified = "as camera.d says" if fixed is not None else str(self.source.rectified).lower()
        if fixed is None and (self.source.rectified or rectified != "auto"):
            self._node.get_logger().info(rectified_sentence(image_topic, rectified, "the parameter rectified"))

    def open(self) -> None:
        """Subscribes, where the node takes CameraInfo at all."""
        node = self._node
        if self._infos is None and (node.needs_camera or node.optional_camera_info) and self.source.fixed is None:
            self._subscribe_live()
            self.match_publishers()

    def close(self) -> None:
        """Unsubscribes, and forgets what was received."""
        self.handover.finish()
        for subscription in (self._infos, self._latched_infos):
            if subscription is not None:
                self._node.destroy_subscription(subscription)
        self._infos = self._latched_infos = None
        self.source, self._inconsistencies = CameraSource(self.source.fixed, self.source.rectified), {}

    def match_publishers(self) -> None:
        """Follows those who publish: asks for reliable where all are, and subscribes a second time where one latches
        its CameraInfo. Only a subscription that asks for what was published before gets it, and such a one does not
        match a publisher that does not latch."""
        if self._infos is None:
            return
        if not self._asked.same(self._qos.look()):
            former, _ = self._infos, self._subscribe_live()
            self.handover.begin(lambda: self._node.destroy_subscription(former))
            self._node.health.forget_incompatible(self.topic)
        if self._latched_infos is not None:
            return
        publishers = self._node.get_publishers_info_by_topic(self.topic)
        if any(publisher.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for publisher in publishers):
            # The first subscription receives from the publishers that this one does not match, so that is no fault.
            self._latched_infos = qos.subscribe(
                self._node, CameraInfo, self.topic, self._node.guard(self._on_latched_info),
                qos.LATCHED_CAMERA_INFO_IN, on_incompatible=lambda _: None,
            )  # fmt: skip

    def clear(self, now_ns: int | None = None) -> None:
        """Forgets what will come again, as after a jump of the clock to `now_ns`."""
        self.source.clear(now_ns, published_once=self._node.value("camera_info_max_age_s") == 0)
        self._inconsistencies = {}

    def of(self, frame: Frame, width_px: int, height_px: int) -> ImageCamera:
        """The camera that took this frame, for its size in pixels. Inconsistencies are logged once. Raises the errors
        of `CameraSource.find`."""
        max_age_s = self._node.value("camera_info_max_age_s")
        header = frame.header
        found = self.source.find(
            frame.stamp_ns, frame.received_s, max_age_s, header.frame_id, width_px, height_px
        )  # fmt: skip
        self._inconsistencies = found.inconsistencies
        for sentence in found.inconsistencies.values():
            if sentence not in self._warned:
                self._warned.add(sentence)
                self._node.get_logger().warning(sentence)
        return found

    def diagnostic_values(self) -> dict[str, str]:
        """What is known about the camera, for the diagnostics."""
        return {
            "images are rectified": self._rectified,
            "camera in doubt": "; ".join(self._inconsistencies.values()) or "no",
        }

    def _subscribe_live(self) -> None:
        node, self._asked = self._node, self._qos.look()

        def on_info(message: CameraInfo) -> None:
            if subscription is self._infos:
                self.handover.finish()
            self._on_info(message)

        subscription = self._infos = qos.subscribe(
            node, CameraInfo, self.topic, node.guard(on_info), self._asked.profile,
            on_incompatible=node.guard(self._on_incompatible), overriding=self._qos.overrides.options,
        )  # fmt: skip

    def _on_incompatible(self, event) -> None:
        if self._qos.follows and event.total_count_change > 0:
            self.match_publishers()  # which mends it
        else:
            self._node.health.on_incompatible(self.topic)(event)

    def _on_info(self, message: CameraInfo) -> None:
        self.source.add(message, stamp_ns(message.header.stamp), time.monotonic())
        self._on_message()

    def _on_latched_info(self, message: CameraInfo) -> None:
        self.source.add(message, stamp_ns(message.header.stamp), time.monotonic(), latched=True)
        self._on_message()
