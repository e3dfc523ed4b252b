"""The smallest perception node: it answers with what a test says, when the test says."""

from __future__ import annotations

import threading
import time

from std_msgs.msg import Float64

from geo_perception.ros.messages import stamp_ns
from geo_perception.ros.node_base import Outcome, PerceptionNode


class SlowNode(PerceptionNode):
    """Publishes the stamp of each image in seconds on `~/answer`, and hangs where it is asked to."""

    needs_camera = False

    def __init__(self, **kwargs):
        self.begun, self.go_on, self.load_hook = threading.Event(), threading.Event(), None
        self.prepare_hook, self.work_s = None, 0.0
        self.go_on.set()
        self.published: list[float] = []  # by this node itself, also what it publishes while not active
        super().__init__("slow_node", **kwargs)

    def prepare(self) -> None:
        if self.prepare_hook is not None:
            self.prepare_hook()

    def load(self) -> None:
        if self.load_hook is not None:
            self.load_hook()
        self._answer_out = self.output(Float64, "~/answer")

    def compute(self, image_hw3, camera, frame) -> float:
        self.begun.set()
        self.go_on.wait(30)
        time.sleep(self.work_s)
        return stamp_ns(frame.header.stamp) * 1e-9

    def publish(self, result, image_hw3, camera, frame) -> Outcome:
        self.published.append(result)
        self._answer_out.publish(Float64(data=result))
        return Outcome(True, "answered")
