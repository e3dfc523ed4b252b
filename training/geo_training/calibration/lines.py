"""How far answers are to be believed that lines refined, fitted for weights that are there."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from geo_perception.calibration.estimator import Calibrator
from geo_perception.calibration.uncertainty import LinesUncertainty
from geo_perception.errors import InputError
from geo_training.calibration.config import CalibrationTrainingConfig
from geo_training.calibration.data.panoramas import list_panoramas
from geo_training.calibration.uncertainty import LEARNED_CROPS, fit_lines_uncertainty, validation_crops

_OF_FILE = ("kind", "format_version", "network", "uncertainty", "lines_uncertainty")


def fit_lines(
    weights: Path, out: Path, panoramas: Path, device: str = "auto", overwrite: bool = False
) -> tuple[int, LinesUncertainty]:
    """Writes the weights with a new `lines_uncertainty`; how many crops it is of, and it.

    Raises InputError when the weights name no validation panoramas, these are not in the folder, too few of their crops
    show lines, or `out` is there.
    """
    if Path(out).exists() and not overwrite:
        raise InputError(f"{out} exists; give --overwrite to replace it")
    calibrator = Calibrator.load(weights, device)
    names = calibrator.header.get("validation")
    try:
        config = CalibrationTrainingConfig.model_validate(calibrator.header.get("config", {}))
    except ValidationError as error:
        raise InputError(f"{weights} has a config of another version ({error.error_count()} errors)") from None
    if not names:
        raise InputError(f"{weights} does not say which panoramas validated it; train it with `calibration fit`")
    there = {panorama.name: panorama for panorama in list_panoramas(panoramas)}
    missing = [name for name in names if name not in there]
    if missing:
        raise InputError(f"the panorama '{missing[0]}', which validated {weights}, is not in {panoramas}")
    crops = validation_crops([there[name] for name in names], config, whole=True)
    learned = [there[name] for name in calibrator.header.get("learned", ()) if name in there]
    crops_of_learned = validation_crops(learned, config, True, LEARNED_CROPS * len(learned))
    uncertainty = fit_lines_uncertainty(calibrator, crops, crops_of_learned)
    if uncertainty is None:
        raise InputError("too few crops of the validation panoramas show lines; raise validation_crops in the config")
    calibrator.lines_uncertainty = uncertainty
    calibrator.save(out, {key: value for key, value in calibrator.header.items() if key not in _OF_FILE})
    return len(crops) + len(crops_of_learned), uncertainty
