"""Images and their cameras in: a node's subscriptions, what is dropped at the door, what goes to the worker."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from sensor_msgs.msg import CompressedImage, Image

from geo_perception.errors import InputError
from geo_perception.geometry import Camera, SizeMismatch
from geo_perception.ros import qos
from geo_perception.ros.camera_info import UncalibratedCamera
from geo_perception.ros.camera_input import CameraInput
from geo_perception.ros.camera_source import NoCamera, OtherCamera
from geo_perception.ros.codec import rgb_converter
from geo_perception.ros.frame_statistics import Reason
from geo_perception.ros.handover import Handover
from geo_perception.ros.image_stream import ImageStream, Receiver, SharedDecoder, join, shared_decoder
from geo_perception.ros.input_qos import FollowedQos
from geo_perception.ros.published import COMPRESSED, IMAGE
from geo_perception.ros.stamp_order import Fault, Passed, StampOrder
from geo_perception.ros.topics import image_topic
from geo_perception.ros.worker import Frame

_FAULTS = {Fault.LATE: Reason.OUT_OF_ORDER, Fault.UNSTAMPED: Reason.UNSTAMPED, Fault.ASTRAY: Reason.ASTRAY}
_PATIENCE_PERIODS = 3  # how long a frame with an odd stamp waits for the next
# Images are shared between nodes, so nobody may write in them; torch says so of each it is given.
warnings.filterwarnings("ignore", message="The given NumPy array is not writ", category=UserWarning)


class Dropped(InputError):  # noqa: N818  the frame is dropped on purpose
    """A frame cannot be used; it is counted under `reason`."""

    def __init__(self, reason: Reason, detail: str):
        super().__init__(detail)
        self.reason = reason


class ImageInput:
    """The images of a `PerceptionNode`, and their cameras. Frames go to the node's `accept`.

    `on_frame`, where it is set, is called for every frame that came in order, also of those that are left out.
    """

    def __init__(self, node):
        self._node = node
        self._stream: ImageStream | None = None
        self._qos: FollowedQos | None = None
        self._receiver = self._new_receiver()
        self._handover, self._last_ns = Handover(), 0
        self._waiting: Frame | None = None  # came before any CameraInfo
        self._order: StampOrder[Frame] = StampOrder()
        self._side_inputs: list[tuple] = []
        self._side_inputs_open: list = []
        self.cameras = CameraInput(node, self._on_camera_info)
        self.decoder = SharedDecoder()
        self._bits_logged = 0
        self.topic = "image"
        self.on_frame: Callable[[Frame], None] | None = None

    def configure(self) -> None:
        """Reads the parameters. Raises InputError when the camera they give cannot be."""
        value = self._node.value
        self.topic = image_topic(self._node, value("image_transport"))
        self.cameras.configure(self.topic)
        self._qos = FollowedQos(self._node, self.topic, self.kind, "image_queue_depth")
        self.decoder, self._bits_logged = SharedDecoder(), 0  # before it is asked for: what it knew is forgotten
        self.decoder = shared_decoder(self._node, self.topic, self.kind, value("image_bits"))
        rgb_converter()
        self._side_inputs.clear()

    def add_side_input(self, kind, topic: str, callback: Callable, profile) -> None:
        """Another input, subscribed to while images are taken, from the next time on. For `load`."""
        self._side_inputs.append((kind, topic, callback, profile))

    @property
    def is_open(self) -> bool:
        return self._stream is not None

    @property
    def kind(self) -> str:
        """The type of the images that are taken, as ROS names it."""
        return IMAGE if self._node.value("image_transport") == "raw" else COMPRESSED

    @property
    def asked(self) -> str:
        """What the subscription asks for, in words."""
        return str(self._stream.asked) if self._stream is not None else "none"

    def open(self) -> None:
        if self._stream is None:
            self._stream = self._join()
            self._side_inputs_open = [self._subscribe(*arguments) for arguments in self._side_inputs]

    def close(self) -> None:
        """Takes no more images."""
        if self._stream is not None:
            self._handover.finish()
            self._stream.leave(self._receiver)
            for subscription in self._side_inputs_open:
                self._node.destroy_subscription(subscription)
            self._stream = self._waiting = None
            self._side_inputs_open = []
            self.decoder.forget()
            self._node.statistics.pause_input()

    def clear(self, now_ns: int | None = None) -> None:
        """Forgets what came before, as after a jump of the clock to `now_ns`."""
        self.cameras.clear(now_ns)
        self._waiting = None
        self._order.clear()
        self._node.pace.clear()

    def camera_of(self, frame: Frame, width_px: int, height_px: int) -> Camera:
        """The camera that took this frame, for its size in pixels. Raises Dropped."""
        try:
            return self.cameras.of(frame, width_px, height_px).camera
        except UncalibratedCamera as error:
            raise Dropped(Reason.UNCALIBRATED, str(error)) from None
        except NoCamera as error:
            raise Dropped(Reason.NO_CAMERA_INFO, str(error)) from None
        except OtherCamera as error:
            raise Dropped(Reason.OTHER_CAMERA, str(error)) from None
        except SizeMismatch as error:
            raise Dropped(Reason.SIZE_MISMATCH, str(error)) from None
        except InputError as error:
            raise Dropped(Reason.BAD_CAMERA_INFO, str(error)) from None

    def decode(self, message) -> np.ndarray:
        """The pixels of an image message, RGB uint8 (H, W, 3). For the worker's thread. Raises InputError."""
        image_hw3 = self.decoder.decode(message)
        bits = self.decoder.bits
        if bits > self._bits_logged:
            self._bits_logged = bits
            why = "as image_bits says" if self._node.value("image_bits") else "so far; image_bits fixes it"
            self._node.get_logger().info(f"of 16 bits, the images on {self.topic} use {bits} ({why})")
        return image_hw3

    def diagnostic_values(self) -> dict[str, str]:
        """What is known about the images, for the diagnostics."""
        values = {
            "image topic": self.topic if self.is_open else "none",
            "image subscription": self.asked,
            "decoded for all nodes of the process": str(self.decoder.decoded),
        }
        if self.decoder.bits:
            values["bits of a sample"] = f"{self.decoder.bits} of 16"
        return self.cameras.diagnostic_values() | values

    def _new_receiver(self) -> Receiver:
        """One for each subscription, so that one knows which of two brought an image."""
        node = self._node
        receiver = Receiver(
            node, node.guard(lambda message: self._on_image(message, receiver)), node.guard(self._on_lost),
            node.guard(self._on_incompatible),
        )  # fmt: skip
        return receiver

    def _join(self) -> ImageStream:
        kind = Image if self.kind == IMAGE else CompressedImage
        return join(self._receiver, kind, self.topic, self._qos.look(), self._qos.overrides.options)

    def _follow_publishers(self) -> None:
        """Subscribes anew where those who publish now offer another reliability, or a parameter asks for another."""
        former = self._stream
        if former is None:
            return
        wanted = self._qos.look()
        if wanted.same(former.asked):
            former.asked = wanted  # the reason may be another
            return
        former_receiver, self._receiver = self._receiver, self._new_receiver()
        self._stream = self._join()
        self._handover.begin(lambda: former.leave(former_receiver))
        self._node.health.forget_incompatible(self.topic)
        self._node.get_logger().info(f"images on {self.topic} are taken {wanted}")

    def _on_lost(self, count: int) -> None:
        self._node.statistics.lost(count, time.monotonic())

    def _on_incompatible(self, event) -> None:
        if self._qos.follows and event.total_count_change > 0:
            self._follow_publishers()  # which mends it
        else:
            self._node.health.on_incompatible(self.topic)(event)

    def _subscribe(self, kind, topic: str, callback, profile):
        node = self._node
        on_incompatible = node.guard(node.health.on_incompatible(topic))
        return qos.subscribe(node, kind, topic, node.guard(callback), profile, on_incompatible)

    def _on_camera_info(self) -> None:
        if self._waiting is not None:
            frame, self._waiting = self._waiting, None
            self._node.accept(frame)

    def _on_image(self, message, receiver: Receiver) -> None:
        node, now_s = self._node, time.monotonic()
        frame = Frame(message, now_s, node.epoch)
        if self._handover.is_on and receiver is self._receiver:
            self._handover.finish()
            if 0 < frame.stamp_ns == self._last_ns:  # the former subscription brought it, too
                return
        self._last_ns = frame.stamp_ns
        node.statistics.received(now_s)
        self._pass_on(self._order.put(frame, frame.stamp_ns, now_s))

    def poll(self, now_s: float) -> None:
        """Takes a frame with an odd stamp after which nothing came for a while. Called by the watchdog."""
        self.cameras.match_publishers()
        self._follow_publishers()
        for handover in (self._handover, self.cameras.handover):
            handover.poll(now_s)
        if self.is_open and self._order.holds:
            period_s = self._node.statistics.snapshot(now_s).input_period_s
            self._pass_on(self._order.expire(now_s, 0.0 if math.isnan(period_s) else _PATIENCE_PERIODS * period_s))

    def _pass_on(self, passed: Passed[Frame]) -> None:
        node = self._node
        for fault, detail in passed.dropped:
            node.drop(_FAULTS[fault], f"the image cannot be used: {detail}")
        frames = passed.taken
        if passed.back_s > 0:
            node.reset(f"the images' stamps went back by {passed.back_s:.1f} s", frames[-1].stamp_ns)
            frames = [replace(frame, epoch=node.epoch) for frame in frames]
            for frame in frames:
                node.statistics.received(frame.received_s)
                self._order.put(frame, frame.stamp_ns, frame.received_s)
        for frame in frames:
            self._take(frame)

    def _take(self, frame: Frame) -> None:
        node, now_s = self._node, time.monotonic()
        if self.on_frame is not None:
            self.on_frame(frame)
        if not node.pace.allows(now_s):
            return
        if node.needs_camera and not self.cameras.source.ready():
            if self._waiting is not None:
                topic = self.cameras.topic
                node.drop(Reason.NO_CAMERA_INFO, f"no CameraInfo on {topic}; remap camera_info, or give camera.k")
            self._waiting = frame
            return
        node.accept(frame)
