"""A paper's table from our own trainings: every row from the same start, with the same steps, measured the same way."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from geo_perception.depth.estimator import DepthEstimator
from geo_perception.errors import InputError
from geo_training.console import say
from geo_training.depth import fit
from geo_training.depth.config import DepthTrainingConfig
from geo_training.depth.data.clip_data import clip_sources
from geo_training.engine.curves import check_charts
from geo_training.evaluation.depth.evaluate import DepthOptions, evaluate_depth
from geo_training.evaluation.depth.set import DepthQuery, find_queries, guess_preset
from geo_training.metrics.depth import choose_protocol
from geo_training.processes import refuse_several
from geo_training.report.tables import mean_and_std
from geo_training.storage.fingerprints import digest_of
from geo_training.storage.kept_json import from_kept_json, write_kept_json
from geo_training.storage.output_file import check_folder_takes_files

RESULT, WEIGHTS = "result.json", "depth.safetensors"
Metrics = dict[str, float]
# Of weights that a config made. What the metrics depend on besides is told by its `key`, where it has one.
Evaluate = Callable[[Path, DepthTrainingConfig], Metrics]
TABLE_VERSION = 2  # of how a row is measured; one of another version is not taken


@dataclass(frozen=True)
class Row:
    """One training of a table: `changes` to the config that all rows share, as in its YAML file, and the metrics that
    the paper printed for it, None where the row is ours."""

    name: str
    title: str
    changes: dict[str, Any] = field(default_factory=dict)
    paper: Metrics | None = None


@dataclass(frozen=True)
class RowResult:
    """What a row came to: its metrics for each seed, in the order of `seeds`, and how long each training took."""

    row: Row
    seeds: tuple[int, ...]
    metrics: tuple[Metrics, ...]
    train_s: tuple[float, ...]

    def mean(self, metric: str) -> float:
        """Over the seeds; NaN where it was not measured."""
        return self._over_seeds(metric)[0]

    def deviation(self, metric: str) -> float:
        """Of the seeds, that of a sample (n - 1); NaN for a single seed."""
        return self._over_seeds(metric)[1]

    def _over_seeds(self, metric: str) -> tuple[float, float]:
        return mean_and_std([metrics.get(metric, math.nan) for metrics in self.metrics])


def changed_config(base: DepthTrainingConfig, changes: dict[str, Any]) -> DepthTrainingConfig:
    """The config with changes laid over it, key by key at every depth; a weight that shall go is set to 0.

    Raises InputError that names the key when one is unknown or wrong.
    """
    return type(base).load(None, **_laid_over(base.model_dump(), changes))


def measure_on(folder: str | Path, split: str | None = None, preset: str | None = None) -> Evaluate:
    """Measures depth weights on the images with true depth in a folder, as `geo-eval depth` does.

    Raises InputError, at once, when there is nothing to measure on.
    """
    queries, _ = find_queries(folder, split)
    if not any(query.load_depth_m is not None for query in queries):
        raise InputError(f"{folder} has no true depth to measure on; give a dataset with depth/")
    return DepthMeasure(tuple(queries), DepthOptions(choose_protocol(preset or guess_preset(queries))))


@dataclass(frozen=True, eq=False)
class DepthMeasure:
    """Depth weights on images with true depth, by one protocol."""

    queries: tuple[DepthQuery, ...]
    options: DepthOptions

    def __call__(self, weights: Path, config: DepthTrainingConfig) -> Metrics:
        return evaluate_depth(DepthEstimator.load(weights, config.device), self.queries, self.options).metrics

    @cached_property
    def key(self) -> str:
        """Images, depth, objects, cameras and protocol: nothing else decides the metrics of some weights."""
        content = []
        for query in self.queries:
            maps = (query.load_image, query.load_depth_m, query.load_instances)
            pixels = [digest_of(load()) if load is not None else None for load in maps]
            content.append([query.name, vars(query.camera), pixels])
        return digest_of(content, asdict(self.options))


def run_table(
    rows: Sequence[Row],
    base_config: DepthTrainingConfig,
    out: str | Path,
    evaluate: Evaluate,
    seeds: Sequence[int] | None = None,
    after_row: Callable[[list[RowResult]], object] | None = None,
) -> list[RowResult]:
    """Trains and measures every row, for each seed (the config's alone where none are given). `after_row` is given all
    results so far after every row, so that a table can fill while it is made.

    A row that is done is kept in its folder below `out`, and not done again; one that was interrupted goes on. Raises
    InputError where several processes are started, or where the folder holds a row that was made with another config,
    from other data or another start, or was measured on something else.
    """
    refuse_several("a table is made")
    check_charts()
    check_folder_takes_files(out)
    seeds = tuple(seeds) if seeds else (base_config.seed,)
    if len({row.name for row in rows}) != len(rows):
        raise InputError(f"two rows of the table have one name: {', '.join(row.name for row in rows)}; rename one")
    configs = [(row, [changed_config(base_config, row.changes | {"seed": seed}) for seed in seeds]) for row in rows]
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    results = []
    for number, (row, own) in enumerate(configs, 1):
        metrics, train_s = [], []
        for config in own:
            say(f"row {number} of {len(rows)}: {row.title} (seed {config.seed})")
            kept = _run_row(config, out / row.name / f"seed_{config.seed}", evaluate)
            metrics.append(kept["figures"])
            train_s.append(kept["train_s"])
        results.append(RowResult(row, seeds, tuple(metrics), tuple(train_s)))
        if after_row is not None:
            after_row(results)
    return results


def table_content(results: Sequence[RowResult], base_config: DepthTrainingConfig) -> dict:
    """All of a table: metrics of every seed, their means and deviations, and the paper's."""
    rows = []
    for result in results:
        names = list(dict.fromkeys(name for metrics in result.metrics for name in metrics))
        means = {name: result.mean(name) for name in names}
        deviations = {name: result.deviation(name) for name in names}
        own = {"row": asdict(result.row), "seeds": result.seeds, "figures": result.metrics, "train_s": result.train_s}
        rows.append(own | {"mean": means, "deviation": deviations})
    return {"rows": rows, "config": base_config.model_dump(mode="json")}


def _run_row(config: DepthTrainingConfig, folder: Path, evaluate: Evaluate) -> dict:
    metadata = config.model_dump(mode="json")
    made_of = {
        "version": TABLE_VERSION,
        "data": fit.data_digest(config, clip_sources(config)),
        "start": fit.start_digest(config),
        "measured_on": getattr(evaluate, "key", None),
    }
    path = folder / RESULT
    if path.is_file():
        kept = _read_row(path)
        if _without_places(kept["config"]) != _without_places(metadata):
            key = _first_difference(kept["config"], metadata)
            raise InputError(f"{folder} was made with another '{key}'; {_REMEDY}")
        for part, value in made_of.items():
            if kept["made_of"][part] != value:
                raise InputError(f"{folder} was {_OTHER[part]}; {_REMEDY}")
        return kept
    folder.mkdir(parents=True, exist_ok=True)
    # Without result.json the weights are of a row that was cut while it was measured.
    fitted = fit.fit_depth(config, folder / WEIGHTS, overwrite=True)
    metrics = {name: float(value) for name, value in evaluate(Path(fitted.path), config).items()}
    train_s = float(fitted.metrics.get("train_s", math.nan))
    kept = {"figures": metrics, "train_s": train_s, "config": metadata, "made_of": made_of}
    write_kept_json(path, kept)
    return kept


def _read_row(path: Path) -> dict:
    try:
        kept = from_kept_json(path.read_text())
        return {"made_of": dict.fromkeys(_OTHER)} | {key: kept[key] for key in ("figures", "train_s", "config")} | kept
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{path} is damaged; {_REMEDY}") from None


_REMEDY = "give another --out, or remove that folder"
_OTHER = {
    "version": "made by another version",
    "data": "made from other images, poses, depth or boundaries",
    "start": "made from another start",
    "measured_on": "measured on other images, or by another protocol",
}
# Where files lie, and on what they are computed, is not what a row is about; what lies there is.
_PLACES = ("datasets", "backbone_file", "device", "validation", "start_from")


def _without_places(config: dict) -> dict:
    return {key: value for key, value in config.items() if key not in _PLACES}


def _first_difference(old: dict, new: dict) -> str:
    for key in new:
        if key in _PLACES or old.get(key) == new[key]:
            continue
        if isinstance(old.get(key), dict) and isinstance(new[key], dict):
            return f"{key}.{_first_difference(old[key], new[key])}"
        return key
    return next((key for key in old if key not in new), "")


def _laid_over(base: dict, changes: dict) -> dict:
    merged = dict(base)
    for key, value in changes.items():
        both = isinstance(merged.get(key), dict) and isinstance(value, dict)
        merged[key] = _laid_over(merged[key], value) if both else value
    return merged
