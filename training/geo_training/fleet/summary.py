"""What a fleet ends with: one JSON and one page."""

from __future__ import annotations

from collections import Counter
from typing import Any

from markupsafe import Markup

from geo_training.fleet.driver import PUBLISHED, PlaceState
from geo_training.fleet.ledger import FAILED, GATED
from geo_training.fleet.registry import REPORT
from geo_training.fleet.stages import GATE_RECALLS, STAGES
from geo_training.report.machine import describe_machine, describe_versions
from geo_training.report.numbers import percent
from geo_training.report.page import header, page, provenance, section, table, tiles

FORMAT_VERSION = 1
PAGE, JSON = "fleet.html", "fleet.json"
_TONES = {PUBLISHED: "good", FAILED: "bad", GATED: "bad"}
_TOTALS = ("wall_s", "cpu_s", "fetched_bytes", "output_bytes")


def fleet_json(places: list[PlaceState], wall_s: float, engine_words: str) -> dict[str, Any]:
    """Counts, what the stages took, and a row for each place: outcome, why, version, figures, stages."""
    outcomes = Counter(state.outcome for state in places)
    return {
        "format_version": FORMAT_VERSION,
        "figures": {
            "places": len(places),
            **{name: outcomes[name] for name in (PUBLISHED, FAILED, GATED)},
            "stages_run": sum(len(state.ran) for state in places),
            "stages_kept": sum(len(state.records) for state in places) - sum(map(_ran_and_kept, places)),
            "wall_s": wall_s,
            **{f"stages_{name}": sum(getattr(r, name) for s in places for r in s.records) for name in _TOTALS},
        },
        "engine": engine_words,
        "places": {state.name: _row(state) for state in places},
        "machine": describe_machine(),
        "versions": describe_versions(),
    }


def fleet_page(content: dict[str, Any], command: str) -> str:
    """The page of what `fleet_json` says; it lies in the registry, so that its links lead to the places' reports."""
    figures, rows = content["figures"], content["places"]
    head = header(
        "Fleet", [f"{figures['places']} places, {content['engine']}, {figures['wall_s']:.0f} s by the clock."]
    )
    counts = [(str(figures[name]), name, _TONES[name] if figures[name] else "") for name in (PUBLISHED, FAILED, GATED)]
    counts += [
        (f"{figures['stages_cpu_s']:.0f} s", "of CPU, all stages", ""),
        (str(figures["stages_run"]), f"stages run, {figures['stages_kept']} kept from before", ""),
    ]
    return page("Fleet", [head, tiles(counts), _places(rows), _costs(rows), provenance({}, {}, command)], {})


def _ran_and_kept(state: PlaceState) -> int:
    return sum(record.stage in state.ran for record in state.records)


def _row(state: PlaceState) -> dict[str, Any]:
    evaluation = next((record.figures for record in state.records if record.stage == "evaluation"), {})
    return {
        "outcome": state.outcome,
        "stage": state.ended_in,
        "why": state.sentence,
        "version": state.version,
        "figures": {key: value for key, value in evaluation.items() if key != "limits"},
        "recordings": [source.url for source in state.recordings],
        "held_out": state.held_out.url,
        "recorded_bytes": sum(source.size_bytes for source in (*state.recordings, state.held_out)),
        "stages": {
            record.stage: {name: getattr(record, name) for name in _TOTALS}
            | {"outcome": record.outcome, "ran": record.stage in state.ran, "figures": record.figures}
            for record in state.records
        },
    }


def _places(rows: dict[str, Any]) -> Markup:
    lines: list[list[str]] = []
    for name, row in rows.items():
        figures = row["figures"]
        link = Markup('<a href="{0}/{1}/{2}">{1}</a>').format(name, row["version"], REPORT) if row["version"] else ""
        recalls = [percent(figures[key]) if key in figures else "" for key in GATE_RECALLS]
        size = f"{figures['scene_bytes'] / 1e6:.2f} MB" if "scene_bytes" in figures else ""
        lines.append([name, row["outcome"], row["stage"], link or row["why"], *recalls, size])
    columns = ["place", "outcome", "ended in", "report, or why not", "recall 5 cm", "recall 10 cm", "scene"]
    note = "Recall is of the held-out recording. A place that failed or was gated stopped no other."
    return section("Places", note, table(columns, lines))


def _costs(rows: dict[str, Any]) -> Markup:
    lines = []
    for stage in STAGES:
        found = [row["stages"][stage] for row in rows.values() if stage in row["stages"]]
        if found:
            means = {name: sum(one[name] for one in found) / len(found) for name in _TOTALS}
            lines.append([
                stage, str(len(found)), f"{means['wall_s']:.1f} s", f"{means['cpu_s']:.1f} s",
                f"{means['fetched_bytes'] / 1e6:.2f} MB", f"{means['output_bytes'] / 1e6:.2f} MB",
            ])  # fmt: skip
    columns = ["stage", "places", "by the clock", "of CPU", "fetched", "kept"]
    return section("What a place costs", "Means over the places that came through the stage.", table(columns, lines))
