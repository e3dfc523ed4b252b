"""Camera poses from what a recording holds: pose messages, odometry or TF, interpolated at an image's stamp."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geo_perception.errors import InputError
from geo_perception.geometry import pose_from_quaternion
from geo_perception.ros.camera_source import bare_frame
from geo_training.datasets.recordings.bags import Recording, Topic, header_stamp_ns
from geo_training.datasets.recordings.pose_options import NO_POSES, PoseOptions
from geo_training.datasets.recordings.transform_tree import PoseTrack, TransformTree

TF_TYPES = ("tf2_msgs/msg/TFMessage", "tf/msg/tfMessage")
# In this order a pose topic is chosen where none is named.
POSE_TYPES = (
    "geometry_msgs/msg/PoseStamped",
    "geometry_msgs/msg/PoseWithCovarianceStamped",
    "nav_msgs/msg/Odometry",
    "geometry_msgs/msg/TransformStamped",
)
WORLD_FRAMES = ("map", "world", "odom")
BODY_FRAMES = ("base_link", "base_footprint")
# Commands to the robot, not measurements of it.
_NOT_MEASURED = ("goal", "initialpose", "initial_pose", "setpoint", "target")


@dataclass
class _Source:
    """The poses of one topic, or of one transform of it: how many, how many of them cannot be used, and what is wrong
    with the first of those."""

    found: int = 0
    left_out: int = 0
    stamp_ns: int = 0
    reason: str = ""


class RecordedPoses:
    """The poses of one recording, once they are read. `for_camera` says how they become poses of a camera."""

    def __init__(self, topic: str, kind: str, options: PoseOptions):
        self.topic, self.kind, self.options = topic, kind, options
        self.track, self.tree = PoseTrack(), TransformTree()
        self.world_frame = ""  # of the pose messages
        self.child_frame = ""
        self._tracks: dict[tuple[str, str], PoseTrack] = {}  # by world and body
        self._sources: dict[str, _Source] = {}

    def add(self, topic: Topic, receive_ns: int, message) -> None:
        """Takes in one message of the pose topic or of TF. What is no pose is left out; `complaints` says so."""
        if topic.msgtype in TF_TYPES:
            for transform in message.transforms:
                self._add_transform(topic.name, receive_ns, transform)
            return
        stamp_ns = header_stamp_ns(message, receive_ns)
        t, q = _translation_and_quaternion(topic.msgtype, message)
        T = self._pose(topic.name, stamp_ns, t, q)
        if T is None:
            return
        world, child = bare_frame(message.header.frame_id), bare_frame(getattr(message, "child_frame_id", ""))
        self._tracks.setdefault((world, child), PoseTrack()).add(stamp_ns, T)

    @property
    def complaints(self) -> list[str]:
        """A sentence for each source of which something was left out."""
        sentences = [
            f"{source.left_out} of {source.found} poses of {name} were left out; the first, at "
            f"{source.stamp_ns / 1e9:.3f} s: {source.reason}"
            for name, source in self._sources.items()
            if source.left_out
        ]
        if self.tree.conflicts:
            children = ", ".join(sorted(self.tree.conflicts))
            sentences.append(f"TF gives a second parent to {children}; the first was kept")
        return sentences

    def for_camera(self, image_frame: str) -> CameraPoses | None:
        """How this camera's pose is found; None where TF was only a guess and does not lead to the camera.

        Raises InputError when the frames the user named are not connected.
        """
        camera_frame = bare_frame(self.options.camera_frame or image_frame)
        if self.kind == "tf":
            return self._through_tf(camera_frame)
        self._take_largest_track()
        if not self.track.poses:
            why = f" ({self.complaints[0]})" if self.complaints else ""
            raise InputError(f"{self.topic} holds no usable pose{why}; pass --pose with another topic, or --pose none")
        world, into_world = self._world()
        if self.options.T_pose_camera is not None:
            pose_frame = bare_frame(self.options.pose_frame or self.child_frame)
            return CameraPoses(self, world, pose_frame, None, f"with the extrinsics of --pose-camera{into_world}")
        named = bare_frame(self.options.pose_frame or self.child_frame)
        if named and named == camera_frame:
            how = f"poses of the camera frame {camera_frame}{into_world}"
            return CameraPoses(self, world, camera_frame, camera_frame, how)
        if named and self.tree.connects(named, camera_frame):
            how = f"poses of {named}, moved to {camera_frame} by TF{into_world}"
            return CameraPoses(self, world, named, camera_frame, how)
        bodies = [] if named else [body for body in BODY_FRAMES if self.tree.connects(body, camera_frame)]
        if bodies:
            how = f"{self.topic} names no child frame; taken as poses of {bodies[0]}, moved to {camera_frame} by TF"
            how += f"{into_world} (--pose-frame says otherwise)"
            return CameraPoses(self, world, bodies[0], camera_frame, how, True)
        if self.options.pose_frame or self.options.camera_frame:
            raise InputError(
                f"TF does not lead from {named or 'the frame of the poses'} to the camera frame '{camera_frame}'; give "
                f"the extrinsics with --pose-camera, or a --pose-frame among: {self._frames_there()}"
            )
        of = f" of '{named}'" if named else ""
        how = (
            f"the poses{of} on {self.topic} are taken as those of the camera's optical frame (x right, y down, "
            f"z forward){into_world}; where they are another frame's, give --pose-camera"
        )
        return CameraPoses(self, world, camera_frame, camera_frame, how, True)

    def _take_largest_track(self) -> None:
        """Poses in two worlds, or of two bodies, make no way between them: those of the most stay."""
        if not self._tracks:
            return
        (world, child), self.track = max(self._tracks.items(), key=lambda item: len(item[1].poses))
        for (other_world, other_child), track in self._tracks.items():
            if track is not self.track:
                frames = _frames(other_world, other_child), _frames(world, child)
                reason = f"it is a pose {frames[0]}, while most are {frames[1]}"
                self._leave_out(self.topic, track.stamps_ns[0], reason, len(track.poses))
        self.world_frame, self.child_frame, self._tracks = world, self.child_frame or child, {}

    def _world(self) -> tuple[str, str]:
        """The world of the pose messages, or --map-frame, to which TF leads; and words for the latter."""
        wished = bare_frame(self.options.map_frame or "")
        if not wished or not self.world_frame or wished == self.world_frame:
            self.world_frame = self.world_frame or wished or "map"
            return self.world_frame, ""
        if not self.tree.connects(wished, self.world_frame):
            raise InputError(
                f"the poses on {self.topic} are in '{self.world_frame}', and TF does not lead from there to "
                f"'{wished}'; leave out --map-frame, or give one of: {self.world_frame}, {self._frames_there()}"
            )
        return wished, f", from {self.world_frame} into {wished} by TF"

    def _through_tf(self, camera_frame: str) -> CameraPoses | None:
        extrinsics = self.options.T_pose_camera is not None
        body = bare_frame(self.options.pose_frame or "")
        if extrinsics and not body:
            there = [frame for frame in BODY_FRAMES if frame in self.tree.frames]
            if not there:
                raise InputError(
                    "--pose-camera says where the camera is in a frame of TF, but not in which; give --pose-frame, of: "
                    f"{self._frames_there()}"
                )
            body = there[0]
        target = body if extrinsics else camera_frame
        if body and not extrinsics and not self.tree.connects(body, camera_frame):
            raise InputError(
                f"TF does not lead from {body} to the camera frame '{camera_frame}'; give the extrinsics with "
                f"--pose-camera, or a --pose-frame among: {self._frames_there()}"
            )
        connected = [w for w in WORLD_FRAMES if w in self.tree.frames and self.tree.connects(w, target)]
        world = bare_frame(self.options.map_frame or next(iter(connected), ""))
        good = bool(world) and target in self.tree.frames and self.tree.connects(world, target)
        if good and world != target and (self.options.topic or self.tree.moves(world, target)):
            self.world_frame = world
            how = f"TF from {world} to {target}" + (", then the extrinsics of --pose-camera" if extrinsics else "")
            return CameraPoses(self, world, target, None if extrinsics else target, how)
        if self.options.topic is None and not self.options.given:
            return None
        what = "" if extrinsics else "the camera frame "
        raise InputError(
            f"TF does not lead from '{world or 'map'}' to {what}'{target}'; name the two with --map-frame and "
            f"{'--pose-frame' if extrinsics else '--camera-frame'}, of: {self._frames_there()}"
        )

    def _frames_there(self) -> str:
        """The frames of TF, and what is wrong with those that could not be used."""
        frames = ", ".join(self.tree.frames) or "none, there is no TF"
        return f"{frames} ({'; '.join(self.complaints)})" if self.complaints else frames

    def _add_transform(self, topic: str, receive_ns: int, transform) -> None:
        stamp_ns = header_stamp_ns(transform, receive_ns)
        parent, child = bare_frame(transform.header.frame_id), bare_frame(transform.child_frame_id)
        source = f"{topic} ('{parent}' to '{child}')"
        T = self._pose(source, stamp_ns, transform.transform.translation, transform.transform.rotation)
        if T is None:
            return
        if not parent or not child:
            self._leave_out(source, stamp_ns, "it does not name both frames")
            return
        self.tree.add(parent, child, stamp_ns, T, is_static(topic))

    def _pose(self, source: str, stamp_ns: int, t, q) -> np.ndarray | None:
        self._sources.setdefault(source, _Source()).found += 1
        try:
            return pose_from_quaternion((t.x, t.y, t.z), (q.x, q.y, q.z, q.w))
        except InputError as error:
            self._leave_out(source, stamp_ns, str(error).split(";")[0])
            return None

    def _leave_out(self, name: str, stamp_ns: int, reason: str, count: int = 1) -> None:
        source = self._sources[name]
        if not source.left_out:
            source.stamp_ns, source.reason = stamp_ns, reason
        source.left_out += count


@dataclass(frozen=True)
class CameraPoses:
    """Poses of one camera. `how` is a sentence on how they came about; `assumed` where it had to be guessed.

    The poses are those of `pose_frame` in `world_frame`; from there it is `T_pose_camera` of the options to the camera
    where `camera_frame` is None, else TF.
    """

    source: RecordedPoses
    world_frame: str
    pose_frame: str
    camera_frame: str | None
    how: str
    assumed: bool = False

    def at(self, stamp_ns: int) -> np.ndarray | None:
        """T_world_camera at the stamp, or None where it is not known."""
        T_world_pose = self._pose_in_world(stamp_ns)
        T_pose_camera = self._camera_in_pose(stamp_ns)
        return None if T_world_pose is None or T_pose_camera is None else T_world_pose @ T_pose_camera

    def _pose_in_world(self, stamp_ns: int) -> np.ndarray | None:
        source, gap_s = self.source, self.source.options.gap_s
        if source.kind == "tf":
            return source.tree.lookup(self.world_frame, self.pose_frame, stamp_ns, gap_s)
        T_source_pose = source.track.at(stamp_ns, gap_s)
        if self.world_frame == source.world_frame or T_source_pose is None:
            return T_source_pose
        T_world_source = source.tree.lookup(self.world_frame, source.world_frame, stamp_ns, gap_s)
        return None if T_world_source is None else T_world_source @ T_source_pose

    def _camera_in_pose(self, stamp_ns: int) -> np.ndarray | None:
        if self.camera_frame is None:
            return self.source.options.T_pose_camera
        if self.pose_frame == self.camera_frame:
            return np.eye(4)
        return self.source.tree.lookup(self.pose_frame, self.camera_frame, stamp_ns, self.source.options.gap_s)


def choose_poses(recording: Recording, options: PoseOptions) -> RecordedPoses | None:
    """Which topic the poses come from: the one named, else the first that is there of `POSE_TYPES` and TF. None where
    there is none, and none was asked for.

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
    if not moving and options.given:
        raise InputError(f"{recording.path} holds no poses, so {options.given} would have no effect; leave it out")
    return RecordedPoses(moving[0].name, "tf", options) if moving else None


def pose_topics(recording: Recording, poses: RecordedPoses) -> dict[str, Topic]:
    """The topics to read for these poses: their own, and every one of TF."""
    wanted = [recording.topics[poses.topic], *recording.of_type(*TF_TYPES)]
    return {topic.name: topic for topic in wanted}


def is_static(topic_name: str) -> bool:
    return topic_name.endswith("tf_static")


def _translation_and_quaternion(msgtype: str, message) -> tuple:
    if msgtype == "geometry_msgs/msg/TransformStamped":
        return message.transform.translation, message.transform.rotation
    pose = message.pose if msgtype == "geometry_msgs/msg/PoseStamped" else message.pose.pose
    return pose.position, pose.orientation


def _frames(world: str, child: str) -> str:
    return (f"of '{child}' " if child else "") + f"in '{world}'"


def _is_command(topic: Topic) -> bool:
    return any(word in topic.name.lower() for word in _NOT_MEASURED)


def _one_ground_truth(topics: list[Topic]) -> bool:
    return sum("ground_truth" in topic.name for topic in topics) == 1
