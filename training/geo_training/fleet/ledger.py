"""What was done for a place: a record for each stage that ended, by what it depends on, and a note of every run."""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import psutil

from geo_training.fleet.remote import Folder

FORMAT_VERSION = 1
DONE, FAILED, GATED, LOST = "done", "failed", "gated", "lost"
KILLED = "killed"  # a process that it had started, here or on another machine: it may be run again
FOUND = "found"  # of a run: what it was to do was done by another meanwhile
_SHOWN = 16  # of a fingerprint, in names


@dataclass(frozen=True)
class StageRecord:
    """How a stage ended. `outcome`: done; failed, by its data, or gated, with the sentence that says why; lost: what
    the stage named in `sentence` had left is gone; killed: processes of it ended, not by its data. `kept` is False for
    what the next run tries again."""

    place: str
    stage: str
    fingerprint: str
    outcome: str
    sentence: str = ""
    figures: dict[str, Any] = field(default_factory=dict)
    wall_s: float = 0.0
    cpu_s: float = 0.0
    fetched_bytes: int = 0
    output_bytes: int = 0
    host: str = ""
    kept: bool = True
    format_version: int = FORMAT_VERSION

    @property
    def done(self) -> bool:
        return self.outcome == DONE


@dataclass(frozen=True)
class Ledger:
    """Records, notes of runs and outputs of all places, below one folder in any filesystem.

    <place>/records/<stage>-<fingerprint>.json   how it ended, written when everything else is there
    <place>/runs/<stage>-<fingerprint>-<id>.json    every run: where, when, and how it ended, if it did
    <place>/outputs/<stage>-<fingerprint>.tar       what it left for the stages after it
    """

    folder: Folder

    def record(self, place: str, stage: str, fingerprint: str) -> StageRecord | None:
        """The record of a stage that ended with these inputs; None where there is none that can be used."""
        content = self.folder.read_json(_name(place, "records", stage, fingerprint) + ".json")
        if content is None or content.get("format_version") != FORMAT_VERSION:
            return None
        if content.get("fingerprint") != fingerprint or set(content) - set(StageRecord.__dataclass_fields__):
            return None
        return StageRecord(**content)

    def keep(self, record: StageRecord) -> None:
        self.folder.write_json(
            _name(record.place, "records", record.stage, record.fingerprint) + ".json", asdict(record)
        )

    def output_name(self, place: str, stage: str, fingerprint: str) -> str:
        return _name(place, "outputs", stage, fingerprint) + ".tar"

    def runs(self, place: str) -> list[dict[str, Any]]:
        """Every run of a stage of this place, also those that a killed worker left without an end."""
        names = self.folder.names(f"{place}/runs")
        found = (self.folder.read_json(f"{place}/runs/{name}") for name in names if name.endswith(".json"))
        return sorted((run for run in found if run is not None), key=lambda run: run.get("started_at", 0.0))

    @contextmanager
    def run(self, place: str, stage: str, fingerprint: str, node: int = 0) -> Iterator[RunNote]:
        """Notes that a run begins, and how it ended; of several machines that run it each notes its own."""
        name = f"{_name(place, 'runs', stage, fingerprint)}-{uuid.uuid4().hex[:8]}.json"
        note = RunNote(self.folder, name, {
            "place": place, "stage": stage, "fingerprint": fingerprint, "host": socket.gethostname(),
            "node": node, "pid": os.getpid(), "started_at": time.time(),
        })  # fmt: skip
        note.write()
        yield note
        note.content["ended_at"] = time.time()
        note.write()


@dataclass
class RunNote:
    """What is noted of one run."""

    folder: Folder
    name: str
    content: dict[str, Any]

    def write(self) -> None:
        self.folder.write_json(self.name, self.content, lasting=False)


@dataclass
class Spent:
    """What a stage took: seconds by the clock, and of CPUs in this process and those that it started and that ended."""

    wall_s: float = 0.0
    cpu_s: float = 0.0

    @classmethod
    def begin(cls) -> Spent:
        """Counts from now on; `until_now` fills it in."""
        return cls(-time.perf_counter(), -_cpu_s())

    def until_now(self) -> Spent:
        return Spent(self.wall_s + time.perf_counter(), self.cpu_s + _cpu_s())


def _cpu_s() -> float:
    times = psutil.Process().cpu_times()
    return times.user + times.system + times.children_user + times.children_system


def _name(place: str, kind: str, stage: str, fingerprint: str) -> str:
    return f"{place}/{kind}/{stage}-{fingerprint[:_SHOWN]}"
