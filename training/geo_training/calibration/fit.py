"""Training the calibration network: from panoramas to a weights file."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import yaml

from geo_perception.calibration.estimator import Calibrator, network_size
from geo_perception.calibration.network import CalibrationNetwork, NetworkConfig
from geo_perception.errors import InputError
from geo_perception.runtime.backbone import create_backbone
from geo_perception.runtime.device import pick_device
from geo_perception.runtime.files import replace_text
from geo_training.calibration.config import CalibrationTrainingConfig
from geo_training.calibration.data.panoramas import Panorama, list_panoramas, random_split, split_panoramas
from geo_training.calibration.data.photographs import CalibrationExample, examples
from geo_training.calibration.data.stream import CropBatch, CropSources, CropStream
from geo_training.calibration.losses import calibration_losses, kept_loss
from geo_training.calibration.uncertainty import (
    ValidationCrop,
    fit_uncertainty,
    validation_crops,
    validation_errors,
    validation_figures,
)
from geo_training.console import say
from geo_training.datasets.scene import SceneDataset
from geo_training.engine.curves import write_curves
from geo_training.engine.loop import LoopConfig, make_accelerator, run_loop
from geo_training.engine.precision import strided_depthwise_in_float32
from geo_training.engine.run_folder import check_training_output, resumed_epoch
from geo_training.storage.fingerprints import digest_of, digest_of_files, file_digest

TRAINING_VERSION = 2  # of what is learned from panoramas; a checkpoint of another is not gone on from
_VALIDATION_SHARE = 0.12  # of the panoramas, where the config names none
# Where files lie, and on what is computed, changes no result.
_PLACES = {
    "device": True,
    "panoramas": True,
    "backbone_file": True,
    "synthetic": {"folder"},
    "photographs": {"datasets"},
    "start_from": True,
}


@dataclass(frozen=True)
class PanoramaSplit:
    """Who learns, who calibrates the uncertainty, and who is never looked at."""

    learned: list[Panorama]
    validation: list[Panorama]
    held_out: list[Panorama]


@dataclass(frozen=True)
class FitResult:
    """The weights file, the run's folder, the figures on the validation crops and the history."""

    path: Path
    run_dir: Path
    figures: dict[str, float]
    history: list[dict]


class CalibrationTask:
    """The training as the loop takes it."""

    def __init__(
        self,
        sources: CropSources,
        validation: Sequence[Panorama],
        config: CalibrationTrainingConfig,
        device: torch.device,
        rank: int = 0,
    ):
        self.config, self.device = config, device
        torch.manual_seed(config.seed)
        self.network = make_network(config)
        self.network.dropout = config.dropout
        self.before = None
        if config.start_from is not None and config.keep > 0:
            self.before = copy.deepcopy(self.network).eval().requires_grad_(False).to(device)
        if device.type == "cpu":
            strided_depthwise_in_float32(self.network)
        self.loss_weights = dict(config.loss_weights) | ({"kept": config.keep} if self.before is not None else {})
        self.stream = CropStream(sources, config, device, rank)
        self._validation: list[ValidationCrop] = []
        self._panoramas = validation

    def batches(self, epoch: int, first: int = 0):
        return self.stream.batches(epoch * self.config.steps + first, self.config.steps - first)

    def parameter_groups(self, network) -> list[tuple[list, float]]:
        """The backbone has learned already; it learns more slowly."""
        network = getattr(network, "module", network)  # behind DistributedDataParallel
        pretrained = [parameter for parameter in network.backbone.parameters() if parameter.requires_grad]
        known = {id(parameter) for parameter in network.backbone.parameters()}
        fresh = [parameter for parameter in network.parameters() if id(parameter) not in known]
        return [(pretrained, self.config.backbone_rate), (fresh, 1.0)]

    def losses(self, network, batch: CropBatch) -> dict[str, torch.Tensor]:
        images_b3hw = batch.image_b3hw.float().contiguous(memory_format=torch.channels_last)
        output = network(images_b3hw)
        correlation = getattr(network, "module", network).correlation
        with torch.autocast(self.device.type, enabled=False):  # the solver needs all its digits
            terms = calibration_losses(output, correlation.float(), batch.truth)
        if self.before is not None:
            with torch.no_grad():
                before = self.before(images_b3hw)
            terms["kept"] = kept_loss(output, before)
        return terms

    def evaluate(self, network) -> dict[str, float]:
        """Median errors on the validation crops, which are of panoramas that nothing is learned from."""
        return validation_figures(self.errors(network))

    def errors(self, network):
        """Errors and stated covariances on the validation crops (see `validation_errors`)."""
        return validation_errors(Calibrator(network, device=str(self.device)), self.validation())

    def validation(self) -> list[ValidationCrop]:
        """The same crops each time, rendered once."""
        if not self._validation:
            self._validation = validation_crops(self._panoramas, self.config)
        return self._validation


def make_network(config: CalibrationTrainingConfig) -> CalibrationNetwork:
    """A fresh network on a pretrained backbone, or that of `start_from`.

    Raises InputError when the weights are not on this machine, or are of a network of other sizes.
    """
    if config.start_from is not None:
        network = Calibrator.load(config.start_from, "cpu").network
        if network.config != network_config(config):
            raise InputError(
                f"{config.start_from} is of {network.config}; set the same backbone and widths in the config"
            )
        network.freeze_stages(config.frozen_stages)
        return network.to(memory_format=torch.channels_last)
    pretrained = create_backbone(config.backbone, config.backbone_file)
    network = CalibrationNetwork(network_config(config))
    network.backbone.load_state_dict(pretrained.network.state_dict())
    network.freeze_stages(config.frozen_stages)
    return network.to(memory_format=torch.channels_last)  # faster in half precision


def network_config(config: CalibrationTrainingConfig) -> NetworkConfig:
    """The part of the config that the weights file keeps."""
    return NetworkConfig(config.backbone, config.width, config.context_width, config.context_layers)


def split_of(panoramas: Sequence[Panorama], config: CalibrationTrainingConfig) -> PanoramaSplit:
    """By the names in the config; validation panoramas are drawn where it names none."""
    rest, held_out = split_panoramas(panoramas, config.held_out)
    if config.validation:
        learned, validation = split_panoramas(rest, _known(config.validation, rest, held_out))
    else:
        learned, validation = random_split(rest, _VALIDATION_SHARE, config.seed)
    if not validation:
        raise InputError("one panorama is not enough: some must be kept back to calibrate the uncertainty; add more")
    return PanoramaSplit(learned, validation, held_out)


def _known(validation: Sequence[str], rest: Sequence[Panorama], held_out: Sequence[Panorama]) -> Sequence[str]:
    for name in validation:
        if name in {panorama.name for panorama in held_out}:
            raise InputError(f"'{name}' is named by held_out and by validation; take it out of one in the config")
        if name not in {panorama.name for panorama in rest}:
            raise InputError(
                f"validation names the panorama '{name}', which is not there; mend the config or the folder"
            )
    return validation


def fit_calibration(config: CalibrationTrainingConfig, out: str | Path, overwrite: bool = False) -> FitResult:
    """Trains and writes the weights file `out`.

    The run's folder (`<out>.run`) keeps the config, the history, the synthetic panoramas and, until it is done, a
    checkpoint: the same call goes on after an interruption. Raises InputError, before anything is learned, when the
    panoramas cannot be used, when `out` stands there or a checkpoint is of another training and `overwrite` is not set,
    or when `out` cannot be written.
    """
    out = Path(out)
    run_dir = check_training_output(out, overwrite)
    if config.panoramas is None:
        raise InputError("no panoramas are given; set panoramas in the config, or give --panoramas")
    split = split_of(list_panoramas(config.panoramas), config)
    device = pick_device(config.device)
    synthetic = _synthetic(config, run_dir)
    counts = len(split.learned), len(split.validation), len(split.held_out), len(synthetic)
    say("panoramas: {} to learn from, {} for validation, {} held out; {} synthetic ones".format(*counts))
    accelerator = make_accelerator(device)
    sources = CropSources(split.learned, synthetic, _photographs(config))
    if sources.photographs:
        say(f"{len(sources.photographs)} photographs")
    fingerprint = _fingerprint(config, split, sources)
    resumed_epoch(run_dir, fingerprint, overwrite)
    task = CalibrationTask(sources, split.validation, config, device, accelerator.process_index)
    run_dir.mkdir(parents=True, exist_ok=True)
    resolved = json.loads(config.model_dump_json())
    replace_text(run_dir / "config.yaml", yaml.safe_dump(resolved, sort_keys=False))
    loop = LoopConfig(config.steps, config.learning_rate, config.weight_decay, ema=config.ema,
                      evaluations=config.evaluations, seed=config.seed)  # fmt: skip
    result = run_loop(task, loop, run_dir, accelerator, fingerprint, overwrite=overwrite)
    errors = task.errors(result.network)
    uncertainty = fit_uncertainty(errors)
    figures = {"train_s": result.seconds, "skipped_steps": result.skipped_steps, **validation_figures(errors)}
    calibrator = Calibrator(result.network, uncertainty, device=str(device))
    calibrator.save(out, _facts(config, split, sources, figures))
    figures["weights_bytes"] = out.stat().st_size
    write_curves(run_dir / "curves.html", result.history, f"Training of {out.name}")
    (run_dir / "checkpoint.safetensors").unlink(missing_ok=True)
    return FitResult(out, run_dir, figures, result.history)


def _synthetic(config: CalibrationTrainingConfig, run_dir: Path) -> list[Panorama]:
    """Rendered beside the run, once."""
    if config.synthetic.count == 0 or config.synthetic.share == 0:
        return []
    from geo_training.synthetic.panorama_set import training_panoramas

    folder = config.synthetic.folder or run_dir / "synthetic"
    training_panoramas(folder, config.synthetic.count, config.synthetic.seed)
    return list_panoramas(folder)


def _photographs(config: CalibrationTrainingConfig) -> list[CalibrationExample]:
    return [
        example for folder in config.photographs.datasets for example in examples(SceneDataset(folder))
        if example.split != "test"
    ]  # fmt: skip


def _facts(config: CalibrationTrainingConfig, split: PanoramaSplit, sources: CropSources, figures: dict) -> dict:
    names = {key: [panorama.name for panorama in group] for key, group in vars(split).items()}
    own = json.loads(config.model_dump_json(exclude=_PLACES))
    return {
        **names,
        "synthetic": len(sources.synthetic),
        "photographs": len(sources.photographs),
        "input_size_px": list(network_size(1, 1)),
        "config": own,
        "figures": {key: value for key, value in figures.items() if np.isfinite(value)},
        "licence": "that of the panoramas it was trained on",
    }


def _fingerprint(config: CalibrationTrainingConfig, split: PanoramaSplit, sources: CropSources) -> str:
    """What the training depends on. Where files lie, and on what it is computed, is not part of it."""
    told = json.loads(config.model_dump_json(exclude=_PLACES))
    groups = [*vars(split).values(), sources.synthetic]
    panoramas = [[[p.name, p.domain] for p in group] for group in groups]
    pixels = digest_of_files(panorama.path for group in groups for panorama in group)
    photographs = [[p.name, vars(p.camera), p.pitch_rad, p.roll_rad, p.window_px] for p in sources.photographs]
    pictures = digest_of_files(photograph.image_path for photograph in sources.photographs)
    start = (
        file_digest(config.start_from)
        if config.start_from is not None
        else create_backbone(config.backbone, config.backbone_file).checksum
    )
    return digest_of(TRAINING_VERSION, told, panoramas, pixels, photographs, pictures, start)
