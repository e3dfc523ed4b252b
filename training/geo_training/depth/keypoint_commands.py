"""`geo-train depth keypoint-table`: the table of the paper on keypoints."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geo_training.console import JsonOption, say, write_json
from geo_training.depth.options import (
    BatchOption,
    DatasetsOption,
    SeedsOption,
    TableFolderOption,
    TestOption,
    TrainingDeviceOption,
)

NAMES = ("keypoints_paper", "keypoints_small")


def keypoint_table_command(
    config: Annotated[
        str, typer.Argument(metavar="CONFIG", help=f"YAML config that all rows share, or one of {', '.join(NAMES)}.")
    ],
    out: TableFolderOption,
    test: TestOption,
    dataset: DatasetsOption = None,
    start_from: Annotated[
        Path | None, typer.Option("--from", help="Weights of a finished run that every row goes on from.")
    ] = None,
    row: Annotated[
        list[str] | None, typer.Option("--row", help="Only this row, by its name in table.json; may be given again.")
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Training steps of every row.", min=1)] = None,
    batch: BatchOption = None,
    seeds: SeedsOption = None,
    device: TrainingDeviceOption = None,
    json_path: JsonOption = None,
) -> None:
    """Fill the table of the paper on keypoints: with and without the detector, with and without the mask, SfMLearner.

    Rows that the paper does not have follow: the same without keypoints, several scales and, where the datasets have
    poses, descriptors that are learned. Every row has the same start and the same steps. The table is written into
    `table.md`, `table.json` and, with plots, `table.html` after every row. The same command goes on after an
    interruption.

    Example: `geo-train depth keypoint-table keypoints_small --dataset office --test office --out keypoints`
    """
    from geo_training.depth.config import load_config
    from geo_training.depth.experiment_table import measure_on, table_content
    from geo_training.depth.keypoint_report import keypoint_findings, write_keypoint_report
    from geo_training.depth.keypoint_table import run_keypoint_table
    from geo_training.named_configs import config_path

    folder = Path(__file__).parent / "configs"
    changes = {"datasets": tuple(dataset) if dataset else None, "start_from": start_from}
    base = load_config(config_path(config, NAMES, folder), **changes, steps=steps, batch=batch, device=device)
    written = []
    results = run_keypoint_table(
        base, out, measure_on(test), seeds,
        after_row=lambda so_far: written.append(write_keypoint_report(so_far, base, out)), names=row or (),
    )  # fmt: skip
    write_json(json_path, {"findings": keypoint_findings(results)} | table_content(results, base))
    typer.echo(written[-1].markdown.read_text())
    say(f"with plots: {written[-1].page}")
