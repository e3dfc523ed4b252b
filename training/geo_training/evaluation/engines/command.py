"""`geo-train export`: the graph of a network as a file that other engines run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from geo_perception.errors import InputError
from geo_training.console import say, write_json
from geo_training.options import JsonOption, OverwriteOption
from geo_training.storage.output_file import check_output_file

_FORMATS = ("onnx",)
_MULTIPLE_PX = 32


def export_command(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="A weights file or a scene; or `depth`, `calibration`: the weights of the package."
        ),
    ],
    to: Annotated[str, typer.Option("--to", help="onnx, which TensorRT and ONNX Runtime read.")] = "onnx",
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Write it here.", show_default="beside MODEL, where nodes find it"),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            "--images",
            metavar="DIR",
            help="Check it on images of this folder; a scene needs some of its place.",
            show_default="a rendered room",
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            "--size",
            metavar="WIDTHxHEIGHT",
            help="Of images of this size alone, as the network sees them.",
            show_default="any",
        ),
    ] = None,
    backbone: Annotated[
        Path | None,
        typer.Option("--backbone", metavar="FILE", help="Weights of a scene's backbone.", show_default=False),
    ] = None,
    overwrite: OverwriteOption = False,
    json_path: JsonOption = None,
) -> None:
    """Write a network, backbone and head as one graph, for engines other than torch; and check first that depth, angles
    or poses by it are those by torch. What differs is not written.

    A node finds the file where it lies beside its weights, under their name with .onnx at its end, and uses it where it
    was made of just these weights and is the fastest.

    Example: `geo-train export office.safetensors --images office/images`
    """  # fmt: skip
    if to not in _FORMATS:
        raise typer.BadParameter(f"'{to}' is none of {', '.join(_FORMATS)}", param_hint="--to")
    size_px = None if size is None else _size_of(size)
    from geo_perception.localization.scene import KIND as SCENE
    from geo_training.evaluation.engines.export import export_graph
    from geo_training.evaluation.engines.pictures import images_of_folder, rendered_images
    from geo_training.evaluation.engines.subjects import load_subject

    out = out or _beside(model)
    check_output_file(out, ".onnx", overwrite)
    subject = load_subject(model, backbone)
    if images is None and subject.kind == SCENE:
        raise InputError("a scene is checked by poses; give a folder of images of its place with --images")
    shown = rendered_images() if images is None else images_of_folder(images)
    differences = export_graph(subject, shown, out, size_px)
    typer.echo(f"{out}: {out.stat().st_size / 1e6:.1f} MB, checked on {len(shown)} images")
    for difference in differences:
        typer.echo(f"  {difference}")
    if out.with_suffix("") != Path(model).with_suffix(""):
        say("nodes look for it beside the weights, under their name with .onnx at its end")
    found = {difference.key: difference.value for difference in differences}
    write_json(json_path, {"file": str(out), "images": len(shown), "differences": found})


def _beside(model: str) -> Path:
    if Path(model).suffix:
        return Path(model).with_suffix(".onnx")
    raise InputError(f"say where the graph of the package's weights of {model} is to be written, with --out FILE.onnx")


def _size_of(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)x(\d+)", text)
    size_px = (int(found[1]), int(found[2])) if found else (0, 0)
    if not all(side and side % _MULTIPLE_PX == 0 for side in size_px):
        raise typer.BadParameter(
            f"'{text}' is no size; give WIDTHxHEIGHT in multiples of {_MULTIPLE_PX}", param_hint="--size"
        )
    return size_px
