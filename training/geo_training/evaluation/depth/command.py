"""`geo-eval depth`: depth, its edges, its confidence and the motion learned with it, against the truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geo_training.console import NotGoodEnough, write_json
from geo_training.evaluation.depth.evaluate import DepthOptions, evaluate_depth, headline
from geo_training.evaluation.depth.set import find_queries, guess_preset
from geo_training.evaluation.options import (
    FromPredictionsOption,
    PredictionsOption,
    ReportOption,
    prediction_store,
    write_evaluation,
)
from geo_training.metrics.depth import choose_protocol
from geo_training.options import DeviceOption, JsonOption

REFERENCE = "reference"
_SPLITS = ("train", "val", "test", "all")
_PRESETS = ("auto", "kitti", "indoor")
_CROPS = ("garg", "none")


def depth(
    ctx: typer.Context,
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A weights file, an ONNX file, a folder of transformers, or `reference`.",
            show_default=False,
        ),
    ],
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", help="A dataset with depth/, or a folder with test_annotations.json.", show_default=False
        ),
    ],
    split: Annotated[
        str | None,
        typer.Option("--split", help="Dataset: train, val, test or all.", show_default="test if any, else all"),
    ] = None,
    preset: Annotated[
        str, typer.Option("--preset", help="kitti (to 80 m, Garg's crop), indoor (to 10 m), or auto: by the depths.")
    ] = "auto",
    crop: Annotated[str | None, typer.Option("--crop", help="garg or none.", show_default="the preset's")] = None,
    cap: Annotated[
        float | None,
        typer.Option("--cap", metavar="M", min=0.01, help="Farthest depth that counts.", show_default="the preset's"),
    ] = None,
    odometry: Annotated[
        Path | None,
        typer.Option(
            "--odometry",
            metavar="WEIGHTS",
            show_default=False,
            help="The motion network learned with it (.pose.safetensors): measure its path, too.",
        ),
    ] = None,
    points: Annotated[
        int | None,
        typer.Option(
            "--points",
            min=1,
            show_default=False,
            help="Also complete each map by so many true depths, as a robot has them of landmarks.",
        ),
    ] = None,
    max_abs_rel: Annotated[
        float | None,
        typer.Option(
            "--max-abs-rel",
            min=0.0,
            show_default=False,
            help="Exit 1 when abs_rel, each image by its own scale, is larger.",
        ),
    ] = None,
    report: ReportOption = None,
    predictions: PredictionsOption = None,
    from_predictions: FromPredictionsOption = None,
    device: DeviceOption = "auto",
    json_path: JsonOption = None,
) -> None:
    """Estimate the depth of every image, each on its own, and compare: the seven figures of Eigen et al. with each
    image's own scale, with one scale for all, and with none; edges; the stated confidence; the camera's motion; with
    --points also how good maps are once a few true depths are known.

    An image without an answer counts as a flat map. --odometry needs true poses in metres.

    Example: `geo-eval depth reference office --report depth.html`
    """  # fmt: skip
    for option, value, allowed in (
        ("--split", split, _SPLITS),
        ("--preset", preset, _PRESETS),
        ("--crop", crop, _CROPS),
    ):
        if value is not None and value not in allowed:
            raise typer.BadParameter(f"'{value}' is none of {', '.join(allowed)}", param_hint=option)
    from geo_perception.depth.estimator import reference_weights
    from geo_perception.depth.onnx_estimator import load_depth_estimator, model_files

    path = reference_weights() if model == REFERENCE else Path(model)
    networks = [*model_files(path), *([] if odometry is None else [odometry])]
    store = prediction_store(ctx, networks, predictions, from_predictions)
    device = "cpu" if from_predictions else device
    queries, label = find_queries(folder, split)
    estimator = load_depth_estimator(path, device)
    motion = None
    if odometry is not None:
        from geo_training.depth.networks.pose_network import PoseEstimator

        motion = PoseEstimator.load(odometry, device)
    protocol = choose_protocol(guess_preset(queries) if preset == "auto" else preset, crop, cap)
    weights = "the reference weights" if model == REFERENCE else model
    metadata = {
        "weights": f"{weights} ({estimator.size_bytes / 1e6:.2f} MB)",
        **({"motion": str(odometry)} if odometry is not None else {}),
        "data": label,
        "compared": f"from {protocol.min_m:g} to {protocol.cap_m:g} m, crop {protocol.crop} (preset {protocol.name})",
    }
    settings = {
        "preset": protocol.name,
        "crop": protocol.crop,
        "cap_m": protocol.cap_m,
        "min_m": protocol.min_m,
        "split": split,
        **({"points": points} if points else {}),
    }
    title = f"Depth from one image: {folder.resolve().name}"
    evaluation = evaluate_depth(
        estimator, queries, DepthOptions(protocol, points=points or 0), motion, title, metadata, settings, store
    )
    typer.echo(headline(evaluation))
    write_json(json_path, evaluation.as_json())
    if report is not None:
        write_evaluation(evaluation, report)
    if max_abs_rel is not None:
        _check_error(evaluation.metrics, max_abs_rel)


def _check_error(metrics: dict[str, float], largest: float) -> None:
    if not metrics["frames_with_truth"]:
        raise NotGoodEnough("no image has true depth in range, so --max-abs-rel cannot be checked")
    if not metrics["abs_rel"] <= largest:
        raise NotGoodEnough(f"abs_rel is {metrics['abs_rel']:.3f}, above {largest:g}")
