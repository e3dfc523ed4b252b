"""The tiny scene's head, trained by a command: what `torchrun` starts in several processes. Its map is made here, since
the dataset has none of COLMAP's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from geo_training.console import command_group, say, write_json
from geo_training.datasets.scene import SceneDataset
from geo_training.localization.config import HeadTrainingConfig
from geo_training.localization.data import HeadData
from geo_training.localization.fit import fit_head
from geo_training.mapping.landmark_set import LandmarkSet
from tiny_scene import map_of

app = command_group("Train the tiny scene.")


@app.callback()
def _group() -> None:
    """Train the tiny scene."""


@app.command()
def head(
    root: Path, config: Path, out: Path, json_path: Annotated[Path | None, typer.Option("--json")] = None
) -> None:  # fmt: skip
    """Trains."""
    resolved, dataset = HeadTrainingConfig.load(config), SceneDataset(root)
    result = fit_head(HeadData(dataset, LandmarkSet.load(root), map_of(dataset), resolved), out, resolved)
    write_json(json_path, {"figures": result.metrics})
    say(f"{result.path}: done")


if __name__ == "__main__":
    app()
