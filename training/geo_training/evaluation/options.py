"""The options that the commands of `geo-eval` share, and how each writes its report and keeps its predictions."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any, Protocol

import typer

from geo_training.console import say
from geo_training.engine.curves import check_charts
from geo_training.evaluation.predictions import PredictionStore
from geo_training.options import writable_file


def _report_file(path: Path | None) -> Path | None:
    if path is not None:
        check_charts()
    return writable_file(path)


ReportOption = Annotated[
    Path | None,
    typer.Option(
        "--report", metavar="PATH", help="Write an HTML report to this file.", dir_okay=False, callback=_report_file
    ),
]
PredictionsOption = Annotated[
    Path | None,
    typer.Option(
        "--predictions", metavar="FILE", help="Write what is answered for every frame to this file.", dir_okay=False,
        callback=writable_file,
    ),
]  # fmt: skip
FromPredictionsOption = Annotated[
    Path | None,
    typer.Option(
        "--from-predictions", metavar="FILE", dir_okay=False, show_default=False,
        help="Measure what --predictions wrote to this file, without running a network.",
    ),
]  # fmt: skip


def prediction_store(
    ctx: typer.Context, weights: list[Path], write_to: Path | None, read_from: Path | None, **settings: Any
) -> PredictionStore[Any]:
    """Where the predictions of this command are kept. `settings` are its options that decide the answers.

    Raises typer.BadParameter for options that do not go together.
    """
    if read_from is not None:
        if write_to is not None:
            raise typer.BadParameter("the answers are kept already; leave it out", param_hint="--predictions")
        if getattr(ctx.get_parameter_source("device"), "name", "") == "COMMANDLINE":
            raise typer.BadParameter("no network runs with --from-predictions; leave it out", param_hint="--device")
    return PredictionStore(weights, settings, write_to, read_from)


class Reported(Protocol):
    """An evaluation that has a page."""

    def write_report(self, path: str | Path, command: str = "") -> Path: ...


def write_evaluation(evaluation: Reported, path: Path) -> None:
    """The report of an evaluation, with the command line that made it."""
    evaluation.write_report(path, shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]))
    say(f"report written to {path}")
