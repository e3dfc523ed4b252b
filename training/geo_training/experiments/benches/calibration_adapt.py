"""Indoors, then outdoors, by each of the paper's methods, over three seeds: a small network and small crops."""

from __future__ import annotations

from pathlib import Path

from geo_training.experiments.bench import Benchmark, BenchOptions, BenchResult, StageCache
from geo_training.experiments.incremental.adapt import run_incremental
from geo_training.experiments.incremental.config import load_adapt_config
from geo_training.experiments.incremental.matrix import AdaptResult, order_found, over_seeds
from geo_training.experiments.incremental.report import write_adapt_report

METHODS = ("joint", "finetune", "lwf", "icarl", "lucir", "bic")
METRICS = ("old_mse", "new_mse", "old_mse_before")


def run(data_root: Path, stages: StageCache, options: BenchOptions) -> BenchResult:
    """Figures are mean squared errors of the normalized targets (without a unit), mean of the three parameters, on test
    crops of panoramas that no training saw; means over three seeds, and their deviations. A seed also splits the
    panoramas. The report `adapt.html` lies in the work folder."""
    changes = {"panoramas": str(data_root / "panoramas"), "device": options.device}
    config = load_adapt_config("adapt_small", both_ways=False, exemplar_shares=(), **changes)
    config = config.model_copy(update={"seeds": tuple(options.seed + seed for seed in config.seeds)})

    def learn() -> dict:
        results, single = run_incremental(config, stages.folder / "runs", overwrite=True)
        write_adapt_report(results, single, config, stages.folder)
        return {"results": [vars(result) for result in results]}

    results = [AdaptResult(**fields) for fields in stages.stage("learn", learn)["results"]]
    metrics = {}
    for method in METHODS:
        own = [result for result in results if result.method == method]
        readings = ((1, 0), (1, 1), (0, 0))  # time, domain
        for name, (time, domain) in zip(METRICS, readings, strict=True):
            mean, deviation = over_seeds(own, lambda r, t=time, d=domain: r.matrix().error_td[t][d])
            metrics |= {f"{method}_{name}": mean, f"{method}_{name}_std": deviation}
    matrix = [result.to_json() for result in results]
    content = {"adapt": config.model_dump(mode="json"), "order": order_found(results), "results": matrix}
    return BenchResult(metrics, content)


BENCHMARK = Benchmark(
    name="calibration-adapt",
    summary="the paper's network learns indoors, then outdoors, by six methods; what it forgets, over three seeds",
    data=("panoramas",),
    needs="panoramas/ (equirectangular images, index.csv with their domains)",
    duration="about 20 minutes on 2 cores",
    metrics=tuple(f"{method}_{name}{end}" for method in METHODS for name in METRICS for end in ("", "_std")),
    run=run,
)
