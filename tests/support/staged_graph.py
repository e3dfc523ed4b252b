"""A process of the graph that a doctor looks at: a camera, TF, a clock and listeners, sound or sick as a test asks.

`python staged_graph.py JSON` publishes what JSON describes (see `STAGE`) until it is ended.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

IMAGE, INFO = "/camera/image_raw", "/camera/camera_info"
POSE = "geometry_msgs/PoseWithCovarianceStamped"
# What a stage may hold; a test gives what differs. `image`, `info` and `clock` are left out where they are None.
STAGE: dict[str, Any] = {
    "name": "staged_camera",
    "rate_hz": 10.0,
    "pictures": "",  # an .npz file; else noise of `size_px`
    "image": None,  # topic, compressed, reliable, frame_id, offset_s (None: no stamps), size_px
    "info": None,  # topic, frame_id, offset_s (of its own), fields, latched
    "transforms": [],  # parent, child, translation, quaternion, offset_s
    "odometry": None,  # a topic
    "clock": None,  # its first second
    "clock_stands": False,
    "mute_publishers": [],  # topic, type
    "subscribers": [],  # topic, type, latched
}


@contextlib.contextmanager
def staged(log: Path, **stage: Any) -> Iterator[subprocess.Popen]:
    """Runs a stage as a process, once it publishes, and ends it with the block."""
    from ros_support import ENVIRONMENT

    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, __file__, json.dumps(STAGE | stage)],
            env=os.environ | ENVIRONMENT, stdout=subprocess.PIPE, stderr=output, text=True,
        )  # fmt: skip
        try:
            assert process.stdout.readline() == "ready\n", log.read_text()
            yield process
        finally:
            process.kill()
            process.wait()


def _message_class(kind: str):
    package, name = kind.split("/")
    return getattr(importlib.import_module(f"{package}.msg"), name)


class _Stage:
    def __init__(self, stage: dict[str, Any]):
        import numpy as np
        import rclpy
        from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

        def profile(reliable: bool = True, latched: bool = False):
            return QoSProfile(
                depth=10,
                reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
                durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
            )

        rclpy.init()
        self.node = node = rclpy.create_node(stage["name"])
        self.stage, self.count = stage, 0
        self.image, self.info = stage["image"], stage["info"]
        width, height = (self.image or {}).get("size_px", (320, 224))
        self.pictures = [np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)]
        if stage["pictures"]:
            self.pictures = list(np.load(stage["pictures"])["pictures"])
        if self.image:
            kind = "sensor_msgs/CompressedImage" if self.image.get("compressed") else "sensor_msgs/Image"
            self.images = node.create_publisher(
                _message_class(kind), self.image["topic"], profile(self.image.get("reliable", True))
            )
        if self.info:
            latched = self.info.get("latched", False)
            self.infos = node.create_publisher(
                _message_class("sensor_msgs/CameraInfo"), self.info["topic"], profile(latched=latched)
            )
        if stage["transforms"]:  # a machine without tf2 sends each transform as a message of its own
            self.tf = node.create_publisher(_message_class("geometry_msgs/TransformStamped"), "/tf", 100)
        if stage["clock"] is not None:
            self.clock = node.create_publisher(_message_class("rosgraph_msgs/Clock"), "/clock", 10)
        if stage["odometry"]:
            self.odometry = node.create_publisher(_message_class("nav_msgs/Odometry"), stage["odometry"], 10)
        self.kept = [node.create_publisher(_message_class(kind), topic, 10) for topic, kind in stage["mute_publishers"]]
        for topic, kind, latched in stage["subscribers"]:
            self.kept.append(
                node.create_subscription(_message_class(kind), topic, lambda _: None, profile(latched=latched))
            )
        node.create_timer(1 / stage["rate_hz"], self.publish)

    def publish(self) -> None:
        from geo_perception.ros.codec import encode_jpeg, fill_image

        now_ns = self.node.get_clock().now().nanoseconds
        self.count += 1
        if self.stage["clock"] is not None:
            message = _message_class("rosgraph_msgs/Clock")()
            passed_s = 0.0 if self.stage["clock_stands"] else self.count / self.stage["rate_hz"]
            self._stamp(message.clock, int((self.stage["clock"] + passed_s) * 1e9), 0.0)
            self.clock.publish(message)
        for parent, child, translation, quaternion, offset_s in self.stage["transforms"]:
            message = _message_class("geometry_msgs/TransformStamped")(child_frame_id=child)
            message.header.frame_id = parent
            self._stamp(message.header.stamp, now_ns, offset_s)
            moved = message.transform.translation
            moved.x, moved.y, moved.z = translation
            turned = message.transform.rotation
            turned.x, turned.y, turned.z, turned.w = quaternion
            self.tf.publish(message)
        if self.stage["odometry"]:
            message = _message_class("nav_msgs/Odometry")()
            self._stamp(message.header.stamp, now_ns, 0.0)
            self.odometry.publish(message)
        if self.info:
            message = _message_class("sensor_msgs/CameraInfo")(**self.info["fields"])
            message.header.frame_id = self.info.get("frame_id", "camera_optical_frame")
            self._stamp(message.header.stamp, now_ns, self.info.get("offset_s", 0.0))
            self.infos.publish(message)
        if self.image:
            picture = self.pictures[self.count // 5 % len(self.pictures)]
            if self.image.get("compressed"):
                message = _message_class("sensor_msgs/CompressedImage")(format="jpeg", data=encode_jpeg(picture, 90))
            else:
                message = fill_image(_message_class("sensor_msgs/Image")(), picture)
            message.header.frame_id = self.image.get("frame_id", "camera_optical_frame")
            self._stamp(message.header.stamp, now_ns, self.image.get("offset_s", 0.0))
            self.images.publish(message)

    @staticmethod
    def _stamp(stamp, now_ns: int, offset_s: float | None) -> None:
        if offset_s is not None:
            stamp.sec, stamp.nanosec = divmod(now_ns + int(offset_s * 1e9), 10**9)


def main() -> None:
    import rclpy

    stage = _Stage(json.loads(sys.argv[1]))
    print("ready", flush=True)
    rclpy.spin(stage.node)


if __name__ == "__main__":
    main()
