"""What is shown while a fleet runs, and when it has ended."""

import io

from geo_training.fleet.driver import PlaceState
from geo_training.fleet.engine import InProcessEngine
from geo_training.fleet.ledger import DONE, FAILED, StageRecord
from geo_training.fleet.manifest import Place
from geo_training.fleet.remote import Source
from geo_training.fleet.stages import STAGES
from geo_training.fleet.table import Progress, final_table
from rich.console import Console


def shown(table, width=220):
    console = Console(file=io.StringIO(), width=width)
    console.print(table)
    return console.file.getvalue()


def place(name, *ended, running=False):
    source = Source("a", "0", 1, 1)
    state = PlaceState(name, Place(recordings=("a",), held_out="b"), (source,), source, dict.fromkeys(STAGES, "f"))
    for stage, outcome, sentence in ended:
        figures = {"version": "v1", "recall_5cm": 0.875, "scene_bytes": 1_500_000} if stage == "publish" else {}
        state.records.append(StageRecord(name, stage, "f", outcome, sentence, figures, wall_s=12.0, cpu_s=9.0))
    state.running = running
    return state


PLACES = [
    place("done", *((stage, DONE, "") for stage in STAGES)),
    place("dark", ("dataset", DONE, ""), ("check", FAILED, "all images [are] dark")),
    place("busy", ("dataset", DONE, ""), running=True),
    place("later"),
]


def test_the_live_table_counts_all_and_shows_those_that_run_first():
    engine = InProcessEngine()
    engine.dashboard_url = "http://127.0.0.1:8265"
    progress = Progress(PLACES, engine)
    progress.changed(PLACES[2])
    text = shown(progress.table())
    assert "1 running, 1 failed, 1 published, 1 waiting" in text
    assert "dashboard http://127.0.0.1:8265" in " ".join(text.split())
    rows = [line for line in text.splitlines() if line.startswith("│")]
    assert [row.split("│")[1].strip() for row in rows] == ["busy", "dark", "done", "later"]
    assert "12 s" in rows[0]
    assert "0 s ..." in rows[0]
    assert "all images [are] dark" in rows[1]


def test_of_many_places_only_some_are_rows():
    many = [place(f"p{number}") for number in range(1000)]
    text = shown(Progress(many, InProcessEngine()).table())
    assert "1000 waiting" in text
    assert text.count("│ p") == 30


def test_the_last_table_says_why_or_which_version():
    rows = [line for line in shown(final_table(PLACES)).splitlines() if line.startswith("│")]
    cells = [[cell.strip() for cell in row.split("│")[1:-1]] for row in rows]
    assert cells[0] == ["done", "published", "publish", "v1", "87.5%", "1.50 MB", "1 min 12 s"]
    assert cells[1] == ["dark", "failed", "check", "all images [are] dark", "", "", "18 s"]
