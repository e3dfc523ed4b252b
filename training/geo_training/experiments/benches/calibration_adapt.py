"""One domain, then another, by each of the paper's methods, over five seeds: places (indoors, then outdoors), and
attitudes (nearly level cameras, then tilted ones). A small network learns on the maps of a frozen backbone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from geo_training.experiments.bench import Benchmark, BenchOptions, BenchResult, StageCache
from geo_training.experiments.incremental.adapt import run_incremental
from geo_training.experiments.incremental.config import load_adapt_config
from geo_training.experiments.incremental.matrix import AdaptResult, error_on_both, order_found, over_seeds
from geo_training.experiments.incremental.report import write_adapt_report

SHIFTS = {"places": "adapt_small", "attitudes": "adapt_attitudes"}
METHODS = ("joint", "finetune", "lwf", "icarl", "lucir", "bic")
METRICS = ("old_mse", "new_mse", "old_mse_before")
FORGETS_LESS = tuple(f"{method}_forgets_less_by" for method in METHODS[2:])  # than finetuning
WORSE_THAN_BIC = tuple(f"{method}_worse_than_bic_by" for method in METHODS[1:-1])
BOUNDS = ("", "_low", "_high")


def run(data_root: Path, stages: StageCache, options: BenchOptions) -> BenchResult:
    """Figures are mean squared errors of the normalized targets (without a unit), mean of the three parameters, on test
    crops of panoramas that no training saw; means over five seeds, and their deviations. A seed also splits the
    panoramas. Differences of two methods are of the same seeds, with the bounds of their 95 % confidence interval.
    `joint_of_constant` is joint training's error on both domains as a share of that of a constant answer for each.
    Reports `places/adapt.html` and `attitudes/adapt.html` lie in the work folder."""
    metrics: dict[str, float] = {}
    content = {}
    for shift, name in SHIFTS.items():
        changes = {"panoramas": str(data_root / "panoramas"), "device": options.device}
        config = load_adapt_config(name, both_ways=False, exemplar_shares=(), **changes)
        config = config.model_copy(update={"seeds": tuple(options.seed + seed for seed in config.seeds)})
        folder = stages.folder / shift

        def learn(config=config, folder=folder) -> dict:
            results, single = run_incremental(config, folder / "runs", overwrite=True)
            write_adapt_report(results, single, config, folder)
            return {"results": [vars(result) for result in results]}

        results = [AdaptResult(**fields) for fields in stages.stage(f"learn-{shift}", learn)["results"]]
        order = order_found(results)
        metrics |= {f"{shift}_{key}": value for key, value in shift_metrics(results, order).items()}
        matrix = [result.to_json() for result in results]
        content[shift] = {"adapt": config.model_dump(mode="json"), "order": order, "results": matrix}
    return BenchResult(metrics, content)


def shift_metrics(results: Sequence[AdaptResult], order: dict) -> dict[str, float]:
    """The figures of one shift of domains."""
    metrics = {}
    for method in METHODS:
        own = [result for result in results if result.method == method]
        readings = ((1, 0), (1, 1), (0, 0))  # time, domain
        for name, (time, domain) in zip(METRICS, readings, strict=True):
            mean, deviation = over_seeds(own, lambda r, t=time, d=domain: r.matrix().error_td[t][d])
            metrics |= {f"{method}_{name}": mean, f"{method}_{name}_std": deviation}
    pairs = {name: order["finetune_forgets_more_by"][name.split("_")[0]] for name in FORGETS_LESS}
    pairs |= {name: order["bic_is_better_by"][name.split("_")[0]] for name in WORSE_THAN_BIC}
    for name, interval in pairs.items():
        metrics |= {name + end: interval[key] for end, key in zip(BOUNDS, ("mean", "low", "high"), strict=True)}
    joint = [result for result in results if result.method == "joint"]
    constant = over_seeds(joint, lambda result: float(np.mean(result.matrix().constant_d)))[0]
    metrics["joint_of_constant"] = over_seeds(joint, error_on_both)[0] / constant
    return metrics


def _metric_names() -> tuple[str, ...]:
    own = [f"{method}_{name}{end}" for method in METHODS for name in METRICS for end in ("", "_std")]
    own += [name + end for name in FORGETS_LESS + WORSE_THAN_BIC for end in BOUNDS]
    return tuple(f"{shift}_{name}" for shift in SHIFTS for name in [*own, "joint_of_constant"])


BENCHMARK = Benchmark(
    name="calibration-adapt",
    summary="a network learns indoors, then outdoors, and level, then tilted, by six methods: what it forgets",
    data=("panoramas",),
    needs="panoramas/ (equirectangular images, index.csv with their domains)",
    duration="half an hour on 2 cores",
    metrics=_metric_names(),
    run=run,
)
