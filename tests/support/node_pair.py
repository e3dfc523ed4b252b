"""Two nodes in one executor, as in perception_container, and a camera that both look at."""

from __future__ import annotations

import numpy as np
from node_peer import HostingPeer
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from ros_support import stamped
from sensor_msgs.msg import Image
from slow_node import SlowNode

from geo_perception.ros.codec import fill_image

PICTURE = np.full((8, 8, 3), 90, np.uint8)
RELIABLE = QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE)
OTHER = "/other/slow_node"


def picture(second: int) -> Image:
    return stamped(fill_image(Image(), PICTURE), second * 10**9)


class NodePair(HostingPeer):
    """Hosts `hosted` and `other`, and shows them images."""

    def __init__(self, autostart: bool = False):
        super().__init__(SlowNode, "camera", lazy=False, autostart=autostart)
        given = [Parameter("autostart", value=autostart), Parameter("lazy", value=False)]
        topics = ["--ros-args", "-r", "image:=/image"]
        self.other = SlowNode(context=self.context, namespace="other", parameter_overrides=given, cli_args=topics)
        self.executor.add_node(self.other)
        self.images = self.node.create_publisher(Image, "image", RELIABLE)
        self.second = 100

    def close(self) -> None:
        for slow in (self.hosted, self.other):
            slow.go_on.set()
        self.other.trigger_shutdown()
        self.other.destroy_node()
        super().close()

    def start_both(self) -> None:
        for slow in (self.hosted, self.other):
            assert slow.trigger_configure() == TransitionCallbackReturn.SUCCESS
            assert slow.trigger_activate() == TransitionCallbackReturn.SUCCESS
        assert self.spin_until(lambda: self.images.get_subscription_count() == 1)

    def show(self) -> float:
        self.second += 1
        self.images.publish(picture(self.second))
        return float(self.second)

    def is_answered(self, stamp_s: float, *nodes: SlowNode) -> bool:
        return self.spin_until(lambda: all(stamp_s in answered(slow) for slow in nodes), 5)


def answered(slow: SlowNode) -> list[float]:
    """The stamps of the images that a node has answered, in seconds."""
    return [round(stamp_s, 3) for stamp_s in slow.published]
