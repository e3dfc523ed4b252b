"""The camera: publishes pictures over DDS, in a process of its own, from messages that were serialized ahead.

`python -m geo_training.evaluation.latency.publisher JOB` reads a JSON job (`pictures`, `transport`, `image_topic`,
`info_topic`), waits until somebody takes images, and says so in one line of JSON. Then each line on its input asks
for a slice (`rate_hz`, `count`, `first`), and is answered by one line: stamp (ns) of each image, and when it was
published.
"""

from __future__ import annotations

import json
import struct
import sys
import time
from array import array
from pathlib import Path
from typing import Any

from geo_perception.ros.camera_info import info_fields
from geo_training.evaluation.latency.pictures import RAW, Pictures, forth_and_back
from geo_training.evaluation.replay.publishing import run_publisher, wait_for_subscribers

FRAME_ID = "camera_optical"
_STAMP_AT = 4  # of a serialized message that begins with a header: behind the encapsulation
_CONNECT_S = 60.0


def _play(job: dict) -> None:
    import rclpy
    from rclpy.qos import QoSProfile, ReliabilityPolicy
    from sensor_msgs.msg import CameraInfo, CompressedImage, Image

    pictures = Pictures.load(Path(job["pictures"]))
    images, info = serialized(pictures, job["transport"])
    node = rclpy.create_node("latency_camera")
    profile = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
    kind = Image if job["transport"] == RAW else CompressedImage
    image_out = node.create_publisher(kind, job["image_topic"], profile)
    info_out = node.create_publisher(CameraInfo, job["info_topic"], profile)
    wait_for_subscribers((image_out, info_out), _CONNECT_S, job["image_topic"])
    print(json.dumps({"connected": True}), flush=True)
    for line in sys.stdin:
        asked, published = json.loads(line), []
        began_s = time.monotonic()
        for number in range(asked["count"]):
            time.sleep(max(0.0, began_s + number / asked["rate_hz"] - time.monotonic()))
            stamp_ns = time.time_ns()
            image = images[forth_and_back(len(images), asked["first"] + number)]
            for message in (info, image):
                struct.pack_into("<iI", message, _STAMP_AT, *divmod(stamp_ns, 10**9))
            told, shown = bytes(info), bytes(image)
            info_out.publish(told)
            published.append([stamp_ns, time.monotonic()])
            image_out.publish(shown)
        print(json.dumps({"published": published}), flush=True)


def serialized(pictures: Pictures, transport: str) -> tuple[list[bytearray], bytearray]:
    """The pictures as serialized messages, and their CameraInfo."""
    from rclpy.serialization import serialize_message
    from sensor_msgs.msg import CameraInfo, CompressedImage, Image

    def message(kind: Any, fields: Any) -> bytearray:
        made = kind()
        for name in ("height", "width", "encoding", "step", "format"):
            if hasattr(made, name):
                setattr(made, name, getattr(fields, name))
        made.data = array("B", fields.data)
        made.header.frame_id = FRAME_ID
        return bytearray(serialize_message(made))

    kind = Image if transport == RAW else CompressedImage
    info = CameraInfo(**info_fields(pictures.camera))
    info.header.frame_id = FRAME_ID
    return [message(kind, fields) for fields in pictures.encoded(transport)], bytearray(serialize_message(info))


def stamp_of(serialized_message: bytes) -> int:
    """The stamp (ns) of a serialized message that begins with a header."""
    seconds, nanoseconds = struct.unpack_from("<iI", serialized_message, _STAMP_AT)
    return seconds * 10**9 + nanoseconds


if __name__ == "__main__":
    sys.exit(run_publisher(_play, sys.argv[1:]))
