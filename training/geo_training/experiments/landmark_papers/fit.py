"""Trains a reference's networks for one scene: `geo-train localization reference`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator

from geo_perception.errors import InputError
from geo_perception.runtime.frozen import FrozenNetwork
from geo_perception.runtime.weights import checksum
from geo_training.console import say, track
from geo_training.datasets.scene import SceneDataset
from geo_training.engine.loader import prefetch
from geo_training.engine.loop import LoopResult
from geo_training.engine.run import FitResult, check_training_output, finite, run_fit
from geo_training.evaluation.localization.evaluate import length_unit_of
from geo_training.evaluation.localization.set import Query, dataset_queries
from geo_training.experiments.landmark_papers.config import ReferenceConfig
from geo_training.experiments.landmark_papers.crops import FrameCrops
from geo_training.experiments.landmark_papers.heatmaps import bearing_loss, heatmap_labels, heatmap_loss
from geo_training.experiments.landmark_papers.localizer import ReferenceLocalizer
from geo_training.experiments.landmark_papers.measure import measure_frames
from geo_training.experiments.landmark_papers.networks import ReferenceNetwork
from geo_training.experiments.landmark_papers.reference_file import Reference
from geo_training.localization.buffer import FeatureBuffer
from geo_training.localization.config import HeadTrainingConfig
from geo_training.localization.data import HeadData
from geo_training.localization.views import View
from geo_training.mapping.landmark_set import LandmarkSet
from geo_training.mapping.scene_map import SceneMap
from geo_training.metrics.pose import LengthUnit
from geo_training.storage.fingerprints import digest_of

TRAINING_VERSION = 1
_WORKERS = 2
# Of what is drawn for a step.
_CROPS, _FRAMES = 2, 3


@dataclass(frozen=True)
class ReferenceBatch:
    """What a step learns from: images (or, of a frozen backbone, maps) with the landmarks' places and states for one
    detector (for all where `detector` is None), and turned frames with the bearings of all landmarks."""

    detector: int | None
    input_bchw: torch.Tensor
    pixels_bl2: torch.Tensor
    state_bl: torch.Tensor
    image_b3hw: torch.Tensor | None = None
    bearing_bl3: torch.Tensor | None = None


class ReferenceTask:
    """The training as `run_fit` takes it.

    Detectors have no parameter in common, so that each step is one of a single detector, in turn: that is as if each
    had been trained alone. Only on a frozen backbone they all learn from the same features at once.
    """

    def __init__(self, data: HeadData, config: ReferenceConfig, network: ReferenceNetwork, device: torch.device):
        self.data, self.config, self.device = data, config, device
        self.network = network.to(memory_format=torch.channels_last)  # several times as fast on a CPU
        self.crops = FrameCrops(data, config.crops)
        self.loss_weights = {"heatmap": 1.0} | ({"bearing": 1.0} if config.bearing else {})
        self.buffer: FeatureBuffer | None = None
        if network.backbone.frozen:
            budget_bytes = int(config.buffer_gib * 2**30)
            features = FrozenNetwork(_AsList(network.backbone), device)
            self.buffer = FeatureBuffer(features, lambda f, v, g: data.view(data.training[f], v, g),
                                        [_size(data, index) for index in data.training], 1, config.batch, budget_bytes,
                                        0.0, device, config.seed)  # fmt: skip
        else:
            self.crops.check_sizes()
        if config.bearing and len({_size(data, index) for index in data.training}) > 1:
            raise InputError("the frames are of several sizes, which a bearing network cannot take; leave out bearing")

    @property
    def fingerprint(self) -> str:
        start = checksum({name: value.cpu().numpy() for name, value in self.network.state_dict().items()})
        places = {"device": True, "backbone": {"file"}, "bearing": {"backbone": {"file"}}}
        return digest_of(TRAINING_VERSION, self.config.to_json(exclude=places), start, *self.data.inputs)

    def prepare(self, epoch: int = 0) -> None:
        """Makes the features of a frozen backbone."""
        learned, held, landmarks = len(self.data.training), len(self.data.held_out), len(self.data.landmarks)
        say(f"{learned} frames to learn from, {held} held out, {landmarks} landmarks")
        if self.buffer is not None:
            for number in track(self.buffer.own, "features"):
                self.buffer.slot(number, epoch)

    def batches(self, epoch: int, first: int = 0) -> Iterator[ReferenceBatch]:
        if self.buffer is not None:
            for number, batch in enumerate(self.buffer.batches(epoch, first), first):
                of_all = batch.features[0], batch.pixels_bl2, batch.state_bl
                yield self._on_device(ReferenceBatch(None, *of_all, *self._bearings(epoch, number)))
            return
        count = batches_of_epoch(self.config, len(self.data.training))
        yield from map(self._on_device, prefetch(lambda n: self._batch(epoch, n), first, count - first, _WORKERS))

    def losses(self, network, batch: ReferenceBatch) -> dict[str, torch.Tensor]:
        config = self.config
        if batch.detector is None:
            heatmap_blhw = network.from_features(batch.input_bchw)
            state_bl, pixels_bl2 = batch.state_bl, batch.pixels_bl2
        else:
            own = slice(batch.detector * config.landmarks_each, (batch.detector + 1) * config.landmarks_each)
            heatmap_blhw = network.detectors[batch.detector](batch.input_bchw)
            state_bl, pixels_bl2 = batch.state_bl[:, own], batch.pixels_bl2[:, own]
        H, W = heatmap_blhw.shape[-2:]
        label_blhw = heatmap_labels(pixels_bl2, state_bl, H, W, config.label_sigma_cells, config.label_floor)
        terms = {"heatmap": heatmap_loss(heatmap_blhw, label_blhw, state_bl)}
        if batch.image_b3hw is not None:
            terms["bearing"] = bearing_loss(network.bearing(batch.image_b3hw), batch.bearing_bl3)
        return terms

    def evaluate(self, network) -> dict[str, float]:
        """Figures of the held-out frames."""
        data = self.data
        if not data.held_out:
            return {}
        queries = map_queries(data, [data.frames[index].name for index in data.held_out])
        metrics = measure_frames(self.localizer(network), queries, length_unit(data))
        wanted = ("recall_5cm_5deg", "recall_1pct_5deg", "median_cm", "median_pct", "median_deg", "landmark_px")
        return {f"held_out_{key}": metrics[key] for key in wanted if key in metrics}

    def localizer(self, network: ReferenceNetwork) -> ReferenceLocalizer:
        return ReferenceLocalizer(self._reference(network), str(self.device))

    def save(self, out: Path, result: LoopResult) -> dict[str, float]:
        last = result.history[-1] if result.history else {}
        start = "weights on this machine" if self.network.backbone.has_weights else "random weights"
        metrics = {"train_s": result.seconds, "skipped_steps": result.skipped_steps, **last}
        self._reference(result.network).save(out, started_from=start, figures=finite(metrics))
        return metrics | {"file_bytes": out.stat().st_size}

    def _reference(self, network: ReferenceNetwork) -> Reference:
        points_l3 = self.data.landmarks.points_world_l3.astype(np.float64)
        return Reference(self.config, network, points_l3, self.data.network_focal_px, self.data.map.metric)

    def _batch(self, epoch: int, number: int) -> ReferenceBatch:
        """Batch `number` of an epoch: each detector in turn looks at the same frames."""
        config, frames = self.config, len(self.data.training)
        detector, step = number % config.networks, number // config.networks
        order = np.random.default_rng([config.seed, epoch]).permutation(frames)
        rng = np.random.default_rng([config.seed, _CROPS, epoch, number])
        low = detector * config.landmarks_each
        views: list[View] = []
        for frame in order[step * config.batch : (step + 1) * config.batch]:
            drawn = low + rng.permutation(config.landmarks_each)[: config.crops.positive]
            views += [self.crops.around(int(landmark), rng) for landmark in drawn]
            views += [self.crops.anywhere(int(frame), rng) for _ in range(config.crops.random)]
        return ReferenceBatch(detector, *_stacked(views), *self._bearings(epoch, number))

    def _bearings(self, epoch: int, number: int) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        bearing = self.config.bearing
        if bearing is None:
            return None, None
        rng = np.random.default_rng([self.config.seed, _FRAMES, epoch, number])
        frames = rng.integers(0, len(self.data.training), bearing.batch)
        views = [self.crops.turned(int(frame), bearing.turn_deg, rng) for frame in frames]
        true_bl3 = torch.from_numpy(np.stack([self.crops.bearings_l3(view) for view in views])).float()
        return _stacked(views)[0], true_bl3

    def _on_device(self, batch: ReferenceBatch) -> ReferenceBatch:
        moved = {key: value.to(self.device) for key, value in vars(batch).items() if isinstance(value, torch.Tensor)}
        return replace(batch, **moved)


class _AsList(torch.nn.Module):
    """A backbone whose map the feature buffer takes."""

    def __init__(self, backbone: torch.nn.Module):
        super().__init__()
        self.backbone = backbone

    def forward(self, image_b3hw: torch.Tensor) -> list[torch.Tensor]:
        return [self.backbone(image_b3hw)]


def open_data(dataset: str | Path, config: ReferenceConfig) -> HeadData:
    """The frames of a mapped dataset and the first of its landmarks, as many as the networks find.

    Raises InputError when it is not mapped or has fewer landmarks.
    """
    landmarks, wanted = LandmarkSet.load(dataset), config.landmarks
    if len(landmarks) < wanted:
        raise InputError(
            f"{dataset} has {len(landmarks)} landmarks, but {config.networks} x {config.landmarks_each} are needed; "
            f"run `geo-train landmarks {dataset} --count {wanted}`, or lower landmarks_each or networks"
        )
    first = replace(
        landmarks,
        points_world_l3=landmarks.points_world_l3[:wanted],
        score_l=landmarks.score_l[:wanted],
        visibility_fl=landmarks.visibility_fl[:, :wanted],
        pixels_fl2=landmarks.pixels_fl2[:, :wanted],
    )
    as_ours = HeadTrainingConfig(
        network_width_px=config.network_width_px, held_out=config.held_out, seed=config.seed, device=config.device
    )
    return HeadData(SceneDataset(dataset), first, SceneMap.load(dataset), as_ours)


def fit_reference(
    dataset: str | Path | HeadData, out: str | Path, config: ReferenceConfig, overwrite: bool = False
) -> FitResult:
    """Trains a reference for the dataset's landmarks and writes the file `out`.

    Raises InputError as `run_fit` does, and when the dataset is not mapped or has too few landmarks.
    """
    check_training_output(out, overwrite)
    data = dataset if isinstance(dataset, HeadData) else open_data(dataset, config)
    network = ReferenceNetwork(config)
    config = with_steps(config, len(data.training), network)

    def make_task(run_dir: Path, device: torch.device, accelerator: Accelerator) -> ReferenceTask:
        if accelerator.num_processes > 1:
            raise InputError("references are trained by one process; start it without `accelerate launch`")
        return ReferenceTask(data, config, network, device)

    return run_fit(config, out, make_task, overwrite, half=config.half)


def with_steps(config: ReferenceConfig, frames: int, network: ReferenceNetwork) -> ReferenceConfig:
    """The config with the steps that its epochs have, unless it names them."""
    if config.steps:
        return config
    each = math.ceil(frames / config.batch) if network.backbone.frozen else batches_of_epoch(config, frames)
    return config.model_copy(update={"steps": config.epochs * each})


def batches_of_epoch(config: ReferenceConfig, frames: int) -> int:
    """Of crops: each detector sees every frame once."""
    return math.ceil(frames / config.batch) * config.networks


def map_queries(data: HeadData, names: Sequence[str]) -> list[Query]:
    """Frames of the map as queries, its poses the true ones."""
    wanted = set(names)
    frames = [frame for frame in data.frames if frame.name in wanted]
    return dataset_queries(data.dataset, frames, data.map.T_world_camera, data.map.cameras)


def length_unit(data: HeadData) -> LengthUnit:
    poses = [data.map.T_world_camera[frame.name] for frame in data.frames]
    return length_unit_of(data.map.metric, poses, data.landmarks.points_world_l3)


def _size(data: HeadData, index: int) -> tuple[int, int]:
    camera = data.network_camera(index)
    return camera.width_px, camera.height_px


def _stacked(views: Sequence[View]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Images (B, 3, H, W) in 0..255, places (B, L, 2) and states (B, L)."""
    image_bhw3 = torch.from_numpy(np.stack([view.image_hw3 for view in views]))
    pixels_bl2 = np.stack([np.nan_to_num(view.pixels_l2, nan=-1e4) for view in views]).astype(np.float32)
    state_bl = np.stack([view.state_l for view in views])
    return image_bhw3.permute(0, 3, 1, 2).float(), torch.from_numpy(pixels_bl2), torch.from_numpy(state_bl)
