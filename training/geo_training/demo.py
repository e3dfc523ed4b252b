"""The whole road on one machine, from a recording to a live pose: `make demo`.

A furnished room is rendered and walked through twice, by day and in the evening. The first recording becomes a map and
a scene; the second is played into the live node at its own rate, and its poses are compared with the truth.
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from geo_perception.errors import InputError
from geo_training.console import JsonOption, NotGoodEnough, SeedOption, SingleCommand, command_group, say, write_json

MIN_RECALL = 0.90
RECALL = "recall_5cm_5deg"
# What a run leaves in its folder; nothing else is ever removed from there.
FIRST, SECOND, DATASET, SCENE = "first_walk", "second_walk", "room", "room.safetensors"
RESULT, REPORT, MARK = "result.json", "report.html", ".demo"
_MADE = (FIRST, SECOND, DATASET, SCENE, f"{SCENE}.run", RESULT, REPORT)


@dataclass
class Road:
    """The stages, run one after another in `folder`, each as the command that a user would type."""

    folder: Path
    seconds: dict[str, float] = field(default_factory=dict)

    def run(self, title: str, *command: str) -> None:
        """Runs one stage. Raises NotGoodEnough when it fails; it has said why itself."""
        say(f"\n{len(self.seconds) + 1}. {title}\n$ {shlex.join(command)}")
        started_s = time.monotonic()
        sys.stdout.flush()
        code = subprocess.run(_executable(command), check=False).returncode
        self.seconds[title] = time.monotonic() - started_s
        if code:
            raise NotGoodEnough(f"'{title}' ended with code {code} (its own words stand above)")
        say(f"   {self.seconds[title]:.0f} s")

    def __truediv__(self, name: str) -> str:
        return str(self.folder / name)


def prepare(folder: Path) -> None:
    """Makes the folder, or clears it of what an earlier run left.

    Raises InputError when it holds other things than a demo's.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; choose another --out")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MARK).is_file():
        raise InputError(f"{folder} holds files that are not this demo's; choose another --out")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).touch()
    for name in _MADE:
        for path in (folder / name, folder / f"{name}.partial"):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def drive(folder: Path, seed: int) -> dict:
    """Runs the whole road in `folder` and returns the figures of the replay."""
    prepare(folder)
    road = Road(folder)
    room = ("python", "-m", "geo_training.synthetic.recording", "--seed", str(seed))
    road.run(
        "Record a walk through a room, by day", *room,
        "--walk", "1", "--light", "daylight", "--turns", "4", "--duration", "40", "--rate", "8", "--out", road / FIRST,
    )  # fmt: skip
    road.run(
        "Record another walk through the same room, in the evening", *room,
        "--walk", "2", "--light", "evening", "--turns", "-2", "--duration", "40", "--rate", "2", "--out", road / SECOND,
    )  # fmt: skip
    road.run(
        "Make a dataset of the first recording",
        "geo-train",
        "dataset",
        "from-bag",
        road / FIRST,
        "--out",
        road / DATASET,
    )
    road.run("Map it", "geo-train", "map", road / DATASET)
    road.run("Choose landmarks", "geo-train", "landmarks", road / DATASET, "--count", "300")
    road.run(
        "Train the head that finds them", "geo-train", "localization", "head", road / DATASET, "--out", road / SCENE,
        "--steps", "450", "--batch", "4", "--seed", str(seed),
    )  # fmt: skip
    road.run(
        "Play the second recording into the live node", "geo-eval", "replay", road / SECOND, "--scene", road / SCENE,
        "--live", "--report", road / REPORT, "--json", road / RESULT,
    )  # fmt: skip
    figures = json.loads((folder / RESULT).read_text())["figures"]
    say("\n" + "\n".join(f"{seconds:6.0f} s  {title}" for title, seconds in road.seconds.items()))
    say(f"{sum(road.seconds.values()):6.0f} s  in all\n")
    return {**figures, "seconds": road.seconds}


def last_line(figures: dict, report: Path) -> str:
    """The one line that says it all."""
    p50, p99 = (_number(figures.get(f"frame_ms_p{percent}"), 1) for percent in (50, 99))
    return f"{RECALL}={_number(figures.get(RECALL), 3)} latency_p50_ms={p50} latency_p99_ms={p99} report={report}"


def _number(value: float | None, digits: int) -> str:
    return "nan" if value is None else f"{value:.{digits}f}"


def _executable(command: tuple[str, ...]) -> list[str]:
    """The command with its program as a path: python is this one, the console scripts stand beside it."""
    if command[0] == "python":
        return [sys.executable, *command[1:]]
    beside = Path(sys.executable).with_name(command[0])
    found = str(beside) if beside.is_file() else shutil.which(command[0])
    if found is None:
        raise InputError(f"{command[0]} is not installed; run `make setup`")
    return [found, *command[1:]]


app = command_group("From a recording to a live pose, in a rendered room.")


@app.command(cls=SingleCommand)
def main(
    out: Annotated[Path, typer.Option("--out", help="Folder for everything that is made.", metavar="DIR")] = Path(
        "demo"
    ),
    seed: SeedOption = 0,
    json_path: JsonOption = None,
) -> None:
    """Render a room, record it, map it, train its scene, and localize a second recording live. A later run starts over.

    Exit 1: less than 90 % of the second recording is within 5 cm and 5 degrees.

    Example: `python -m geo_training.demo --out demo --seed 3`
    """
    figures = drive(out, seed)
    write_json(json_path, figures)
    print(last_line(figures, out / REPORT), flush=True)
    if not (figures.get(RECALL) or 0.0) >= MIN_RECALL:
        raise NotGoodEnough(f"less than {MIN_RECALL:.0%} of the second recording is within 5 cm and 5 degrees")


if __name__ == "__main__":
    app()
