"""What a fleet makes of its workers: places an hour with one and with two, and what the engine costs beside the plain
commands; on walks through rendered rooms, each stage on one core."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import yaml

from geo_perception.errors import InputError
from geo_perception.geometry import Camera
from geo_training.experiments.bench import Benchmark, BenchOptions, BenchResult, StageCache
from geo_training.fleet.cache import folder_bytes
from geo_training.fleet.stages import STAGES
from geo_training.synthetic.recording import RecordingPlan, record

PLACES, BESIDE = 8, 2  # of them so many go through the plain commands, too; with fewer, the start is what is measured
MAPPED_S, ASKED_S, IMAGE_HZ = 10.0, 3.0, 4
CAMERA = Camera(320, 240, 226.7, 226.7, 160.6, 118.6)
LANDMARKS, STEPS = 200, 60
_FIRST_SEED = 20
_OPTIONS = {
    "dataset": {"fps": 0},
    "map": {"poses": "known"},
    "landmarks": {"count": LANDMARKS},
    "head": {"steps": STEPS},
    "gate": {"recall_5cm": 0.0},
}
_SPEED = ("places_per_hour_1", "places_per_hour_2", "speedup")
_OVERHEAD = ("plain_s", "fleet_s", "overhead_share")
_COSTS = (*(f"{stage}_cpu_s" for stage in STAGES), "place_cpu_s", "recorded_bytes", "store_bytes", "registry_bytes")
METRICS = (*_SPEED, *_OVERHEAD, *_COSTS)


def run(data_root: Path, stages: StageCache, options: BenchOptions) -> BenchResult:
    """Records PLACES rooms and drives them as a fleet of one worker on one core, then of two on two: Ray and the driver
    have no core of their own. `overhead_share` compares a fleet of one worker with the plain commands one after the
    other, BESIDE places each, both with all that they start on one and the same core. A part that was not asked for
    has NaN."""
    recordings = stages.folder / "recordings"
    for number in range(PLACES):
        stages.stage(f"recordings_{number}", partial(_record, recordings, number))
    metrics = dict.fromkeys(METRICS, float("nan"))
    core = min(os.sched_getaffinity(0))
    if options.only in (None, "speed"):
        for workers, own in ((1, core), (2, None)):
            name = f"fleet_{workers}"
            made = stages.stage(name, partial(_drive, recordings, stages.folder / name, PLACES, workers, own))
            metrics[f"places_per_hour_{workers}"] = 3600 * PLACES / made["wall_s"]
            metrics |= made["costs"]
        metrics["speedup"] = metrics["places_per_hour_2"] / metrics["places_per_hour_1"]
    if options.only in (None, "overhead"):
        plain = stages.stage("plain", partial(_plainly, recordings, stages.folder / "plain", core))
        fleet = stages.stage("fleet", partial(_drive, recordings, stages.folder / "fleet", BESIDE, 1, core))
        metrics["plain_s"], metrics["fleet_s"] = plain["wall_s"] / BESIDE, fleet["wall_s"] / BESIDE
        metrics["overhead_share"] = fleet["wall_s"] / plain["wall_s"] - 1
        metrics |= fleet["costs"] if options.only else {}
    recorded = {"mapped_s": MAPPED_S, "asked_s": ASKED_S, "image_hz": IMAGE_HZ}
    return BenchResult(metrics, {"places": PLACES, "recordings": recorded, "options": _OPTIONS})


def _record(folder: Path, number: int) -> dict:
    """Two walks through a room, one to map it and one to ask."""
    room = partial(RecordingPlan, _FIRST_SEED + number, light="daylight", image_hz=IMAGE_HZ, camera=CAMERA)
    plans = {"map": room(1, duration_s=MAPPED_S, turns=1.5), "ask": room(2, duration_s=ASKED_S, turns=-0.5)}
    return {name: record(plan, folder / f"{name}_{number}", overwrite=True) for name, plan in plans.items()}


def _drive(recordings: Path, folder: Path, places: int, workers: int, core: int | None = None) -> dict:
    """`geo-train fleet` from nothing; what its stages took on average."""
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was cut off
    folder.mkdir(parents=True)
    named = {
        f"room_{number}": {
            "recordings": [str(recordings / f"map_{number}")], "held_out": str(recordings / f"ask_{number}"),
        }
        for number in range(places)
    }  # fmt: skip
    (folder / "manifest.yaml").write_text(yaml.safe_dump({"options": _OPTIONS, "places": named}))
    registry, result_path = folder / "registry", folder / "result.json"
    started_s = time.perf_counter()
    _command(
        "train", "fleet", folder / "manifest.yaml", "--registry", registry, "--cache", folder / "cache", "--workers",
        workers, "--json", result_path, core=core,
    )  # fmt: skip
    seconds = time.perf_counter() - started_s
    rows = json.loads(result_path.read_text())["places"].values()
    costs = {f"{stage}_cpu_s": sum(row["stages"][stage]["cpu_s"] for row in rows) / places for stage in STAGES}
    costs["place_cpu_s"] = sum(costs.values())
    store_bytes = folder_bytes(registry / ".fleet")
    costs["recorded_bytes"] = sum(row["recorded_bytes"] for row in rows) / places
    costs["store_bytes"] = store_bytes / places
    costs["registry_bytes"] = (folder_bytes(registry) - store_bytes) / places
    return {"fleet_s": seconds, "costs": costs}


def _plainly(recordings: Path, folder: Path, core: int) -> dict:
    """The single commands, one after the other, as a script would give them."""
    shutil.rmtree(folder, ignore_errors=True)
    for number in range(BESIDE):
        place = folder / str(number)
        place.mkdir(parents=True)
        dataset, scene = place / "dataset", place / "scene.safetensors"
        run_it = partial(_command, core=core)
        bags = recordings / f"map_{number}", recordings / f"ask_{number}"
        run_it("train", "dataset", "from-bag", *bags, "--out", dataset, "--fps", 0)
        run_it("train", "dataset", "split", dataset, "--by", "sequence", "--test", f"ask_{number}")
        run_it("train", "dataset", "check", dataset, "--json", place / "check.json")
        run_it("train", "map", dataset, "--poses", "known")
        run_it("train", "landmarks", dataset, "--count", LANDMARKS)
        run_it("train", "localization", "head", dataset, "--out", scene, "--steps", STEPS)
        run_it(
            "evaluate", "localization", scene, dataset, "--report", place / "report.html", "--json", place / "e.json"
        )  # fmt: skip
    return {}


def _command(program: str, *arguments: object, core: int | None = None) -> None:
    """Runs a command of ours with one thread; on one core with all that it starts, where that is asked for. Raises
    InputError with what it said when it fails."""
    code = f"from geo_training.commands import {program}; {program}()"
    start: Sequence[str] = [sys.executable, "-c", code, *map(str, arguments)]
    pin = None if core is None else lambda: os.sched_setaffinity(0, {core})
    environment = os.environ | {"OMP_NUM_THREADS": "1", "NO_COLOR": "1"}
    done = subprocess.run(start, capture_output=True, text=True, check=False, env=environment, preexec_fn=pin)
    if done.returncode:
        said = " / ".join(done.stderr.strip().splitlines()[-3:])
        raise InputError(f"{' '.join(map(str, arguments[:2]))} ended with {done.returncode}: {said}")


BENCHMARK = Benchmark(
    name="fleet",
    summary="places an hour of `geo-train fleet` with one worker on one core and with two on two, what the engine "
    "costs beside the plain commands, and what a place costs; on recordings of rendered rooms, a core a stage",
    data=(),
    needs="nothing; any folder",
    duration="12 minutes on 2 cores, half of it for each part",
    metrics=METRICS,
    run=run,
    parts=("speed", "overhead"),
)
