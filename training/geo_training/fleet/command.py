"""`geo-train fleet`: a manifest of places, each from its recordings to a published scene."""

from __future__ import annotations

import os
import shlex
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from geo_perception.errors import InputError
from geo_training.console import NotGoodEnough, json_text, say, write_json
from geo_training.datasets.import_commands import names_in
from geo_training.evaluation.options import ReportOption
from geo_training.options import JsonOption, parse_bytes
from geo_training.processes import refuse_several

_CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def fleet_command(
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", help="YAML file of places.", show_default=False)],
    registry: Annotated[
        str,
        typer.Option(
            "--registry",
            metavar="URL",
            help="Where scenes are published: a folder, s3://..., gs://...",
            show_default=False,
        ),
    ],
    store: Annotated[
        str | None,
        typer.Option(
            "--store",
            metavar="URL",
            help="Where stages leave what they made, and what was done is remembered.",
            show_default=".fleet in the registry",
        ),
    ] = None,
    workers: Annotated[
        int,
        typer.Option(
            "--workers",
            min=0,
            show_default="the cores",
            help="CPUs of the Ray cluster that starts on this machine; 0: no Ray, all in this process.",
        ),
    ] = _CORES,
    address: Annotated[
        str | None,
        typer.Option("--address", metavar="HOST:PORT", help="Join this Ray cluster; auto: the one of this machine."),
    ] = None,
    only: Annotated[str, typer.Option("--only", metavar="A,B", help="Only these places.")] = "",
    again: Annotated[
        bool, typer.Option("--again", help="Try again what failed or was gated, though its data are the same.")
    ] = False,
    retries: Annotated[
        int, typer.Option("--retries", min=0, help="How often a stage is run again whose worker was lost.")
    ] = 3,
    disk: Annotated[
        str, typer.Option("--disk", metavar="SIZE", help="What each machine may keep of recordings and workspaces.")
    ] = "50G",
    cache: Annotated[
        Path | None,
        typer.Option("--cache", metavar="DIR", help="Where it keeps them.", show_default="among the user's caches"),
    ] = None,
    report: ReportOption = None,
    json_path: JsonOption = None,
) -> None:
    """Take every place of a manifest from its recordings to a scene in a registry: dataset, check, map, landmarks,
    head, evaluation on its held-out recording, gate, publish.

    The stages are those of the single commands. What was done is not done again: the same command goes on after an
    interruption, and after a change does what depends on it. Bad data fails its own place and stops no other.

    Exit 1: a place failed or was gated; the table says which and why. Exit 2: the manifest cannot be used.

    Example: `geo-train fleet places.yaml --registry scenes --workers 4`

    Example: `geo-train fleet places.yaml --registry s3://robots/scenes --address auto --disk 200G`
    """
    refuse_several("a fleet is driven")
    disk_bytes = parse_bytes(disk)
    if address is not None and workers != _CORES:
        raise typer.BadParameter("the cluster of --address has its own; leave it out", param_hint="--workers")
    # pydantic, the datasets and what reads bags: a second.
    from geo_perception.runtime.engine_cache import cache_folder
    from geo_training.fleet.driver import PUBLISHED, open_fleet
    from geo_training.fleet.engine import InProcessEngine
    from geo_training.fleet.manifest import Manifest, UnusableManifest
    from geo_training.fleet.summary import JSON, PAGE, fleet_json, fleet_page
    from geo_training.fleet.table import final_table, shown

    content = Manifest.read(manifest)
    if names := names_in(only):
        unknown = [name for name in names if name not in content.places]
        if unknown:
            raise UnusableManifest(f"there is no place {', '.join(unknown)} in {manifest}; mend --only")
        content = content.model_copy(update={"places": {name: content.places[name] for name in names}})
    on_ray = workers > 0 or address is not None
    fleet = open_fleet(registry, store, cache or cache_folder() / "fleet", disk_bytes, on_ray)
    places = fleet.places(content, again)
    started_s = time.monotonic()
    left = [state for state in places if state.stage is not None]
    engine = _ray_engine(workers, address, retries) if left and on_ray else InProcessEngine()
    _check(engine, left)
    if engine.dashboard_url:
        say(f"dashboard: {engine.dashboard_url}")
    say(f"{len(places)} places, {len(places) - len(left)} of them are done; {engine.words}")
    try:
        with shown(places, engine) as progress:
            fleet.run(places, engine, progress.changed)
    finally:
        engine.close()
    result = fleet_json(places, time.monotonic() - started_s, engine.words)
    page = fleet_page(result, shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]))
    write_json(json_path, result)
    if report is not None:
        report.write_text(page)
    Console().print(final_table(places))
    fleet.registry.write(JSON, (json_text(result) + "\n").encode())  # the last: it may no longer be there
    fleet.registry.write(PAGE, page.encode())
    say(f"written to {fleet.registry.path(PAGE)} and {fleet.registry.path(JSON)}")
    short = [state for state in places if state.outcome != PUBLISHED]
    if short:
        named = "; ".join(f"{state.name} {state.outcome} in {state.ended_in}" for state in short[:3])
        more = f" and {len(short) - 3} more" if len(short) > 3 else ""
        raise NotGoodEnough(f"{len(short)} of {len(places)} places are not published: {named}{more}")


def _ray_engine(workers: int, address: str | None, retries: int):
    from geo_training.fleet.ray_engine import RayEngine

    return RayEngine(workers, address, retries)


def _check(engine, places: list) -> None:
    """Raises InputError when a stage of the places can never run on the engine, which is closed then."""
    from geo_training.fleet.stages import STAGES

    try:
        for state in places:
            for stage in STAGES:
                engine.check(stage, getattr(state.place.options.needs, stage))
    except InputError:
        engine.close()
        raise
