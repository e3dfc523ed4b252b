"""`geo-train localization backbone`: a backbone that is trained on many scenes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geo_training.console import say, write_json
from geo_training.localization.backbone.config import BackboneTrainingConfig
from geo_training.options import DeviceOverride, JsonOption, OverwriteOption, SeedOverride, StepsOverride


def backbone_command(
    config: Annotated[Path, typer.Argument(help="YAML file of training options.", metavar="CONFIG")],
    out: Annotated[Path, typer.Option("--out", help="The weights file to write.", metavar="WEIGHTS.safetensors")],
    steps: StepsOverride = None,
    batch: Annotated[int | None, typer.Option("--batch", help="Views of one scene.", min=1)] = None,
    device: DeviceOverride = None,
    seed: SeedOverride = None,
    overwrite: OverwriteOption = False,
    json_path: JsonOption = None,
) -> None:
    """Train a backbone on several scenes at once, a light head for each, and write its weights.

    The config lists mapped datasets under `scenes`. New scenes then take the weights as their frozen backbone. The same
    command goes on after an interruption. Pixel error and recall on held-out frames of every scene are drawn in
    `<out>.run/curves.html`.

    Example: `geo-train localization backbone houses.yaml --out houses.safetensors`

    Example: `geo-train localization head office --out office.safetensors --backbone tf_efficientnet_lite0=houses.safetensors`
    """  # noqa: E501  # an example is one line
    from geo_training.localization.backbone.fit import fit_backbone  # torch: seconds

    resolved = BackboneTrainingConfig.load(config, steps=steps, batch=batch, device=device, seed=seed)
    result = fit_backbone(resolved, out, overwrite)
    metrics = result.metrics
    content = {"weights": str(result.path), "figures": metrics, "config": resolved.model_dump(mode="json")}
    write_json(json_path, content)
    say(f"{result.path}: {metrics['weights_bytes'] / 1e6:.2f} MB after {metrics['train_s']:.0f} s")
    if "held_out_px" in metrics:
        say(held_out_summary(metrics))
    say(f"use it as `geo-train localization head DIR --backbone {resolved.backbone}={result.path}`")


def held_out_summary(metrics: dict[str, float]) -> str:
    """What the held-out frames of the trained scenes say, in a sentence, with what was there before the training."""
    words = {
        "held_out_found": ("{:.0%}", "of the landmarks within 8 px"),
        "held_out_px": ("{:.1f}", "px off"),
        "held_out_recall_5cm_5deg": ("{:.0%}", "of the frames within 5 cm and 5 degrees"),
        "held_out_localized": ("{:.0%}", "localized"),
    }
    parts = []
    for key, (digits, text) in words.items():
        if key in metrics:
            start = metrics.get(f"start_{key}")
            before = f" (before: {digits.format(start)})" if start is not None else ""
            parts.append(f"{digits.format(metrics[key])} {text}{before}")
    return "held-out frames of its own scenes: " + ", ".join(parts)
