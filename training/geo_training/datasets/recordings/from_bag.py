"""Recordings to a dataset: of each interval the sharpest image, undistorted, with the pose at its stamp."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from geo_perception.errors import InputError
from geo_perception.geometry import Camera
from geo_perception.ros.topics import is_rectified, rectified_sentence
from geo_training.console import progress_bar
from geo_training.datasets.recordings.bag_cameras import RecordedInfos, bits_sentence, image_decoder
from geo_training.datasets.recordings.bag_poses import RecordedPoses, choose_poses, pose_topics
from geo_training.datasets.recordings.bag_topics import CameraTopics, choose_cameras
from geo_training.datasets.recordings.bags import Recording, header_stamp_ns
from geo_training.datasets.recordings.image_stream import ImageStream
from geo_training.datasets.recordings.pose_options import NO_POSES, PoseOptions
from geo_training.datasets.recordings.recorded_cameras import GivenK, RecordedCameras
from geo_training.datasets.recordings.recorded_world import POSE_FRAME_KEY, RecordedWorld
from geo_training.datasets.recordings.sharpness import TimedImage
from geo_training.datasets.scene_writer import SceneWriter
from geo_training.datasets.tally import Tally


@dataclass(frozen=True)
class BagOptions:
    """What to take from a recording. `fps` 0 keeps every image; `K_33` stands in for CameraInfo.

    `rectified` (auto, true, false) says whether the images are without distortion, `image_bits` how many of 16 bits
    they use (0: as many as they need).
    """

    images: tuple[str, ...] = ()
    camera_infos: tuple[str, ...] = ()
    poses: PoseOptions = field(default_factory=PoseOptions)
    fps: float = 4.0
    K_33: np.ndarray | None = None
    rectified: str = "auto"
    image_bits: int = 0


def dataset_from_bags(bags: list[Path], out: Path, options: BagOptions, overwrite: bool = False) -> dict:
    """Writes the dataset `out`: a sequence for each bag and camera. Returns counts, notes and warnings.

    What a damaged recording has lost is a warning and stays in the dataset's notes. Raises InputError when a path is no
    recording, a topic is missing or ambiguous, an option would have no effect, or no image is left.
    """
    if options.K_33 is not None and options.camera_infos:
        raise InputError("--K stands in for CameraInfo, so --camera-info would have no effect; leave out one of them")
    if options.K_33 is not None and options.rectified != "auto":
        raise InputError("--K is without distortion, so --rectified would have no effect; leave out one of them")
    with SceneWriter(out, sources=[Path(bag) for bag in bags], overwrite=overwrite) as writer:
        reader, recordings = _Reader(writer, options), []
        for bag in bags:
            before = list(reader.sequences)
            with Recording(bag) as recording:
                reader.read(recording)
            recordings.append([name for name in reader.sequences if name not in before])
        reader.describe()
    posed = sum(frame.T_world_camera is not None for frame in writer.frames)
    return {
        "out": str(out),
        "frames": len(writer.frames),
        "posed_frames": posed,
        "sequences": reader.sequences,
        "recordings": recordings,  # the sequences of each bag
        "tallies": [tally.to_dict() for tally in reader.tallies],
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
        self._given = None if options.K_33 is None else GivenK(options.K_33)
        self._worlds: list[RecordedWorld] = []

    def read(self, recording: Recording) -> None:
        cameras = choose_cameras(recording, self.options.images, self.options.camera_infos)
        poses = choose_poses(recording, self.options.poses)
        if poses is not None:
            poses.child_frame = recording.custom_data.get(POSE_FRAME_KEY, "")
        infos = self._read_infos_and_poses(recording, cameras, poses)
        streams = {
            topics.image: ImageStream(
                topics,
                self._sequence_name(recording, topics, len(cameras)),
                self.options.fps,
                image_decoder(recording, topics.image, self.options.image_bits),
                infos.get(topics.image),
            )
            for topics in cameras
        }
        with progress_bar(f"images of {recording.path.name}", self._count(recording, streams)) as advance:
            for topic, receive_ns, message in recording.messages(set(streams)):
                advance()
                stream = streams[topic]
                if not stream.received:
                    self._begin(stream, recording, poses, message)
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
    ) -> dict[str, RecordedInfos]:
        """The CameraInfo of each image topic that has one; the poses go into `poses`."""
        infos = {
            topics.image: RecordedInfos(is_rectified(topics.image, self.options.rectified))
            for topics in cameras
            if topics.info and self.options.K_33 is None
        }
        by_topic = {topics.info: [] for topics in cameras if topics.image in infos}
        for topics in cameras:
            if topics.image in infos:
                by_topic[topics.info].append(infos[topics.image])
        wanted = {} if poses is None else pose_topics(recording, poses)
        if not infos and not wanted:
            return infos
        topics = {*by_topic, *wanted}
        with progress_bar(f"poses of {recording.path.name}", self._count(recording, topics)) as advance:
            for topic, receive_ns, message in recording.messages(topics):
                advance()
                for recorded in by_topic.get(topic, ()):
                    recorded.add(header_stamp_ns(message, receive_ns), message)
                if topic in wanted:
                    poses.add(wanted[topic], receive_ns, message)
        return infos

    def _begin(self, stream: ImageStream, recording: Recording, poses, message) -> None:
        stream.frame_id = str(message.header.frame_id)
        self._describe_images(stream)
        if poses is None:
            return
        stream.poses = poses.for_camera(str(message.header.frame_id))
        if stream.poses is None:
            self.writer.note(f"{recording.path.name}: TF has no moving way to the camera, so there are no poses.")
            return
        how = stream.poses.how[0].upper() + stream.poses.how[1:]
        (self._warn if stream.poses.assumed else self.writer.note)(f"{how}.")
        stream.world = RecordedWorld.of(stream.poses, recording)

    def _describe_images(self, stream: ImageStream) -> None:
        """Says what is taken of the images of a topic."""
        if stream.infos is not None:
            if not stream.infos:
                self._warn(f"{stream.topics.info}: {stream.infos.problem}.")
            elif stream.infos.rectified or self.options.rectified != "auto":
                self._note(rectified_sentence(stream.topics.image, self.options.rectified, "--rectified"))
        if sentence := bits_sentence(stream.topics.image, stream.decoder, self.options.image_bits):
            self._note(sentence)

    def _camera(self, stream: ImageStream, best: TimedImage) -> tuple[Camera | None, Camera | None]:
        """The camera of an image, None where it is not known, and the lens that a rectified one was taken with. Raises
        InputError when its CameraInfo is another camera's."""
        if self._given is not None:
            return self._given.camera(best.image_rgb, stream.topics.image), None
        height_px, width_px = best.image_rgb.shape[:2]
        if not stream.infos:
            return None, None
        found = stream.infos.at(best.stamp_ns, stream.frame_id, width_px, height_px)
        for sentence in found.inconsistencies.values():
            self._warn(f"{stream.topics.info}: {sentence}.")
        return found.camera, stream.infos.lens_at(best.stamp_ns, width_px, height_px)

    def _store(self, stream: ImageStream, best: TimedImage) -> None:
        camera, rectified_lens = self._camera(stream, best)
        image_rgb, camera_id = self.cameras.undistorted(best.image_rgb, camera, rectified_lens)
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

    def _sum_up(self, stream: ImageStream, recording: Recording, poses: RecordedPoses | None) -> None:
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

    def _count_up(self, stream: ImageStream, damaged: int, recording: str) -> None:
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

    def _note(self, text: str) -> None:
        sentence = f"{text[0].upper()}{text[1:]}."
        if sentence not in self.writer.info.notes:
            self.writer.note(sentence)

    def _warn(self, sentence: str) -> None:
        if sentence not in self.warnings:
            self.warnings.append(sentence)
            self.writer.note(sentence)

    @staticmethod
    def _count(recording: Recording, topics) -> int:
        return sum(recording.topics[topic].count for topic in topics)
