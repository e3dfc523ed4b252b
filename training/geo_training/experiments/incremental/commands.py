"""`geo-train calibration adapt` and `incremental`: learning a new domain without forgetting the old one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geo_training.console import say, write_json
from geo_training.engine.curves import check_charts
from geo_training.options import DeviceOverride, JsonOption, OverwriteOption, SeedOption

ConfigArgument = Annotated[
    str,
    typer.Argument(metavar="CONFIG", help="YAML file of the experiment, or `paper`, `adapt_small`, `adapt_attitudes`."),
]
OutOption = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for networks and results.")]
PanoramasOption = Annotated[
    Path | None,
    typer.Option("--panoramas", metavar="DIR", help="Panoramas with an index.csv that names their domains."),
]
CropsOption = Annotated[int | None, typer.Option("--crops", help="Crops of each domain.", min=8)]
EpochsOption = Annotated[int | None, typer.Option("--epochs", help="Times through the crops.", min=1)]


def adapt_command(
    config: ConfigArgument,
    method: Annotated[str, typer.Option("--method", help="joint, finetune, lwf, icarl, lucir or bic.")],
    out: OutOption,
    panoramas: PanoramasOption = None,
    exemplars: Annotated[
        float | None, typer.Option("--exemplars", help="Share of the old crops that is kept.", min=0, max=1)
    ] = None,
    crops: CropsOption = None,
    epochs: EpochsOption = None,
    seed: SeedOption = 0,
    device: DeviceOverride = None,
    overwrite: OverwriteOption = False,
    json_path: JsonOption = None,
) -> None:
    """Train the paper's network on one domain, then on another by one method, and measure both on both.

    The same command goes on after an interruption. What `incremental` made in the same folder is used; results of
    another config or other panoramas are replaced only with --overwrite.

    Example: `geo-train calibration adapt adapt_small --method lwf --panoramas panoramas --out lwf`
    """
    # torch: seconds
    from geo_training.experiments.incremental.adapt import Experiment
    from geo_training.experiments.incremental.config import load_adapt_config
    from geo_training.experiments.incremental.strategies import make_strategy

    make_strategy(method)  # says at once when there is none
    resolved = load_adapt_config(config, crops, epochs, panoramas=_text(panoramas), device=device)
    result = Experiment(resolved, out, overwrite).adapt(*resolved.domains, method, seed, exemplars)
    write_json(json_path, {"result": result.to_json(), "config": resolved.model_dump(mode="json")})
    matrix = result.matrix()
    for learned, errors in zip(matrix.domains, matrix.error_td, strict=True):
        cells = ", ".join(f"{name} {100 * error:.2f}" for name, error in zip(matrix.domains, errors, strict=True))
        say(f"after {learned}: {cells}")
    say(f"(µMSE x 100 of the normalized targets on test crops; forgetting {100 * matrix.forgetting:.2f})")


def incremental_command(
    config: ConfigArgument,
    out: OutOption,
    panoramas: PanoramasOption = None,
    crops: CropsOption = None,
    epochs: EpochsOption = None,
    device: DeviceOverride = None,
    overwrite: OverwriteOption = False,
    json_path: JsonOption = None,
) -> None:
    """Make the paper's Table 1 and Figures 3, 4 and 5: every method, both ways, and the sweep of exemplar shares.

    They are written into `adapt.md` and, with plots, `adapt.html` in the folder. The same command goes on after an
    interruption; results of another config or other panoramas are replaced only with --overwrite.

    Example: `geo-train calibration incremental paper --panoramas panoramas --out paper`
    """
    # torch: seconds
    from geo_training.experiments.incremental.adapt import run_incremental
    from geo_training.experiments.incremental.config import load_adapt_config
    from geo_training.experiments.incremental.report import write_adapt_report

    resolved = load_adapt_config(config, crops, epochs, panoramas=_text(panoramas), device=device)
    check_charts()
    results, single = run_incremental(resolved, out, overwrite)
    markdown, page = write_adapt_report(results, single, resolved, out)
    content = {"results": [result.to_json() for result in results], "single": single}
    write_json(json_path, content | {"config": resolved.model_dump(mode="json")})
    typer.echo(markdown.read_text())
    say(f"with plots: {page}")


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
