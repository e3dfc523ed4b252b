"""The options that the commands of `geo-train depth` share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DatasetsOption = Annotated[
    list[Path] | None, typer.Option("--dataset", help="A dataset to learn from; may be given again.", metavar="DIR")
]
BatchOption = Annotated[int | None, typer.Option("--batch", help="Clips a step.", min=1)]
TrainingDeviceOption = Annotated[str | None, typer.Option("--device", help="auto, cpu or cuda.")]
TableFolderOption = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for networks and the table.")]
TestOption = Annotated[
    Path, typer.Option("--test", metavar="DIR", help="What is measured on: a dataset or samples with true depth.")
]
SeedsOption = Annotated[
    list[int] | None, typer.Option("--seed", help="Seed of every random choice; may be given again.")
]
