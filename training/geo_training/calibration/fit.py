"""Training the calibration network: from panoramas to a weights file."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator

from geo_perception.calibration.estimator import Calibrator
from geo_perception.calibration.network import CalibrationNetwork, NetworkConfig
from geo_perception.calibration.network_view import network_size
from geo_perception.errors import InputError
from geo_perception.runtime.backbone import create_backbone
from geo_training.calibration.config import CalibrationTrainingConfig
from geo_training.calibration.data.panoramas import Panorama, list_panoramas, random_split, split_panoramas
from geo_training.calibration.data.photographs import CalibrationExample, examples
from geo_training.calibration.data.stream import CropBatch, CropSources, CropStream
from geo_training.calibration.losses import calibration_losses, distillation_loss
from geo_training.calibration.uncertainty import (
    LEARNED_CROPS,
    ValidationCrop,
    fit_lines_uncertainty,
    fit_uncertainty,
    validation_crops,
    validation_errors,
    validation_metrics,
)
from geo_training.console import say
from geo_training.datasets.scene import SceneDataset
from geo_training.engine.loop import LoopResult
from geo_training.engine.precision import strided_depthwise_in_float32
from geo_training.engine.run import FitResult, finite, run_fit
from geo_training.engine.schedule import backbone_groups
from geo_training.engine.shared_folder import shared_folder
from geo_training.engine.whole_batch import once
from geo_training.storage.fingerprints import digest_of, digest_of_files, file_digest
from geo_training.synthetic.panorama_set import training_panoramas

TRAINING_VERSION = 3  # of what is learned from panoramas; a checkpoint of another is not gone on from
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


class CalibrationTask:
    """The training as `run_fit` takes it."""

    def __init__(
        self,
        sources: CropSources,
        split: PanoramaSplit,
        config: CalibrationTrainingConfig,
        device: torch.device,
    ):
        self.config, self.sources, self.split, self.device = config, sources, split, device
        torch.manual_seed(config.seed)
        self.network = make_network(config)
        self.network.dropout = config.dropout
        self.before = None
        if config.start_from is not None and config.keep > 0:
            self.before = copy.deepcopy(self.network).eval().requires_grad_(False).to(device)
        if device.type == "cpu":
            strided_depthwise_in_float32(self.network)
        self.loss_weights = dict(config.loss_weights) | ({"kept": config.keep} if self.before is not None else {})
        self.stream = CropStream(sources, config, device)
        self._validation: list[ValidationCrop] = []

    @property
    def fingerprint(self) -> str:
        return training_fingerprint(self.config, self.split, self.sources)

    def batches(self, epoch: int, first: int = 0):
        return self.stream.batches(epoch * self.config.steps + first, self.config.steps - first)

    def parameter_groups(self, network) -> list[tuple[list, float]]:
        network = getattr(network, "module", network)  # behind DistributedDataParallel
        return backbone_groups(network, network.backbone, self.config.backbone_rate)

    def losses(self, network, batch: CropBatch) -> dict[str, torch.Tensor]:
        images_b3hw = batch.image_b3hw.float().contiguous(memory_format=torch.channels_last)
        output = network(images_b3hw)
        correlation = getattr(network, "module", network).correlation
        with torch.autocast(self.device.type, enabled=False):  # the solver needs all its digits
            terms = calibration_losses(output, correlation.float(), batch.truth)
        if self.before is not None:
            with torch.no_grad():
                before = self.before(images_b3hw)
            terms["kept"] = distillation_loss(output, before)
        return terms

    def evaluate(self, network) -> dict[str, float]:
        """Median errors on the validation crops, which are of panoramas that nothing is learned from."""
        return validation_metrics(self.errors(network))

    def errors(self, network):
        """Errors and stated covariances on the validation crops (see `validation_errors`)."""
        return validation_errors(Calibrator(network, device=str(self.device)), self.validation())

    def validation(self) -> list[ValidationCrop]:
        """The same crops each time, rendered once."""
        if not self._validation:
            self._validation = validation_crops(self.split.validation, self.config)
        return self._validation

    def save(self, out: Path, result: LoopResult) -> dict[str, float]:
        errors = self.errors(result.network)
        metrics = {"train_s": result.seconds, "skipped_steps": result.skipped_steps, **validation_metrics(errors)}
        calibrator = Calibrator(result.network, fit_uncertainty(errors), device=str(self.device))
        whole = validation_crops(self.split.validation, self.config, whole=True)
        learned = self.split.learned
        of_learned = validation_crops(learned, self.config, True, LEARNED_CROPS * len(learned))
        calibrator.lines_uncertainty = fit_lines_uncertainty(calibrator, whole, of_learned)
        calibrator.save(out, _header(self.config, self.split, self.sources, metrics))
        return metrics | {"weights_bytes": out.stat().st_size}


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

    The run's folder also keeps the synthetic panoramas. Raises InputError as `run_fit` does, and when the panoramas
    cannot be used.
    """

    def make_task(run_dir: Path, device: torch.device, accelerator: Accelerator) -> CalibrationTask:
        if config.panoramas is None:
            raise InputError("no panoramas are given; set panoramas in the config, or give --panoramas")
        split = split_of(list_panoramas(config.panoramas), config)
        sources = CropSources(split.learned, _synthetic(config, run_dir), _photographs(config))
        counts = len(split.learned), len(split.validation), len(split.held_out), len(sources.synthetic)
        say("panoramas: {} to learn from, {} for validation, {} held out; {} synthetic ones".format(*counts))
        if sources.photographs:
            say(f"{len(sources.photographs)} photographs")
        return CalibrationTask(sources, split, config, device)

    return run_fit(config, out, make_task, overwrite)


def _synthetic(config: CalibrationTrainingConfig, run_dir: Path) -> list[Panorama]:
    """Rendered beside the run, once; of several processes by the main one."""
    if config.synthetic.count == 0 or config.synthetic.share == 0:
        return []
    folder = config.synthetic.folder or run_dir / "synthetic"
    once(lambda: training_panoramas(folder, config.synthetic.count, config.synthetic.seed))
    return list_panoramas(shared_folder(folder))


def _photographs(config: CalibrationTrainingConfig) -> list[CalibrationExample]:
    return [
        example for folder in config.photographs.datasets for example in examples(SceneDataset(folder))
        if example.split != "test"
    ]  # fmt: skip


def _header(config: CalibrationTrainingConfig, split: PanoramaSplit, sources: CropSources, metrics: dict) -> dict:
    names = {key: [panorama.name for panorama in group] for key, group in vars(split).items()}
    return {
        **names,
        "synthetic": len(sources.synthetic),
        "photographs": len(sources.photographs),
        "input_size_px": list(network_size(1, 1)),
        "config": config.to_json(exclude=_PLACES),
        "figures": finite(metrics),
        "licence": "that of the panoramas it was trained on",
    }


def training_fingerprint(config: CalibrationTrainingConfig, split: PanoramaSplit, sources: CropSources) -> str:
    """What the training depends on. Where files lie, and on what it is computed, is not part of it."""
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
    return digest_of(TRAINING_VERSION, config.to_json(exclude=_PLACES), panoramas, pixels, photographs, pictures, start)
