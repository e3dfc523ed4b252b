"""Options that the commands of several capabilities share, each defined once.

An `...Override` changes what a config says; None leaves it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geo_perception.errors import InputError
from geo_training.storage.output_file import check_output_file


def writable_file(path: Path | None) -> Path | None:
    """Callback of an option that names a file to write: checked before the command begins, not when its work is done.
    Raises typer.BadParameter."""
    if path is not None:
        try:
            check_output_file(path, option="the option")
        except InputError as error:
            raise typer.BadParameter(str(error)) from None
    return path


JsonOption = Annotated[
    Path | None,
    typer.Option(
        "--json", metavar="PATH", help="Write the result as JSON to this file.", dir_okay=False, callback=writable_file
    ),
]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace what stands at --out.")]

_device = typer.Option("--device", help="auto, cpu or cuda.")
_seed = typer.Option("--seed", help="Seed of every random choice.")
DeviceOption = Annotated[str, _device]
DeviceOverride = Annotated[str | None, _device]
SeedOption = Annotated[int, _seed]
SeedOverride = Annotated[int | None, _seed]
StepsOverride = Annotated[int | None, typer.Option("--steps", help="Training steps.", min=1)]


def parse_bytes(text: str) -> int:
    """A size such as 500k, 1M or 1.5G in bytes (powers of ten). Raises typer.BadParameter."""
    number, factor = text.strip().rstrip("Bb"), 1.0
    if number[-1:].upper() in _FACTORS:
        number, factor = number[:-1], _FACTORS[number[-1].upper()]
    try:
        size = float(number) * factor
    except ValueError:
        size = -1.0
    if not 1 <= size < 1e15:
        raise typer.BadParameter(f"'{text}' is not a size; give bytes, or a number with k, M or G, such as 1M")
    return int(size)


_FACTORS = {"K": 1e3, "M": 1e6, "G": 1e9}
