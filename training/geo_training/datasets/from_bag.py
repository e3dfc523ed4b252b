"""Recordings to a dataset: of each interval the sharpest image, undistorted, with the pose at its stamp."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from geo_perception.errors import InputError
from geo_perception.geometry import Camera
from geo_perception.ros.camera_info import camera_from_info
from geo_perception.ros.codec import decode_image
from geo_training.console import progress_bar
from geo_training.datasets.bag_poses import (
    NO_POSES,
    CameraPoses,
    PoseOptions,
    RecordedPoses,
    choose_poses,
    pose_topics,
)
from geo_training.datasets.bag_topics import CameraTopics, choose_cameras
from geo_training.datasets.bags import Recording, StampClock, header_stamp_ns
from geo_training.datasets.recorded_cameras import RecordedCameras, camera_with_K
from geo_training.datasets.scene import SceneWriter
from geo_training.datasets.sharpness import SharpestPerInterval, TimedImage
from geo_training.datasets.tally import Tally

# What `to-bag` writes into a bag's metadata: messages cannot say it.
GRAVITY_KEY, SCALE_KEY = "geo_perception.gravity_world", "geo_perception.scale"
POSE_FRAME_KEY = "geo_perception.pose_frame"
GRAVITY_Z_UP = (0.0, 0.0, -1.0)


@dataclass(frozen=True)
class BagOptions:
    """What to take from a recording. `fps` 0 keeps every image; `K_33` stands in for CameraInfo."""

    images: tuple[str, ...] = ()
    camera_infos: tuple[str, ...] = ()
    poses: PoseOptions = field(default_factory=PoseOptions)
    fps: float = 4.0
    K_33: np.ndarray | None = None


def dataset_from_bags(bags: list[Path], out: Path, options: BagOptions, overwrite: bool = False) -> dict:
    """Writes the dataset `out`: a sequence for each bag and camera. Returns counts, notes and warnings.

    What a damaged recording has lost is a warning and stays in the dataset's notes. Raises InputError when a path is no
    recording, a topic is missing or ambiguous, an option would have no effect, or no image is left.
    """
    if options.K_33 is not None and options.camera_infos:
        raise InputError("--K stands in for CameraInfo, so --camera-info would have no effect; leave out one of them")
    with SceneWriter(out, sources=[Path(bag) for bag in bags], overwrite=overwrite) as writer:
        reader = _Reader(writer, options)
        for bag in bags:
            with Recording(bag) as recording:
                reader.read(recording)
        reader.describe()
    posed = sum(frame.T_world_camera is not None for frame in writer.frames)
    return {
        "out": str(out),
        "frames": len(writer.frames),
        "posed_frames": posed,
        "sequences": reader.sequences,
        "images": [tally.to_dict() for tally in reader.tallies],
        "cameras_known": not reader.cameras.guessed,
        "scale": writer.info.scale,
        "scale_source": writer.info.scale_source,
        "world_frame": writer.info.world_frame,
        "notes": writer.info.notes,
        "warnings": reader.warnings,
    }


class _Reader:
    """Reads one recording after the other into the same dataset."""

    def __init__(self, writer: SceneWriter, options: BagOptions):
        self.writer, self.options = writer, options
        self.cameras = RecordedCameras(writer)
        self.sequences: dict[str, int] = {}
        self.warnings: list[str] = []
        self.tallies: list[Tally] = []
        self._worlds: list[_World] = []

    def read(self, recording: Recording) -> None:
        cameras = choose_cameras(recording, self.options.images, self.options.camera_infos)
        poses = choose_poses(recording, self.options.poses)
        if poses is not None:
            poses.child_frame = recording.custom_data.get(POSE_FRAME_KEY, "")
        infos = self._read_infos_and_poses(recording, cameras, poses)
        streams = {
            topics.image: _Stream(topics, self._sequence_name(recording, topics, len(cameras)), self.options.fps)
            for topics in cameras
        }
        with progress_bar(f"images of {recording.path.name}", self._count(recording, streams)) as advance:
            for topic, receive_ns, message in recording.messages(set(streams)):
                advance()
                stream = streams[topic]
                if not stream.received:
                    self._begin(stream, recording, infos.get(stream.topics.info), poses, message)
                best = stream.offer(message, receive_ns)
                if best is not None:
                    self._store(stream, best)
        for stream in streams.values():
            best = stream.selector.finish()
            if best is not None:
                self._store(stream, best)
            self._sum_up(stream, recording, poses)
        for complaint in poses.complaints if poses is not None else []:
            self._warn(f"{recording.path.name}: {complaint}.")
        for loss in recording.losses:
            self._warn(f"{loss}.")

    def describe(self) -> None:
        """Scale, gravity and world of the dataset, from the recordings whose frames have poses."""
        if self.cameras.guessed:
            self._warn(
                "No usable CameraInfo: the focal length is a guess; pass --camera-info or --K fx,fy,cx,cy, or let "
                "`geo-train map` find it."
            )
        worlds = self._worlds
        if not worlds:
            return
        frames = list(dict.fromkeys(world.frame for world in worlds))
        scales, gravities = {world.scale for world in worlds}, {world.gravity for world in worlds}
        recordings = len({world.recording for world in worlds})
        if recordings > 1 and (len(frames) > 1 or "odom" in frames[0]):
            self._warn(
                f"Poses of {recordings} recordings are in {', '.join(frames)}: odometry begins anew in each one, so "
                "they do not share a world; use `geo-train map --poses none`, or one recording."
            )
        topics = ", ".join(dict.fromkeys(world.topic for world in worlds))
        metric = scales == {"metric"}
        self.writer.describe(
            scale="metric" if metric else "unknown",
            scale_source=f"recorded poses on {topics}" + ("" if metric else ", made from a dataset of unknown scale"),
            world_frame=frames[0],
            gravity_world=gravities.pop() if len(gravities) == 1 else None,
        )

    def _read_infos_and_poses(
        self, recording: Recording, cameras: list[CameraTopics], poses: RecordedPoses | None
    ) -> dict[str, _Infos]:
        infos = {topics.info: _Infos() for topics in cameras if topics.info and self.options.K_33 is None}
        wanted = {} if poses is None else pose_topics(recording, poses)
        if not infos and not wanted:
            return infos
        topics = {*infos, *wanted}
        with progress_bar(f"poses of {recording.path.name}", self._count(recording, topics)) as advance:
            for topic, receive_ns, message in recording.messages(topics):
                advance()
                if topic in infos:
                    infos[topic].add(header_stamp_ns(message, receive_ns), message)
                if topic in wanted:
                    poses.add(wanted[topic], receive_ns, message)
        return infos

    def _begin(self, stream: _Stream, recording: Recording, infos: _Infos | None, poses, message) -> None:
        stream.infos = infos
        if infos is not None and not infos.cameras:
            self._warn(f"{stream.topics.info}: {infos.problem}.")
        if poses is None:
            return
        stream.poses = poses.for_camera(str(message.header.frame_id))
        if stream.poses is None:
            self.writer.note(f"{recording.path.name}: TF has no moving way to the camera, so there are no poses.")
            return
        how = stream.poses.how[0].upper() + stream.poses.how[1:]
        (self._warn if stream.poses.assumed else self.writer.note)(f"{how}.")
        stream.world = _World.of(stream.poses, recording)

    def _store(self, stream: _Stream, best: TimedImage) -> None:
        if self.options.K_33 is not None:
            camera = camera_with_K(self.options.K_33, best.image_rgb)
        else:
            camera = stream.infos.at(best.stamp_ns) if stream.infos else None
        image_rgb, camera_id = self.cameras.undistorted(best.image_rgb, camera)
        T_world_camera = stream.poses.at(best.stamp_ns) if stream.poses else None
        stem, stream.stored = f"{stream.stored:06d}", stream.stored + 1
        stream.posed += T_world_camera is not None
        stream.uncalibrated += camera is None
        self.writer.add_frame(
            stream.sequence,
            best.stamp_ns,
            camera_id,
            image_rgb=image_rgb,
            stem=stem,
            T_world_camera=T_world_camera,
        )

    def _sum_up(self, stream: _Stream, recording: Recording, poses: RecordedPoses | None) -> None:
        self.sequences[stream.sequence] = stream.stored
        self._count_up(stream, recording.damaged.get(stream.topics.image, 0), recording.path.name)
        if stream.undecodable:
            self._warn(
                f"{stream.undecodable} of {stream.received} images of {stream.topics.image} cannot be decoded and were "
                f"left out; the first: {stream.problem}."
            )
        if stream.jumps:
            self._warn(f"The clock of {stream.topics.image} jumps back {stream.jumps} times.")
        if stream.posed and stream.world is not None:
            self._worlds.append(stream.world)
        if stream.poses is not None and stream.posed < stream.stored:
            self._warn(
                f"{stream.stored - stream.posed} of {stream.stored} images of {stream.sequence} have no pose on "
                f"{poses.topic} within {poses.options.gap_s:g} s on both sides; --max-gap says how far apart "
                "poses may be."
            )

    def _count_up(self, stream: _Stream, damaged: int, recording: str) -> None:
        tally = Tally(f"{recording} {stream.topics.image}", found=stream.received + damaged, used=stream.stored)
        decoded = stream.received - stream.undecodable - stream.timeless
        tally.leave_out(f"for the rate of {self.options.fps:g} a second", decoded - stream.stored)
        tally.leave_out("undecodable", stream.undecodable)
        tally.leave_out("damaged", damaged)
        tally.leave_out("without a stamp, on a clock of their own", stream.timeless)
        if self.options.poses.topic != NO_POSES:
            tally.lack("without a pose", stream.stored - stream.posed)
        tally.lack("without a known camera", stream.uncalibrated)
        self.tallies.append(tally)
        self.writer.note(tally.sentence)

    def _sequence_name(self, recording: Recording, topics: CameraTopics, cameras: int) -> str:
        name = recording.path.resolve().name if recording.path.is_dir() else recording.path.name.split(".")[0]
        name = re.sub(r"[^\w-]+", "_", name).strip("_") or "recording"
        name = f"{name}_{topics.name}" if cameras > 1 else name
        unique, number = name, 2
        while unique in self.sequences:
            unique, number = f"{name}_{number}", number + 1
        self.sequences[unique] = 0
        return unique

    def _warn(self, sentence: str) -> None:
        if sentence not in self.warnings:
            self.warnings.append(sentence)
            self.writer.note(sentence)

    @staticmethod
    def _count(recording: Recording, topics) -> int:
        return sum(recording.topics[topic].count for topic in topics)


@dataclass(frozen=True)
class _World:
    recording: Path
    frame: str
    topic: str
    scale: str
    gravity: tuple[float, float, float] | None

    @classmethod
    def of(cls, poses: CameraPoses, recording: Recording) -> _World:
        """ROS worlds have z up (REP 103) and metres; a bag made from a dataset says what its world has instead."""
        gravity, custom_data = GRAVITY_Z_UP, recording.custom_data
        if GRAVITY_KEY in custom_data:
            try:
                x, y, z = (float(word) for word in custom_data[GRAVITY_KEY].split())
                gravity = (x, y, z)
            except ValueError:
                gravity = None
        scale = custom_data.get(SCALE_KEY, "metric")
        return cls(recording.path, poses.world_frame, poses.source.topic, scale, gravity)


@dataclass
class _Infos:
    """The cameras of a CameraInfo topic over time; a driver that zooms or crops sends another."""

    stamps_ns: list[int] = field(default_factory=list)
    cameras: list[Camera] = field(default_factory=list)
    problem: str = "it holds no CameraInfo"

    def add(self, stamp_ns: int, message) -> None:
        try:
            camera = camera_from_info(message)
        except InputError as error:
            self.problem = str(error)
            return
        if not self.cameras or camera != self.cameras[-1]:
            self.stamps_ns.append(stamp_ns)
            self.cameras.append(camera)

    def at(self, stamp_ns: int) -> Camera | None:
        return self.cameras[max(bisect_right(self.stamps_ns, stamp_ns) - 1, 0)] if self.cameras else None


class _Stream:
    """The images of one camera while they are read."""

    def __init__(self, topics: CameraTopics, sequence: str, fps: float):
        self.topics, self.sequence = topics, sequence
        self.selector = SharpestPerInterval(fps)
        self.infos: _Infos | None = None
        self.poses: CameraPoses | None = None
        self.world: _World | None = None
        self.received = self.stored = self.posed = self.uncalibrated = 0
        self.undecodable = self.timeless = self.jumps = 0
        self.problem = ""
        self._clock = StampClock()
        self._last_ns: int | None = None

    def offer(self, message, receive_ns: int) -> TimedImage | None:
        self.received += 1
        stamp_ns = self._clock.stamp_ns(message, receive_ns)
        if stamp_ns is None:
            self.timeless += 1
            return None
        self.jumps += self._last_ns is not None and stamp_ns < self._last_ns
        self._last_ns = stamp_ns
        try:
            image_rgb = decode_image(message)
        except InputError as error:
            self.undecodable += 1
            self.problem = self.problem or str(error)
            return None
        return self.selector.offer(stamp_ns, image_rgb)
