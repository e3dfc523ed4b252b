"""`geo-train map` and `geo-train landmarks`."""

from __future__ import annotations

import math
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from geo_training.console import NotGoodEnough, say, warn, write_json
from geo_training.datasets.scene import SceneDataset
from geo_training.mapping.known_distances import parse_known_distance
from geo_training.mapping.landmark_set import FILE_NAME
from geo_training.mapping.report import readable
from geo_training.options import JsonOption

DatasetArgument = Annotated[Path, typer.Argument(metavar="DIR", help="A dataset.", show_default=False)]


class PosesChoice(str, Enum):
    none = "none"
    prior = "prior"
    known = "known"


class DepthChoice(str, Enum):
    auto = "auto"
    measured = "measured"
    fused = "fused"
    none = "none"


class MapperChoice(str, Enum):
    incremental = "incremental"
    global_ = "global"


def map_command(
    root: DatasetArgument,
    poses: Annotated[
        PosesChoice | None,
        typer.Option(
            help="Recorded poses: `known` keeps them and only triangulates, `prior` refines them, `none` maps from the "
            "images alone. Left out: known where nearly every frame has one, else none.",
            show_default=False,
        ),
    ] = None,
    mapper: Annotated[MapperChoice, typer.Option(help="Way of mapping without poses.")] = MapperChoice.incremental,
    scale_from: Annotated[
        list[str] | None,
        typer.Option(
            "--scale-from",
            metavar='"FRAME_A FRAME_B METRES"',
            help="A known distance between the camera's places at two frames; give two of them.",
            show_default=False,
        ),
    ] = None,
    prior_sigma: Annotated[
        float | None,
        typer.Option(
            min=1e-9,
            help="With --poses prior: error of the recorded positions over the walk, in their unit. Estimated from the "
            "images when left out, as the next three are.",
            show_default=False,
        ),
    ] = None,
    prior_sigma_deg: Annotated[
        float | None, typer.Option(min=1e-9, help="As --prior-sigma, of the orientations.", show_default=False)
    ] = None,
    motion_sigma: Annotated[
        float | None,
        typer.Option(
            min=1e-9,
            help="With --poses prior: error of the recorded motion from one frame to the next, in its unit; it grows "
            "with the root of the frames between.",
            show_default=False,
        ),
    ] = None,
    motion_sigma_deg: Annotated[
        float | None, typer.Option(min=1e-9, help="As --motion-sigma, of the turns.", show_default=False)
    ] = None,
    keep_largest: Annotated[
        bool, typer.Option("--keep-largest", help="Keep the largest component of a map that breaks into several.")
    ] = False,
    all_frames: Annotated[
        bool, typer.Option("--all-frames", help="Map the frames of the splits test and val, too.")
    ] = False,
    image_size: Annotated[
        int, typer.Option(min=0, help="Longer side in pixels for features; 0: as the images are.")
    ] = 0,
    max_features: Annotated[int, typer.Option(min=100, help="At most so many features an image.")] = 3000,
    json: JsonOption = None,
) -> None:
    """Maps a dataset with COLMAP, says how good the map is, and refuses one that is broken.

    Writes DIR/colmap (opens in COLMAP's own GUI) and DIR/map.json. Features and matches are kept in DIR/.cache: the
    next run with other options, or after an interruption, uses them again.

    The map is in the recorded world where there are poses. Its scale comes from them, or from two distances that you
    measured with --scale-from, or it stays unknown.

    Exit 1: several components, or fewer than half of the frames placed.

        geo-train map office

        geo-train map office --poses none --scale-from "walk/000010.jpg walk/000042.jpg 2.35"
        --scale-from "walk/000042.jpg walk/000080.jpg 3.10"
    """
    # pycolmap loads slowly.
    from geo_training.mapping.build import MapOptions, build_map, save_map
    from geo_training.mapping.features import FeatureOptions
    from geo_training.mapping.recorded_poses import GivenSigmas

    known_distances = tuple(parse_known_distance(text) for text in scale_from or ())
    options = MapOptions(
        poses=poses.value if poses else None,
        mapper=mapper.value,
        known_distances=known_distances,
        prior_sigmas=GivenSigmas(
            prior_sigma,
            None if prior_sigma_deg is None else math.radians(prior_sigma_deg),
            motion_sigma,
            None if motion_sigma_deg is None else math.radians(motion_sigma_deg),
        ),
        keep_largest=keep_largest,
        all_frames=all_frames,
        features=FeatureOptions(max_image_size=image_size, max_features=max_features),
    )
    dataset = SceneDataset(root)
    report, model = build_map(dataset, options)
    for line in readable(report):
        typer.echo(line)
    for sentence in report.warnings:
        warn(sentence)
    write_json(json, report.to_json())
    if not report.good or model is None:
        raise NotGoodEnough("; ".join(report.problems) or "nothing could be mapped")
    save_map(dataset, report, model)
    say(f"written to {root / 'colmap'} and {root / 'map.json'}")


def landmarks_command(
    root: DatasetArgument,
    count: Annotated[int, typer.Option(min=1, help="How many landmarks, at the most.")] = 600,
    max_depth: Annotated[
        float | None,
        typer.Option(
            min=1e-6,
            help="Largest mean distance of a landmark from the cameras: metres, by default 10; in a map of unknown "
            "scale as many times the median distance of its points, by default 4.",
            show_default=False,
        ),
    ] = None,
    frame_target: Annotated[int, typer.Option(min=1, help="Landmarks that every frame should see.")] = 30,
    depth: Annotated[
        DepthChoice,
        typer.Option(
            "--depth",
            help="Depth that says who sees a landmark: `measured`, or `fused`: measured, and where that has holes what "
            "`geo-train fuse` completed; auto: whatever there is.",
        ),
    ] = DepthChoice.auto,
    fused_sigma: Annotated[
        float,
        typer.Option(min=1e-4, help="Completed depth counts where its stated deviation, as a share, is at most this."),
    ] = 0.05,
    all_frames: Annotated[
        bool, typer.Option("--all-frames", help="Use the mapped frames of the splits test and val, too.")
    ] = False,
    json: JsonOption = None,
) -> None:
    """Chooses the landmarks among the points of the map by a score, and lists which frame sees which.

    Robust points that are seen often, from many sides and in many sequences come first; every frame should see enough
    of them. Writes DIR/landmarks.safetensors.

    Exit 1: the map has too few points that can be used.

        geo-train landmarks office --count 400
    """
    # pycolmap loads slowly.
    from geo_training.mapping.landmarks import SelectionOptions
    from geo_training.mapping.mapped_landmarks import choose_landmarks

    options = SelectionOptions(count=count, max_depth=max_depth, frame_target=frame_target)
    landmarks, unit = choose_landmarks(SceneDataset(root), options, depth.value, fused_sigma, all_frames)
    report = landmarks.report
    say(report["taken_words"])
    typer.echo(
        f"landmarks     {report['count']} of {report['candidates']} candidates, at least "
        f"{report['min_distance']:.3g} {unit} apart"
    )
    typer.echo(
        f"frames        {report['frames']}, each sees {report['seen_per_frame_min']} or more, "
        f"{report['seen_per_frame_median']:.0f} in the median; visibility from tracks"
        + (" and depth" if report["visibility_from_depth"] else "")
    )
    typer.echo(
        f"quality       seen in {report['frames_per_landmark_median']:.0f} frames, span "
        f"{report['span_rad_median']:.2f} rad, error {report['error_px_median']:.2f} px, position "
        f"{report['sigma_median']:.3g} {unit} (medians)"
    )
    if report["count"] < count:
        warn(f"only {report['count']} of {count} landmarks: the map has no more points that can be used")
    if report["frames_below_10"]:
        warn(f"{report['frames_below_10']} frames see fewer than 10 landmarks; a larger --count helps")
    landmarks.save(root / FILE_NAME)
    write_json(json, report)
    say(f"written to {root / FILE_NAME}")
