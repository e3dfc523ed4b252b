"""Takes every place of a manifest from stage to stage, skips what was done, and stops for nothing but its own end."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from geo_perception.errors import InputError
from geo_training.fleet.cache import DiskCache
from geo_training.fleet.engine import Ended, Engine
from geo_training.fleet.ledger import FAILED, GATED, LOST, Ledger, StageRecord
from geo_training.fleet.manifest import Manifest, Needs, Place, UnusableManifest
from geo_training.fleet.registry import published_version
from geo_training.fleet.remote import Folder, Source, UnreachableError, answered, is_local, look_at
from geo_training.fleet.stages import STAGES, fingerprints
from geo_training.fleet.worker import StageTask

PUBLISHED, WAITING, RUNNING = "published", "waiting", "running"
STORE_NOTE = ".store.json"  # in a registry whose store lies elsewhere: where
_LOOKERS = 32  # places that are looked at at a time: it is waiting, most of it
_TURN_S = 0.5
_MOST_LOST = 3  # times that outputs of a place may be gone before it is given up


@dataclass
class PlaceState:
    """How far a place is. `records` are those of the stages that ended, in their order; `ran` names those that this
    run did itself."""

    name: str
    place: Place
    recordings: tuple[Source, ...]
    held_out: Source
    fingerprints: dict[str, str]
    records: list[StageRecord] = field(default_factory=list)
    running: bool = False
    ran: list[str] = field(default_factory=list)
    redo: set[str] = field(default_factory=set)  # stages that were done, and whose outputs are gone
    lost: str = ""
    times_lost: int = 0

    @property
    def stage(self) -> str | None:
        """The stage that comes next; None when nothing does."""
        if self.lost or (self.records and not self.records[-1].done) or len(self.records) == len(STAGES):
            return None
        return STAGES[len(self.records)]

    @property
    def outcome(self) -> str:
        if self.lost:
            return FAILED
        if self.stage is None:
            return PUBLISHED if self.records[-1].done else self.records[-1].outcome
        return RUNNING if self.running else WAITING

    @property
    def sentence(self) -> str:
        """Why the place is not published; "" where it is, or may be yet."""
        return self.lost or (self.records[-1].sentence if self.records else "")

    @property
    def ended_in(self) -> str:
        """The stage in which the place failed or was gated; "" where it was not."""
        if self.lost:
            return STAGES[min(len(self.records), len(STAGES) - 1)]
        return self.records[-1].stage if self.outcome in (FAILED, GATED) else ""

    @property
    def version(self) -> str:
        return str(self.records[-1].figures.get("version", "")) if self.outcome == PUBLISHED else ""


@dataclass(frozen=True)
class Fleet:
    """What a fleet runs on: where it publishes, what it remembers, and the disk of each worker."""

    registry: Folder
    ledger: Ledger
    cache: DiskCache

    def places(self, manifest: Manifest, again: bool = False) -> list[PlaceState]:
        """Every place with what an earlier run has done of it; `again` forgets what failed or was gated.

        Raises UnusableManifest when recordings are not there.
        """

        def look(item: tuple[str, Place]) -> PlaceState:
            name, place = item
            try:
                recordings, held_out = tuple(map(look_at, place.recordings)), look_at(place.held_out)
                found = fingerprints(place.options, recordings, held_out, self.registry)
            except InputError as error:
                raise UnusableManifest(f"place '{name}': {error}") from None
            state = PlaceState(name, place, recordings, held_out, found)
            self._resume(state, again)
            return state

        with ThreadPoolExecutor(_LOOKERS) as pool:
            return list(pool.map(look, manifest.places.items()))

    def run(self, places: list[PlaceState], engine: Engine, changed: Callable[[PlaceState], None]) -> None:
        """Runs what is left to do of all places; `changed` is told of every place that got on.

        Those that are farthest go first, so that places end one by one and the workspaces of few are in use at a time.
        """
        waiting, running = _Waiting(places), dict[str, PlaceState]()
        while waiting or running:
            while (state := waiting.next_that_fits(engine, list(running.values()))) is not None:
                state.running, running[state.name] = True, state
                engine.submit(self._task(state))
                changed(state)
            for ended in engine.wait(_TURN_S):
                state = running.pop(ended.task.place)
                state.running = False
                _take(state, ended)
                changed(state)
                waiting.add(state)

    def _task(self, state: PlaceState) -> StageTask:
        assert state.stage is not None
        return StageTask(
            state.name, state.stage, state.fingerprints, state.place.options, state.recordings, state.held_out,
            self.ledger, self.registry, self.cache, tuple(state.records), redo=state.stage in state.redo,
        )  # fmt: skip

    def _resume(self, state: PlaceState, again: bool) -> None:
        """Takes up what an earlier run has recorded of these inputs."""
        for stage, fingerprint in state.fingerprints.items():
            record = self.ledger.record(state.name, stage, fingerprint)
            if record is None or (again and not record.done):
                return
            if stage == STAGES[-1] and published_version(self.registry, state.name, fingerprint) is None:
                state.redo.add(stage)  # somebody has removed it from the registry
                return
            state.records.append(record)
            if not record.done:
                return


class _Waiting:
    """Places with a stage to run, the farthest first: a heap for each kind of need, since one that waits for a GPU must
    not keep the CPUs idle."""

    def __init__(self, places: list[PlaceState]):
        self._order = {state.name: number for number, state in enumerate(places)}
        self._heaps: dict[Needs, list[tuple[int, int, PlaceState]]] = {}
        for state in places:
            self.add(state)

    def __bool__(self) -> bool:
        return any(self._heaps.values())

    def add(self, state: PlaceState) -> None:
        """Takes a place, unless nothing is left to do of it."""
        if state.stage is not None:
            heap = self._heaps.setdefault(_needs(state), [])
            heapq.heappush(heap, (-len(state.records), self._order[state.name], state))

    def next_that_fits(self, engine: Engine, running: list[PlaceState]) -> PlaceState | None:
        """The next place that the engine should be given beside those that run; None where there is none."""
        needs = [_needs(state) for state in running]
        fitting = [heap for need, heap in self._heaps.items() if heap and engine.fits(need, needs)]
        return heapq.heappop(min(fitting, key=lambda heap: heap[0][:2]))[2] if fitting else None


def _needs(state: PlaceState) -> Needs:
    return getattr(state.place.options.needs, state.stage or STAGES[-1])


def _take(state: PlaceState, ended: Ended) -> None:
    """Notes how a stage of the place ended."""
    record = ended.record
    if record is None:
        state.lost = ended.lost
        return
    if record.outcome != LOST:
        state.ran.append(record.stage)
        state.redo.discard(record.stage)
        state.records.append(record)
        return
    state.times_lost += 1
    if state.times_lost > _MOST_LOST:
        state.lost = f"what {record.sentence} leaves is gone each time; look after the folder of --store"
        return
    del state.records[STAGES.index(record.sentence) :]
    state.redo.add(record.sentence)


def open_fleet(registry: str, store: str | None, cache: Path, disk_bytes: int, several_processes: bool) -> Fleet:
    """The fleet that publishes into `registry`. Without a `store` it remembers below it, in `.fleet`.

    Raises InputError when a place cannot be used (written to, in bounded time), or not by several processes.
    """
    registry = absolute_url(registry)
    folder = Folder(absolute_url(store) if store else f"{registry}/.fleet")
    for url in (registry, folder.url):
        if several_processes and url.startswith("memory://"):
            raise InputError(f"{url} is seen by one process alone; give --workers 0, or another place")
    fleet = Fleet(Folder(registry), Ledger(folder), DiskCache(cache.absolute(), disk_bytes))
    content = {"registry": registry, "store": folder.url, "used_at": time.time()}
    _write_first(folder, "fleet.json", content)
    if store:  # not found out when everything is trained
        _write_first(fleet.registry, STORE_NOTE, content)
    return fleet


def _write_first(folder: Folder, name: str, content: dict[str, Any]) -> None:
    try:
        answered(lambda: folder.write_json(name, content))
    except TimeoutError as error:
        raise UnreachableError(f"{folder.url} cannot be used: {error}; check the place") from None


def absolute_url(url: str) -> str:
    """A path as it is found from any folder; a URL as it is."""
    return str(Path(url).expanduser().absolute()) if is_local(url) else url.rstrip("/")
