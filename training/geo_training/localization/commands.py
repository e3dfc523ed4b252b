"""`geo-train localization`: the networks that find landmarks."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from geo_perception.runtime import DEFAULT_BACKBONE
from geo_training.console import command_group, say, write_json
from geo_training.localization.backbone.commands import backbone_command
from geo_training.localization.config import HeadTrainingConfig
from geo_training.options import DeviceOverride, JsonOption, OverwriteOption, SeedOverride, parse_bytes

app = command_group("Train what finds a scene's landmarks.")


@app.callback()
def _group() -> None:
    """Train what finds a scene's landmarks."""


@app.command("head")
def head(
    dataset: Annotated[Path, typer.Argument(help="A dataset with a map and landmarks.", metavar="DIR")],
    out: Annotated[Path, typer.Option("--out", help="The scene file to write.", metavar="SCENE.safetensors")],
    config: Annotated[Path | None, typer.Option("--config", help="YAML file of training options.")] = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            "--backbone",
            help=f"timm name, xfeat, or several with + between; weights as NAME=FILE; default {DEFAULT_BACKBONE}.",
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option("--steps", help="Training steps; 0: no training, a scene in seconds.", min=0),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            "--bytes",
            help="Size of the scene file, as 1M: map points for the second look are added up to it.",
            metavar="SIZE",
        ),
    ] = None,
    batch: Annotated[
        int | None, typer.Option("--batch", help="Views a step, of all processes together.", min=1)
    ] = None,
    buffer_gib: Annotated[float | None, typer.Option("--buffer-gib", help="Room for features.", min=0.01)] = None,
    buffer_place: Annotated[
        str | None, typer.Option("--buffer-place", help="device, host, disk, or auto: the first of them with room.")
    ] = None,
    device: DeviceOverride = None,
    seed: SeedOverride = None,
    embed_backbone: Annotated[
        bool,
        typer.Option("--embed-backbone", help="Put the backbone into the scene file, so that it needs nothing else."),
    ] = False,
    overwrite: OverwriteOption = False,
    json_path: JsonOption = None,
) -> None:
    """Train the head that finds a dataset's landmarks, and write the scene file that the robot loads.

    The same command goes on after an interruption; a scene that is there is replaced only with --overwrite. Loss, pixel
    error and recall on held-out frames are drawn in `<out>.run/curves.html`.

    Example: `geo-train localization head office --out office.safetensors`
    """  # fmt: skip
    from geo_training.localization.fit import fit_head

    name, _, weights = (backbone or "").partition("=")
    resolved = HeadTrainingConfig.load(
        config, backbone=name or None, backbone_file=weights or None, steps=steps, batch=batch, buffer_gib=buffer_gib,
        buffer_place=buffer_place, device=device, seed=seed, max_bytes=None if size is None else parse_bytes(size),
    )  # fmt: skip
    result = fit_head(dataset, out, resolved, embed_backbone, overwrite)
    metrics = result.metrics
    write_json(json_path, {"scene": str(result.path), "figures": metrics, "config": resolved.model_dump(mode="json")})
    say(f"{result.path}: {metrics['scene_bytes'] / 1e6:.2f} MB after {metrics['train_s']:.0f} s")
    if "held_out_px" in metrics:
        say(held_out_summary(metrics))


def held_out_summary(metrics: dict[str, float]) -> str:
    """What the held-out frames say, in a sentence, also where there is little to say. A frame that does not localize is
    infinitely far off."""
    parts = [f"{metrics['held_out_localized']:.0%} of {metrics['held_out_frames']} held-out frames localize"]
    if "held_out_recall_5cm_5deg" in metrics:
        parts.append(f"{metrics['held_out_recall_5cm_5deg']:.0%} within 5 cm and 5 degrees")
        off = f"{metrics['held_out_median_cm']:.1f} cm"
    else:
        off = f"{metrics['held_out_median_scene_units']:.3g} scene units (the scale is unknown)"
    angle_deg, pixels = metrics["held_out_median_deg"], metrics["held_out_px"]
    if math.isfinite(angle_deg):
        parts.append(f"median {off} and {angle_deg:.2f} degrees")
    else:
        parts.append("no median error, since half of them or more do not localize")
    found = math.isfinite(pixels)
    parts.append(f"landmarks off by {pixels:.1f} px" if found else "no landmark was found in them")
    return ", ".join(parts)


app.command("backbone")(backbone_command)
