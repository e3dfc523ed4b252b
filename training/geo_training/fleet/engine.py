"""Where stages run: one seam, in this process or on Ray."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Protocol

from geo_training.fleet.ledger import StageRecord
from geo_training.fleet.manifest import Needs
from geo_training.fleet.worker import StageTask, run_stage


@dataclass(frozen=True)
class Ended:
    """A stage that ended: its record, or, where no worker lived to its end, why."""

    task: StageTask
    record: StageRecord | None
    lost: str = ""


class Engine(Protocol):
    """Runs stages. `words` says what it is, `dashboard_url` where its dashboard is ("" where there is none)."""

    words: str
    dashboard_url: str
    watched: bool  # whether stages run elsewhere, so that this process can show a live table

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

    def fits(self, needs: Needs, running: list[Needs]) -> bool:
        return not running

    def submit(self, task: StageTask) -> None:
        self._tasks.append(task)

    def wait(self, timeout_s: float) -> list[Ended]:
        if not self._tasks:
            return []
        task = self._tasks.popleft()
        return [Ended(task, run_stage(task))]

    def close(self) -> None:
        self._tasks.clear()
