"""`geo-train fuse`."""

from __future__ import annotations

import shlex
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from geo_training.console import progress_bar, say, write_json
from geo_training.datasets.scene import SceneDataset
from geo_training.options import DeviceOption, JsonOption, SeedOption, writable_file


class MethodChoice(str, Enum):
    surfaces = "surfaces"
    factor = "factor"
    mlp = "mlp"


class KnownChoice(str, Enum):
    auto = "auto"
    dense = "dense"
    sparse = "sparse"
    measured = "measured"


def fuse_command(
    root: Annotated[Path, typer.Argument(metavar="DIR", help="A dataset.", show_default=False)],
    depth: Annotated[
        str,
        typer.Option(
            "--depth",
            metavar="MODEL",
            help="Relative depth: `reference`, a weights or ONNX file, or a folder of depth images "
            "`<sequence>/<frame>.png`.",
        ),
    ] = "reference",
    inverse: Annotated[
        bool, typer.Option("--inverse", help="The images of the folder hold inverse depth, as MiDaS gives it.")
    ] = False,
    known: Annotated[
        KnownChoice,
        typer.Option(
            "--known",
            help="What is completed: COLMAP's `dense` depth maps, its points (`sparse`), or `measured` depth; auto: "
            "dense where it is there, else measured, else sparse.",
        ),
    ] = KnownChoice.auto,
    dense: Annotated[
        Path | None,
        typer.Option(
            "--dense",
            metavar="WORKSPACE",
            help="COLMAP's dense workspace of these images.",
            show_default="DIR/colmap/dense",
        ),
    ] = None,
    patch_match: Annotated[
        bool, typer.Option("--patch-match", help="First make the dense depth maps, by COLMAP; needs CUDA.")
    ] = False,
    method: Annotated[
        MethodChoice, typer.Option("--method", help="Ours, one factor, or the paper's regressor.")
    ] = MethodChoice.surfaces,
    measure: Annotated[
        int,
        typer.Option(min=0, help="Images of which depth is hidden, to measure how well it is completed; 0: none."),
    ] = 4,
    compare: Annotated[
        bool, typer.Option("--compare", help="Measure the other methods, too; the paper's takes a minute an image.")
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="PATH", help="Write an HTML report to this file.", dir_okay=False,
                     callback=writable_file),
    ] = None,
    device: DeviceOption = "auto",
    seed: SeedOption = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Make completed depth again that is there.")] = False,
    json: JsonOption = None,
) -> None:  # fmt: skip
    """Complete the depth that COLMAP or a depth camera found, by monocular depth, with a standard deviation.

    Writes DIR/fused: depth of every pixel of every frame. `geo-train landmarks` then also sees by it who sees a
    landmark, and `geo-train depth fit` learns from it where its config says `fused_sigma`. How good it is is measured
    first: depth is hidden, at random and in holes like those that are there, and completed. The same command goes on
    after an interruption.

        geo-train fuse office

        geo-train fuse office --depth depth_anything_v2_vits.onnx --compare --report fused.html
    """
    # torch and pycolmap load slowly.
    from geo_training.mapping.fusion import fuse
    from geo_training.mapping.fusion.known_depth import DENSE_FOLDERS, find_known_depth, make_dense
    from geo_training.mapping.fusion.measure import fusion_metrics, measure_hidden
    from geo_training.mapping.fusion.methods import METHODS
    from geo_training.mapping.fusion.relative_depth import find_relative_depth
    from geo_training.mapping.fusion.report import KIND_TITLES, METHOD_TITLES, FusionReport

    dataset = SceneDataset(root)
    if patch_match:
        dense = dense or root / DENSE_FOLDERS[0]
        make_dense(dataset, dense)
    source = find_known_depth(dataset, known.value, dense)
    relative = find_relative_depth(dataset, depth, inverse, device)
    fuse.check_fused(dataset, source, relative, method.value, overwrite)
    say(f"completing {source.source} by {relative.source}")
    frames = dataset.frames
    names = list(METHODS) if compare else [method.value]
    tests = []
    if measure:
        spread = frames[:: max(1, len(frames) // measure)]
        looked = (fuse.fusion_frame(dataset, frame, source, relative) for frame in spread)
        asked = [one for one in looked if one is not None][:measure]
        with progress_bar("hidden depth", len(asked) * len(names) * len(KIND_TITLES)) as advance:
            tests = measure_hidden(
                asked, names, fuse.holes_of(frames, source), seed, done=lambda test: advance(note=test.frame.name)
            )
    metrics = fusion_metrics(tests)
    for kind, by_method in metrics.items():
        for name, found in by_method.items():
            inside = found["interval_90"]
            stated = f", {inside:.0%} inside the stated 90 %" if inside == inside else ""
            typer.echo(
                f"hidden {KIND_TITLES[kind]}, {METHOD_TITLES[name]}: off by {found['mae']:.3g} {source.unit}, "
                f"{found['abs_rel']:.1%}{stated}; {found['s']:.2f} s an image"
            )
    counts = fuse.fuse_dataset(dataset, frames, source, relative, method.value, overwrite)
    content = {"figures": metrics, "counts": vars(counts), "known": source.source, "relative": relative.source}
    write_json(json, content | {"unit": source.unit})
    if report is not None:
        about = {"dataset": str(root), "completed": source.source, "by": relative.source}
        config = {"method": method.value, "measure": measure, "seed": seed, "inverse": inverse}
        FusionReport(f"Completed depth: {root.resolve().name}", tests, source.unit, about, config).write_report(
            report, shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
        )
        say(f"report written to {report}")
    say(
        f"{root / 'fused'}: {counts.fused} frames completed now, {counts.kept} kept, {counts.left_out} left out "
        "for want of depth"
    )
