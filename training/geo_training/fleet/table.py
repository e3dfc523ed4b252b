"""What a fleet shows while it runs: a live table on a terminal, elsewhere a line for each stage that ended."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from rich.live import Live
from rich.table import Column, Table
from rich.text import Text

from geo_training.console import duration_label, say, stderr
from geo_training.fleet.driver import PUBLISHED, RUNNING, WAITING, PlaceState
from geo_training.fleet.engine import Engine
from geo_training.fleet.ledger import FAILED, GATED
from geo_training.fleet.stages import STAGES

_STYLES = {PUBLISHED: "green", RUNNING: "cyan", WAITING: "dim", FAILED: "bold red", GATED: "bold yellow"}
_ORDER = (RUNNING, FAILED, GATED, PUBLISHED, WAITING)
_ROWS = 30  # of a terminal; of the others there are counts


@contextmanager
def shown(places: list[PlaceState], engine: Engine) -> Iterator[Progress]:
    """Yields what is to be told of every place that got on."""
    progress = Progress(places, engine)
    if not (engine.watched and stderr.is_terminal):
        yield progress
        return
    with Live(get_renderable=progress.table, console=stderr, refresh_per_second=2, transient=True):
        progress.lines = False
        yield progress


class Progress:
    """Counts what ended, as lines or as a table."""

    def __init__(self, places: list[PlaceState], engine: Engine):
        self._places, self._engine = places, engine
        self._started_s, self._since_s = time.monotonic(), dict[str, float]()
        self.lines = True

    def changed(self, state: PlaceState) -> None:
        """A place has begun a stage, or ended one."""
        if state.running:
            self._since_s[state.name] = time.monotonic()
            return
        if not self.lines:
            return
        if state.outcome in (FAILED, GATED):
            say(f"{state.name}: {state.outcome} in {state.ended_in}: {state.sentence}")
        elif state.records and state.ran:
            record = state.records[-1]
            more = f", published as {state.version}" if state.outcome == PUBLISHED else ""
            say(f"{state.name}: {record.stage} done in {duration_label(record.wall_s)}{more}")

    def table(self) -> Table:
        """The places that run, failed or ended, as many as fit, and how many there are of each."""
        counts = Counter(state.outcome for state in self._places)
        words = ", ".join(f"{counts[outcome]} {outcome}" for outcome in _ORDER if counts[outcome])
        where = self._engine.words + (f", dashboard {self._engine.dashboard_url}" if self._engine.dashboard_url else "")
        table = Table(title=f"{words} · {duration_label(time.monotonic() - self._started_s)}", caption=where)
        for column in ("place", "", *STAGES[:-1], ""):
            table.add_column(column, no_wrap=column != "")
        for state in sorted(self._places, key=lambda state: _ORDER.index(state.outcome))[:_ROWS]:
            table.add_row(*self._cells(state))
        return table

    def _cells(self, state: PlaceState) -> list[Text]:
        done = {record.stage: record for record in state.records}
        cells = [Text(state.name), Text(state.outcome, _STYLES[state.outcome])]
        for stage in STAGES[:-1]:
            if stage in done:
                cells.append(
                    Text(f"{done[stage].wall_s:.0f} s", "green" if done[stage].done else _STYLES[state.outcome])
                )
            elif stage == state.stage and state.running:
                since_s = time.monotonic() - self._since_s.get(state.name, time.monotonic())
                cells.append(Text(f"{since_s:.0f} s ...", _STYLES[RUNNING]))
            else:
                cells.append(Text(""))
        return [*cells, Text(state.version or state.sentence)]


def final_table(places: list[PlaceState]) -> Table:
    """What became of every place, and why."""
    table = Table("place", "outcome", "stage", Column("why, or the version", overflow="fold"), "recall 5 cm", "scene")
    table.add_column("CPU")
    for state in places:
        figures = state.records[-1].figures if state.outcome == PUBLISHED else {}
        recall, size = figures.get("recall_5cm"), figures.get("scene_bytes")
        table.add_row(
            Text(state.name), Text(state.outcome, _STYLES[state.outcome]), Text(state.ended_in or STAGES[-1]),
            Text(state.version or state.sentence), Text("" if recall is None else f"{recall:.1%}"),
            Text("" if size is None else f"{size / 1e6:.2f} MB"),
            Text(duration_label(sum(record.cpu_s for record in state.records))),
        )  # fmt: skip
    return table
