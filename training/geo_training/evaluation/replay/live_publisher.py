"""Plays a recording's images and CameraInfo over DDS, in a process of its own so that nothing else delays it.

`python -m geo_training.evaluation.replay.live_publisher JOB` reads a JSON job (see `live.py`). Messages are made and
serialized ahead of their time. One line of JSON goes to standard output for every published image: its stamp and the
time of publishing on the monotonic clock, which all processes of a machine share.
"""

from __future__ import annotations

import json
import queue
import sys
import threading
import time
from array import array

from geo_perception.errors import InputError
from geo_training.evaluation.replay.bag_input import BagInput, open_bag
from geo_training.evaluation.replay.publishing import run_publisher, wait_for_subscribers

_AHEAD_BYTES = 1 << 30  # kept ready before the first image is published


def _play(job: dict) -> None:
    import rclpy
    from rclpy.qos import QoSProfile, ReliabilityPolicy
    from rclpy.serialization import serialize_message
    from sensor_msgs.msg import CameraInfo, CompressedImage, Image

    bag = open_bag(job["bag"], job["image"], job["camera_info"], image_bits=16)  # images go out as they are
    kind = CompressedImage if bag.compressed else Image
    node = rclpy.create_node("replay_publisher")
    # Reliable connects to every subscriber, also to a best-effort one.
    profile = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
    images = node.create_publisher(kind, job["image_topic"], profile)
    infos = node.create_publisher(CameraInfo, job["info_topic"], profile)
    ready: queue.Queue = queue.Queue(maxsize=_messages_ahead(bag))
    filled = threading.Event()

    def fill() -> None:
        try:
            for _, stamp_ns, message in bag.messages():
                image = serialize_message(_image_message(kind(), message, stamp_ns))
                info = serialize_message(_info_message(CameraInfo(), bag.info_at(stamp_ns), stamp_ns))
                if ready.full():
                    filled.set()
                ready.put((stamp_ns, info, image))
            ready.put(None)
        except Exception as error:
            ready.put(error)
        finally:
            filled.set()

    threading.Thread(target=fill, daemon=True).start()
    filled.wait()
    wait_for_subscribers((images, infos), job["connect_timeout_s"], job["image_topic"])
    pace = Pace(job["rate"])
    while (item := ready.get()) is not None:
        if isinstance(item, Exception):
            raise item
        stamp_ns, info, image = item
        time.sleep(pace.wait_s(stamp_ns, time.monotonic()))
        infos.publish(info)
        published_s = time.monotonic()
        images.publish(image)
        print(json.dumps({"stamp_ns": stamp_ns, "published_s": published_s}), flush=True)
    # The last image must have left before the publisher goes.
    time.sleep(job["linger_s"])


class Pace:
    """When each image is due: as long after the one before as it was recorded, over the rate.

    Where the publisher comes late by more than half of that (others compute, too), what follows is late as well: images
    in a burst would be dropped, and that would be no fault of the node.
    """

    def __init__(self, rate: float):
        self.rate = rate
        self._before_ns: int | None = None
        self._due_s = 0.0

    def wait_s(self, stamp_ns: int, now_s: float) -> float:
        """Seconds from `now_s` until the image of this stamp is due; 0 when it is late."""
        if self._before_ns is None:
            self._due_s = now_s
        else:
            interval_s = (stamp_ns - self._before_ns) * 1e-9 / self.rate
            self._due_s += interval_s
            if now_s - self._due_s > interval_s / 2:
                self._due_s = now_s
        self._before_ns = stamp_ns
        return max(0.0, self._due_s - now_s)


def _messages_ahead(bag: BagInput) -> int:
    """How many messages fit into the memory that is kept ready."""
    for _, _, message in bag.messages():
        return max(8, _AHEAD_BYTES // max(1, len(message.data)))
    raise InputError(f"{bag.path} holds no image that can be read on {bag.image_topic.name}")


def _header(header, source, stamp_ns: int) -> None:
    header.stamp.sec, header.stamp.nanosec = divmod(stamp_ns, 10**9)
    header.frame_id = str(source.header.frame_id)


def _image_message(message, source, stamp_ns: int):
    """The recorded Image or CompressedImage as rclpy's."""
    _header(message.header, source, stamp_ns)
    for name in ("height", "width", "encoding", "is_bigendian", "step", "format"):
        if hasattr(message, name) and hasattr(source, name):
            setattr(message, name, getattr(source, name))
    message.data = array("B", bytes(source.data))
    return message


def _info_message(message, source, stamp_ns: int):
    """The recorded CameraInfo with the image's stamp. ROS 1 writes D, K, R and P large."""
    _header(message.header, source, stamp_ns)
    message.height, message.width = int(source.height), int(source.width)
    message.distortion_model = str(source.distortion_model)
    for name in "dkrp":
        values = getattr(source, name) if hasattr(source, name) else getattr(source, name.upper())
        setattr(message, name, [float(value) for value in values])
    message.binning_x, message.binning_y = int(source.binning_x), int(source.binning_y)
    for name in ("x_offset", "y_offset", "height", "width", "do_rectify"):
        kind = bool if name == "do_rectify" else int
        setattr(message.roi, name, kind(getattr(source.roi, name)))
    return message


if __name__ == "__main__":
    sys.exit(run_publisher(_play, sys.argv[1:]))
