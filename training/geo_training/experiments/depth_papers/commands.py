"""`geo-train depth boundary-sweep` and `keypoint-table`: the tables of both papers on self-supervised depth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geo_training.config import config_path
from geo_training.console import say, write_json
from geo_training.depth.commands import BatchOption, DatasetsOption
from geo_training.depth.config import CONFIGS, DepthTrainingConfig
from geo_training.options import DeviceOverride, JsonOption

TableFolderOption = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for networks and the table.")]
TestOption = Annotated[
    Path, typer.Option("--test", metavar="DIR", help="What is measured on: a dataset or samples with true depth.")
]
SeedsOption = Annotated[
    list[int] | None, typer.Option("--seed", help="Seed of every random choice; may be given again.")
]
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
    device: DeviceOverride = None,
    json_path: JsonOption = None,
) -> None:
    """Fill the table of the paper on keypoints: with and without the detector, with and without the mask, SfMLearner.

    Rows that the paper does not have follow: the same without keypoints, several scales and, where the datasets have
    poses, descriptors that are learned. Every row has the same start and the same steps. The table is written into
    `table.md`, `table.json` and, with plots, `table.html` after every row. The same command goes on after an
    interruption.

    Example: `geo-train depth keypoint-table keypoints_small --dataset office --test office --out keypoints`
    """
    # torch: seconds
    from geo_training.experiments.depth_papers.experiment_table import measure_on, table_content
    from geo_training.experiments.depth_papers.keypoint_report import keypoint_findings, write_keypoint_report
    from geo_training.experiments.depth_papers.keypoint_table import run_keypoint_table

    changes = {"datasets": tuple(dataset) if dataset else None, "start_from": start_from}
    base = DepthTrainingConfig.load(
        config_path(config, NAMES, CONFIGS), **changes, steps=steps, batch=batch, device=device
    )
    written = []
    results = run_keypoint_table(
        base, out, measure_on(test), seeds,
        after_row=lambda so_far: written.append(write_keypoint_report(so_far, base, out)), names=row or (),
    )  # fmt: skip
    write_json(json_path, {"findings": keypoint_findings(results)} | table_content(results, base))
    typer.echo(written[-1].markdown.read_text())
    say(f"with plots: {written[-1].page}")


def sweep_command(
    config: Annotated[
        str, typer.Argument(metavar="CONFIG", help="YAML config of the baseline, or `sfmlearner`, the paper's.")
    ],
    out: TableFolderOption,
    test: TestOption,
    dataset: Annotated[
        list[Path] | None,
        typer.Option("--dataset", help="A dataset with boundaries to learn from; may be given again.", metavar="DIR"),
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Training steps of the baseline.", min=1)] = None,
    finetune_steps: Annotated[
        int | None, typer.Option("--finetune-steps", help="Training steps of a row (default: 35000).", min=1)
    ] = None,
    batch: BatchOption = None,
    seeds: SeedsOption = None,
    device: DeviceOverride = None,
    json_path: JsonOption = None,
) -> None:
    """Fill the table of the paper on object boundaries: a baseline, eight ways to go on from it, seven metrics.

    One row more trains on without the boundary term, which the paper left out. The table is written into `table.md`,
    `table.json` and, with plots, `table.html` after every row. The same command goes on after an interruption.

    Example: `geo-train depth boundary-sweep sfmlearner --dataset kitti --test kitti_test --out sweep`
    """
    # torch: seconds
    from geo_training.experiments.depth_papers.boundary_report import sweep_findings, write_sweep_report
    from geo_training.experiments.depth_papers.boundary_sweep import FINETUNE_STEPS, run_sweep
    from geo_training.experiments.depth_papers.experiment_table import measure_on, table_content

    changes = {"datasets": tuple(dataset) if dataset else None, "steps": steps, "batch": batch, "device": device}
    baseline = DepthTrainingConfig.load(config_path(config, ("sfmlearner",), CONFIGS), **changes)
    written = []
    results = run_sweep(
        baseline, out, measure_on(test), finetune_steps or FINETUNE_STEPS, seeds,
        after_row=lambda so_far: written.append(write_sweep_report(so_far, baseline, out)),
    )  # fmt: skip
    write_json(json_path, {"findings": sweep_findings(results)} | table_content(results, baseline))
    typer.echo(written[-1].markdown.read_text())
    say(f"with plots: {written[-1].page}")
