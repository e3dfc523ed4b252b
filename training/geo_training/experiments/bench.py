"""Named benchmarks: the same pipeline on the same data, its metrics beside the machine and the versions they are of."""

from __future__ import annotations

import difflib
import importlib
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from geo_perception.errors import InputError
from geo_training.console import say
from geo_training.evaluation.localization.summary import Evaluation
from geo_training.evaluation.options import Reported
from geo_training.experiments.benches import NAMES
from geo_training.report.machine import describe_machine, describe_versions, sha256_of_code, sha256_of_data
from geo_training.storage.kept_json import read_kept_json, write_kept_json


@dataclass(frozen=True)
class BenchOptions:
    """What may be chosen for a run."""

    device: str = "auto"
    seed: int = 0
    minutes: float | None = None  # None: the benchmark's own
    only: str | None = None  # one of the benchmark's parts; None: all


@dataclass(frozen=True)
class BenchResult:
    """`metrics` is flat: name to number. `config` is everything that was set. `evaluation` or `report` has the page."""

    metrics: dict[str, float]
    config: dict
    evaluation: Evaluation | None = None
    report: Reported | None = None  # where there is no evaluation


@dataclass(frozen=True)
class Benchmark:
    """One benchmark. `data` are the folders below the data root that it reads; `metrics` the names that it gives;
    `minutes` how long it takes unless another time is asked for, None where that cannot be chosen; `parts` what can be
    measured alone."""

    name: str
    summary: str
    data: tuple[str, ...]
    needs: str
    duration: str
    metrics: tuple[str, ...]
    run: Callable[[Path, StageCache, BenchOptions], BenchResult] = field(repr=False)
    minutes: float | None = None
    parts: tuple[str, ...] = ()


class StageCache:
    """The folder of a run: stages that are done are not done again, and keep the seconds they took.

    `key` is what the stages depend on; a folder that was filled with another is begun anew.
    """

    def __init__(self, folder: Path, key: dict):
        self.folder = Path(folder)
        self._path = self.folder / "stages.json"
        self._key = json.loads(json.dumps(key, sort_keys=True, default=str))
        kept = read_kept_json(self._path)
        if kept is None or kept.get("key") != self._key:
            if self.folder.is_dir() and any(self.folder.iterdir()):
                if kept is None:
                    raise InputError(f"{self.folder} is not empty and no earlier run; choose another --work")
                say(f"{self.folder} is of another run (data, versions or options differ); it is begun anew")
                shutil.rmtree(self.folder)
            kept = {"key": self._key, "stages": {}}
        self._stages: dict[str, dict] = kept["stages"]
        self._save()

    def stage(self, name: str, make: Callable[[], dict | None]) -> dict:
        """What `make` returned, with the `wall_s` it took; from the earlier run where it was done before."""
        if name not in self._stages:
            say(f"{name} ...")
            started_s = time.perf_counter()
            result = make() or {}
            return self.keep(name, result, time.perf_counter() - started_s)
        say(f"{name}: {self._stages[name]['wall_s']:.1f} s")
        return self._stages[name]

    def done(self, name: str) -> dict | None:
        """What a stage returned, with its `wall_s`; None where it was not done."""
        return self._stages.get(name)

    def keep(self, name: str, result: dict, wall_s: float) -> dict:
        """Keeps what a stage that was done elsewhere returned, and how long it took."""
        self._stages[name] = {**result, "wall_s": wall_s}
        self._save()
        say(f"{name}: {wall_s:.1f} s")
        return self._stages[name]

    def part(self, name: str) -> StageCache:
        """Stages of a part of the run, in a folder of its own below."""
        return StageCache(self.folder / name, self._key)

    def _save(self) -> None:
        write_kept_json(self._path, {"key": self._key, "stages": self._stages})


def load_benchmark(name: str) -> Benchmark:
    """The benchmark of this name. Raises InputError when there is none."""
    if name not in NAMES:
        near = difflib.get_close_matches(name, NAMES, n=1)
        hint = f"did you mean {near[0]}" if near else f"there are {', '.join(NAMES)}"
        raise InputError(f"there is no benchmark '{name}'; {hint}")
    return importlib.import_module(NAMES[name]).BENCHMARK


def run_benchmark(
    benchmark: Benchmark, data_root: Path, work_folder: Path, options: BenchOptions
) -> tuple[dict, Evaluation | Reported | None]:
    """Runs it; returns the JSON that is written (name, figures, machine, versions, data_sha256, config) and the
    evaluation behind it. Raises InputError when the data is not there, or where minutes or a part are given that
    it has no use for."""
    if options.minutes is not None and benchmark.minutes is None:
        raise InputError(f"{benchmark.name} takes as long as it takes; leave out --minutes")
    if options.only is not None and options.only not in benchmark.parts:
        parts = f"give one of {', '.join(benchmark.parts)}" if benchmark.parts else "leave out --only"
        raise InputError(f"{benchmark.name} has no part '{options.only}'; {parts}")
    options = replace(options, minutes=options.minutes or benchmark.minutes)
    folders = [data_root / name for name in benchmark.data]
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"{folder} does not exist; {benchmark.name} needs {benchmark.needs} below --data")
    sha256 = sha256_of_data(*folders)
    versions = describe_versions()
    chosen = {"device": options.device, "seed": options.seed}
    if options.minutes is not None:
        chosen["minutes"] = options.minutes
    # A commit does not tell which changes lie over it, and an installed package has none.
    key = {"benchmark": benchmark.name, "data_sha256": sha256, "versions": versions, "options": chosen}
    key["code_sha256"] = sha256_of_code()
    result = benchmark.run(data_root, StageCache(work_folder, key), options)
    missing = [name for name in benchmark.metrics if name not in result.metrics]
    if missing:
        raise RuntimeError(f"{benchmark.name} did not give {', '.join(missing)}")
    content = {
        "name": benchmark.name,
        "figures": {name: float(value) for name, value in result.metrics.items()},
        "machine": describe_machine(),
        "versions": versions,
        "data_sha256": sha256,
        "config": {**chosen, **({} if options.only is None else {"only": options.only}), **result.config},
    }
    return content, result.evaluation or result.report


def format_metric(value: float) -> str:
    """A metric as it is printed, in words where it is no number."""
    if np.isnan(value):
        return "not known"
    return "infinite: misses count as infinitely far off" if np.isinf(value) else f"{value:.6g}"
