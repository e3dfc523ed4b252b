"""The options that the commands of `geo-eval` share, and how each writes its report."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Protocol

import typer

from geo_training.console import say
from geo_training.engine.curves import check_charts
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


class Reported(Protocol):
    """An evaluation that has a page."""

    def write_report(self, path: str | Path, command: str = "") -> Path: ...


def write_evaluation(evaluation: Reported, path: Path) -> None:
    """The report of an evaluation, with the command line that made it."""
    evaluation.write_report(path, shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]))
    say(f"report written to {path}")
