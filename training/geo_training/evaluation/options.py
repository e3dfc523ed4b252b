"""The options that the commands of `geo-eval` share, and how each writes its report."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

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


def write_evaluation(evaluation, path: Path) -> None:
    """The report of an `Evaluation` of poses, a `CalibrationEvaluation` or a `DepthEvaluation`, with the command line
    that made it."""
    from geo_training.evaluation.calibration.evaluate import CalibrationEvaluation
    from geo_training.evaluation.calibration.report import write_calibration_report
    from geo_training.evaluation.depth.evaluate import DepthEvaluation
    from geo_training.evaluation.depth.report import write_depth_report
    from geo_training.evaluation.localization.report import write_report

    writers = {CalibrationEvaluation: write_calibration_report, DepthEvaluation: write_depth_report}
    write = writers.get(type(evaluation), write_report)
    write(evaluation, path, shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]))
    say(f"report written to {path}")
