"""`geo-eval bench`: named benchmarks."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from geo_training.console import warn, write_json
from geo_training.evaluation.options import ReportOption, write_evaluation
from geo_training.experiments import bench
from geo_training.experiments.benches import NAMES
from geo_training.options import DeviceOption, JsonOption, SeedOption
from geo_training.processes import refuse_several


def bench_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A benchmark, or `list`.", show_default=False)],
    data: Annotated[
        Path | None, typer.Option("--data", metavar="ROOT", help="The folder with the data.", show_default=False)
    ] = None,
    work: Annotated[
        Path | None,
        typer.Option("--work", metavar="DIR", help="Keep what is made here, and go on from there.", show_default=False),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            "--minutes",
            metavar="M",
            min=0.1,
            help="How long it may take, where it trains for a time.",
            show_default="its own",
        ),
    ] = None,
    only: Annotated[
        str | None,
        typer.Option("--only", metavar="PART", help="Measure one part, where it has parts.", show_default="all of it"),
    ] = None,
    report: ReportOption = None,
    device: DeviceOption = "auto",
    seed: SeedOption = 0,
    json_path: JsonOption = None,
) -> None:
    """Run a named benchmark and write its metrics with the machine, the versions and a checksum of the data.

    `geo-eval bench list` says what each one needs and how long it takes.

    Example: `geo-eval bench localization-office --data data --json office.json --work office_bench`
    """
    if name == "list":
        _list_benchmarks(json_path)
        return
    refuse_several("a benchmark is run")
    benchmark = bench.load_benchmark(name)
    if data is None and benchmark.data:
        raise typer.BadParameter(f"{name} needs {benchmark.needs}; name the folder that holds it", param_hint="--data")
    with tempfile.TemporaryDirectory(prefix="geo_bench_") as temporary:
        folder = work or Path(temporary) / "work"
        options = bench.BenchOptions(device, seed, minutes, only)
        content, evaluation = bench.run_benchmark(benchmark, data or Path(), folder, options)
        if report is not None and evaluation is not None:
            write_evaluation(evaluation, report)
    if report is not None and evaluation is None:
        warn(f"{name} has no report to show, so nothing was written to {report}; its metrics go to --json")
    write_json(json_path, content)
    for key in benchmark.metrics:
        typer.echo(f"{key} = {bench.format_metric(content['figures'][key])}")


def _list_benchmarks(json_path: Path | None) -> None:
    found = [bench.load_benchmark(name) for name in NAMES]
    for benchmark in found:
        typer.echo(f"{benchmark.name}: {benchmark.summary}")
        typer.echo(f"    needs   {benchmark.needs}")
        typer.echo(f"    takes   {benchmark.duration}")
        typer.echo(f"    metrics {', '.join(benchmark.metrics)}")
        if benchmark.parts:
            typer.echo(f"    parts   {', '.join(benchmark.parts)}")
    rows = [
        {
            "name": b.name,
            "summary": b.summary,
            "needs": b.needs,
            "duration": b.duration,
            "figures": b.metrics,
            "parts": b.parts,
        }
        for b in found
    ]
    write_json(json_path, {"benchmarks": rows})
