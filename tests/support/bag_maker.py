"""Real bags, written by rosbags: an image, its CameraInfo, poses and transforms, and what becomes of them."""

import cv2
import numpy as np
from geo_training.datasets.recordings.bag_poses import PoseOptions
from geo_training.datasets.recordings.from_bag import BagOptions, dataset_from_bags
from geo_training.datasets.scene import SceneDataset

from geo_perception.geometry import make_pose, pose_to_quaternion, so3_exp

TF_TYPE = "tf2_msgs/msg/TFMessage"
T0_NS = 1_700_000_000 * 10**9
STEP_NS = 250_000_000
K_9 = [60.0, 0, 31.5, 0, 60.0, 23.5, 0, 0, 1]


def _translation_and_quaternion(T):
    """Of a pose, or of a pair that holds what no pose can be."""
    return T if isinstance(T, tuple) else pose_to_quaternion(T)


class BagMaker:
    """Builds messages of ROS 1 or ROS 2 and writes them as a bag below `folder`."""

    def __init__(self, folder, ros1=False):
        from rosbags.typesys import Stores, get_types_from_msg, get_typestore

        self.folder, self.ros1 = folder, ros1
        self.store = get_typestore(Stores.ROS1_NOETIC if ros1 else Stores.ROS2_JAZZY)
        if ros1:
            self.store.register(get_types_from_msg("geometry_msgs/TransformStamped[] transforms", TF_TYPE))
        self.messages = []  # topic, receive time, message

    def make(self, msgtype, **fields):
        return self.store.types[msgtype](**fields)

    def header(self, stamp_ns, frame_id):
        stamp = self.make("builtin_interfaces/msg/Time", sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
        fields = {"seq": 0} if self.ros1 else {}
        return self.make("std_msgs/msg/Header", stamp=stamp, frame_id=frame_id, **fields)

    def add(self, topic, receive_ns, message):
        self.messages.append((topic, receive_ns, message))

    def image(self, stamp_ns, image_rgb, topic="/camera/image_raw", frame="camera_optical", receive_ns=None, **changes):
        height, width = image_rgb.shape[:2]
        fields = {
            "height": height, "width": width, "encoding": "rgb8", "is_bigendian": 0, "step": width * 3,
            "data": np.frombuffer(image_rgb.tobytes(), np.uint8),
        } | changes  # fmt: skip
        message = self.make("sensor_msgs/msg/Image", header=self.header(stamp_ns, frame), **fields)
        self.add(topic, stamp_ns if receive_ns is None else receive_ns, message)

    def jpeg(self, stamp_ns, image_rgb, topic="/camera/image_raw/compressed", frame="camera_optical", quality=95):
        data = cv2.imencode(".jpg", image_rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1].reshape(-1)
        header = self.header(stamp_ns, frame)
        self.add(topic, stamp_ns, self.make("sensor_msgs/msg/CompressedImage", header=header, format="jpeg", data=data))

    def info(
        self, stamp_ns, topic="/camera/camera_info", k=K_9, d=(), model="plumb_bob", width=64, height=48,
        p=(0.0,) * 12, frame="camera_optical",
    ):  # fmt: skip
        roi = self.make("sensor_msgs/msg/RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
        arrays = {"d": np.array(d, float), "k": np.array(k, float), "r": np.eye(3).reshape(-1), "p": np.array(p, float)}
        arrays = {name.upper() if self.ros1 else name: value for name, value in arrays.items()}
        header = self.header(stamp_ns, frame)
        message = self.make(
            "sensor_msgs/msg/CameraInfo", header=header, height=height, width=width, distortion_model=model,
            binning_x=0, binning_y=0, roi=roi, **arrays,
        )  # fmt: skip
        self.add(topic, stamp_ns, message)

    def _vector(self, kind, values):
        return self.make(f"geometry_msgs/msg/{kind}", **dict(zip("xyzw", map(float, values), strict=False)))

    def _pose(self, T):
        t_3, q_xyzw = _translation_and_quaternion(T)
        return self.make(
            "geometry_msgs/msg/Pose",
            position=self._vector("Point", t_3),
            orientation=self._vector("Quaternion", q_xyzw),
        )

    def pose(self, stamp_ns, T, topic="/pose", frame="map", receive_ns=None):
        header = self.header(stamp_ns, frame)
        receive_ns = stamp_ns if receive_ns is None else receive_ns
        self.add(topic, receive_ns, self.make("geometry_msgs/msg/PoseStamped", header=header, pose=self._pose(T)))

    def pose_with_covariance(self, stamp_ns, T, topic="/amcl_pose", frame="map"):
        pose = self.make("geometry_msgs/msg/PoseWithCovariance", pose=self._pose(T), covariance=np.zeros(36))
        header = self.header(stamp_ns, frame)
        self.add(topic, stamp_ns, self.make("geometry_msgs/msg/PoseWithCovarianceStamped", header=header, pose=pose))

    def odometry(self, stamp_ns, T, topic="/odom", frame="odom", child="base_link"):
        pose = self.make("geometry_msgs/msg/PoseWithCovariance", pose=self._pose(T), covariance=np.zeros(36))
        zero = self._vector("Vector3", (0, 0, 0))
        twist = self.make("geometry_msgs/msg/Twist", linear=zero, angular=zero)
        twist = self.make("geometry_msgs/msg/TwistWithCovariance", twist=twist, covariance=np.zeros(36))
        header = self.header(stamp_ns, frame)
        message = self.make("nav_msgs/msg/Odometry", header=header, child_frame_id=child, pose=pose, twist=twist)
        self.add(topic, stamp_ns, message)

    def tf(self, stamp_ns, *transforms, topic="/tf"):
        """Transforms are (parent, child, T_parent_child); T a pose, or translation and quaternion as they are sent."""
        stamped = []
        for parent, child, T in transforms:
            stamped.append(self._transform_stamped(stamp_ns, parent, child, T))
        self.add(topic, stamp_ns, self.make(TF_TYPE, transforms=stamped))

    def transform(self, stamp_ns, T, topic="/vicon/camera", frame="world", child="camera_optical"):
        self.add(topic, stamp_ns, self._transform_stamped(stamp_ns, frame, child, T))

    def _transform_stamped(self, stamp_ns, parent, child, T):
        t_3, q_xyzw = _translation_and_quaternion(T)
        transform = self.make(
            "geometry_msgs/msg/Transform", translation=self._vector("Vector3", t_3),
            rotation=self._vector("Quaternion", q_xyzw),
        )  # fmt: skip
        header = self.header(stamp_ns, parent)
        return self.make("geometry_msgs/msg/TransformStamped", header=header, child_frame_id=child, transform=transform)

    def write(self, name, storage="mcap", compression="none"):
        """The bag's path: a .bag file of ROS 1, or a folder of ROS 2."""
        path = self.folder / name
        if self.ros1:
            from rosbags.rosbag1 import Writer

            writer = Writer(path)
            writer.chunk_threshold = 1 << 15
            if compression != "none":
                writer.set_compression(Writer.CompressionFormat[compression.upper()])
            serialize = self.store.serialize_ros1
        else:
            from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

            writer = Writer(path, version=9, storage_plugin=StoragePlugin[storage.upper()])
            if compression != "none":
                writer.set_compression(CompressionMode[compression.upper()], CompressionFormat.ZSTD)
            serialize = self.store.serialize_cdr
        with writer:
            connections = {}
            for topic, receive_ns, message in sorted(self.messages, key=lambda item: item[1]):
                msgtype = message.__msgtype__
                if topic not in connections:
                    connections[topic] = writer.add_connection(topic, msgtype, typestore=self.store)
                writer.write(connections[topic], receive_ns, serialize(message, msgtype))
        return path


def pose_at(i):
    """T_world_camera of the i-th frame of a walk on which every coordinate and angle changes."""
    return make_pose(so3_exp([0.02 * i, -0.1 * i, 0.05]), [0.1 * i, 2.0, -0.3 * i])


def convert(bags, tmp_path, **options):
    """The dataset that bags become with options of BagOptions and of PoseOptions, and what its making answers."""
    bags = bags if isinstance(bags, list) else [bags]
    poses = {key: options.pop(key) for key in list(options) if key in PoseOptions.__dataclass_fields__}
    result = dataset_from_bags(bags, tmp_path / "out", BagOptions(poses=PoseOptions(**poses), **options), True)
    return SceneDataset(tmp_path / "out"), result
