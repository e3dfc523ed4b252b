"""`geo-eval calibration`: a calibrator against panoramas, crops of them, or photographs whose camera is known."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geo_perception.errors import InputError
from geo_training.calibration.data.crop_set import CropFolder, CropSetConfig
from geo_training.calibration.data.panoramas import list_panoramas, split_panoramas
from geo_training.calibration.data.photographs import centred, examples
from geo_training.console import NotGoodEnough, warn, write_json
from geo_training.datasets.scene import SceneDataset
from geo_training.evaluation.calibration.evaluate import evaluate_calibrator, headline
from geo_training.evaluation.calibration.set import crops_on_disk, panorama_crops, photographs
from geo_training.evaluation.options import (
    FromPredictionsOption,
    PredictionsOption,
    ReportOption,
    prediction_store,
    write_evaluation,
)
from geo_training.options import DeviceOption, JsonOption

REFERENCE = "reference"
DEFAULT_COUNT = 50
_ANSWERS = ("both", "fields", "direct")
_SPLITS = ("train", "validation", "test", "all")


def calibration(
    ctx: typer.Context,
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A weights file, or `reference`: the package's.", show_default=False)
    ],
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", help="Panoramas, crops of `geo-train calibration crops`, or a dataset.", show_default=False
        ),
    ],
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE",
            help="Panoramas: YAML of which crops are drawn, as for `calibration crops`.",
            show_default="a robot's camera",
        ),
    ] = None,
    count: Annotated[
        int | None, typer.Option("--count", min=1, help="Panoramas: crops of each.", show_default=str(DEFAULT_COUNT))
    ] = None,
    held_out: Annotated[
        bool, typer.Option("--held-out", help="Panoramas: only those that the weights were kept away from.")
    ] = False,
    split: Annotated[
        str | None,
        typer.Option("--split", help="Crops: train, validation, test or all.", show_default="test if any, else all"),
    ] = None,
    gravity: Annotated[
        str | None,
        typer.Option(
            "--gravity",
            metavar="X,Y,Z",
            show_default=False,
            help="Photographs: where down is in the world of the poses, where dataset.json does not say.",
        ),
    ] = None,
    centred: Annotated[
        bool, typer.Option("--centred", help="Photographs: cut so that the principal point is in the centre.")
    ] = False,
    exif: Annotated[
        bool,
        typer.Option(
            "--exif",
            help="Photographs: the focal length that each says in EXIF is known, to a tenth. In a folder of plain "
            "photographs it is what the answers are compared with.",
        ),
    ] = False,
    answers: Annotated[
        str, typer.Option("--answers", help="What the solver hears of the network: both, fields or direct.")
    ] = "both",
    max_median_deg: Annotated[
        float | None,
        typer.Option(
            "--max-median-deg",
            min=0.0,
            show_default=False,
            help="Exit 1 when the median error of roll, of pitch or of the vertical field of view is larger.",
        ),
    ] = None,
    report: ReportOption = None,
    predictions: PredictionsOption = None,
    from_predictions: FromPredictionsOption = None,
    device: DeviceOption = "auto",
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Panoramas: of the crops drawn.", show_default="0")
    ] = None,
    json_path: JsonOption = None,
) -> None:
    """Tell the camera of every image, each on its own, and compare: focal length, pitch, roll, horizon, uncertainty.

    AUC is in percent, at 1, 5 and 10 degrees. An image without an answer counts as infinitely wrong. A dataset needs
    known intrinsics, poses and gravity. The calibrator takes the principal point for the image's centre.

    Example: `geo-eval calibration reference panoramas --held-out --report calibration.html`
    """  # fmt: skip
    if split is not None and split not in _SPLITS:
        raise typer.BadParameter(f"'{split}' is none of {', '.join(_SPLITS)}", param_hint="--split")
    if answers not in _ANSWERS:
        raise typer.BadParameter(f"'{answers}' is none of {', '.join(_ANSWERS)}", param_hint="--answers")
    down_3 = None if gravity is None else _direction(gravity)
    kind = _kind(folder, exif)
    options = {
        "panoramas": {"--config": config, "--count": count, "--held-out": held_out or None, "--seed": seed},
        "crops": {"--split": split},
        "photographs": {"--gravity": gravity, "--centred": centred or None},
        "pictures": {},
    }
    for owner, values in options.items():
        for name, value in values.items():
            if owner != kind and value is not None:
                raise typer.BadParameter(f"{folder} holds {_WORDS[kind]}; this is for {_WORDS[owner]}", param_hint=name)
    if exif and kind == "crops":
        raise typer.BadParameter(f"{folder} holds {_WORDS[kind]}; this is for photographs", param_hint="--exif")
    if kind == "pictures" and (report or predictions or from_predictions or max_median_deg is not None):
        raise typer.BadParameter(
            "compared with their EXIF, photographs have no --report, --predictions or --max-median-deg; give a dataset"
        )
    from geo_perception.calibration.estimator import Calibrator, reference_weights

    path = reference_weights() if model == REFERENCE else Path(model)
    store = prediction_store(ctx, [path], predictions, from_predictions, answers=answers)
    calibrator = Calibrator.load(path, "cpu" if from_predictions else device)
    calibrator.fields, calibrator.direct = answers != "direct", answers != "fields"
    if kind == "pictures":
        from geo_training.evaluation.calibration.exif import compare_with_exif

        comparison = compare_with_exif(calibrator, folder)
        typer.echo(comparison.headline)
        write_json(json_path, {"figures": comparison.figures, "frames": comparison.rows})
        return
    if kind == "panoramas":
        queries, metadata, settings = _panoramas(
            folder, calibrator.header, config, count or DEFAULT_COUNT, seed, held_out
        )
    elif kind == "crops":
        queries, metadata, settings = _crops(folder, calibrator.header, split)
    else:
        queries, metadata, settings = _photographs(folder, down_3, centred)
        if exif:
            from geo_training.evaluation.calibration.exif import with_exif

            queries, metadata["EXIF"] = with_exif(queries, metadata["data"])
    weights = "the reference weights" if model == REFERENCE else model
    metadata = {"weights": f"{weights} ({calibrator.size_bytes / 1e6:.2f} MB)", "answers": answers, **metadata}
    title = f"Calibration from one image: {folder.resolve().name}"
    evaluation = evaluate_calibrator(calibrator, queries, title, metadata, {**settings, "answers": answers}, store)
    typer.echo(headline(evaluation))
    write_json(json_path, evaluation.as_json())
    if report is not None:
        write_evaluation(evaluation, report)
    if max_median_deg is not None:
        _check_medians(evaluation.metrics, max_median_deg)


_WORDS = {"panoramas": "panoramas", "crops": "crops on disk", "photographs": "a dataset of photographs",
          "pictures": "photographs"}  # fmt: skip


def _kind(folder: Path, exif: bool) -> str:
    """What a folder holds. Photographs that are in no dataset cannot be told from panoramas, but by what is asked."""
    if (folder / "crops.json").is_file():
        return "crops"
    if (folder / "dataset.json").is_file():
        return "photographs"
    return "pictures" if exif else "panoramas"


def _panoramas(folder: Path, header: dict, config_path: Path | None, count: int, seed: int | None, held_out: bool):
    config = CropSetConfig.load(config_path, seed=seed)
    panoramas = list_panoramas(folder)
    if config.held_out:
        panoramas = split_panoramas(panoramas, config.held_out)[1]
    if config.domains:
        panoramas = [panorama for panorama in panoramas if panorama.domain in config.domains]
    if held_out:
        panoramas = [panorama for panorama in panoramas if panorama.name in header.get("held_out", ())]
    if not panoramas:
        raise InputError(f"{folder} has no panorama of those asked for; leave out --held-out, or mend the config")
    _warn_of_learned({panorama.name for panorama in panoramas}, header)
    metadata = {"data": f"{folder}: {count} crops of each of {len(panoramas)} panoramas, seed {config.seed}"}
    settings = {"crops": config.crops.model_dump(mode="json"), "count": count, "seed": config.seed}
    return panorama_crops(panoramas, config.crops, count, config.seed), metadata, settings


def _crops(folder: Path, header: dict, split: str | None):
    crops = CropFolder(folder)
    split = split or ("test" if crops.of("test") else "all")
    chosen = None if split == "all" else split
    _warn_of_learned({crop.panorama for crop in crops.of(chosen)}, header)
    return crops_on_disk(crops, chosen), {"data": f"{folder} (split {split})"}, {"split": split}


def _photographs(folder: Path, down_3: tuple[float, float, float] | None, cut: bool):
    dataset = SceneDataset(folder)
    found = examples(dataset, down_3)
    queries = photographs([centred(example) for example in found] if cut else found)
    down = dataset.info.gravity_world if down_3 is None else down_3
    metadata = {"data": f"{folder}: {len(queries)} photographs with known camera and gravity"}
    return queries, metadata, {"gravity_world": down, "centred": cut}


def _direction(text: str) -> tuple[float, float, float]:
    try:
        x, y, z = (float(word) for word in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"'{text}' is not three numbers X,Y,Z", param_hint="--gravity") from None
    return x, y, z


def _warn_of_learned(names: set[str], header: dict) -> None:
    learned = names & {*header.get("learned", ()), *header.get("validation", ())}
    if learned:
        warn(f"the weights were trained on {len(learned)} of these {len(names)} panoramas; the figures flatter them")


def _check_medians(metrics: dict[str, float], largest_deg: float) -> None:
    for name, label in (("roll", "roll"), ("pitch", "pitch"), ("fov", "vertical field of view")):
        median_deg = metrics[f"{name}_median_deg"]
        if not median_deg < float("inf"):
            raise NotGoodEnough(
                f"there is no median error of the {label}: {metrics['frames_missed']} of {metrics['frames']} images "
                "have no answer"
            )
        if not median_deg <= largest_deg:
            raise NotGoodEnough(f"the median error of the {label} is {median_deg:.2f}°, above {largest_deg:g}°")
