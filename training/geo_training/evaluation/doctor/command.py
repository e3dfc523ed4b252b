"""`geo-eval doctor`."""

from __future__ import annotations

from typing import Annotated

import typer

from geo_training.console import NotGoodEnough, say, write_json
from geo_training.evaluation.doctor.findings import diagnose
from geo_training.evaluation.doctor.observe import observe
from geo_training.evaluation.doctor.report import as_json, count_words, looked_at
from geo_training.options import JsonOption


def doctor(
    seconds: Annotated[
        float, typer.Option("--seconds", min=3.0, max=3600.0, help="How long to look at the graph.")
    ] = 10.0,
    json_path: JsonOption = None,
) -> None:
    """Look at the live ROS graph, and say what is wrong with it and how to mend it, a line for each.

    QoS that refuses or loses, CameraInfo, frames and TF, clocks and stamps, the scene's camera, engines, cores, and
    nodes and topics that are silent. Nothing is changed: the graph is asked, and inputs, diagnostics, TF and /clock are
    listened to, never a result. Exit 0 when nothing is wrong, 1 with findings.

    Example: `geo-eval doctor --seconds 5 --json doctor.json`
    """
    snapshot = observe(seconds)
    findings = diagnose(snapshot)
    say(looked_at(snapshot))
    for note in snapshot.notes:
        say(f"note: {note}")
    for finding in findings:
        typer.echo(finding.line)
    write_json(json_path, as_json(snapshot, findings))
    if findings:
        raise NotGoodEnough(count_words(findings))
    typer.echo("nothing is wrong")
