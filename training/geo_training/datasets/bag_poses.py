"""Camera poses from what a recording holds: pose messages, odometry or TF, interpolated at an image's stamp."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from geo_perception.errors import InputError
from geo_perception.geometry import interpolate_pose, invert_pose, pose_from_quaternion
from geo_training.datasets.bags import Recording, Topic, header_stamp_ns

TF_TYPES = ("tf2_msgs/msg/TFMessage", "tf/msg/tfMessage")
# In this order a pose topic is chosen where none is named.
POSE_TYPES = (
    "geometry_msgs/msg/PoseStamped",
    "geometry_msgs/msg/PoseWithCovarianceStamped",
    "nav_msgs/msg/Odometry",
)
WORLD_FRAMES = ("map", "world", "odom")
BODY_FRAMES = ("base_link", "base_footprint")
NO_POSES = "none"
# Commands to the robot, not measurements of it.
_NOT_MEASURED = ("goal", "initialpose", "initial_pose", "setpoint", "target")


@dataclass(frozen=True)
class PoseOptions:
    """What the user said about poses; None leaves the choice to what is found.

    `T_pose_camera` is the camera's optical frame in the frame that the pose messages are about.
    """

    topic: str | None = None
    map_frame: str | None = None
    camera_frame: str | None = None
    pose_frame: str | None = None
    T_pose_camera: np.ndarray | None = None
    max_gap_s: float = 0.5


@dataclass
class PoseTrack:
    """Poses over time; `at` interpolates between two that are no more than the gap apart."""

    stamps_ns: list[int] = field(default_factory=list)
    poses: list[np.ndarray] = field(default_factory=list)
    _sorted: tuple | None = None

    def add(self, stamp_ns: int, T: np.ndarray) -> None:
        self.stamps_ns.append(stamp_ns)
        self.poses.append(T)
        self._sorted = None

    def at(self, stamp_ns: int, max_gap_s: float) -> np.ndarray | None:
        if self._sorted is None:
            stamps, first = np.unique(np.array(self.stamps_ns, np.int64), return_index=True)
            # Seconds since the first pose: a float of seconds since 1970 is good for a quarter of a microsecond only.
            self._sorted = stamps[0], (stamps - stamps[0]) * 1e-9, np.array(self.poses)[first]
        origin_ns, stamps_s, T_n44 = self._sorted
        return interpolate_pose(stamps_s, T_n44, float(stamp_ns - origin_ns) * 1e-9, max_gap_s)


class TransformTree:
    """The transforms of /tf and /tf_static: each frame in its parent, over time."""

    def __init__(self):
        self._parents: dict[str, str] = {}
        self._static: dict[str, np.ndarray] = {}
        self._moving: dict[str, PoseTrack] = {}
        self.conflicts: set[str] = set()  # frames that were given a second parent, or a loop

    @property
    def frames(self) -> list[str]:
        return sorted({*self._parents, *self._parents.values()})

    def add(self, parent: str, child: str, stamp_ns: int, T_parent_child: np.ndarray, static: bool) -> None:
        if self._parents.get(child, parent) != parent or child in self._path(parent):
            self.conflicts.add(child)
            return
        self._parents[child] = parent
        if static:
            self._static[child] = T_parent_child
        else:
            self._moving.setdefault(child, PoseTrack()).add(stamp_ns, T_parent_child)

    def connects(self, target: str, source: str) -> bool:
        return target == source or bool(
            set(self._path(target)) & set(self._path(source)) and {target, source} <= set(self.frames)
        )

    def moves(self, target: str, source: str) -> bool:
        """Whether the way from one to the other leads over a transform that was published more than once."""
        ways = set(self._path(target)) ^ set(self._path(source))
        return any(len(self._moving[frame].poses) > 1 for frame in ways if frame in self._moving)

    def lookup(self, target: str, source: str, stamp_ns: int, max_gap_s: float) -> np.ndarray | None:
        """`T_target_source` at the stamp, or None where a transform on the way is not known then."""
        path_target, path_source = self._path(target), self._path(source)
        common = next((frame for frame in path_source if frame in path_target), None)
        if common is None:
            return None
        T_common_source = self._climb(path_source[: path_source.index(common)], stamp_ns, max_gap_s)
        T_common_target = self._climb(path_target[: path_target.index(common)], stamp_ns, max_gap_s)
        if T_common_source is None or T_common_target is None:
            return None
        return invert_pose(T_common_target) @ T_common_source

    def _climb(self, frames: list[str], stamp_ns: int, max_gap_s: float) -> np.ndarray | None:
        T = np.eye(4)
        for frame in frames:
            step = self._static.get(frame)
            if step is None:
                step = self._moving[frame].at(stamp_ns, max_gap_s)
            if step is None:
                return None
            T = step @ T
        return T

    def _path(self, frame: str) -> list[str]:
        path = [frame]
        while path[-1] in self._parents:
            path.append(self._parents[path[-1]])
        return path


class RecordedPoses:
    """The poses of one recording, once they are read. `for_camera` says how they become poses of a camera."""

    def __init__(self, topic: str, kind: str, options: PoseOptions):
        self.topic, self.kind, self.options = topic, kind, options
        self.track, self.tree = PoseTrack(), TransformTree()
        self.world_frame = options.map_frame or ""
        self.child_frame = ""
        self.unusable = 0

    def add(self, msgtype: str, static: bool, receive_ns: int, message) -> None:
        """Takes in one message of the pose topic or of TF. Poses that are not finite are counted and left out."""
        if msgtype in TF_TYPES:
            for transform in message.transforms:
                stamp_ns = header_stamp_ns(transform, receive_ns)
                parent, child = _bare(transform.header.frame_id), _bare(transform.child_frame_id)
                t, q = transform.transform.translation, transform.transform.rotation
                T = self._pose(t, q)
                if T is not None and parent and child:
                    self.tree.add(parent, child, stamp_ns, T, static)
            return
        pose = message.pose if msgtype == POSE_TYPES[0] else message.pose.pose
        T = self._pose(pose.position, pose.orientation)
        if T is not None:
            self.track.add(header_stamp_ns(message, receive_ns), T)
            self.world_frame = self.world_frame or _bare(message.header.frame_id)
            self.child_frame = self.child_frame or _bare(getattr(message, "child_frame_id", ""))

    def for_camera(self, image_frame: str) -> CameraPoses | None:
        """How this camera's pose is found; None where TF was only a guess and does not lead to the camera.

        Raises InputError when the frames the user named are not connected.
        """
        camera_frame = _bare(self.options.camera_frame or image_frame)
        if self.kind == "tf":
            return self._through_tf(camera_frame)
        if not self.track.poses:
            raise InputError(f"{self.topic} holds no usable pose; pass --pose with another topic, or --pose none")
        world = self.world_frame or "map"
        if self.options.T_pose_camera is not None:
            return CameraPoses(self, world, None, camera_frame, "with the extrinsics of --pose-camera")
        named = _bare(self.options.pose_frame or self.child_frame)
        if named and named == camera_frame:
            return CameraPoses(self, world, camera_frame, camera_frame, f"poses of the camera frame {camera_frame}")
        if named and self.tree.connects(named, camera_frame):
            return CameraPoses(self, world, named, camera_frame, f"poses of {named}, moved to {camera_frame} by TF")
        if self.options.pose_frame:
            raise InputError(
                f"TF does not lead from {named} to the camera frame '{camera_frame}'; give the extrinsics with "
                f"--pose-camera, or a --pose-frame among: {', '.join(self.tree.frames) or 'none, there is no TF'}"
            )
        bodies = [] if named else [body for body in BODY_FRAMES if self.tree.connects(body, camera_frame)]
        if bodies:
            how = f"{self.topic} names no child frame; taken as poses of {bodies[0]}, moved to {camera_frame} by TF"
            return CameraPoses(self, world, bodies[0], camera_frame, f"{how} (--pose-frame says otherwise)", True)
        of = f" of '{named}'" if named else ""
        how = (
            f"the poses{of} on {self.topic} are taken as those of the camera's optical frame (x right, y down, "
            "z forward); where they are another frame's, give --pose-camera"
        )
        return CameraPoses(self, world, camera_frame, camera_frame, how, True)

    def _through_tf(self, camera_frame: str) -> CameraPoses | None:
        frames = ", ".join(self.tree.frames) or "none"
        connected = [w for w in WORLD_FRAMES if w in self.tree.frames and self.tree.connects(w, camera_frame)]
        world = self.options.map_frame or next(iter(connected), "")
        good = bool(world) and camera_frame in self.tree.frames and self.tree.connects(world, camera_frame)
        if good and world != camera_frame and (self.options.topic or self.tree.moves(world, camera_frame)):
            self.world_frame = world
            return CameraPoses(self, world, camera_frame, camera_frame, f"TF from {world} to {camera_frame}")
        if self.options.topic is None and self.options.map_frame is None:
            return None
        raise InputError(
            f"TF does not lead from '{world or 'map'}' to the camera frame '{camera_frame}'; name the two with "
            f"--map-frame and --camera-frame, of: {frames}"
        )

    def _pose(self, t, q) -> np.ndarray | None:
        try:
            return pose_from_quaternion((t.x, t.y, t.z), (q.x, q.y, q.z, q.w))
        except InputError:
            self.unusable += 1
            return None


@dataclass(frozen=True)
class CameraPoses:
    """Poses of one camera. `how` is a sentence on how they came about; `assumed` where it had to be guessed."""

    source: RecordedPoses
    world_frame: str
    pose_frame: str | None
    camera_frame: str
    how: str
    assumed: bool = False

    def at(self, stamp_ns: int) -> np.ndarray | None:
        """T_world_camera at the stamp, or None where it is not known."""
        max_gap_s = self.source.options.max_gap_s
        if self.source.kind == "tf":
            return self.source.tree.lookup(self.world_frame, self.camera_frame, stamp_ns, max_gap_s)
        T_world_pose = self.source.track.at(stamp_ns, max_gap_s)
        if self.pose_frame is None:
            T_pose_camera = self.source.options.T_pose_camera
        elif self.pose_frame == self.camera_frame:
            T_pose_camera = np.eye(4)
        else:
            T_pose_camera = self.source.tree.lookup(self.pose_frame, self.camera_frame, stamp_ns, max_gap_s)
        return None if T_world_pose is None or T_pose_camera is None else T_world_pose @ T_pose_camera


def choose_poses(recording: Recording, options: PoseOptions) -> RecordedPoses | None:
    """Which topic the poses come from: the one named, else the first that is there of PoseStamped,
    PoseWithCovarianceStamped, Odometry and TF. None where there is none.

    Of several topics of one type the only one with `ground_truth` in its name is taken; else InputError names them.
    """
    if options.topic == NO_POSES:
        return None
    if options.topic is not None:
        topic = recording.require(options.topic, "--pose", *POSE_TYPES, *TF_TYPES)
        return RecordedPoses(topic.name, "tf" if topic.msgtype in TF_TYPES else "pose", options)
    for msgtype in POSE_TYPES:
        found = [t for t in recording.of_type(msgtype) if t.count > 1 and not _is_command(t)]
        if len(found) > 1:
            found = [t for t in found if "ground_truth" in t.name] if _one_ground_truth(found) else found
        if len(found) > 1:
            raise InputError(
                f"{recording.path} has several pose topics; pass --pose none, or --pose with one of "
                f"{', '.join(t.name for t in found)}"
            )
        if found:
            return RecordedPoses(found[0].name, "pose", options)
    moving = [t for t in recording.of_type(*TF_TYPES) if not is_static(t.name)]
    return RecordedPoses(moving[0].name, "tf", options) if moving else None


def pose_topics(recording: Recording, poses: RecordedPoses) -> dict[str, Topic]:
    """The topics to read for these poses: their own, and every one of TF."""
    wanted = [recording.topics[poses.topic], *recording.of_type(*TF_TYPES)]
    return {topic.name: topic for topic in wanted}


def is_static(topic_name: str) -> bool:
    return topic_name.endswith("tf_static")


def _is_command(topic: Topic) -> bool:
    return any(word in topic.name.lower() for word in _NOT_MEASURED)


def _one_ground_truth(topics: list[Topic]) -> bool:
    return sum("ground_truth" in topic.name for topic in topics) == 1


def _bare(frame: str) -> str:
    """ROS 1 wrote frames with a leading slash."""
    return str(frame).lstrip("/")
