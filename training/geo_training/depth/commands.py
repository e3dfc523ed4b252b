"""`geo-train depth`: training and object boundaries."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from geo_training.config import config_path
from geo_training.console import command_group, say, write_json
from geo_training.depth.boundary_commands import boundaries_command
from geo_training.depth.config import CONFIGS, DEFAULT_WEIGHTS, TEACHER_WEIGHTS, DepthTrainingConfig
from geo_training.options import DeviceOverride, JsonOption, OverwriteOption, SeedOverride, StepsOverride

DatasetsOption = Annotated[
    list[Path] | None, typer.Option("--dataset", help="A dataset to learn from; may be given again.", metavar="DIR")
]
BatchOption = Annotated[int | None, typer.Option("--batch", help="Clips a step.", min=1)]

app = command_group("Train the network that estimates depth, from recordings.")
NAMES = ("default", "sfmlearner", "reference", "distill", "sharpen")


def _weights(name: str) -> Path:
    from geo_perception.depth.estimator import reference_weights  # torch: seconds

    return reference_weights() if name == "reference" else Path(name)


def _taught(losses: Any) -> Any:
    """The losses of a config with a teacher's terms, where none of them is weighed yet. What is wrong in them stays."""
    weights = losses.get("weights", DEFAULT_WEIGHTS) if isinstance(losses, dict) else None
    if not isinstance(weights, dict) or set(weights) & set(TEACHER_WEIGHTS):
        return losses
    return {**losses, "weights": {**weights, **TEACHER_WEIGHTS}}


@app.callback()
def _group() -> None:
    """Train the network that estimates depth, from recordings."""


@app.command("fit")
def fit(
    config: Annotated[str, typer.Argument(help=f"YAML config, or one of {', '.join(NAMES)}.", metavar="CONFIG")],
    out: Annotated[Path, typer.Option("--out", help="The weights file to write.", metavar="WEIGHTS", dir_okay=False)],
    dataset: DatasetsOption = None,
    validation: Annotated[
        list[Path] | None,
        typer.Option("--validation", help="A dataset with depth to watch; may be given again.", metavar="DIR"),
    ] = None,
    start_from: Annotated[
        str | None,
        typer.Option("--from", help="Weights to go on from, `reference` for the package's.", metavar="WEIGHTS"),
    ] = None,
    keep_momentum: Annotated[
        bool | None, typer.Option("--keep-momentum/--restart-momentum", help="With --from: of its optimizer.")
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            "--teacher",
            help="A network to learn from: weights, an ONNX file, a folder of transformers, or `reference`.",
            metavar="MODEL",
        ),
    ] = None,
    steps: StepsOverride = None,
    batch: BatchOption = None,
    device: DeviceOverride = None,
    seed: SeedOverride = None,
    overwrite: OverwriteOption = False,
    json_path: JsonOption = None,
) -> None:
    """Train depth, and ego-motion where the poses are not used, and write the weights that the robot loads.

    Any dataset of `geo-train dataset` will do: only images and the camera are needed. The same command goes on after an
    interruption; weights that are there are replaced only with --overwrite. Every term of the loss is drawn in
    `<out>.run/curves.html`; ego-motion is kept in `<out>.pose.safetensors` for `geo-eval depth --odometry`.

    Example: `geo-train depth fit default --dataset drive --out depth.safetensors`

    Example: `geo-train depth fit distill --teacher fastdepth.onnx --dataset drive --out small.safetensors`
    """
    from geo_training.depth.fit import fit_depth  # torch: seconds

    changes = {
        "datasets": tuple(dataset) if dataset else None,
        "validation": tuple(validation) if validation else None,
        "start_from": None if start_from is None else _weights(start_from),
        "keep_momentum": keep_momentum,
        "teacher": None if teacher is None else _weights(teacher),
        "steps": steps,
        "batch": batch,
        "device": device,
        "seed": seed,
    }
    path = config_path(config, NAMES, CONFIGS)
    if teacher is not None:
        changes["losses"] = _taught(DepthTrainingConfig.read_keys(path).get("losses", {}))
    resolved = DepthTrainingConfig.load(path, **changes)
    result = fit_depth(resolved, out, overwrite)
    content = {"weights": str(result.path), "pose_weights": str(result.beside[0]) if result.beside else None}
    write_json(json_path, {**content, "figures": result.metrics, "config": resolved.model_dump(mode="json")})
    metrics = result.metrics
    say(f"{result.path}: {metrics['weights_bytes'] / 1e6:.2f} MB after {metrics['train_s']:.0f} s")
    if "val_abs_rel" in metrics:
        say(
            f"validation frames, each with its own scale: absolute relative error {metrics['val_abs_rel']:.3f}, "
            f"{metrics['val_d1']:.1%} within 25 %"
        )
    if "val_teacher_abs_rel" in metrics:
        say(f"the same frames: absolute relative difference from the teacher {metrics['val_teacher_abs_rel']:.3f}")


app.command("boundaries")(boundaries_command)
