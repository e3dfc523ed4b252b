"""`geo-train dataset import`, `split` and `check`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from geo_perception.errors import InputError
from geo_training.console import NotGoodEnough, say, warn, write_json
from geo_training.datasets.app import app
from geo_training.options import JsonOption, OverwriteOption

DatasetArgument = Annotated[Path, typer.Argument(metavar="DIR", help="A dataset.", show_default=False)]


class Format(str, Enum):
    IMAGES = "images"
    COLMAP = "colmap"
    SEVEN_SCENES = "7scenes"
    TUM = "tum"
    KITTI = "kitti"
    KITTI_RAW = "kitti_raw"
    TRANSFORMS = "transforms"
    INDOOR6 = "indoor6"


@app.command("import")
def import_(
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

    Images are copied as they are; where the lens bends them they are undistorted once, and where a mark turns them they
    are stored upright, with their K, depth, masks and poses. What is left out is counted, with the reason; so is how
    poses, depth and stamps were paired with the images. These lines are printed, and kept in dataset.json and --json.

    Example: `geo-train dataset import --format transforms fox --out fox_dataset`

    Example: `geo-train dataset import recordings/chess --format 7scenes --fps 4 --out chess`
    """
    from geo_training.datasets.importers import ImportOptions, guess_format, import_dataset
    from geo_training.datasets.recordings.recorded_cameras import parse_K

    if format_ is None and path.exists():
        format_ = Format(guess_format(path))
        say(f"{path} is read as --format {format_.value}")
    options = ImportOptions(
        rate_hz=rate,
        fps=fps,
        depth_units_per_m=depth_scale,
        K_33=None if K is None else parse_K(K),
        sequences=tuple(_names(sequences)),
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


class SplitBy(str, Enum):
    SEQUENCE = "sequence"
    BLOCKS = "blocks"
    NTH = "nth"


# What each way to split looks at.
_SPLIT_OPTIONS = {
    SplitBy.SEQUENCE: {"--test", "--val"},
    SplitBy.BLOCKS: {"--first", "--block"},
    SplitBy.NTH: {"--every"},
}


def _refuse_idle(by: SplitBy, given: set[str]) -> None:
    if idle := sorted(given - _SPLIT_OPTIONS[by]):
        raise InputError(
            f"with --by {by.value}, {', '.join(idle)} would have no effect; leave that out, or split by something else"
        )


@app.command("split")
def split(
    root: DatasetArgument,
    by: Annotated[SplitBy, typer.Option("--by", help="What a split is made of.")],
    test: Annotated[str, typer.Option(metavar="A,B", help="sequence: these are test.")] = "",
    val: Annotated[str, typer.Option(metavar="A,B", help="sequence: these are val.")] = "",
    first: Annotated[
        float | None, typer.Option(min=0, max=0.99, help="blocks: the first share by time is train. [default: 0.7]")
    ] = None,
    block: Annotated[
        int | None, typer.Option(min=1, help="blocks: frames in a block of the rest. [default: 10]")
    ] = None,
    every: Annotated[int | None, typer.Option(min=2, help="nth: each of these frames is test. [default: 5]")] = None,
    json_path: JsonOption = None,
) -> None:
    """Say which frames map the scene (train) and which measure it (test).

    `sequence` holds whole recordings back: the honest choice where there are several. `blocks` trains on the first
    share of each recording and on every other block of the rest. `nth` is for unordered photographs only: neighbours
    in a recording look alike.

    Example: `geo-train dataset split office --by blocks --first 0.7 --block 10`
    """
    from collections import Counter

    from geo_training.datasets.scene import SceneDataset
    from geo_training.datasets.splits import every_nth_split, sequence_split, time_block_split, without_test

    given = {"--test": test or None, "--val": val or None, "--first": first, "--block": block, "--every": every}
    _refuse_idle(by, {option for option, value in given.items() if value is not None})
    dataset = SceneDataset(root)
    if by is SplitBy.SEQUENCE:
        if not _names(test):
            raise typer.BadParameter("name the sequences to hold back", param_hint="--test")
        frames = sequence_split(dataset.frames, _names(test), _names(val))
    elif by is SplitBy.BLOCKS:
        frames = time_block_split(dataset.frames, 0.7 if first is None else first, 10 if block is None else block)
        if short := without_test(frames):
            warn(f"too short for a block of test, so that all of it is train: {', '.join(short)}; lower --block")
    else:
        frames = every_nth_split(dataset.frames, 5 if every is None else every)
    dataset.save_frames(frames)
    counts = Counter(frame.split for frame in frames)
    write_json(json_path, {"dataset": str(root), "splits": dict(counts)})
    say(f"{root}: " + ", ".join(f"{count} {name}" for name, count in sorted(counts.items())))


@app.command("check")
def check(root: DatasetArgument, json_path: JsonOption = None) -> None:
    """Say what is wrong with a dataset before anyone trains on it: images, cameras, clocks, poses.

    Exits 1 when a finding is an error. Poses are compared with feature matches between neighbouring frames, and the
    convention that would fit is named.

    Example: `geo-train dataset check office --json check.json`
    """
    from rich.console import Console
    from rich.table import Table

    from geo_training.datasets.check.check import check_dataset
    from geo_training.datasets.check.findings import Severity

    report = check_dataset(root)
    write_json(json_path, report.to_dict())
    colours = {Severity.ERROR: "bold red", Severity.WARNING: "bold yellow", Severity.NOTE: "cyan"}
    if report.findings:
        table = Table("", "check", "what is wrong", "remedy", title=f"{root}: {report.frames} frames")
        for finding in report.findings:
            texts = (text.replace("[", r"\[") for text in (finding.check, finding.message, finding.remedy))
            table.add_row(f"[{colours[finding.severity]}]{finding.severity.value}[/]", *texts)
        Console().print(table)
    else:
        say(f"{root}: {report.frames} frames, nothing wrong")
    if not report.usable:
        raise NotGoodEnough(f"{report.count(Severity.ERROR)} errors in {root}; mend them before training")


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
