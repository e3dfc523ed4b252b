"""Training depth and ego-motion: from datasets to weights files."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import timm
import torch
import yaml

from geo_perception.depth.estimator import DepthEstimator
from geo_perception.errors import InputError
from geo_perception.runtime.backbone import create_backbone
from geo_perception.runtime.device import pick_device
from geo_perception.runtime.files import replace_text
from geo_training.console import say
from geo_training.datasets.scene import Frame, SceneDataset, camera_to_dict
from geo_training.depth.config import DepthTrainingConfig
from geo_training.depth.data.boundaries import boundary_path
from geo_training.depth.data.clip_data import ClipSource, ClipStream, clip_sources, needs_depth, training_size
from geo_training.depth.losses.losses import DepthLosses
from geo_training.depth.networks.model import DepthAndMotion
from geo_training.depth.networks.pose_network import PoseEstimator
from geo_training.depth.validation import checked_sigma_scale, validate, validation_frames
from geo_training.engine.checkpoint import load_state, save_state
from geo_training.engine.curves import write_curves
from geo_training.engine.loop import LoopConfig, make_accelerator, run_loop
from geo_training.engine.precision import single_pixels_in_float32, strided_depthwise_in_float32
from geo_training.engine.run_folder import check_training_output, resumed_epoch, run_folder
from geo_training.storage.fingerprints import digest_of, digest_of_files, file_digest
from geo_training.storage.images import find_depth

TRAINING_VERSION = 2  # of what is learned from clips; a checkpoint of another is not gone on from
POSE_SUFFIX = ".pose.safetensors"
FINAL_NAME = "final.safetensors"  # in the run's folder: networks and optimizer, to go on from
# Where files lie, and on what is computed, changes no result.
_PLACES = {"datasets": True, "validation": True, "backbone_file": True, "start_from": True, "device": True}


@dataclass(frozen=True)
class FitResult:
    """The depth weights, those of the ego-motion (None where it was known), the run's folder, the figures on the
    validation frames and the history."""

    path: Path
    pose_path: Path | None
    run_dir: Path
    figures: dict[str, float]
    history: list[dict]


class DepthTask:
    """The training as the loop takes it."""

    def __init__(self, sources: list[ClipSource], config: DepthTrainingConfig, device: torch.device, rank: int = 0):
        self.config, self.device = config, device
        self._frames = validation_frames(config)
        if config.validation and not self._frames:
            raise InputError(
                f"{config.validation[0]} has no frame with depth of the split val or test; leave out validation, or "
                "make a split with `geo-train dataset split`"
            )
        if config.architecture == "encoder_decoder" and not timm.is_model(config.backbone):
            raise InputError(f"the backbone '{config.backbone}' is not known; name a network of timm")
        torch.manual_seed(config.seed)
        self.network = DepthAndMotion(config)
        if device.type == "cpu":
            strided_depthwise_in_float32(single_pixels_in_float32(self.network))
        self.loss_weights = {term: weight for term, weight in config.losses.weights.items() if weight > 0}
        if config.architecture == "dispnet":
            self.loss_weights.pop("confidence", None)  # it does not tell
        if not self.loss_weights:
            raise InputError("a dispnet does not tell its confidence; weigh another term, or use encoder_decoder")
        self.loss = DepthLosses(config.losses)
        self.stream = ClipStream(sources, config, device, rank)
        self.size_px = training_size(sources[0], config)

    def batches(self, epoch: int, first: int = 0):
        return self.stream.batches(epoch * self.config.steps + first, self.config.steps - first)

    def parameter_groups(self, network) -> list[tuple[list, float]]:
        """A pretrained backbone has learned already; it learns more slowly."""
        network = getattr(network, "module", network)  # behind DistributedDataParallel
        backbone = getattr(network.depth, "backbone", None) if self.config.pretrained else None
        known = {id(parameter) for parameter in backbone.parameters()} if backbone is not None else set()
        learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
        slow = [parameter for parameter in learning if id(parameter) in known]
        fresh = [parameter for parameter in learning if id(parameter) not in known]
        return [(slow, self.config.backbone_rate), (fresh, 1.0)] if slow else [(fresh, 1.0)]

    def losses(self, network, batch) -> dict[str, torch.Tensor]:
        prediction = network(batch)
        with torch.autocast(self.device.type, enabled=False):  # geometry needs all its digits
            return self.loss(prediction, batch)

    def evaluate(self, network) -> dict[str, float]:
        return validate(self.estimator(network), self._frames)

    def estimator(self, network: DepthAndMotion, sigma_scale: float | None = 1.0) -> DepthEstimator:
        area_px = self.size_px[0] * self.size_px[1]
        return DepthEstimator(network.depth, str(self.device), area_px, sigma_scale)


def fit_depth(config: DepthTrainingConfig, out: str | Path, overwrite: bool = False) -> FitResult:
    """Trains and writes the depth weights `out` and, where ego-motion was learned, those of the motion beside it: `out`
    with the suffix .pose.safetensors.

    The run's folder (`<out>.run`) keeps the config, the history, the last state to go on from and, until it is done, a
    checkpoint: the same call goes on after an interruption. Raises InputError, before anything is learned, when the
    datasets cannot be used, when `out` stands there or a checkpoint is of another training and `overwrite` is not set,
    or when `out` cannot be written.
    """
    out = Path(out)
    pose_path = out.with_suffix(POSE_SUFFIX)
    run_dir = check_training_output(out, overwrite, (pose_path,) if config.motion == "learned" else ())
    sources = clip_sources(config)
    device = pick_device(config.device)
    say(f"{sum(len(source.clips) for source in sources)} clips of {len(sources)} datasets")
    accelerator = make_accelerator(device, config.half)
    task = DepthTask(sources, config, device, accelerator.process_index)
    moments = start_from(task.network, config) if config.start_from is not None else None
    fingerprint = training_fingerprint(config, sources)
    resumed_epoch(run_dir, fingerprint, overwrite)
    run_dir.mkdir(parents=True, exist_ok=True)  # nothing is left behind of what cannot be trained
    resolved = json.loads(config.model_dump_json())
    replace_text(run_dir / "config.yaml", yaml.safe_dump(resolved, sort_keys=False))
    loop = LoopConfig(config.steps, config.learning_rate, config.weight_decay, config.warm_up, config.ema,
                      gradient_norm=config.gradient_norm, evaluations=config.evaluations, seed=config.seed,
                      schedule=config.schedule)  # fmt: skip
    result = run_loop(task, loop, run_dir, accelerator, fingerprint, moments, overwrite)
    figures = {"train_s": result.seconds, "steps": config.steps, "skipped_steps": result.skipped_steps}
    figures |= task.evaluate(result.network)
    estimator = task.estimator(result.network, checked_sigma_scale(figures))
    facts = _facts(config, sources, figures)
    estimator.save(out, facts)
    if result.network.motion is None or result.network.known_motion:
        pose_path = None
    else:
        PoseEstimator(result.network.motion, task.size_px, str(device)).save(pose_path, facts)
    figures["weights_bytes"] = out.stat().st_size
    write_curves(run_dir / "curves.html", result.history, f"Training of {out.name}")
    save_state(run_dir / FINAL_NAME, result.network, result.moments)
    (run_dir / "checkpoint.safetensors").unlink(missing_ok=True)
    return FitResult(out, pose_path, run_dir, figures, result.history)


def start_from(network: DepthAndMotion, config: DepthTrainingConfig) -> dict | None:
    """Gives the networks the weights of the run `config.start_from`; what that run did not have (descriptors, say)
    stays as it is. Returns the moments of that run's optimizer where `keep_momentum` wants them, else None.

    Raises InputError when the run is not there, or trained other networks.
    """
    path = _final_state(config.start_from)
    state = load_state(path)
    if state is None:
        raise InputError(f"{path} is not there or damaged; give as start_from the weights file of a finished run")
    weights, moments = state
    own = network.state_dict()
    other = [key for key, value in weights.items() if key in own and own[key].shape != value.shape]
    # A motion network alone may fit while depth would stay as it was drawn.
    other += [key for key in own if key.startswith("depth.") and key not in weights]
    if other:
        raise InputError(f"{path} is of other networks ({other[0]}); set the same in the config")
    network.load_state_dict({**own, **{key: value for key, value in weights.items() if key in own}})
    return moments if config.keep_momentum else None


def _final_state(weights: Path) -> Path:
    """Where the run that made a weights file keeps the state to go on from."""
    return run_folder(weights) / FINAL_NAME


def _facts(config: DepthTrainingConfig, sources: list[ClipSource], figures: dict) -> dict:
    return {
        "trained_on": [source.dataset.info.sources for source in sources],
        "clips": [len(source.clips) for source in sources],
        "config": json.loads(config.model_dump_json(exclude=_PLACES)),
        "figures": {key: value for key, value in figures.items() if np.isfinite(value)},
        "licence": "that of the recordings it was trained on",
    }


def training_fingerprint(config: DepthTrainingConfig, sources: list[ClipSource]) -> str:
    """What a training depends on: its config, the content of its data, and the weights that it begins with. Where these
    lie, and on what it is computed, is not part of it."""
    told = json.loads(config.model_dump_json(exclude=_PLACES))
    return digest_of(TRAINING_VERSION, told, data_digest(config, sources), start_digest(config))


def data_digest(config: DepthTrainingConfig, sources: list[ClipSource]) -> str:
    """Of the clips that are learned from and the frames that are watched: images, cameras, poses and, where the losses
    look at them, depth and boundaries."""
    kinds = {"depth": needs_depth(config.losses), "boundary": config.losses.weighs("boundary")}
    data = [
        _data_facts(source.dataset, (f for clip in source.clips for f in (clip.target, *clip.sources)), **kinds)
        for source in sources
    ]
    clips = [[[f.name for f in (clip.target, *clip.sources)] for clip in source.clips] for source in sources]
    watched = [_data_facts(dataset, [frame], depth=True) for dataset, frame in validation_frames(config)]
    return digest_of(data, clips, watched)


def start_digest(config: DepthTrainingConfig) -> str:
    """Of the weights that a training begins with. Raises InputError when they are not there."""
    start = _final_state(config.start_from) if config.start_from is not None else None
    backbone = None
    if config.pretrained and config.architecture == "encoder_decoder" and start is None:
        backbone = create_backbone(config.backbone, config.backbone_file).checksum
    try:
        return digest_of(backbone, file_digest(start) if start else None)
    except OSError as error:
        raise InputError(f"{start} cannot be read ({error.strerror}); give weights of a finished run") from None


def _data_facts(dataset: SceneDataset, frames: Iterable[Frame], depth: bool = False, boundary: bool = False) -> list:
    """Poses, cameras and images of the frames, and their depth and boundaries where they are used."""
    frames = [frame for _, frame in sorted({frame.name: frame for frame in frames}.items())]
    rows = [[f.name, f.stamp_ns, f.split, camera_to_dict(dataset.camera(f)), f.T_world_camera] for f in frames]
    files = [dataset.image_path(frame) for frame in frames]
    if depth:
        files += [found for frame in frames if (found := find_depth(dataset.root / "depth" / frame.name))]
    if boundary:
        files += [boundary_path(dataset, frame) for frame in frames]
    return [dataset.info.scale, rows, digest_of_files(files)]
