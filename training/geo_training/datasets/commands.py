"""`geo-train dataset`: recordings and public formats in, one layout out. Here are the commands on a dataset itself."""

from __future__ import annotations

from collections import Counter
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from geo_perception.errors import InputError
from geo_training.console import NotGoodEnough, command_group, say, warn, write_json
from geo_training.datasets.check.check import check_dataset
from geo_training.datasets.check.findings import Severity
from geo_training.datasets.import_commands import import_command, names_in
from geo_training.datasets.recording_commands import from_bag_command, from_video_command, to_bag_command
from geo_training.datasets.scene import SceneDataset
from geo_training.datasets.splits import every_nth_split, sequence_split, time_block_split, without_test
from geo_training.options import JsonOption

app = command_group(
    "Recordings and public formats in, one dataset layout out.",
    order=("from-bag", "from-video", "import", "check", "split", "to-bag"),
)
app.command("from-bag")(from_bag_command)
app.command("from-video")(from_video_command)
app.command("import")(import_command)
app.command("to-bag")(to_bag_command)

DatasetArgument = Annotated[Path, typer.Argument(metavar="DIR", help="A dataset.", show_default=False)]


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
    given = {"--test": test or None, "--val": val or None, "--first": first, "--block": block, "--every": every}
    _refuse_idle(by, {option for option, value in given.items() if value is not None})
    dataset = SceneDataset(root)
    if by is SplitBy.SEQUENCE:
        if not names_in(test):
            raise typer.BadParameter("name the sequences to hold back", param_hint="--test")
        frames = sequence_split(dataset.frames, names_in(test), names_in(val))
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
