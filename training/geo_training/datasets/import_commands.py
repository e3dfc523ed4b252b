"""`geo-train dataset import`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from geo_training.console import say, warn, write_json
from geo_training.datasets.importers import ImportOptions, guess_format, import_dataset
from geo_training.datasets.recordings.recorded_cameras import parse_K
from geo_training.options import JsonOption, OverwriteOption


class Format(str, Enum):
    IMAGES = "images"
    COLMAP = "colmap"
    SEVEN_SCENES = "7scenes"
    TUM = "tum"
    KITTI = "kitti"
    KITTI_RAW = "kitti_raw"
    TRANSFORMS = "transforms"
    INDOOR6 = "indoor6"


def import_command(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The folder of the data set.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The dataset to make.", show_default=False)],
    format_: Annotated[
        Format | None, typer.Option("--format", help="Its format; guessed from its files when left out.")
    ] = None,
    fps: Annotated[float | None, typer.Option(min=1e-3, help="Keep at most this many frames a second.")] = None,
    rate: Annotated[
        float | None, typer.Option(min=1e-3, help="Frames a second of images that have no stamps (10; 7scenes: 30).")
    ] = None,
    sequences: Annotated[str, typer.Option(metavar="A,B", help="Only these sequences.")] = "",
    K: Annotated[
        str | None, typer.Option("--K", metavar="FX,FY,CX,CY|FILE", help="K in pixels, or a file with it, to overrule.")
    ] = None,
    depth_scale: Annotated[
        float | None, typer.Option(min=1e-6, help="Depth units in a metre (1000; tum: 5000; floats: 1), to overrule.")
    ] = None,
    split_files: Annotated[
        list[Path] | None,
        typer.Option(
            "--split-file", metavar="FILE", help="kitti_raw: a list of frames; its name says train, val or test."
        ),
    ] = None,
    overwrite: OverwriteOption = False,
    json_path: JsonOption = None,
) -> None:
    """Turn a public format into a dataset: plain images, COLMAP, 7-Scenes, TUM RGB-D, KITTI odometry and raw,
    transforms.json, Indoor-6.

    Images are copied as they are; where the lens distorts them they are undistorted once, and where a mark turns them
    they are stored upright, with their K, depth, masks and poses. What is left out is counted, with the reason; so is
    how poses, depth and stamps were paired with the images. These lines are printed, and kept in dataset.json and
    --json.

    Example: `geo-train dataset import --format transforms fox --out fox_dataset`

    Example: `geo-train dataset import recordings/chess --format 7scenes --fps 4 --out chess`
    """
    if format_ is None and path.exists():
        format_ = Format(guess_format(path))
        say(f"{path} is read as --format {format_.value}")
    options = ImportOptions(
        rate_hz=rate,
        fps=fps,
        depth_units_per_m=depth_scale,
        K_33=None if K is None else parse_K(K),
        sequences=tuple(names_in(sequences)),
        split_files=tuple(split_files or ()),
    )
    result = import_dataset(path, out, format_.value if format_ else None, options, overwrite)
    write_json(json_path, result)
    for note in result["notes"]:
        say(note)
    if not result["cameras_known"]:
        warn("no K was given: the focal length is a guess; put K.txt beside the images, pass --K, or map without poses")
    say(
        f"{out}: {result['frames']} frames of {len(result['sequences'])} sequences, {result['posed_frames']} with a "
        f"pose, {result['depth_images']} with depth, scale {result['scale']}"
    )


def names_in(text: str) -> list[str]:
    """The names in `A,B`."""
    return [name.strip() for name in text.split(",") if name.strip()]
