"""Trains one scene's head: `geo-train localization head`."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator

from geo_perception.errors import InputError
from geo_perception.geometry import Camera
from geo_perception.localization.estimator import LocalizerOptions
from geo_perception.localization.look import LevelView
from geo_perception.localization.map_points import MapPoints
from geo_perception.localization.network import HeadConfig, LandmarkHead
from geo_perception.localization.network_view import network_camera_at
from geo_perception.localization.places import group_views
from geo_perception.localization.scene import NoiseModel, Scene
from geo_perception.localization.second_look import SecondLooker
from geo_perception.localization.view_descriptors import MAX_VIEWS, ViewDescriptors, describe_view
from geo_perception.runtime.backbone import create_backbone
from geo_perception.runtime.device import half_autocast
from geo_perception.runtime.frozen import FrozenNetwork
from geo_perception.runtime.image import Resampler
from geo_training.console import say, track, warn
from geo_training.datasets.scene import camera_to_dict
from geo_training.engine.ahead import made_ahead
from geo_training.engine.loop import LoopResult
from geo_training.engine.run import FitResult, finite, run_fit
from geo_training.engine.whole_batch import rank
from geo_training.localization.buffer import FeatureBatch, FeatureBuffer
from geo_training.localization.closed_form import LinearStatistics, PlainView, fill_not_visible
from geo_training.localization.config import HeadTrainingConfig
from geo_training.localization.data import HeadData
from geo_training.localization.losses import head_losses
from geo_training.localization.map_points import MapPointBuilder
from geo_training.localization.noise import (
    HeldOutView,
    fit_covariance,
    fit_look_noise,
    fit_pixel_noise,
    held_out_metrics,
    held_out_view,
    normalized_errors,
)
from geo_training.localization.views import View
from geo_training.mapping.landmark_set import SEEN
from geo_training.mapping.point_descriptors import mean_descriptors
from geo_training.mapping.scene_map import SceneMap
from geo_training.storage.fingerprints import digest_of

TRAINING_VERSION = 6  # of what is learned from a dataset; a checkpoint of another is not gone on from
_CALIBRATION_VIEWS = 4
_SECONDS_VIEWS, _SECONDS_HELD_OUT = 2, 32  # of a scene in seconds: it has no time for more
_NOT_VISIBLE_VIEWS = 48  # of which the closed form takes the landmarks' "not visible"
_CLOSE_UPS = (2.5, 1.5)  # by turns: a robot may wake nearer to things than it ever was while it mapped them


class HeadTask:
    """The head's training as `run_fit` takes it."""

    def __init__(
        self, data: HeadData, backbone, device: torch.device, embed_backbone: bool = False,
    ):  # fmt: skip
        config = data.config
        self.data, self.config, self.backbone, self.device = data, config, backbone, device
        self.embed_backbone = embed_backbone
        head = HeadConfig(len(data.landmarks.points_world_l3), tuple(backbone.strides), tuple(backbone.channels),
                          config.width if config.steps else 0, config.dilations, config.fine_width,
                          min(config.linear_width, sum(backbone.channels)))  # fmt: skip
        torch.manual_seed(config.seed)
        self.network = LandmarkHead(head).to(memory_format=torch.channels_last)  # faster in half precision
        self.loss_weights = {"seen": 1.0, "unseen": config.negative_weight}
        if self.network.has_fine:
            self.loss_weights["fine"] = 1.0
        self._features = FrozenNetwork(backbone, device)
        self.options = LocalizerOptions()
        self.start: LandmarkHead | None = None  # the closed form alone: a fine map that has learned nothing misleads
        self._points: MapPointBuilder | None = None
        self._views: list[np.ndarray] = []  # how the frames look as a whole
        self.start_s = self.buffer_s = 0.0  # that the closed form and the buffer took
        # Of a frame: the plain view, and augmented ones. By them the figures are told, and the noise is calibrated.
        self._calibration_views = _CALIBRATION_VIEWS if config.steps else _SECONDS_VIEWS
        count = len(data.held_out) if config.steps else min(len(data.held_out), _SECONDS_HELD_OUT)
        self._looked_at = [data.held_out[n] for n in np.linspace(0, len(data.held_out) - 1, count).round().astype(int)]
        self._held_out: list[tuple[View, list[torch.Tensor]]] = []
        self.buffer: FeatureBuffer | None = None
        if config.steps:
            budget_bytes = int(config.buffer_gib * 2**30)
            cameras = [data.network_camera(frame) for frame in data.training]
            self.buffer = FeatureBuffer(self._features, lambda f, v, g: data.view(data.training[f], v, g),
                                        [(camera.width_px, camera.height_px) for camera in cameras], config.views,
                                        config.batch, budget_bytes, config.refresh, device, config.seed,
                                        config.buffer_place)  # fmt: skip

    @property
    def fingerprint(self) -> str:
        return training_fingerprint(self.config, self.data, self.backbone)

    def prepare(self, epoch: int = 0) -> None:
        """Fills the head in closed form, and makes the features of this process's slots as `epoch` has them."""
        learned, held, landmarks = len(self.data.training), len(self.data.held_out), len(self.data.landmarks)
        say(f"{learned} frames to learn from, {held} held out, {landmarks} landmarks")
        started_s = time.perf_counter()
        if rank() == 0:  # which gives the others its weights
            self._begin()
        self.start_s = time.perf_counter() - started_s
        if self.buffer is None:
            return
        started_s = time.perf_counter()
        say(str(self.buffer))
        if self.buffer.left_out:
            warn(f"the buffer holds {self.buffer.views} of {self.config.views} views a frame; raise buffer_gib for all")
        for number in track(self.buffer.own, "features"):
            self.buffer.slot(number, epoch)
        self.buffer_s = time.perf_counter() - started_s

    @torch.no_grad()
    def _begin(self) -> None:
        """Looks once at plain views of some frames: what the closed form and the map points are made of."""
        data, config = self.data, self.config
        strides = self.backbone.strides
        names = [data.frames[index].name for index in data.training]
        learned = data.map.restricted_to(names)
        self._points = MapPointBuilder(learned, strides, self._keypoint_descriptors(learned))
        statistics = LinearStatistics(len(data.landmarks), strides)
        count = min(config.closed_form_frames, len(data.training))
        chosen = [data.training[n] for n in np.linspace(0, len(data.training) - 1, count).round().astype(int)]
        kept_every = max(1, len(chosen) // _NOT_VISIBLE_VIEWS)
        kept = []
        described = np.linspace(0, len(chosen) - 1, min(len(chosen), MAX_VIEWS)).round().astype(int).tolist()

        def look(number: int) -> tuple[View, list[torch.Tensor], list[torch.Tensor]]:
            close_up = self._close_up(chosen[number], described.index(number)) if number in described else []
            return *self._looked(chosen[number], 0), close_up

        looked_at = made_ahead(look, range(len(chosen)))
        for number, (view, features, close_up) in enumerate(track(looked_at, "closed form", len(chosen))):
            plain = PlainView(features, view.pixels_l2, view.state_l)
            if self.network.has_linear:
                statistics.add(plain)
            self._points.add(data.frames[chosen[number]].name, plain.features, view.camera, view.T_world_camera)
            if close_up:
                self._views.append(np.concatenate([describe_view(features), describe_view(close_up)]))
            if number % kept_every == 0:
                kept.append(plain)
        if self.network.has_linear:
            start = LandmarkHead(dataclasses.replace(self.network.config, width=0)).eval()
            for head in (start, self.network):
                statistics.fill(head)
            fill_not_visible(start, kept)
            self.network.invisible_l.copy_(start.invisible_l)
            self.start = start.to(self.device)

    def _keypoint_descriptors(self, learned: SceneMap) -> np.ndarray | None:
        try:
            return mean_descriptors(self.data.dataset.root, learned)
        except InputError as problem:
            warn(f"the scene carries no keypoints' descriptors: {problem}")
            return None

    def _looked(self, index: int, number: int) -> tuple[View, list[torch.Tensor]]:
        view = self.data.view(index, number, 0)
        return view, self._features_of(view.image_hw3)

    def _close_up(self, index: int, number: int) -> list[torch.Tensor]:
        """What the backbone says of a part of a frame, seen from nearer."""
        rng = np.random.default_rng([self.config.seed, number])
        return self._features_of(self.data.close_up_hw3(index, _CLOSE_UPS[number % len(_CLOSE_UPS)], rng))

    def _features_of(self, image_hw3: np.ndarray) -> list[torch.Tensor]:
        return [feature.float().cpu() for feature in self._features(image_hw3)]

    def batches(self, epoch: int, first: int = 0):
        assert self.buffer is not None  # there are steps to take
        return self.buffer.batches(epoch, first)

    def losses(self, network, batch: FeatureBatch) -> dict[str, torch.Tensor]:
        drop = self.config.feature_dropout
        features = [torch.nn.functional.dropout2d(feature, drop) for feature in batch.features]
        return head_losses(
            network, features, batch.pixels_bl2, batch.state_bl, self.config.unseen_share, self.config.label_sigma_cells
        )

    def evaluate(self, network) -> dict[str, float]:
        """Pixel error and recall on the plain views of the held-out frames."""
        views = self.held_out_views(network, plain=True)
        if not views:
            return {}
        return held_out_metrics(views, self.data.landmarks.points_world_l3, self.data.map.metric, self.options)

    @torch.no_grad()
    def held_out_views(self, network, plain: bool = False) -> list[HeldOutView]:
        """What `network` finds in every held-out view, or only in the plain ones."""
        if not self._held_out:
            asked = [(index, number) for index in self._looked_at for number in range(self._calibration_views)]
            for view, features in made_ahead(lambda one: self._looked(*one), asked):
                self._held_out.append((view, [feature.half() for feature in features]))
        found = []
        for view, features in self._held_out[:: self._calibration_views if plain else 1]:
            with half_autocast(self.device):
                maps = network([feature.to(self.device, torch.float32) for feature in features])
            found.append(held_out_view(view, network.find(maps)))
        return found

    def noise_model(self, views: list[HeldOutView]) -> NoiseModel:
        """Pixel noise and covariance, calibrated on the held-out views."""
        noise = fit_pixel_noise(views, self.data.usual_noise, self.options.min_score)
        landmarks_l3 = self.data.landmarks.points_world_l3.astype(float)
        error_m6, covariance_m66, _ = normalized_errors(views, landmarks_l3, noise, self.options)
        return fit_covariance(error_m6, covariance_m66, noise)

    @torch.no_grad()
    def look_noise(self, views: list[HeldOutView], noise: NoiseModel, points: MapPoints) -> NoiseModel:
        """The same of the second look, from the poses that the landmarks gave in the held-out views."""
        looker = SecondLooker(points, self.backbone.strides, self.device, self.options.look)
        # Plain views lie between learned ones, in the same light: by keypoints they are all but exact.
        augmented = [n for n in range(len(views)) if n % self._calibration_views]

        @cache  # every view is looked at twice
        def kept(number: int, level: int) -> tuple[Camera, np.ndarray, list[torch.Tensor]]:
            view, features = self._held_out[augmented[number]]
            if level == 0:
                return view.camera, view.image_hw3, features
            camera = network_camera_at(view.camera, self.data.network_focal_px / 2**level)
            image_hw3 = Resampler(view.camera, camera).image(view.image_hw3)
            return camera, image_hw3, [feature.half() for feature in self._features_of(image_hw3)]

        def view_of(number: int, level: int) -> LevelView:
            camera, image_hw3, features = kept(number, level)
            return LevelView(camera, image_hw3, [feature.to(self.device, torch.float32) for feature in features])

        landmarks_l3 = self.data.landmarks.points_world_l3.astype(float)
        start = dataclasses.replace(Scene.usual_look_noise(), floor_m=self.data.usual_noise.floor_m)
        chosen = [views[n] for n in augmented]
        return fit_look_noise(chosen, landmarks_l3, noise, self.options, looker, view_of, start)

    def save(self, out: Path, result: LoopResult) -> dict[str, float]:
        network, began_better = self._better(result)
        views = self.held_out_views(network)
        noise = self.noise_model(views) if views else self.data.usual_noise
        scene = _scene_of(self.data, self.backbone, network, noise, self.config)
        learned = [self.data.rows[index] for index in self.data.training]
        names = [self.data.frames[index].name for index in self.data.training]
        poses_f44 = np.stack([self.data.map.T_world_camera[name] for name in names])
        scene.places = group_views(self.data.landmarks.visibility_fl[learned] == SEEN, poses_f44)
        budget_bytes = self._point_bytes(scene.size_bytes())
        scene.views = ViewDescriptors.of(self._views)
        if self.config.max_bytes is not None and scene.views is not None:
            budget_bytes -= scene.views.nbytes
        scene.points = self._points.build(budget_bytes) if self._points is not None else None
        if scene.points is None:
            warn("the scene carries no map points, so it has no second look; allow it more --bytes, or map more")
            scene.places = None
        elif views:
            scene.look_noise = self.look_noise(views, noise, scene.points)
        metrics = {
            "train_s": self.start_s + self.buffer_s + result.seconds,
            "start_s": self.start_s,
            "buffer_s": self.buffer_s,
            "map_points": len(scene.points) if scene.points is not None else 0,
            "held_out_frames": len(self._looked_at),
            **(result.history[0 if began_better else -1] if result.history else {}),
            "skipped_steps": result.skipped_steps,
        }
        scene.header |= {"figures": finite(metrics)}
        scene.save(out, self.embed_backbone)
        return metrics | {"scene_bytes": out.stat().st_size}

    def _point_bytes(self, head_bytes: int) -> int:
        """What map points may take beside the head."""
        if self.config.max_bytes is not None:
            return self.config.max_bytes - head_bytes
        usual_bytes = self.config.bytes_per_frame * len(self.data.frames)
        return max(usual_bytes - head_bytes, usual_bytes // 2)

    def _better(self, result: LoopResult) -> tuple[LandmarkHead, bool]:
        """What was learned; or what it began from, where that finds more in the held-out frames."""
        history = result.history
        if self.start is None or len(history) < 2 or _rank(history[0]) <= _rank(history[-1]):
            return result.network, False
        warn("training made the head worse on the held-out frames; the scene has the head that it began from")
        return self.start, True


def _rank(record: dict) -> tuple[float, float]:
    """Of an evaluation, the higher the better: the share of frames that localize well, then how well."""
    if "held_out_recall_5cm_5deg" in record:
        return record["held_out_recall_5cm_5deg"], -record["held_out_median_cm"]
    return record.get("held_out_localized", 0.0), -record.get("held_out_median_scene_units", np.inf)


def fit_head(
    dataset: str | Path | HeadData,
    out: str | Path,
    config: HeadTrainingConfig,
    embed_backbone: bool = False,
    overwrite: bool = False,
) -> FitResult:
    """Trains a head for the dataset's landmarks and writes the scene file `out`.

    Raises InputError as `run_fit` does, and when the dataset is not mapped or has no landmarks.
    """

    def make_task(run_dir: Path, device: torch.device, accelerator: Accelerator) -> HeadTask:
        backbone = create_backbone(config.backbone, config.backbone_file)
        data = dataset if isinstance(dataset, HeadData) else HeadData.open(dataset, config)
        return HeadTask(data, backbone, device, embed_backbone)

    return run_fit(config, out, make_task, overwrite, config_name="config.json")


def _scene_of(data: HeadData, backbone, network, noise: NoiseModel, config: HeadTrainingConfig) -> Scene:
    # Every frame counts: a scene of several cameras is described by the one that took the most.
    (camera, _), *others = Counter(data.map.cameras[frame.name] for frame in data.frames).most_common()
    network_camera = network_camera_at(camera, data.network_focal_px)
    info = data.dataset.info
    metadata = {
        "dataset_sources": info.sources,
        "scale_source": data.map.report.get("scale", {}).get("source", info.scale_source),
        "gravity_map": list(info.gravity_world) if info.gravity_world else None,
        "frames": len(data.frames),
        "other_cameras": [camera_to_dict(other) | {"frames": frames} for other, frames in others],
        "config": config.to_json(),
        "licence": "that of the recordings it was trained on",
    }
    return Scene(
        data.landmarks.points_world_l3.astype(np.float64),
        network.cpu(),
        backbone,
        data.network_focal_px,
        (network_camera.width_px, network_camera.height_px),
        camera_to_dict(camera),
        data.map.metric,
        noise,
        info.world_frame,
        metadata,
    )


def training_fingerprint(config: HeadTrainingConfig, data: HeadData, backbone) -> str:
    """What the training depends on. Where the dataset lies, and on what it is computed, is not part of it."""
    as_json = config.to_json(exclude={"backbone_file", "device", "max_bytes", "bytes_per_frame", "buffer_place"})
    return digest_of(TRAINING_VERSION, as_json, backbone.checksum, *data.inputs)
