"""Stages that wait for nothing of each other, each on a core of its own: a small network gains nothing by a second."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from geo_perception.errors import InputError
from geo_training.console import say
from geo_training.experiments.bench import StageCache

MOST_JOBS = 4  # more would wait for the few stages that come first


@dataclass(frozen=True)
class Job:
    """A stage: a function of a module's top level, what it is called with, and the stage that must be done before."""

    name: str
    make: Callable[..., dict]
    arguments: tuple = ()
    after: str | None = None


def cores_for(device_type: str) -> int:
    """How many stages to run at once on a device: one where they would share a GPU."""
    if device_type != "cpu":
        return 1
    return min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, MOST_JOBS)


class SideBySide:
    """Does the stages of a run in `jobs` processes of one thread each, which write what they say to `log`; with one job
    in this process, which is then as it was. To be used with `with`: processes end with it, at once where it ends by an
    exception."""

    def __init__(self, stages: StageCache, jobs: int):
        self.jobs, self.log = jobs, stages.folder / "trainings.log"
        self._stages = stages
        self._pool: ProcessPoolExecutor | None = None
        self._others: set[int | None] = set()

    def __enter__(self) -> SideBySide:
        if self.jobs > 1:
            self._others = {child.pid for child in multiprocessing.active_children()}
            context = multiprocessing.get_context("spawn")  # forking a process that has threads can hang
            self._pool = ProcessPoolExecutor(self.jobs, context, _begin, (self.log,))
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        if self._pool is None:
            return
        self._pool.shutdown(wait=kind is None, cancel_futures=True)
        if kind is not None:
            for child in multiprocessing.active_children():
                if child.pid not in self._others:
                    child.terminate()

    def run(self, jobs: Sequence[Job]) -> dict[str, dict]:
        """What each stage returned, by name, with its `wall_s`; those that an earlier run has done are not done again.

        Raises InputError where a process was killed, and what a stage raises.
        """
        waiting = {job.name: job for job in jobs if self._stages.done(job.name) is None}
        running: dict[Future, str] = {}
        while waiting or running:
            for job in tuple(waiting.values()):
                ready = job.after is None or self._stages.done(job.after) is not None
                if ready and len(running) < self.jobs:
                    say(f"{job.name} ...")
                    running[self._begin(waiting.pop(job.name))] = job.name
            if not running:
                raise ValueError(f"{', '.join(waiting)}: what they wait for is not among the stages")
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                name = running.pop(future)
                try:
                    result, wall_s = future.result()
                except BrokenProcessPool:
                    raise InputError(
                        f"a process of '{name}' or beside it was killed (too little memory?); run the command again, "
                        f"which goes on. {self.log} has what it said"
                    ) from None
                self._stages.keep(name, result, wall_s)
        return {job.name: self._stages.done(job.name) or {} for job in jobs}

    def _begin(self, job: Job) -> Future:
        if self._pool is not None:
            return self._pool.submit(_timed, job)
        future: Future = Future()
        future.set_result(_timed(job))
        return future


def _timed(job: Job) -> tuple[dict, float]:
    started_s = time.perf_counter()
    result = job.make(*job.arguments) or {}
    return result, time.perf_counter() - started_s


def _begin(log: Path) -> None:
    """In a new process, before anything else is imported."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process takes it, and ends this one
    os.environ["OMP_NUM_THREADS"] = "1"
    log.parent.mkdir(parents=True, exist_ok=True)
    written = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(written, stream.fileno())
    import cv2
    import torch

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
