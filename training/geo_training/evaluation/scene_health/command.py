"""`geo-eval scene-health`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from geo_training.console import NotGoodEnough, write_json
from geo_training.evaluation.options import ReportOption, write_evaluation
from geo_training.options import DeviceOption, JsonOption


class PosesChoice(str, Enum):
    landmarks = "landmarks"
    recorded = "recorded"


def scene_health_command(
    scene: Annotated[Path, typer.Argument(metavar="SCENE", help="A scene file.", show_default=False)],
    recordings: Annotated[
        list[Path], typer.Argument(metavar="RECORDING...", help="Datasets, in order of time.", show_default=False)
    ],
    poses: Annotated[
        PosesChoice,
        typer.Option(
            "--poses",
            help="Poses by which a landmark is judged: `landmarks`, by all others and the map points, or `recorded`, "
            "those of poses.csv, where odometry or a tracker put them into the map's frame.",
        ),
    ] = PosesChoice.landmarks,
    split: Annotated[str | None, typer.Option("--split", help="Only frames of this split.", show_default="all")] = None,
    report: ReportOption = None,
    device: DeviceOption = "auto",
    json_path: JsonOption = None,
) -> None:
    """Judge every landmark of a scene by recordings of its place: does it answer where it should be, since when not,
    and is it elsewhere? And what is to be done about the scene: nothing (good), `geo-train localization refresh`, or
    a new map (remap).

    A landmark is never judged by a pose that it has part in. Frames in which the robot is lost say nothing of any.

    Exit 0: good. Exit 1: refresh or remap.

    Example: `geo-eval scene-health office.safetensors monday thursday sunday --report health.html`
    """
    from geo_perception.localization.scene import Scene
    from geo_training.evaluation.scene_health.health import frames_of, scene_health
    from geo_training.evaluation.scene_health.observe import SceneEye
    from geo_training.evaluation.scene_health.verdict import Verdict

    asked = frames_of(recordings, split, poses.value)
    health, _ = scene_health(SceneEye(Scene.load(scene), device), asked, poses.value)
    typer.echo(f"verdict       {health.verdict.value}")
    for reason in health.reasons:
        typer.echo(f"              {reason}")
    write_json(json_path, health.as_json())
    if report is not None:
        write_evaluation(health, report)
    if health.verdict is not Verdict.GOOD:
        raise NotGoodEnough(f"{health.verdict.value}: {health.reasons[0]}")
