"""`geo-train calibration crops`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from geo_training.calibration.config import CONFIGS
from geo_training.calibration.data.crop_set import CropSetConfig
from geo_training.calibration.data.crop_writer import write_crops
from geo_training.config import config_path
from geo_training.console import say, write_json
from geo_training.options import JsonOption, OverwriteOption


def crops_command(
    panoramas: Annotated[
        Path, typer.Argument(metavar="PANORAMAS", help="Folder of equirectangular panoramas.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder to make.", show_default=False)],
    config: Annotated[
        str | None,
        typer.Option("--config", metavar="FILE", help="YAML file, or `crops_robot` (the default), or `crops_paper`."),
    ] = None,
    count: Annotated[
        int | None,
        typer.Option(min=1, help="Crops of each domain for training and validation; test crops in proportion."),
    ] = None,
    domain: Annotated[
        list[str] | None, typer.Option(metavar="D", help="Only this domain of index.csv; may be given again.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of every random choice.")] = None,
    licence: Annotated[str | None, typer.Option(metavar="TEXT", help="Licence of the panoramas, to be kept.")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes. [default: one for each core, at most 8]")] = None,
    overwrite: OverwriteOption = False,
    json_path: JsonOption = None,
) -> None:
    """Cut panoramas into perspective crops whose focal length, pitch and roll are known exactly.

    Panoramas (JPEG, PNG, HDR, EXR; upright, twice as wide as high) are split, not their crops: no panorama is seen in
    training and in a test. The same command goes on after an interruption.

    Example: `geo-train calibration crops panoramas --out crops --count 2000`

    Example: `geo-train calibration crops panoramas --out paper_indoor --domain indoor --config crops_paper`
    """
    changes = {"domains": tuple(domain) if domain else None, "seed": seed, "licence": licence}
    path = None if config is None else config_path(config, ("crops_robot", "crops_paper"), CONFIGS)
    resolved = CropSetConfig.load(path, **changes)
    if count is not None:
        tests = resolved.test_count
        tests = tests if tests is None else round(tests * count / resolved.count)
        resolved = resolved.model_copy(update={"count": count, "test_count": tests})
    result = write_crops(panoramas, out, resolved, jobs or min(8, os.cpu_count() or 1), overwrite)
    write_json(json_path, {**result, "config": resolved.model_dump(mode="json")})
    parts = (f"{n} {split} of {result['panoramas'][split]} panoramas" for split, n in result["splits"].items())
    say(f"{out}: {result['crops']} crops ({', '.join(parts)}), {result['made']} of them made now")
