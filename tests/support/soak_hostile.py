"""Messages that nobody means: numbers, sizes, names, stamps and bytes that no camera, wheel or map ever has."""

from __future__ import annotations

import numpy as np
from nav_msgs.msg import Odometry
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2, PointField
from soak_robot import SoakRobot

from geo_perception.ros.codec import encode_jpeg

BURST = 2000  # messages of one burst
_NUMBERS = (0.0, -1.0, float("nan"), float("inf"), -float("inf"), 1e308, 5e-324)
_ENCODINGS = (
    "rgb8", "bgr8", "mono8", "", "16UC7", "bayer_rggb8", "yuv422", "nv12", "\u00fc" * 40, "32FC1", "mono16",
    "out of memory",
)  # fmt: skip
_SIZES = 0, 1, 7, 224, 240, 320, 2**31, 2**32 - 1
_STAMPS = (0, 0), (-1, 0), (-(2**31), 0), (2**31 - 1, 2**32 - 1), (0, 1), (5, 10**9)
_FRAMES = "camera_optical", "", "/", "map", "base_link", "x" * 300, "\x01"


def burst(robot: SoakRobot, rng: np.random.Generator, count: int) -> None:
    """Sends so many, of all kinds, faster than they can be answered, and counts them with the robot."""
    makers = (_image, _image, _info, _cloud, _odometry, _compressed)
    publishers = robot.images, robot.images, robot.infos, robot.landmarks, robot.odometry, robot.compressed
    for index in range(count):
        kind = index % len(makers)
        message = makers[kind](robot, rng)
        _stamp(robot, rng, message)
        publishers[kind].publish(message)
        robot.hostile += 1
        if index % 100 == 99:
            robot.spin_for(0.01)
    robot.stamp_ns += 10**9


def _pick(rng: np.random.Generator, things):
    return things[int(rng.integers(len(things)))]


def _stamp(robot: SoakRobot, rng: np.random.Generator, message) -> None:
    """Mostly of now; else of the beginning, before it, or of another century."""
    robot.stamped(message).header.frame_id = _pick(rng, _FRAMES)
    if rng.random() < 0.3:
        stamp = message.header.stamp
        stamp.sec, stamp.nanosec = _pick(rng, _STAMPS)


def _image(robot: SoakRobot, rng: np.random.Generator) -> Image:
    height, width = _pick(rng, _SIZES), _pick(rng, _SIZES)
    data = bytes(_pick(rng, (0, 1, 100, 4000, 224 * 320)))
    return Image(
        height=height, width=width, encoding=_pick(rng, _ENCODINGS), data=data,
        step=_pick(rng, (0, 1, width % 2**32, 3 * width % 2**32, 2**32 - 1)), is_bigendian=int(rng.integers(0, 256)),
    )  # fmt: skip


def _info(robot: SoakRobot, rng: np.random.Generator) -> CameraInfo:
    info = CameraInfo(
        height=_pick(rng, _SIZES), width=_pick(rng, _SIZES),
        distortion_model=_pick(rng, ("plumb_bob", "", "equidistant", "x" * 99)),
    )  # fmt: skip
    info.k, info.p = rng.choice(_NUMBERS, 9).tolist(), rng.choice(_NUMBERS, 12).tolist()
    info.d = rng.choice(_NUMBERS, int(rng.integers(0, 15))).tolist()
    info.binning_x = _pick(rng, (0, 1, 2**32 - 1))
    info.roi.width, info.roi.x_offset = _pick(rng, _SIZES), _pick(rng, _SIZES)
    return info


def _cloud(robot: SoakRobot, rng: np.random.Generator) -> PointCloud2:
    fields = [
        PointField(name=_pick(rng, ("z", "u", "v", "sigma", "")), offset=_pick(rng, (0, 4, 2**32 - 1)),
                   datatype=int(rng.integers(0, 256)), count=_pick(rng, (0, 1, 2**32 - 1)))
        for _ in range(int(rng.integers(0, 6)))
    ]  # fmt: skip
    return PointCloud2(
        height=_pick(rng, _SIZES), width=_pick(rng, _SIZES), point_step=int(rng.integers(0, 99)),
        row_step=_pick(rng, _SIZES), fields=fields, data=bytes(_pick(rng, (0, 1, 400))),
    )  # fmt: skip


def _odometry(robot: SoakRobot, rng: np.random.Generator) -> Odometry:
    moved = Odometry(child_frame_id=_pick(rng, _FRAMES))
    place, turn = moved.pose.pose.position, moved.pose.pose.orientation
    place.x, place.y, turn.x, turn.w = (float(_pick(rng, _NUMBERS)) for _ in range(4))
    return moved


def _compressed(robot: SoakRobot, rng: np.random.Generator) -> CompressedImage:
    whole = _JPEG[: int(rng.integers(len(_JPEG)))] + rng.bytes(int(rng.integers(0, 60)))
    return CompressedImage(format=_pick(rng, ("jpeg", "png", "", "compressedDepth png")), data=whole)


_JPEG = encode_jpeg(np.zeros((48, 64, 3), np.uint8), 90)
