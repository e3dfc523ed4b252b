"""Video files to a dataset: of each interval the sharpest image, turned upright."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from geo_perception.errors import InputError
from geo_training.console import progress_bar
from geo_training.datasets.recorded_cameras import RecordedCameras, camera_with_K
from geo_training.datasets.scene import SceneWriter
from geo_training.datasets.sharpness import SharpestPerInterval, TimedImage


def dataset_from_videos(
    videos: list[Path], out: Path, fps: float = 4.0, K_33: np.ndarray | None = None, overwrite: bool = False
) -> dict:
    """Writes the dataset `out`, a sequence for each video. `fps` 0 keeps every image. Returns counts and notes.

    Stamps count from the first image of each video. Without `K_33` the focal length is a guess that mapping refines.
    Raises InputError when a file is no video, or K does not fit its images.
    """
    sequences: dict[str, int] = {}
    with SceneWriter(out, sources=[Path(video) for video in videos], overwrite=overwrite) as writer:
        cameras = RecordedCameras(writer)
        for video in map(Path, videos):
            sequence = _unique_name(video, sequences)
            sequences[sequence] = 0
            selector = SharpestPerInterval(fps)

            def store(best: TimedImage | None, sequence: str = sequence) -> None:
                if best is None:
                    return
                camera = None if K_33 is None else camera_with_K(K_33, best.image_rgb)
                image_rgb, camera_id = cameras.undistorted(best.image_rgb, camera)
                writer.add_frame(
                    sequence, best.stamp_ns, camera_id, image_rgb=image_rgb, stem=f"{sequences[sequence]:06d}"
                )
                sequences[sequence] += 1

            for image in _images(video, writer):
                store(selector.offer(image.stamp_ns, image.image_rgb))
            store(selector.finish())
        if cameras.guessed:
            writer.note("No K was given: the focal length is a guess until the dataset is mapped.")
    return {
        "out": str(out),
        "frames": len(writer.frames),
        "sequences": sequences,
        "cameras_known": not cameras.guessed,
        "notes": writer.info.notes,
    }


def _images(video: Path, writer: SceneWriter) -> Iterator[TimedImage]:
    """The images of one video, upright, with stamps in nanoseconds since its first image."""
    import av

    if not video.is_file():
        raise InputError(f"{video} is not there, or not a file; give a video file")
    try:
        container = av.open(str(video))
    except (av.error.FFmpegError, ValueError) as error:
        raise InputError(f"{video} cannot be opened as a video ({_reason(error)}); give another file") from None
    with container:
        if not container.streams.video:
            raise InputError(f"{video} holds no video stream; give a video file")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        damaged, count, first_s = 0, 0, None
        rate_hz = float(stream.average_rate or 30)
        with progress_bar(f"images of {video.name}", stream.frames or None) as advance:
            for packet in _packets(container, stream, video, writer):
                try:
                    frames = packet.decode()
                except av.error.FFmpegError:
                    damaged += 1
                    continue
                for frame in frames:
                    time_s = count / rate_hz if frame.time is None else float(frame.time)
                    first_s = time_s if first_s is None else first_s
                    count += 1
                    advance()
                    yield TimedImage(round((time_s - first_s) * 1e9), _upright(frame))
    if not count:
        raise InputError(f"{video} holds no image that can be decoded; give another file")
    if damaged:
        writer.note(f"{video.name}: {damaged} packets are damaged and were left out.")


def _packets(container, stream, video: Path, writer: SceneWriter) -> Iterator:
    import av

    try:
        yield from container.demux(stream)
    except av.error.FFmpegError as error:
        writer.note(f"{video.name} is damaged ({_reason(error)}): what comes after that is lost.")


def _upright(frame) -> np.ndarray:
    """RGB uint8 (H, W, 3), turned by the rotation that a phone wrote beside its images."""
    quarter_turns = round(frame.rotation / 90) % 4  # counter-clockwise, as in NumPy
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), quarter_turns))


def _unique_name(video: Path, taken: dict[str, int]) -> str:
    name = re.sub(r"[^\w-]+", "_", video.stem).strip("_") or "video"
    unique, number = name, 2
    while unique in taken:
        unique, number = f"{name}_{number}", number + 1
    return unique


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0]
