"""`geo-train calibration`: crops, the calibration network, and adapting it to new places."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from geo_training.calibration.config import CONFIGS, CalibrationTrainingConfig
from geo_training.calibration.crop_commands import crops_command
from geo_training.config import config_path
from geo_training.console import command_group, say, write_json
from geo_training.options import DeviceOverride, JsonOption, OverwriteOption, SeedOverride, StepsOverride

app = command_group("Train the network that estimates focal length, pitch and roll from one image.")


@app.callback()
def _group() -> None:
    """Train the network that estimates focal length, pitch and roll from one image."""


def _weights(name: str) -> Path:
    from geo_perception.calibration.estimator import reference_weights  # torch: seconds

    return reference_weights() if name == "reference" else Path(name)


@app.command("fit")
def fit(
    config: Annotated[str, typer.Argument(help="YAML config, or `reference`.", metavar="CONFIG")],
    out: Annotated[Path, typer.Option("--out", help="The weights file to write.", metavar="WEIGHTS.safetensors")],
    panoramas: Annotated[Path | None, typer.Option("--panoramas", help="Folder of equirectangular panoramas.")] = None,
    synthetic: Annotated[
        Path | None, typer.Option("--synthetic", help="Where the rendered panoramas are kept; default: beside the run.")
    ] = None,
    start_from: Annotated[
        str | None,
        typer.Option("--from", help="Weights to go on from, `reference` for the package's.", metavar="WEIGHTS"),
    ] = None,
    steps: StepsOverride = None,
    batch: Annotated[int | None, typer.Option("--batch", help="Crops a step.", min=1)] = None,
    device: DeviceOverride = None,
    seed: SeedOverride = None,
    overwrite: OverwriteOption = False,
    json_path: JsonOption = None,
) -> None:
    """Train the calibration network on crops of panoramas, and write the weights that the robot loads.

    The same command goes on after an interruption; weights that are there are replaced only with --overwrite. Losses
    and errors on panoramas that are kept back are drawn in `<out>.run/curves.html`.

    Example: `geo-train calibration fit reference --panoramas panoramas --out calibration.safetensors`

    To adapt to new places, go on from earlier weights: with the old and the new panoramas in one folder, or with your
    own mapped recordings as `photographs`, and `keep` in the config against forgetting.

    Example: `geo-train calibration fit street.yaml --from reference --panoramas panoramas --out street.safetensors`
    """
    from geo_training.calibration.fit import fit_calibration  # torch: seconds

    changes = {"panoramas": panoramas, "steps": steps, "batch": batch, "device": device, "seed": seed}
    if start_from is not None:
        changes["start_from"] = _weights(start_from)
    resolved = CalibrationTrainingConfig.load(config_path(config, ("reference",), CONFIGS), **changes)
    if synthetic is not None:
        rendered = resolved.synthetic.model_copy(update={"folder": synthetic})
        resolved = resolved.model_copy(update={"synthetic": rendered})
    result = fit_calibration(resolved, out, overwrite)
    metrics = result.metrics
    content = {"weights": str(result.path), "figures": metrics, "config": resolved.model_dump(mode="json")}
    write_json(json_path, content)
    say(f"{result.path}: {metrics['weights_bytes'] / 1e6:.2f} MB after {metrics['train_s']:.0f} s")
    say(validation_summary(metrics))


def validation_summary(metrics: dict[str, float]) -> str:
    """What the crops of the validation panoramas say, in a sentence. One without an answer is infinitely wrong."""
    crops, missed = metrics["validation_crops"], metrics["validation_missed"]
    medians = [metrics[f"{name}_median_deg"] for name in ("roll", "pitch", "vfov")]
    summary = f"{crops} crops of the validation panoramas: "
    summary += f"{missed} without an answer, " if missed else ""
    if not all(map(math.isfinite, medians)):
        return summary + "no median errors, since half of them or more have no answer"
    roll_deg, pitch_deg, vfov_deg = medians
    summary += f"median errors roll {roll_deg:.2f}, pitch {pitch_deg:.2f}, "
    return summary + f"vertical field of view {vfov_deg:.2f} degrees"


@app.command("lines")
def lines(
    weights: Annotated[str, typer.Argument(help="Weights, or `reference`.", metavar="WEIGHTS")],
    out: Annotated[Path, typer.Option("--out", help="The weights file to write.", metavar="WEIGHTS.safetensors")],
    panoramas: Annotated[Path, typer.Option("--panoramas", help="Folder of equirectangular panoramas.")],
    device: DeviceOverride = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Fit how far an answer is to be believed that the straight lines of an image refined, and write the weights with
    it. `fit` does so, too; this is for weights that were trained before lines spoke.

    The crops are those of the panoramas that the weights name as their validation, and some of each that they learned
    from. All else stays as it is.

    Example: `geo-train calibration lines old.safetensors --panoramas panoramas --out new.safetensors`
    """
    from geo_training.calibration.lines import fit_lines  # torch: seconds

    crops, uncertainty = fit_lines(_weights(weights), out, panoramas, device or "auto", overwrite)
    told = {
        "times": uncertainty.scale_3, "by strays": uncertainty.strays_3, "by disagreement": uncertainty.disagreement_3,
        "at least": uncertainty.floor_3,
    }  # fmt: skip
    parts = [f"{name} {', '.join(f'{value:.3g}' for value in values)}" for name, values in told.items()]
    say(f"{out}: of {crops} crops; log focal, pitch, roll: {'; '.join(parts)}")


app.command("crops")(crops_command)
