"""Training depth and ego-motion: from datasets to weights files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import timm
import torch
from accelerate import Accelerator

from geo_perception.depth.estimator import DepthEstimator
from geo_perception.depth.network import DepthNetwork
from geo_perception.errors import InputError
from geo_perception.runtime.backbone import create_backbone
from geo_perception.runtime.weights import with_present_names
from geo_training.console import say
from geo_training.datasets.scene import Frame, SceneDataset, camera_to_dict
from geo_training.depth.config import DepthTrainingConfig
from geo_training.depth.data.boundaries import boundary_path
from geo_training.depth.data.clip_data import (
    ClipSource,
    ClipStream,
    clip_sources,
    depth_files,
    needs_depth,
    training_size,
)
from geo_training.depth.data.teacher import Teacher
from geo_training.depth.losses.losses import DepthLosses
from geo_training.depth.networks.model import DepthAndMotion
from geo_training.depth.networks.pose_network import PoseEstimator
from geo_training.depth.validation import agreement_with, checked_sigma_scale, validate, validation_frames
from geo_training.engine.checkpoint import load_state, save_state
from geo_training.engine.loop import LoopResult
from geo_training.engine.precision import single_pixels_in_float32, strided_depthwise_in_float32
from geo_training.engine.run import FitResult, finite, run_fit, run_folder
from geo_training.engine.schedule import backbone_groups
from geo_training.storage.fingerprints import digest_of, digest_of_files, file_digest

TRAINING_VERSION = 3  # of what is learned from clips; a checkpoint of another is not gone on from
POSE_SUFFIX = ".pose.safetensors"
_SHARPENER = "depth.sharpener."
FINAL_NAME = "final.safetensors"  # in the run's folder: networks and optimizer, to go on from
# Where files lie, and on what is computed, changes no result.
_PLACES = {"datasets": True, "validation": True, "backbone_file": True, "start_from": True, "teacher": True,
           "device": True}  # fmt: skip


class DepthTask:
    """The training as `run_fit` takes it. What a teacher says is kept in `run_dir`."""

    def __init__(
        self, sources: list[ClipSource], config: DepthTrainingConfig, device: torch.device, run_dir: Path | None = None
    ):
        self.config, self.sources, self.device, self.run_dir = config, sources, device, run_dir
        self._frames = validation_frames(config)
        if config.validation and not self._frames:
            looked_for = "frame" if config.teacher else "frame with depth"
            raise InputError(
                f"{config.validation[0]} has no {looked_for} of the split val or test; leave out validation, or "
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
        self.teacher = Teacher(config.teacher, device) if config.teacher is not None else None
        self.stream = ClipStream(sources, config, device, self.teacher)
        self.size_px = training_size(sources[0], config)
        self.moments = start_from(self.network, config) if config.start_from is not None else None

    @property
    def fingerprint(self) -> str:
        return training_fingerprint(self.config, self.sources, self.teacher)

    def prepare(self, epoch: int) -> None:
        """Asks the teacher about all frames, before the first step."""
        if self.teacher is not None:
            targets = [(source.dataset, clip.target) for source in self.sources for clip in source.clips]
            self.teacher.prepare([*targets, *self._frames], self.run_dir)

    def batches(self, epoch: int, first: int = 0):
        return self.stream.batches(epoch * self.config.steps + first, self.config.steps - first)

    def parameter_groups(self, network) -> list[tuple[list, float]]:
        network = getattr(network, "module", network)  # behind DistributedDataParallel
        backbone = getattr(network.depth, "backbone", None) if self.config.pretrained else None
        groups = backbone_groups(network, backbone, self.config.backbone_rate)
        if network.motion is None or self.config.motion_rate == 1:
            return groups
        motion = {id(parameter) for parameter in network.motion.parameters()}
        others = [([p for p in parameters if id(p) not in motion], rate) for parameters, rate in groups]
        own = [p for parameters, _ in groups for p in parameters if id(p) in motion]
        return [(parameters, rate) for parameters, rate in (*others, (own, self.config.motion_rate)) if parameters]

    def losses(self, network, batch) -> dict[str, torch.Tensor]:
        prediction = network(batch)
        with torch.autocast(self.device.type, enabled=False):  # geometry needs all its digits
            return self.loss(prediction, batch)

    def evaluate(self, network) -> dict[str, float]:
        estimator = self.estimator(network)
        metrics = validate(estimator, self._frames)
        return metrics if self.teacher is None else metrics | agreement_with(self.teacher, estimator, self._frames)

    def estimator(self, network: DepthAndMotion, sigma_scale: float | None = 1.0) -> DepthEstimator:
        area_px = self.size_px[0] * self.size_px[1]
        return DepthEstimator(network.depth, str(self.device), area_px, sigma_scale)

    def save(self, out: Path, result: LoopResult) -> dict[str, float]:
        network = result.network
        metrics = {"train_s": result.seconds, "steps": self.config.steps, "skipped_steps": result.skipped_steps}
        metrics |= self.evaluate(network)
        header = _header(self.config, self.sources, metrics, self.teacher)
        self.estimator(network, checked_sigma_scale(metrics)).save(out, header)
        if learns_motion(self.config):
            PoseEstimator(network.motion, self.size_px, str(self.device)).save(out.with_suffix(POSE_SUFFIX), header)
        save_state(run_folder(out) / FINAL_NAME, network, result.moments)
        return metrics | {"weights_bytes": out.stat().st_size}


def fit_depth(config: DepthTrainingConfig, out: str | Path, overwrite: bool = False) -> FitResult:
    """Trains and writes the depth weights `out` and, where ego-motion was learned, those of the motion beside it: `out`
    with the suffix .pose.safetensors.

    The run's folder also keeps the last state, to go on from. Raises InputError as `run_fit` does, and when the
    datasets cannot be used.
    """

    def make_task(run_dir: Path, device: torch.device, accelerator: Accelerator) -> DepthTask:
        sources = clip_sources(config)
        say(f"{sum(len(source.clips) for source in sources)} clips of {len(sources)} datasets")
        return DepthTask(sources, config, device, run_dir)

    beside = (Path(out).with_suffix(POSE_SUFFIX),) if learns_motion(config) else ()
    return run_fit(config, out, make_task, overwrite, config.half, beside)


def learns_motion(config: DepthTrainingConfig) -> bool:
    """Whether a motion network is trained, whose weights are written beside those of depth."""
    return config.motion == "learned" and config.losses.needs_views


def start_from(network: DepthAndMotion, config: DepthTrainingConfig) -> dict | None:
    """Gives the networks the weights of the run `config.start_from`, or those of depth where there is only its weights
    file; what that run did not have (descriptors, say, or a sharpener) stays as it is. Returns the moments of that
    run's optimizer where `keep_momentum` wants them, else None.

    Raises InputError when neither is there, when only the run has momentum, or when it trained other networks.
    """
    assert config.start_from is not None
    path = _start_file(config.start_from)
    state = _of_weights_file(path, config) if path == config.start_from else load_state(path)
    if state is None:
        raise InputError(f"{path} is not there or damaged; give as start_from the weights file of a finished run")
    weights, moments = (with_present_names(by_name, DepthNetwork.former_names, "depth.") for by_name in state)
    own = network.state_dict()
    other = [key for key, value in weights.items() if key in own and own[key].shape != value.shape]
    # A motion network alone may fit while depth would stay as it was drawn.
    other += [key for key in own if key.startswith("depth.") and key not in weights and not key.startswith(_SHARPENER)]
    other += [key for key in weights if key.startswith(_SHARPENER) and key not in own]  # made for other coarse depth
    if other:
        raise InputError(f"{path} is of other networks ({other[0]}); set the same in the config")
    network.load_state_dict({**own, **{key: value for key, value in weights.items() if key in own}})
    return moments if config.keep_momentum else None


def _start_file(weights: Path) -> Path:
    """What to go on from: the state that the run which made a weights file keeps, or else that file itself."""
    final = run_folder(weights) / FINAL_NAME
    return final if final.exists() or not weights.is_file() else weights


def _of_weights_file(path: Path, config: DepthTrainingConfig) -> tuple[dict, dict] | None:
    """The weights as a run keeps them, without moments; None where the file is not of a depth network."""
    if config.keep_momentum:
        raise InputError(f"the run that made {path} is not beside it, so there is no momentum; leave out keep_momentum")
    try:
        network = DepthEstimator.load(path, "cpu").network
    except InputError:
        return None
    return {f"depth.{name}": value for name, value in network.state_dict().items()}, {}


def _header(config: DepthTrainingConfig, sources: list[ClipSource], metrics: dict, teacher: Teacher | None) -> dict:
    taught = {}
    if teacher is not None:
        taught = {"teacher": {"name": teacher.name, "licence": teacher.licence, "output": teacher.kind}}
    return {
        "trained_on": [source.dataset.info.sources for source in sources],
        "clips": [len(source.clips) for source in sources],
        "config": config.to_json(exclude=_PLACES),
        "figures": finite(metrics),
        "licence": "that of the recordings it was trained on"
        + (f", and of its teacher {teacher.name}: {teacher.licence}" if teacher is not None else ""),
        **taught,
    }


def training_fingerprint(config: DepthTrainingConfig, sources: list[ClipSource], teacher: Teacher | None = None) -> str:
    """What a training depends on: its config, the content of its data, the weights that it begins with and its teacher.
    Where these lie, and on what it is computed, is not part of it."""
    parts = [config.to_json(exclude=_PLACES), data_digest(config, sources), start_digest(config)]
    return digest_of(TRAINING_VERSION, *parts, *([] if teacher is None else [teacher.checksum]))


def data_digest(config: DepthTrainingConfig, sources: list[ClipSource]) -> str:
    """Of the clips that are learned from and the frames that are watched: images, cameras, poses and, where the losses
    look at them, depth and boundaries."""
    kinds = {"depth": needs_depth(config.losses), "boundary": config.losses.weighs("boundary")}
    kinds["with_fused"] = config.fused_sigma is not None
    data = [
        _data_inputs(source.dataset, (f for clip in source.clips for f in (clip.target, *clip.sources)), **kinds)
        for source in sources
    ]
    clips = [[[f.name for f in (clip.target, *clip.sources)] for clip in source.clips] for source in sources]
    watched = [_data_inputs(dataset, [frame], depth=True) for dataset, frame in validation_frames(config)]
    return digest_of(data, clips, watched)


def start_digest(config: DepthTrainingConfig) -> str:
    """Of the weights that a training begins with. Raises InputError when they are not there."""
    start = _start_file(config.start_from) if config.start_from is not None else None
    backbone = None
    if config.pretrained and config.architecture == "encoder_decoder" and start is None:
        backbone = create_backbone(config.backbone, config.backbone_file).checksum
    try:
        return digest_of(backbone, file_digest(start) if start else None)
    except OSError as error:
        raise InputError(f"{start} cannot be read ({error.strerror}); give weights of a finished run") from None


def _data_inputs(
    dataset: SceneDataset,
    frames: Iterable[Frame],
    depth: bool = False,
    boundary: bool = False,
    with_fused: bool = False,
) -> list:
    """Poses, cameras and images of the frames, and their depth and boundaries where they are used."""
    frames = [frame for _, frame in sorted({frame.name: frame for frame in frames}.items())]
    rows = [[f.name, f.stamp_ns, f.split, camera_to_dict(dataset.camera(f)), f.T_world_camera] for f in frames]
    files = [dataset.image_path(frame) for frame in frames]
    if depth:
        files += [path for frame in frames for path in depth_files(dataset, frame, with_fused)]
    if boundary:
        files += [boundary_path(dataset, frame) for frame in frames]
    return [dataset.info.scale, rows, digest_of_files(files)]
