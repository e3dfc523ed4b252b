"""`geo-train localization reference` and `geo-eval localization-reference`: the detectors of the papers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geo_training.config import config_path
from geo_training.console import say, write_json
from geo_training.evaluation.options import ReportOption, write_evaluation
from geo_training.experiments.landmark_papers.config import CONFIGS, NAMES, ReferenceConfig
from geo_training.options import (
    DeviceOption,
    DeviceOverride,
    JsonOption,
    OverwriteOption,
    SeedOption,
    SeedOverride,
    StepsOverride,
)


def reference_command(
    config: Annotated[
        str, typer.Argument(metavar="CONFIG", help=f"YAML config of a reference, or one of {', '.join(NAMES)}.")
    ],
    dataset: Annotated[Path, typer.Argument(metavar="DIR", help="A dataset with a map and landmarks.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE.safetensors", help="The file to write.")],
    backbone: Annotated[
        str | None,
        typer.Option("--backbone", metavar="NAME=FILE", help="timm name of the detectors' backbone, and its weights."),
    ] = None,
    steps: StepsOverride = None,
    epochs: Annotated[int | None, typer.Option("--epochs", help="Passes over the frames.", min=1)] = None,
    device: DeviceOverride = None,
    seed: SeedOverride = None,
    overwrite: OverwriteOption = False,
    json_path: JsonOption = None,
) -> None:
    """Train a reference's networks for a scene, as its paper has it: SLD*, SLD, or the shared-backbone paper's.

    Backbones start from weights where those are on this machine, else from random ones, and it says so. The same
    command goes on after an interruption. Loss and recall on held-out frames are drawn in `<out>.run/curves.html`.

    Example: `geo-train localization reference sld_star office --out office_sld.safetensors`
    """
    from geo_training.experiments.landmark_papers.fit import fit_reference  # torch: seconds

    path = config_path(config, NAMES, CONFIGS)
    given = ReferenceConfig.load(path, steps=steps, epochs=epochs, device=device, seed=seed)
    if backbone is not None:
        name, _, weights = backbone.partition("=")
        changes = {"name": name, "file": Path(weights) if weights else None}
        given = given.model_copy(update={"backbone": given.backbone.model_copy(update=changes)})
    result = fit_reference(dataset, out, given, overwrite)
    write_json(json_path, {"file": str(result.path), "figures": result.metrics, "config": given.to_json()})
    say(f"{result.path}: {result.metrics['file_bytes'] / 1e6:.1f} MB after {result.metrics['train_s']:.0f} s")


def evaluate_reference_command(
    reference: Annotated[Path, typer.Argument(metavar="FILE", help="A trained reference.", show_default=False)],
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="A dataset with poses.", show_default=False)],
    split: Annotated[
        str | None,
        typer.Option("--split", help="A split, or all; test where any frame has it, else all.", show_default=False),
    ] = None,
    report: ReportOption = None,
    device: DeviceOption = "auto",
    seed: SeedOption = 0,
    json_path: JsonOption = None,
) -> None:
    """Localize the frames of a dataset with a trained reference, and compare with their true poses.

    Figures and report are those of `geo-eval localization`.

    Example: `geo-eval localization-reference office_sld.safetensors office --report office_sld.html`
    """
    from geo_training.datasets.scene import SceneDataset
    from geo_training.evaluation.localization.evaluate import evaluate_dataset
    from geo_training.evaluation.localization.summary import headline
    from geo_training.experiments.landmark_papers.localizer import ReferenceLocalizer

    localizer = ReferenceLocalizer.load(reference, device)
    trained = localizer.reference
    evaluation = evaluate_dataset(
        localizer, SceneDataset(dataset), trained.landmarks_map_l3, trained.metric, split, seed=seed,
        title=f"Localization by the reference {reference.stem}", extra_metadata={"reference": str(reference)},
    )  # fmt: skip
    write_json(json_path, evaluation.as_json())
    if report is not None:
        write_evaluation(evaluation, report)
    typer.echo(headline(evaluation))
