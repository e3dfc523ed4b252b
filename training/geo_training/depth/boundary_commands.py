"""`geo-train depth boundaries`: object boundaries beside the frames."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geo_training.console import say, write_json
from geo_training.datasets.scene import SceneDataset
from geo_training.options import DeviceOption, JsonOption


def boundaries_command(
    dataset: Annotated[Path, typer.Argument(metavar="DIR", help="A dataset of `geo-train dataset`.")],
    masks: Annotated[
        Path | None,
        typer.Option("--masks", metavar="DIR", help="Masks that exist: `DIR/<sequence>/<frame>.png`, one id a pixel."),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option("--weights", metavar="FILE", help="State dict of torchvision's Mask R-CNN.")
    ] = None,
    from_depth: Annotated[
        bool, typer.Option("--from-depth", help="Objects from the dataset's own depth, where that is exact (rendered).")
    ] = False,
    min_score: Annotated[
        float | None, typer.Option("--min-score", help="Least score of an object (default: 0.7).", min=0, max=1)
    ] = None,
    device: DeviceOption = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Make boundaries again that are there.")] = False,
    json_path: JsonOption = None,
) -> None:
    """Map where objects end, beside every frame of a dataset, for depth that is sharp there.

    Objects come from masks that exist (--masks DIR, or the dataset's own masks/), from exact depth (--from-depth), or
    from Mask R-CNN with weights from a file or from torchvision; those that are made are kept in masks/. The same
    command goes on after an interruption.

    Example: `geo-train depth boundaries drive --weights maskrcnn_resnet50_fpn_v2_coco-73cbd019.pth`
    """
    # torch: seconds
    from geo_training.depth.data.boundaries import choose_masks, make_boundaries
    from geo_training.depth.data.instance_masks import MIN_SCORE, MaskNetwork

    scene = SceneDataset(dataset)
    network = MaskNetwork(weights, MIN_SCORE if min_score is None else min_score, device)
    source = choose_masks(scene, masks, network, weights is not None or min_score is not None, overwrite, from_depth)
    metrics = make_boundaries(scene, source, overwrite)
    write_json(json_path, {"figures": metrics.to_json(), "made_from": source.metadata})
    say(
        f"{scene.root / 'boundaries'}: {metrics.with_map} of {metrics.frames} frames have a map ({metrics.made} made "
        f"now), {metrics.objects_per_frame:.1f} objects a frame, {metrics.frames_without_object} frames without any"
    )
