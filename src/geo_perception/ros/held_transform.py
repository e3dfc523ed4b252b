"""A transform that is sent again and again while it holds, as Nav2's AMCL sends map to odom.

Odometry goes on between two fixes, so what a fix says about its origin holds for a while. Whoever asks TF where the
robot is now needs a transform whose stamp is not before now: it is post-dated by `transform_tolerance_s` and sent at a
steady rate, in the node's time. So its tolerance has to be longer than the pause between two sends.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
from rclpy.time import Time

from geo_perception.ros.frames import Transforms
from geo_perception.ros.parameters import Change, Spec
from geo_perception.ros.worker import Frame

PARAMETERS = (
    Spec("transform_tolerance_s", 0.2, "how far map_frame to odom_frame is post-dated, so that it can be looked up at "
         "the present; longer than the pause between two sends", low=0.0, high=10.0),
    Spec("transform_rate_hz", 20.0, "how often map_frame to odom_frame is sent while the last fix holds",
         Change.UNCONFIGURED, low=0.1, high=1000.0),
    Spec("transform_max_age_s", 10.0, "how long after its image a fix holds: without another, map_frame to odom_frame "
         "is not sent any more", low=0.1, high=86400.0),
    Spec("transform_wait_s", 0.1, "how long an image waits for a transform at its stamp", low=0.0, high=5.0),
)  # fmt: skip


@dataclass(frozen=True)
class _Fix:
    parent: str
    T_parent_child: np.ndarray
    stamp_ns: int
    held_ns: int  # when it came, by the node's clock
    epoch: int


class HeldTransform:
    """Sends one transform for a `PerceptionNode` until it is too old, or the node is reset or stopped: at once, then by
    the executor. `hold` may be called from any thread."""

    def __init__(self, node, transforms: Transforms, parent: str, child: str):
        self._node, self._transforms, self._parent, self._child = node, transforms, parent, child
        self._lock = threading.Lock()
        self._fix: _Fix | None = None
        self._sent = (-1, 0)  # epoch and stamp
        # By the node's clock: simulated time may run at another pace.
        self._timer = node.create_timer(1 / node.value("transform_rate_hz"), node.guard(self._send))

    def close(self) -> None:
        self._node.destroy_timer(self._timer)

    def hold(self, T_parent_child: np.ndarray, frame: Frame, parent: str = "") -> None:
        """From now on sends this, which was true when the frame was taken; below another `parent`, if one is given."""
        with self._lock:
            parent = parent or self._parent
            self._fix = fix = _Fix(parent, T_parent_child, frame.stamp_ns, self._now_ns(), frame.epoch)
        if self._time_of(fix) != fix.stamp_ns:
            off_s = (fix.held_ns - fix.stamp_ns) * 1e-9
            self._node.warn(
                "clock",
                f"the images' stamps are {off_s:.1f} s before this node's clock; TF goes on in their time. For a "
                "recording, play it with --clock and set use_sim_time",
            )
        self._send()

    def age_s(self) -> float | None:
        """How old the fix is that is being sent; None while there is none."""
        with self._lock:
            fix = self._held()
            return None if fix is None else (self._now_ns() - self._time_of(fix)) * 1e-9

    def _send(self) -> None:
        with self._lock:
            self._fix = fix = self._held()
            if fix is None:
                return
            late_ns = self._now_ns() - self._time_of(fix)
            stamp_ns = fix.stamp_ns + max(late_ns, 0) + round(self._node.value("transform_tolerance_s") * 1e9)
            if (fix.epoch, stamp_ns) <= self._sent:  # tf2 takes no second transform of a stamp
                return
            self._sent = fix.epoch, stamp_ns
            stamp = Time(nanoseconds=stamp_ns).to_msg()
            self._transforms.broadcast(fix.parent, self._child, fix.T_parent_child, stamp)

    def _held(self) -> _Fix | None:
        fix = self._fix
        if fix is None or fix.epoch != self._node.epoch:
            return None
        held = (self._now_ns() - self._time_of(fix)) * 1e-9 <= self._node.value("transform_max_age_s")
        return fix if held else None

    def _time_of(self, fix: _Fix) -> int:
        """When the image was taken, by the node's clock: its stamp, unless that is of another time (a recording that is
        played without /clock). Then what has passed since counts, and TF goes on in the time of the images."""
        near = abs(fix.held_ns - fix.stamp_ns) * 1e-9 <= self._node.value("transform_max_age_s")
        return fix.stamp_ns if near else fix.held_ns

    def _now_ns(self) -> int:
        return self._node.get_clock().now().nanoseconds
