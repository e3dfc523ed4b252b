"""Trains a scene-agnostic backbone: `geo-train localization backbone`.

After "Faster training of the Scene Landmark Detection for Camera Localization": one backbone, N scenes, a light head
for each; every batch is of one scene, and a step moves the backbone and the heads of the scenes in it. The heads are
then thrown away, and the backbone is frozen for scenes that it never saw.

The batch normalization of the backbone keeps the statistics that it came with; only its factors and offsets learn. A
batch is a few views of one scene, so its own statistics would be those of that scene, and the running ones a mixture by
which no batch was normalized: the frozen backbone would give other features than those that the heads learned from.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn

from geo_perception import __version__
from geo_perception.errors import InputError
from geo_perception.localization.estimator import LocalizerOptions
from geo_perception.localization.network import HeadConfig, LandmarkHead
from geo_perception.runtime.backbone import (
    Backbone,
    backbone_from_tensors,
    backbone_tensors,
    create_backbone,
    freeze_stages,
)
from geo_perception.runtime.device import half_autocast
from geo_perception.runtime.weights import save_weights
from geo_training.console import say, track, warn
from geo_training.engine.loop import LoopResult
from geo_training.engine.precision import single_pixels_in_float32, strided_depthwise_in_float32
from geo_training.engine.run import FitResult, finite, run_fit
from geo_training.engine.schedule import backbone_groups
from geo_training.localization.backbone.config import BackboneTrainingConfig
from geo_training.localization.backbone.data import (
    SceneBatch,
    SceneStream,
    TrainingScene,
    name_scenes,
    open_scenes,
)
from geo_training.localization.closed_form import LinearStatistics, PlainView, fill_not_visible
from geo_training.localization.data import HeadData
from geo_training.localization.losses import head_losses
from geo_training.localization.noise import found_share, held_out_metrics, held_out_view
from geo_training.localization.views import View
from geo_training.storage.fingerprints import digest_of

KIND, FORMAT_VERSION = "backbone", 1
TRAINING_VERSION = 1  # of what is learned from scenes; a checkpoint of another is not gone on from
_NOT_VISIBLE_VIEWS = 24  # of a scene, of which the closed form takes the landmarks' "not visible"
_TEMPERED_ON, _TEMPERATURES = 6, (1.0, 0.7, 0.5, 0.35, 0.25, 0.18, 0.12, 0.09, 0.06)
# Where files lie, and on what is computed, changes no result.
_PLACES = {"scenes", "backbone_file", "device"}
_SHOWN = "held_out_found", "held_out_px", "held_out_recall_5cm_5deg", "held_out_localized"


class SharedBackbone(nn.Module):
    """A backbone that learns, and one head a scene."""

    def __init__(self, backbone: Backbone, heads: Sequence[LandmarkHead], frozen_stages: int):
        super().__init__()
        self.backbone, self.heads = backbone.requires_grad_(True), nn.ModuleList(heads)
        for part in backbone.parts:
            freeze_stages(part.network, frozen_stages)

    def features(self, image_b3hw: torch.Tensor) -> list[torch.Tensor]:
        """As the frozen backbone gives them, with gradients."""
        return [feature for part in self.backbone.parts for feature in part(image_b3hw)]


class BackboneTask:
    """The training as `run_fit` takes it."""

    def __init__(
        self, scenes: list[TrainingScene], config: BackboneTrainingConfig, backbone: Backbone, device: torch.device
    ):
        self.scenes, self.config, self.device = scenes, config, device
        self.begins_with = backbone.checksum
        torch.manual_seed(config.seed)
        heads = [LandmarkHead(_head_config(scene, backbone, config)) for scene in scenes]
        self.network = SharedBackbone(backbone, heads, config.frozen_stages).to(memory_format=torch.channels_last)
        if device.type == "cpu":
            strided_depthwise_in_float32(single_pixels_in_float32(self.network))
        self.loss_weights = {"seen": 1.0, "unseen": config.negative_weight}
        if any(head.has_fine for head in heads):
            self.loss_weights["fine"] = 1.0
        self.start: SharedBackbone | None = None  # without a closed form nothing is found before the first step
        self.stream = SceneStream(scenes, config, device)
        self._held_out: list[list[View]] | None = None

    @property
    def fingerprint(self) -> str:
        scenes = [scene.fingerprint for scene in self.scenes]
        return digest_of(TRAINING_VERSION, self.config.to_json(exclude=_PLACES), self.begins_with, scenes)

    def prepare(self, epoch: int = 0) -> None:
        """Fills the linear part of every head in closed form, from the features that the backbone begins with."""
        for scene in self.scenes:
            learned, held, landmarks = len(scene.data.training), len(scene.data.held_out), len(scene.data.landmarks)
            say(f"{scene.name}: {learned} frames to learn from, {held} held out, {landmarks} landmarks")
        if self.config.linear_width:
            self.network.to(self.device).eval()
            for number in track(range(len(self.scenes)), "closed form"):
                self._fill(number)
            self.start = copy.deepcopy(self.network)
            for number in range(len(self.scenes)):
                self._temper(number)

    @torch.no_grad()
    def _fill(self, number: int) -> None:
        data, head = self.scenes[number].data, self.network.heads[number]
        statistics, kept = LinearStatistics(len(data.landmarks), head.config.strides), []
        count = min(self.config.closed_form_frames, len(data.training))
        for index in np.linspace(0, len(data.training) - 1, count).round().astype(int):
            view = data.view(data.training[index], 0, 0)
            plain = PlainView(
                [f.float().cpu() for f in self._features(self.network, view)], view.pixels_l2, view.state_l
            )
            statistics.add(plain)
            kept.append(plain)
        head.cpu()
        statistics.fill(head)
        fill_not_visible(head, kept[:: max(1, len(kept) // _NOT_VISIBLE_VIEWS)])
        head.to(self.device)

    @torch.no_grad()
    def _temper(self, number: int) -> None:
        """Scales the logits of a head to the lowest loss. In closed form they are far too sure of themselves on views
        that differ from the frames, and their gradient would say little else for long."""
        head = self.network.heads[number]
        scaled = [head.linear_heatmap.weight, head.linear_heatmap.bias, head.invisible_l]
        began = [values.clone() for values in scaled]
        with self._autocast():
            seen = [(self.network.features(b.image_b3hw), b) for b in self.stream.batches_of(number, _TEMPERED_ON)]

        def loss_at(factor: float) -> float:
            for values, start in zip(scaled, began, strict=True):
                values.copy_(start * factor)
            torch.manual_seed(self.config.seed)  # the same landmarks for every factor
            with self._autocast():
                terms = [self._terms(head, features, batch) for features, batch in seen]
            return sum(float(weight * term[name]) for term in terms for name, weight in self.loss_weights.items())

        loss_at(min(_TEMPERATURES, key=loss_at))

    def batches(self, epoch: int, first: int = 0):
        return self.stream.batches(epoch, first)

    def parameter_groups(self, network: SharedBackbone) -> list[tuple[list, float]]:
        return backbone_groups(network, network.backbone, self.config.backbone_rate)

    def losses(self, network: SharedBackbone, batches: list[SceneBatch]) -> dict[str, torch.Tensor]:
        """The mean over the scenes of the step. Heads of other scenes get no gradient, so they do not move."""
        terms = [
            self._terms(network.heads[batch.scene], network.features(batch.image_b3hw), batch) for batch in batches
        ]
        return {name: torch.stack([term[name] for term in terms]).mean() for name in terms[0]}

    def _terms(self, head: LandmarkHead, features: list[torch.Tensor], batch: SceneBatch) -> dict[str, torch.Tensor]:
        unseen_share, sigma_cells = self.config.unseen_share, self.config.label_sigma_cells
        return head_losses(head, features, batch.pixels_bl2, batch.state_bl, unseen_share, sigma_cells)

    @torch.no_grad()
    def evaluate(self, network: SharedBackbone) -> dict[str, float]:
        """Of the held-out frames of each scene, by name, and the means over the scenes."""
        network.eval()
        options, found = LocalizerOptions(), {}
        for scene, head, views in zip(self.scenes, network.heads, self._held_out_views(), strict=True):
            if not views:
                continue
            answers = []
            for view in views:
                with self._autocast():
                    maps = head(self._features(network, view))
                answers.append(held_out_view(view, head.find(maps)))
            landmarks_l3 = scene.data.landmarks.points_world_l3
            found[scene.name] = held_out_metrics(answers, landmarks_l3, scene.data.map.metric, options)
            found[scene.name]["held_out_found"] = found_share(answers)
        by_metric = {key: {name: of[key] for name, of in found.items() if key in of} for key in _SHOWN}
        # No pixel error is known where nothing was found.
        known = {key: [v for v in values.values() if not np.isnan(v)] for key, values in by_metric.items()}
        means = {key: float(np.mean(values)) for key, values in known.items() if values}
        each = {f"{key}_{name}": value for key, values in by_metric.items() for name, value in values.items()}
        return means | (each if len(found) > 1 else {})

    def _held_out_views(self) -> list[list[View]]:
        if self._held_out is None:
            self._held_out = []
            for scene in self.scenes:
                held = scene.data.held_out
                count = min(self.config.held_out_frames, len(held))
                chosen = np.linspace(0, len(held) - 1, count).round().astype(int) if count else ()
                self._held_out.append([scene.data.view(held[index], 0, 0) for index in chosen])
        return self._held_out

    def _features(self, network: SharedBackbone, view: View) -> list[torch.Tensor]:
        image_b3hw = torch.from_numpy(view.image_hw3).to(self.device).permute(2, 0, 1)[None].float().contiguous()
        with self._autocast():
            return network.features(image_b3hw)

    def _autocast(self):
        return half_autocast(self.device, self.config.half)

    def save(self, out: Path, result: LoopResult) -> dict[str, float]:
        backbone = copy.deepcopy(result.network.backbone).cpu()
        tensors = backbone_tensors(backbone)
        first, last = result.history[0], result.history[-1]
        metrics = {"train_s": result.seconds, "steps": self.config.steps, **last}
        if self.start is not None:
            metrics |= {f"start_{key}": first[key] for key in _SHOWN if key in first}
            if first.get("held_out_found", 0.0) > last.get("held_out_found", 0.0):
                warn("the backbone finds fewer landmarks in the held-out frames of its own scenes than before training")
        header = {
            "kind": KIND,
            "format_version": FORMAT_VERSION,
            "producer": f"geo_perception {__version__}",
            "backbone": {"name": backbone.name, "sha256": backbone_from_tensors(backbone.name, tensors).checksum},
            "began_with_sha256": self.begins_with,
            "scenes": [_scene_header(scene) for scene in self.scenes],
            "config": self.config.to_json(exclude=_PLACES),
            "figures": finite(metrics),
            "licence": "that of the recordings it was trained on, and of the weights that it began with",
        }
        save_weights(out, tensors, header)
        return metrics | {"weights_bytes": out.stat().st_size}


def fit_backbone(
    config: BackboneTrainingConfig, out: str | Path, overwrite: bool = False, scenes: Sequence[HeadData] | None = None
) -> FitResult:
    """Trains a backbone on the scenes of the config (or on `scenes`, opened already), and writes its weights `out`, as
    `create_backbone(name, out)` and `head --backbone NAME=out` take them.

    Raises InputError as `run_fit` does, and when a scene cannot be learned from or is given twice.
    """

    def make_task(run_dir: Path, device: torch.device, accelerator: Accelerator) -> BackboneTask:
        if accelerator.num_processes > 1:
            raise InputError("a backbone is trained by one process, a head at a time; start it without several")
        opened = open_scenes(config) if scenes is None else name_scenes(scenes, config)
        return BackboneTask(opened, config, create_backbone(config.backbone, config.backbone_file), device)

    return run_fit(config, out, make_task, overwrite, config.half)


def _head_config(scene: TrainingScene, backbone: Backbone, config: BackboneTrainingConfig) -> HeadConfig:
    levels = tuple(backbone.strides), tuple(backbone.channels)
    linear_width = min(config.linear_width, sum(backbone.channels))
    return HeadConfig(
        len(scene.data.landmarks), *levels, config.width, config.dilations, config.fine_width, linear_width
    )


def _scene_header(scene: TrainingScene) -> dict:
    data = scene.data
    return {
        "name": scene.name,
        "sha256": scene.fingerprint,
        "sources": data.dataset.info.sources,
        "frames": len(data.frames),
        "landmarks": len(data.landmarks),
    }
