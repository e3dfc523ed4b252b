"""The whole pipeline on one machine, from a recording to a live pose: `make demo`.

A furnished room is rendered and walked through twice, by day and in the evening. The first recording becomes a map and
a scene; the second is localized in process, frame by frame, and then played into the live node as fast as this machine
can take it, at most at its own rate. The poses of both are compared with the truth. A slow or busy machine takes longer
and drops frames live; it is told that, and not failed for it.
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
from geo_perception.runtime.files import partial_path
from geo_training.console import NotGoodEnough, SingleCommand, command_group, say, write_json
from geo_training.options import JsonOption, SeedOption

MIN_RECALL = 0.90
RECALL = "recall_5cm_5deg"
MIN_ANSWERED = 5  # live frames with an answer, below which a share of them says nothing
SECOND_S, SECOND_HZ = 40, 2
# Live, the node needs a part of the time between two frames only: others compute at the same time.
_INTERVAL_IN_FRAMES = 3.0
_LONGEST_LIVE_S, _AT_LEAST_FRAMES = 900.0, 20
# What a run leaves in its folder; nothing else is ever removed from there.
FIRST, SECOND, DATASET, SCENE = "first_walk", "second_walk", "room", "room.safetensors"
IN_PROCESS, RESULT, REPORT, MARK = "in_process.json", "result.json", "report.html", ".demo"
_MADE = (FIRST, SECOND, DATASET, SCENE, f"{SCENE}.run", IN_PROCESS, RESULT, REPORT)


@dataclass
class Pipeline:
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
        for path in (folder / name, partial_path(folder / name)):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def drive(folder: Path, seed: int) -> dict:
    """Runs the whole pipeline in `folder`. Returns the metrics of the replay `in_process` and of the `live` one, the
    `rate` of that, and the `seconds` of every stage."""
    prepare(folder)
    pipeline = Pipeline(folder)
    room = ("python", "-m", "geo_training.synthetic.recording", "--seed", str(seed))
    pipeline.run(
        "Record a walk through a room, by day", *room,
        "--walk", "1", "--light", "daylight", "--turns", "4", "--duration", "40", "--rate", "8",
        "--out", pipeline / FIRST,
    )  # fmt: skip
    pipeline.run(
        "Record another walk through the same room, in the evening", *room,
        "--walk", "2", "--light", "evening", "--turns", "-2", "--duration", str(SECOND_S), "--rate", str(SECOND_HZ),
        "--out", pipeline / SECOND,
    )  # fmt: skip
    pipeline.run(
        "Make a dataset of the first recording",
        "geo-train",
        "dataset",
        "from-bag",
        pipeline / FIRST,
        "--out",
        pipeline / DATASET,
    )
    pipeline.run("Map it", "geo-train", "map", pipeline / DATASET)
    pipeline.run("Choose landmarks", "geo-train", "landmarks", pipeline / DATASET, "--count", "300")
    pipeline.run(
        "Train the head that finds them", "geo-train", "localization", "head", pipeline / DATASET,
        "--out", pipeline / SCENE, "--steps", "450", "--batch", "4", "--seed", str(seed),
    )  # fmt: skip
    replay = "geo-eval", "replay", pipeline / SECOND, "--scene", pipeline / SCENE
    pipeline.run("Localize the second recording in process", *replay, "--json", pipeline / IN_PROCESS)
    in_process = _metrics(folder / IN_PROCESS)
    rate = live_rate(in_process.get("frame_ms_p50"), SECOND_HZ, SECOND_S * SECOND_HZ)
    pipeline.run(
        "Play it into the live node", *replay, "--live", "--rate", f"{rate:g}", "--report", pipeline / REPORT,
        "--json", pipeline / RESULT,
    )  # fmt: skip
    say("\n" + "\n".join(f"{seconds:6.0f} s  {title}" for title, seconds in pipeline.seconds.items()))
    say(f"{sum(pipeline.seconds.values()):6.0f} s  in all\n")
    return {"in_process": in_process, "live": _metrics(folder / RESULT), "rate": rate, "seconds": pipeline.seconds}


def live_rate(frame_ms: float | None, recorded_hz: float, frames: int) -> float:
    """How many times its own rate a recording is played live: its own where a frame takes a third of the time between
    two of them or less, else slower; not so slow that all of it takes longer than a quarter of an hour, unless twenty
    frames need more. The node drops what it has no time for.

    `frame_ms` is what a frame takes in process on this machine as busy as it is, None where that is not known.
    """
    wished_s = _INTERVAL_IN_FRAMES * (frame_ms or 0.0) / 1e3
    needed_s = min(wished_s, max(_LONGEST_LIVE_S, _AT_LEAST_FRAMES * wished_s) / frames)
    return float(f"{min(1.0, 1 / (recorded_hz * needed_s)):.3g}") if needed_s > 0 else 1.0


def shortfall(metrics: dict) -> str | None:
    """Why the demo did not succeed, in a sentence; None when it did.

    In process every frame counts. Live, those that were answered: how many were dropped is the machine's doing.
    """
    recall, live_recall = metrics["in_process"].get(RECALL), metrics["live"].get(f"answered_{RECALL}")
    limits, answered = "within 5 cm and 5 degrees", metrics["live"].get("answered_with_truth", 0)
    if recall is None:
        return "in process no frame of the second recording could be compared with its true pose"
    if recall < MIN_RECALL:
        return f"in process {recall:.1%} of the second recording is {limits}, below {MIN_RECALL:.0%}"
    if answered < MIN_ANSWERED or live_recall is None:
        return f"the live node answered {answered} frames, and {MIN_ANSWERED} are needed to assess it"
    if live_recall < MIN_RECALL:
        return f"{live_recall:.1%} of the {answered} frames that the live node answered are {limits}"
    return None


def last_line(metrics: dict, report: Path) -> str:
    """The one line that says it all: recall of every frame in process; live, latency, recall of the answered frames,
    and what became of the published ones."""
    live = metrics["live"]
    p50, p99 = (_number(live.get(f"frame_ms_p{percent}"), 1) for percent in (50, 99))
    parts = {
        RECALL: _number(metrics["in_process"].get(RECALL), 3),
        "latency_p50_ms": p50,
        "latency_p99_ms": p99,
        "live_recall": _number(live.get(f"answered_{RECALL}"), 3),
        "live_answered": f"{live.get('frames_answered', 0)}/{live.get('frames_published', 0)}",
        "live_dropped": live.get("frames_dropped", 0),
        "live_rate": f"{metrics['rate']:g}",
        "report": report,
    }
    return " ".join(f"{key}={value}" for key, value in parts.items())


def _metrics(path: Path) -> dict:
    return json.loads(path.read_text())["figures"]


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
    """Render a room, record it, map it, train its scene, and localize a second recording, in process and live. A later
    run starts over.

    Exit 1: within 5 cm and 5 degrees is less than 90 % of the second recording in process, or of the frames that the
    live node answered. A slow machine plays it more slowly, and may drop frames.

    Example: `python -m geo_training.demo --out demo --seed 3`
    """
    metrics = drive(out, seed)
    write_json(json_path, metrics)
    print(last_line(metrics, out / REPORT), flush=True)
    problem = shortfall(metrics)
    if problem is not None:
        raise NotGoodEnough(problem)


if __name__ == "__main__":
    app()
