"""`geo-train localization refresh`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geo_training.console import say, write_json
from geo_training.datasets.scene import SceneDataset
from geo_training.options import DeviceOption, JsonOption, OverwriteOption, SeedOption
from geo_training.storage.output_file import check_output_file, check_room


def refresh_command(
    scene: Annotated[Path, typer.Argument(metavar="SCENE", help="A scene file.", show_default=False)],
    recordings: Annotated[
        list[Path],
        typer.Argument(metavar="RECORDING...", help="Datasets of how the place is now.", show_default=False),
    ],
    dataset: Annotated[
        Path,
        typer.Option(
            "--dataset",
            metavar="DIR",
            help="The dataset that the scene was made of: on its held-out frames the new "
            "scene must be as good as the old one.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", help="The scene file to write.", metavar="NEW.safetensors", show_default=False)
    ],
    split: Annotated[
        str | None,
        typer.Option(
            "--split",
            help="Frames of the recordings to learn from: train, val or all.",
            show_default="all but val and test",
        ),
    ] = None,
    device: DeviceOption = "auto",
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
    json_path: JsonOption = None,
) -> None:
    """Put new landmarks and map points into a scene where its place has changed, and take out what is gone.

    The recordings are placed by what still stands, and need no poses. Landmarks that are alive keep their numbers,
    places and detectors; new ones get detectors in closed form and take the numbers of those that are gone.

    Exit 1, and nothing is written: nothing is gone, too much is, or the new scene is worse on the old held-out frames
    by more than one point.

    Example: `geo-train localization refresh office.safetensors sunday --dataset office --out office_2.safetensors`
    """  # fmt: skip
    from geo_perception.localization.scene import Scene
    from geo_training.evaluation.scene_health.health import frames_of
    from geo_training.experiments.living.refresh import never_worse, refresh_scene

    check_output_file(out, ".safetensors", overwrite)
    old_dataset, old = SceneDataset(dataset), Scene.load(scene)
    embedded = bool(old.header["backbone"]["embedded"])
    refreshed = refresh_scene(old, frames_of(recordings, split or "learned", "landmarks"), device)
    figures = refreshed.figures
    say(
        f"{figures['gone']} landmarks are gone, {figures['new_landmarks']} new ones take their numbers; "
        f"{figures['map_points_gone']} map points for {figures['map_points_new']} new ones"
    )
    figures |= never_worse(old, refreshed.scene, old_dataset, device, seed)
    check_room(out.parent, refreshed.scene.size_bytes(), "the scene")
    refreshed.scene.save(out, embedded)
    figures["scene_bytes"] = out.stat().st_size
    write_json(json_path, {"scene": str(out), "figures": figures, "health": refreshed.health.as_json()})
    before = f"{figures['before']:.1%} before, " if "before" in figures else ""
    say(
        f"{out}: {figures['scene_bytes'] / 1e6:.2f} MB; of the old held-out frames it finds {before}"
        f"{figures['after']:.1%} now"
    )
