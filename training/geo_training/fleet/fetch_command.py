"""`geo-train fetch`: the latest scenes of a registry into a folder that the localization node takes."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from geo_training.console import NotGoodEnough, say, write_json
from geo_training.options import JsonOption


def fetch_command(
    registry: Annotated[
        str, typer.Argument(metavar="REGISTRY", help="Where `geo-train fleet` publishes: a folder, s3://..., gs://...")
    ],
    places: Annotated[
        list[str] | None, typer.Argument(metavar="[PLACE]...", help="Places to fetch.", show_default="all")
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", metavar="FOLDER", help="A folder of scenes, such as the node takes.")
    ] = Path("scenes"),
    json_path: JsonOption = None,
) -> None:
    """Bring the latest published scenes of a registry into a folder of scenes, one file a place.

    Only what changed is fetched. A file is checked by the checksum of its provenance and replaced at once; a scene that
    cannot be fetched stays as it was and stops no other. A localization node that runs takes up what is new.

    Exit 1: a scene could not be fetched, or cannot be used.

    Example: `geo-train fetch s3://robots/scenes --out scenes`

    Example: `geo-train fetch scenes office yard --out robot_scenes`
    """
    # fsspec and torch take a second.
    from geo_perception.localization.scene_folder import read_scene_folder
    from geo_training.fleet.driver import absolute_url
    from geo_training.fleet.fetching import FAILED, fetch_scene, published_places
    from geo_training.fleet.remote import Folder

    folder = Folder(absolute_url(registry))
    if folder.url == absolute_url(str(out)):
        raise typer.BadParameter("it is the registry itself; give another folder", param_hint="--out")
    names = list(dict.fromkeys(places or ())) or published_places(folder)
    out.mkdir(parents=True, exist_ok=True)
    fetched = []
    for name in names:
        scene = fetch_scene(folder, name, out)
        say(f"{scene.place}: {scene.outcome}" + (f": {scene.why}" if scene.why else f", {scene.version}"))
        fetched.append(scene)
    write_json(json_path, {"places": {scene.place: asdict(scene) for scene in fetched}})
    failed = [scene for scene in fetched if scene.outcome == FAILED]
    if failed:
        raise NotGoodEnough(f"{len(failed)} of {len(fetched)} scenes are not fetched: {failed[0].place}")
    problems = read_scene_folder(out).problems
    if problems:
        raise NotGoodEnough(f"a scene of {out} cannot be used: {next(iter(problems.values()))}")
