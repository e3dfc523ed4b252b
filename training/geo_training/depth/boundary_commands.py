"""`geo-train depth boundaries` and `boundary-sweep`: object boundaries beside the frames, and the paper's table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geo_training.console import JsonOption, say, write_json
from geo_training.depth.options import BatchOption, SeedsOption, TableFolderOption, TestOption, TrainingDeviceOption


def boundaries_command(
    dataset: Annotated[Path, typer.Argument(metavar="DIR", help="A dataset of `geo-train dataset`.")],
    masks: Annotated[
        Path | None,
        typer.Option("--masks", metavar="DIR", help="Masks that exist: `DIR/<sequence>/<frame>.png`, one id a pixel."),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option("--weights", metavar="FILE", help="State dict of torchvision's Mask R-CNN.")
    ] = None,
    min_score: Annotated[
        float | None, typer.Option("--min-score", help="Least score of an object (default: 0.7).", min=0, max=1)
    ] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Make boundaries again that are there.")] = False,
    json_path: JsonOption = None,
) -> None:
    """Map where objects end, beside every frame of a dataset, for depth that is sharp there.

    Objects come from masks that exist (--masks DIR, or the dataset's own masks/), or from Mask R-CNN with weights from
    a file or from torchvision, and are then kept in masks/. The same command goes on after an interruption.

    Example: `geo-train depth boundaries drive --weights maskrcnn_resnet50_fpn_v2_coco-73cbd019.pth`
    """
    from geo_training.datasets.scene import SceneDataset
    from geo_training.depth.boundaries import choose_masks, make_boundaries
    from geo_training.depth.instance_masks import MIN_SCORE, MaskNetwork

    scene = SceneDataset(dataset)
    network = MaskNetwork(weights, MIN_SCORE if min_score is None else min_score, device)
    source = choose_masks(scene, masks, network, weights is not None or min_score is not None, overwrite)
    figures = make_boundaries(scene, source, overwrite)
    write_json(json_path, {"figures": figures.to_json(), "made_from": source.facts})
    say(
        f"{scene.root / 'boundaries'}: {figures.with_map} of {figures.frames} frames have a map ({figures.made} made "
        f"now), {figures.objects_per_frame:.1f} objects a frame, {figures.frames_without_object} frames without any"
    )


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
    device: TrainingDeviceOption = None,
    json_path: JsonOption = None,
) -> None:
    """Fill the table of the paper on object boundaries: a baseline, eight ways to go on from it, seven figures.

    One row more trains on without the boundary term, which the paper left out. The table is written into `table.md`,
    `table.json` and, with plots, `table.html` after every row. The same command goes on after an interruption.

    Example: `geo-train depth boundary-sweep sfmlearner --dataset kitti --test kitti_test --out sweep`
    """
    from geo_training.depth.boundary_report import sweep_findings, write_sweep_report
    from geo_training.depth.boundary_sweep import FINETUNE_STEPS, run_sweep
    from geo_training.depth.config import load_config
    from geo_training.depth.experiment_table import measure_on, table_content
    from geo_training.named_configs import config_path

    folder = Path(__file__).parent / "configs"
    changes = {"datasets": tuple(dataset) if dataset else None, "steps": steps, "batch": batch, "device": device}
    baseline = load_config(config_path(config, ("sfmlearner",), folder), **changes)
    written = []
    results = run_sweep(
        baseline, out, measure_on(test), finetune_steps or FINETUNE_STEPS, seeds,
        after_row=lambda so_far: written.append(write_sweep_report(so_far, baseline, out)),
    )  # fmt: skip
    write_json(json_path, {"findings": sweep_findings(results)} | table_content(results, baseline))
    typer.echo(written[-1].markdown.read_text())
    say(f"with plots: {written[-1].page}")
