"""A dataset back into a rosbag2, as a robot with one camera would have recorded it.

    /camera/image_raw             sensor_msgs/Image, or /camera/image_raw/compressed with the dataset's own files
    /camera/camera_info           sensor_msgs/CameraInfo, with the image's stamp
    /ground_truth/pose            geometry_msgs/PoseStamped: the camera's optical frame in the dataset's world
    /odom                         nav_msgs/Odometry: the same motion, but from the first pose on, as odometry would have
                                  it; child frame camera_optical, twist in the camera's frame

There is no /tf_static: the poses are the camera's own, no body stands between. What messages cannot say (whose pose it
is, and the world's gravity and scale, which need not be those of REP 103) goes into the bag's custom data, where
`from-bag` finds it.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import yaml
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from geo_perception.errors import InputError
from geo_perception.geometry import Camera, invert_pose, pose_to_quaternion, so3_log
from geo_perception.ros.camera_info import info_fields
from geo_perception.ros.codec import encode_image, encode_jpeg
from geo_training.console import track
from geo_training.datasets.recordings.bags import LAST_STAMP_NS, read_metadata
from geo_training.datasets.recordings.recorded_world import GRAVITY_KEY, POSE_FRAME_KEY, SCALE_KEY
from geo_training.datasets.scene import PRODUCER, Frame, SceneDataset
from geo_training.storage.folders import FolderKind, check_output, output_folder

IMAGE_TOPIC, INFO_TOPIC = "/camera/image_raw", "/camera/camera_info"
POSE_TOPIC, ODOMETRY_TOPIC = "/ground_truth/pose", "/odom"
CAMERA_FRAME, ODOMETRY_FRAME = "camera_optical", "odom"
PRODUCER_KEY = "geo_perception.producer"
# A stamp of zero means "none" in ROS, so a recording that begins at zero is moved by a second.
FIRST_STAMP_NS = 10**9
_AS_THEY_ARE = {".jpg": "jpeg", ".jpeg": "jpeg", ".png": "png"}
# Longer than this between two frames, the motion between them is not a velocity.
_MAX_TWIST_GAP_S = 1.0


def bag_from_dataset(
    root: Path,
    out: Path,
    compressed: bool = False,
    sequence: str | None = None,
    split: str | None = None,
    storage: str = "mcap",
    overwrite: bool = False,
) -> dict:
    """Writes the frames of `root` (of one sequence, of one split) as the rosbag2 directory `out`. Returns counts.

    Stamps are kept, unless they begin before one second: then all are moved by the same time. Raises InputError when
    there is no such frame, an image cannot be read, sequences overlap in time, or a stamp is beyond what messages hold.
    """
    dataset = SceneDataset(root)
    check_output(out, MADE_BAG, [Path(root)], overwrite)
    frames = _selected_frames(dataset, sequence, split)
    shift_ns = max(0, FIRST_STAMP_NS - frames[0].stamp_ns)
    _refuse_late(frames, shift_ns)
    with output_folder(out, MADE_BAG, [Path(root)], overwrite) as work:
        _write(dataset, frames, work, shift_ns, compressed, storage)
    return {
        "out": str(out),
        "frames": len(frames),
        "posed_frames": sum(frame.T_world_camera is not None for frame in frames),
        "sequences": list(dict.fromkeys(frame.sequence for frame in frames)),
        "first_stamp_ns": frames[0].stamp_ns + shift_ns,
        "duration_s": (frames[-1].stamp_ns - frames[0].stamp_ns) * 1e-9,
        "shift_ns": shift_ns,
        "storage": storage,
        "image_topic": f"{IMAGE_TOPIC}/compressed" if compressed else IMAGE_TOPIC,
    }


def is_made_bag(folder: Path) -> bool:
    """Whether a folder is a bag that our commands wrote. A recording cannot be made again, so it is never replaced."""
    try:
        _, custom_data = read_metadata(folder)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError):
        return False
    return custom_data.get(PRODUCER_KEY) == PRODUCER


MADE_BAG = FolderKind("bag", is_made_bag, ("metadata.yaml", "*.mcap", "*.db3", "*.zstd"))


def _selected_frames(dataset: SceneDataset, sequence: str | None, split: str | None) -> list[Frame]:
    if sequence is not None and sequence not in dataset.sequences:
        raise InputError(f"{dataset.root} has no sequence '{sequence}'; it has {', '.join(dataset.sequences)}")
    frames = [
        frame
        for frame in dataset.frames
        if (sequence is None or frame.sequence == sequence) and (split is None or frame.split == split)
    ]
    if not frames:
        there = ", ".join(sorted({frame.split or "none" for frame in dataset.frames}))
        raise InputError(f"{dataset.root} has no frame of split '{split}'; its frames are of split {there}")
    spans: dict[str, list[int]] = {}
    for frame in frames:
        spans.setdefault(frame.sequence, []).append(frame.stamp_ns)
    ordered = sorted((min(stamps), max(stamps), name) for name, stamps in spans.items())
    for (_, end, first), (begin, _, second) in itertools.pairwise(ordered):
        if begin <= end:
            raise InputError(f"the sequences {first} and {second} overlap in time; write one bag for each (--sequence)")
    return sorted(frames, key=lambda frame: (frame.stamp_ns, frame.name))


def _refuse_late(frames: list[Frame], shift_ns: int) -> None:
    last = frames[-1]
    if last.stamp_ns + shift_ns <= LAST_STAMP_NS:
        return
    last_s = (last.stamp_ns + shift_ns) / 1e9
    moved = f" ({shift_ns / 1e9:.6g} s of them since they begin before zero)" if shift_ns > FIRST_STAMP_NS else ""
    raise InputError(
        f"{last.name} has the stamp {last_s:.6g} s{moved}, and a message of ROS holds at most "
        f"{LAST_STAMP_NS // 10**9} s (the year 2038); check the unit and the sign of the stamps that the dataset was "
        "made from, and make it again"
    )


def _write(
    dataset: SceneDataset, frames: list[Frame], path: Path, shift_ns: int, compressed: bool, storage: str
) -> None:
    messages = BagMessages(dataset.info.world_frame)
    writer = Writer(path, version=9, storage_plugin=StoragePlugin[storage.upper()])
    gravity = dataset.info.gravity_world
    writer.set_custom_data(PRODUCER_KEY, PRODUCER)
    writer.set_custom_data(GRAVITY_KEY, "unknown" if gravity is None else " ".join(f"{g:.9g}" for g in gravity))
    writer.set_custom_data(SCALE_KEY, dataset.info.scale)
    writer.set_custom_data(POSE_FRAME_KEY, CAMERA_FRAME)
    with writer:
        add = lambda topic, msgtype: writer.add_connection(topic, msgtype, typestore=messages.store)  # noqa: E731
        info_to = add(INFO_TOPIC, "sensor_msgs/msg/CameraInfo")
        if compressed:
            image_to = add(f"{IMAGE_TOPIC}/compressed", "sensor_msgs/msg/CompressedImage")
        else:
            image_to = add(IMAGE_TOPIC, "sensor_msgs/msg/Image")
        if any(frame.T_world_camera is not None for frame in frames):
            pose_to = add(POSE_TOPIC, "geometry_msgs/msg/PoseStamped")
            odometry_to = add(ODOMETRY_TOPIC, "nav_msgs/msg/Odometry")
        odometry = _Odometry()

        def put(connection, stamp_ns: int, message) -> None:
            writer.write(connection, stamp_ns, messages.store.serialize_cdr(message, message.__msgtype__))

        for frame in track(frames, "writing the bag"):
            stamp_ns = frame.stamp_ns + shift_ns
            # Poses and CameraInfo first: who plays the bag back has them when the image comes.
            if frame.T_world_camera is not None:
                put(pose_to, stamp_ns, messages.pose_stamped(stamp_ns, frame.T_world_camera))
                put(odometry_to, stamp_ns, messages.odometry(stamp_ns, *odometry.step(stamp_ns, frame.T_world_camera)))
            put(info_to, stamp_ns, messages.camera_info(stamp_ns, dataset.camera(frame)))
            make = messages.compressed_image if compressed else messages.image
            put(image_to, stamp_ns, make(stamp_ns, dataset, frame))


class _Odometry:
    """The motion since the first frame that has a pose."""

    def __init__(self):
        self._T_odom_world: np.ndarray | None = None
        self._last: tuple[int, np.ndarray] | None = None

    def step(self, stamp_ns: int, T_world_camera: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """T_odom_camera, and the twist since the last frame in the camera's frame: linear m/s, angular rad/s (6,)."""
        if self._T_odom_world is None:
            self._T_odom_world = invert_pose(T_world_camera)
        twist_6 = np.zeros(6)
        if self._last is not None:
            gap_s = (stamp_ns - self._last[0]) * 1e-9
            if 0 < gap_s <= _MAX_TWIST_GAP_S:
                T_last_now = invert_pose(self._last[1]) @ T_world_camera
                R_now_last = T_last_now[:3, :3].T
                twist_6 = np.concatenate([R_now_last @ T_last_now[:3, 3], so3_log(T_last_now[:3, :3])]) / gap_s
        self._last = stamp_ns, T_world_camera
        return self._T_odom_world @ T_world_camera, twist_6


class BagMessages:
    """Messages of ROS 2 for the parts of a recording, in the types of rosbags; poses are in `world_frame`."""

    def __init__(self, world_frame: str):
        self.store = get_typestore(Stores.ROS2_JAZZY)
        self._world_frame = world_frame

    def _make(self, msgtype: str, **fields):
        return self.store.types[msgtype](**fields)

    def _header(self, stamp_ns: int, frame_id: str):
        stamp = self._make("builtin_interfaces/msg/Time", sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
        return self._make("std_msgs/msg/Header", stamp=stamp, frame_id=frame_id)

    def _vector(self, msgtype: str, values):
        return self._make(f"geometry_msgs/msg/{msgtype}", **dict(zip("xyzw", map(float, values), strict=False)))

    def _pose(self, T: np.ndarray):
        t_3, q_xyzw = pose_to_quaternion(T)
        position, orientation = self._vector("Point", t_3), self._vector("Quaternion", q_xyzw)
        return self._make("geometry_msgs/msg/Pose", position=position, orientation=orientation)

    def pose_stamped(self, stamp_ns: int, T_world_camera: np.ndarray):
        header = self._header(stamp_ns, self._world_frame)
        return self._make("geometry_msgs/msg/PoseStamped", header=header, pose=self._pose(T_world_camera))

    def odometry(self, stamp_ns: int, T_odom_camera: np.ndarray, twist_6: np.ndarray):
        linear, angular = self._vector("Vector3", twist_6[:3]), self._vector("Vector3", twist_6[3:])
        twist = self._make("geometry_msgs/msg/Twist", linear=linear, angular=angular)
        unknown = np.zeros(36)
        return self._make(
            "nav_msgs/msg/Odometry",
            header=self._header(stamp_ns, ODOMETRY_FRAME),
            child_frame_id=CAMERA_FRAME,
            pose=self._make("geometry_msgs/msg/PoseWithCovariance", pose=self._pose(T_odom_camera), covariance=unknown),
            twist=self._make("geometry_msgs/msg/TwistWithCovariance", twist=twist, covariance=unknown),
        )

    def camera_info(self, stamp_ns: int, camera: Camera):
        roi = self._make(
            "sensor_msgs/msg/RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0, do_rectify=False
        )
        fields = info_fields(camera)
        for name in "dkrp":
            fields[name] = np.ascontiguousarray(fields[name], np.float64)
        header = self._header(stamp_ns, CAMERA_FRAME)
        return self._make("sensor_msgs/msg/CameraInfo", header=header, roi=roi, **fields)

    def image(self, stamp_ns: int, dataset: SceneDataset, frame: Frame):
        encoded = encode_image(_image_of(dataset, frame))
        return self._make(
            "sensor_msgs/msg/Image",
            header=self._header(stamp_ns, CAMERA_FRAME),
            height=encoded.height,
            width=encoded.width,
            encoding=encoded.encoding,
            is_bigendian=0,
            step=encoded.step,
            data=np.frombuffer(encoded.data, np.uint8),
        )

    def compressed_image(self, stamp_ns: int, dataset: SceneDataset, frame: Frame):
        """The dataset's own file where it is a JPEG or PNG, so that nothing is lost; else a JPEG."""
        path = dataset.image_path(frame)
        label = _AS_THEY_ARE.get(path.suffix.lower())
        if label is None:
            data, label = encode_jpeg(_image_of(dataset, frame), 95), "jpeg"
        else:
            _image_of(dataset, frame)  # an unreadable file is an error here, not on the robot
            data = path.read_bytes()
        return self.compressed(stamp_ns, data, label)

    def compressed(self, stamp_ns: int, data: bytes, label: str):
        """A CompressedImage of encoded bytes; `label` is its format, jpeg or png."""
        header = self._header(stamp_ns, CAMERA_FRAME)
        return self._make(
            "sensor_msgs/msg/CompressedImage", header=header, format=label, data=np.frombuffer(data, np.uint8)
        )


def _image_of(dataset: SceneDataset, frame: Frame) -> np.ndarray:
    """The image at the size of its camera: a message's pixels must be those its CameraInfo speaks of."""
    image_rgb, camera = dataset.image(frame), dataset.camera(frame)
    if image_rgb.shape[:2] != (camera.height_px, camera.width_px):
        raise InputError(
            f"{dataset.image_path(frame)} is {image_rgb.shape[1]} x {image_rgb.shape[0]}, its camera "
            f"{camera.width_px} x {camera.height_px}; `geo-train dataset check` lists all"
        )
    return image_rgb
