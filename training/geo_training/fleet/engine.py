"""Where stages run: one seam, in this process or on Ray."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Protocol

from geo_perception.errors import InputError
from geo_training.fleet.ledger import KILLED, StageRecord
from geo_training.fleet.manifest import Needs
from geo_training.fleet.worker import StageTask, run_stage


@dataclass(frozen=True)
class Ended:
    """A stage that ended: its record, or, where it was not lived to its end, why."""

    task: StageTask
    record: StageRecord | None
    lost: str = ""


class Engine(Protocol):
    """Runs stages. `words` says what it is, `dashboard_url` where its dashboard is ("" where there is none)."""

    words: str
    dashboard_url: str
    watched: bool  # whether stages run elsewhere, so that this process can show a live table

    def check(self, stage: str, needs: Needs) -> None:
        """Raises InputError when this can never be run here."""

    def fits(self, needs: Needs, running: list[Needs]) -> bool:
        """Whether a stage with these needs should be given to it while others run."""

    def submit(self, task: StageTask) -> None:
        """Takes a stage to run."""

    def wait(self, timeout_s: float) -> list[Ended]:
        """The stages that ended since, after at most so many seconds."""

    def close(self) -> None:
        """Ends what it has started. Stages that run end with it."""


class InProcessEngine:
    """One stage after the other, in this process: a fleet of a machine without Ray."""

    words, dashboard_url, watched = "in this process, one stage after the other", "", False

    def __init__(self) -> None:
        self._tasks: deque[StageTask] = deque()

    def check(self, stage: str, needs: Needs) -> None:
        if needs.nodes > 1:
            raise InputError(
                f"needs.{stage} asks for {needs.nodes} nodes, and without Ray there is this machine alone; join a "
                "cluster of several by --address, or leave nodes out"
            )

    def fits(self, needs: Needs, running: list[Needs]) -> bool:
        return not running

    def submit(self, task: StageTask) -> None:
        self._tasks.append(task)

    def wait(self, timeout_s: float) -> list[Ended]:
        if not self._tasks:
            return []
        task = self._tasks.popleft()
        record = run_stage(task)
        return [Ended(task, None, record.sentence) if record.outcome == KILLED else Ended(task, record)]

    def close(self) -> None:
        self._tasks.clear()
