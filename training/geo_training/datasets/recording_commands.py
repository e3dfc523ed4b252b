"""`geo-train dataset from-bag`, `from-video` and `to-bag`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from geo_perception.errors import InputError
from geo_perception.geometry import pose_from_quaternion
from geo_training.console import say, warn, write_json
from geo_training.datasets.recordings.from_bag import BagOptions, dataset_from_bags
from geo_training.datasets.recordings.from_video import dataset_from_videos
from geo_training.datasets.recordings.pose_options import PoseOptions
from geo_training.datasets.recordings.recorded_cameras import parse_K
from geo_training.datasets.recordings.to_bag import bag_from_dataset
from geo_training.options import JsonOption, OverwriteOption

OutOption = Annotated[Path, typer.Option("--out", metavar="DIR", help="The dataset to make.", show_default=False)]
FpsOption = Annotated[
    float, typer.Option(min=0.0, help="Intervals a second, of each the sharpest image; 0 keeps every image.")
]
KOption = Annotated[
    str | None, typer.Option("--K", metavar="FX,FY,CX,CY", help="Intrinsics in pixels (or a text file with K).")
]


class Rectified(str, Enum):
    AUTO = "auto"
    TRUE = "true"
    FALSE = "false"


class Storage(str, Enum):
    MCAP = "mcap"
    SQLITE3 = "sqlite3"


def from_bag_command(
    bags: Annotated[
        list[Path],
        typer.Argument(metavar="BAG...", help=".bag, .mcap or .db3 files, rosbag2 folders.", show_default=False),
    ],
    out: OutOption,
    image: Annotated[
        list[str] | None, typer.Option(metavar="TOPIC", help="Images; once for each camera. [default: the only one]")
    ] = None,
    camera_info: Annotated[
        list[str] | None,
        typer.Option(metavar="TOPIC", help="CameraInfo, in the order of --image. [default: beside it]"),
    ] = None,
    pose: Annotated[
        str | None, typer.Option(metavar="TOPIC", help="Poses: a pose topic, odometry, /tf, or none. [default: found]")
    ] = None,
    fps: FpsOption = 4.0,
    K: KOption = None,
    rectified: Annotated[
        Rectified,
        typer.Option(help="Whether the images have no lens distortion any more; auto: as the topic's name says."),
    ] = Rectified.AUTO,
    image_bits: Annotated[
        int, typer.Option(metavar="BITS", help="How many of 16 bits the images use: 10, 12, 14, 16; 0: what they need.")
    ] = 0,
    map_frame: Annotated[
        str | None, typer.Option(metavar="FRAME", help="World frame of TF. [default: map, world or odom]")
    ] = None,
    camera_frame: Annotated[
        str | None, typer.Option(metavar="FRAME", help="The camera's optical frame. [default: of the images]")
    ] = None,
    pose_frame: Annotated[
        str | None,
        typer.Option(metavar="FRAME", help="Whose poses are meant. [default: child_frame_id, for TF base_link]"),
    ] = None,
    pose_camera: Annotated[
        str | None,
        typer.Option(
            metavar="'TX TY TZ QX QY QZ QW'",
            help="The camera's optical frame in --pose-frame, also where poses come from TF.",
        ),
    ] = None,
    max_gap: Annotated[
        float | None, typer.Option(min=0.0, metavar="S", help="Interpolate between poses so far apart. [default: 0.5]")
    ] = None,
    overwrite: OverwriteOption = False,
    json_path: JsonOption = None,
) -> None:
    """Make a dataset from recordings: ROS 1 bags, ROS 2 bags (MCAP, sqlite3, compressed, split), whole or damaged.

    Every bag is a sequence; with several --image, every camera of every bag. Distortion in CameraInfo is taken out; for
    rectified images (image_rect) P of CameraInfo holds, and nothing is taken out.
    Poses are looked for in this order: PoseStamped, PoseWithCovarianceStamped, Odometry, TF. A pose message that names
    no child frame is taken as the pose of base_link where TF leads from there to the camera, else of the camera.

    Example: `geo-train dataset from-bag office.mcap --out office`

    Example: `geo-train dataset from-bag monday tuesday --image /front/image_raw --pose /tf --out floor2`
    """
    poses = PoseOptions(
        topic=pose,
        map_frame=map_frame,
        camera_frame=camera_frame,
        pose_frame=pose_frame,
        T_pose_camera=None if pose_camera is None else _parse_pose(pose_camera),
        max_gap_s=max_gap,
    )
    K_33 = None if K is None else parse_K(K)
    options = BagOptions(tuple(image or ()), tuple(camera_info or ()), poses, fps, K_33, rectified.value, image_bits)
    result = dataset_from_bags(bags, out, options, overwrite)
    write_json(json_path, result)
    for note in result["notes"]:
        (warn if note in result["warnings"] else say)(note)
    say(
        f"{out}: {result['frames']} frames of {len(result['sequences'])} sequences, {result['posed_frames']} with a "
        f"pose, scale {result['scale']}"
    )


def from_video_command(
    videos: Annotated[list[Path], typer.Argument(metavar="VIDEO...", help="Video files.", show_default=False)],
    out: OutOption,
    fps: FpsOption = 4.0,
    K: KOption = None,
    overwrite: OverwriteOption = False,
    json_path: JsonOption = None,
) -> None:
    """Make a dataset from films; every film is a sequence. Images are stored as they are shown: turned and mirrored as
    the film says, with square pixels. --K is for the images as shown.

    Example: `geo-train dataset from-video walk1.mp4 walk2.mp4 --out office --fps 4`
    """
    result = dataset_from_videos(videos, out, fps, None if K is None else parse_K(K), overwrite)
    write_json(json_path, result)
    for note in result["notes"]:
        (warn if note in result["warnings"] else say)(note)
    say(f"{out}: {result['frames']} frames of {len(result['sequences'])} sequences")


def to_bag_command(
    dataset: Annotated[Path, typer.Argument(metavar="DIR", help="A dataset.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", metavar="BAG", help="The rosbag2 folder to make.", show_default=False)],
    compressed: Annotated[
        bool, typer.Option("--compressed", help="Images as CompressedImage: the files as they are.")
    ] = False,
    sequence: Annotated[str | None, typer.Option(metavar="NAME", help="Only this sequence.")] = None,
    split: Annotated[str | None, typer.Option(metavar="NAME", help="Only this split: train, val or test.")] = None,
    storage: Annotated[Storage, typer.Option(help="How rosbag2 stores it.")] = Storage.MCAP,
    overwrite: OverwriteOption = False,
    json_path: JsonOption = None,
) -> None:
    """Write a dataset as a rosbag2: images, CameraInfo, ground-truth poses and odometry, for replay.

    Topics: /camera/image_raw (or /camera/image_raw/compressed), /camera/camera_info, /ground_truth/pose (the camera's
    optical frame in the world), /odom (the same motion since the first frame).

    Example: `geo-train dataset to-bag office --out office_bag --split test`
    """
    result = bag_from_dataset(dataset, out, compressed, sequence, split, storage.value, overwrite)
    write_json(json_path, result)
    if result["shift_ns"]:
        say(f"stamps were moved by {result['shift_ns'] * 1e-9:g} s: a stamp of zero means none in ROS")
    say(f"{out}: {result['frames']} frames, {result['posed_frames']} with a pose, {result['duration_s']:.1f} s")


def _parse_pose(text: str):
    try:
        numbers = [float(word) for word in text.replace(",", " ").split()]
        if len(numbers) != 7:
            raise ValueError
        return pose_from_quaternion(numbers[:3], numbers[3:])
    except InputError:
        raise
    except ValueError:
        raise InputError(f"--pose-camera '{text}' is not seven numbers; give 'tx ty tz qx qy qz qw'") from None
