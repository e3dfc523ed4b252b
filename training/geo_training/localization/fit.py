"""Trains one scene's head: `geo-train localization head`."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator

from geo_perception.errors import InputError
from geo_perception.geometry import Camera
from geo_perception.localization.estimator import LocalizerOptions
from geo_perception.localization.network import HeadConfig, LandmarkHead
from geo_perception.localization.network_view import network_camera_at
from geo_perception.localization.scene import NoiseModel, Scene
from geo_perception.runtime.backbone import create_backbone
from geo_perception.runtime.device import half_precision
from geo_training.console import say, track, warn
from geo_training.datasets.scene import SceneDataset, camera_to_dict
from geo_training.engine.loop import LoopResult
from geo_training.engine.run import FitResult, finite, run_fit
from geo_training.localization.buffer import FeatureBatch, FeatureBuffer, min_views
from geo_training.localization.config import HeadTrainingConfig
from geo_training.localization.losses import fine_loss, heatmap_loss
from geo_training.localization.noise import (
    HeldOutView,
    fit_covariance,
    fit_pixel_noise,
    normalized_errors,
    pixel_errors,
)
from geo_training.localization.views import View, make_view, scene_focal_px
from geo_training.mapping.landmark_set import SEEN, LandmarkSet
from geo_training.mapping.scene_map import SceneMap
from geo_training.storage.fingerprints import digest_of, digest_of_files

TRAINING_VERSION = 2  # of what is learned from a dataset; a checkpoint of another is not gone on from
_MIN_FRAMES = 8
_CALIBRATION_VIEWS = 4  # the plain view of a held-out frame, and augmented ones


class HeadData:
    """Frames, landmarks and views of one mapped dataset, as the head's training needs them.

    Raises InputError when too few of the landmarks' frames are mapped.
    """

    def __init__(self, dataset: SceneDataset, landmarks: LandmarkSet, scene_map: SceneMap, config: HeadTrainingConfig):
        self.dataset, self.landmarks, self.map, self.config = dataset, landmarks, scene_map, config
        by_name = {frame.name: frame for frame in dataset.frames}
        mapped = [
            (row, by_name[name])
            for row, name in enumerate(landmarks.frame_names)
            if name in by_name and name in scene_map.T_world_camera
        ]
        if len(mapped) < _MIN_FRAMES:
            raise InputError(
                f"{dataset.root}: only {len(mapped)} frames are mapped and have landmarks, {_MIN_FRAMES} are needed; "
                "map more of the recording"
            )
        self.rows, self.frames = [row for row, _ in mapped], [frame for _, frame in mapped]
        cameras = [scene_map.cameras[frame.name] for frame in self.frames]
        self.network_focal_px = scene_focal_px(cameras, config.network_width_px)
        # As on board: every camera at the one focal length of the scene.
        self._network_cameras = {camera: network_camera_at(camera, self.network_focal_px) for camera in set(cameras)}
        self.held_out = held_out_frames(len(self.frames), config.held_out)
        held = set(self.held_out)
        self.training = [index for index in range(len(self.frames)) if index not in held]

    @classmethod
    def open(cls, root: str | Path, config: HeadTrainingConfig) -> HeadData:
        """The data of a dataset on which `geo-train map` and `geo-train landmarks` have run."""
        return cls(SceneDataset(root), LandmarkSet.load(root), SceneMap.load(root), config)

    @property
    def usual_noise(self) -> NoiseModel:
        """The noise model before any held-out frame is looked at. Its floor is millimetres at three metres, so it is a
        share of the distance where the scale is unknown."""
        seen_fl = self.landmarks.visibility_fl[self.rows] == SEEN
        if self.map.metric or not seen_fl.any():
            return NoiseModel()
        centres_f3 = np.stack([self.map.T_world_camera[frame.name][:3, 3] for frame in self.frames])
        distance_fl = np.linalg.norm(self.landmarks.points_world_l3[None] - centres_f3[:, None], axis=2)
        return NoiseModel(floor_m=NoiseModel.floor_m / 3.0 * float(np.median(distance_fl[seen_fl])))

    def network_camera(self, frame_index: int) -> Camera:
        """The pinhole through which the network sees a frame where nothing is augmented."""
        return self._network_cameras[self.map.cameras[self.frames[frame_index].name]]

    def view(self, frame_index: int, view_index: int, generation: int) -> View:
        """View `view_index` of a frame; view 0 of generation 0 is the plain one."""
        frame = self.frames[frame_index]
        plain = view_index == 0 and generation == 0
        rng = np.random.default_rng([self.config.seed, frame_index, view_index, generation])
        camera = self.map.cameras[frame.name]
        return make_view(
            self.dataset.image(frame),
            camera,
            self.map.T_world_camera[frame.name],
            self.landmarks.points_world_l3.astype(float),
            self.landmarks.visibility_fl[self.rows[frame_index]],
            self.network_camera(frame_index),
            None if plain else self.config.augmentation,
            rng,
        )


class HeadTask:
    """The head's training as `run_fit` takes it."""

    def __init__(
        self, data: HeadData, backbone, device: torch.device, rank: int = 0, world: int = 1,
        embed_backbone: bool = False,
    ):  # fmt: skip
        config = data.config
        self.data, self.config, self.backbone, self.device = data, config, backbone, device
        self.rank, self.world, self.embed_backbone = rank, world, embed_backbone
        head = HeadConfig(len(data.landmarks.points_world_l3), tuple(backbone.strides), tuple(backbone.channels),
                          config.width, config.dilations, config.fine_width)  # fmt: skip
        torch.manual_seed(config.seed)
        self.network = LandmarkHead(head).to(memory_format=torch.channels_last)  # faster in half precision
        self.loss_weights = {"seen": 1.0, "unseen": config.negative_weight}
        if self.network.has_fine:
            self.loss_weights["fine"] = 1.0
        self.options = LocalizerOptions()
        budget_bytes = int(config.buffer_gib * 2**30)
        self.buffer = FeatureBuffer(backbone, lambda f, v, g: data.view(data.training[f], v, g), len(data.training),
                                    config.views, budget_bytes, config.refresh, device, config.seed,
                                    [_pixels(data.network_camera(f)) for f in data.training])  # fmt: skip
        self.buffer_s = 0.0  # that filling it took
        self._held_out: list[tuple[View, list[torch.Tensor]]] = []

    @property
    def fingerprint(self) -> str:
        return training_fingerprint(self.config, self.data, self.backbone)

    def prepare(self, epoch: int = 0) -> None:
        """Makes every slot's features as `epoch` has them. Raises InputError when the views are too few for a batch."""
        learned, held, landmarks = len(self.data.training), len(self.data.held_out), len(self.data.landmarks)
        say(f"{learned} frames to learn from, {held} held out, {landmarks} landmarks")
        own = len(range(self.rank, len(self.buffer), self.world))
        if own < min_views(self.config.batch):
            raise InputError(f"{own} views are too few for a batch of {self.config.batch}; lower batch, or map more")
        started_s = time.perf_counter()
        if self.buffer.left_out:
            warn(f"the buffer holds {self.buffer.views} of {self.config.views} views a frame; raise buffer_gib for all")
        for number in track(range(self.rank, len(self.buffer), self.world), "features"):
            self.buffer.slot(number, epoch)
        self.buffer_s = time.perf_counter() - started_s

    def batches(self, epoch: int, first: int = 0):
        return self.buffer.batches(epoch, self.config.batch, self.rank, self.world, first)

    def losses(self, network, batch: FeatureBatch) -> dict[str, torch.Tensor]:
        drop = self.config.feature_dropout
        features = [torch.nn.functional.dropout2d(feature, drop) for feature in batch.features]
        chosen_k = self._landmarks_of(batch)
        maps = network(features, chosen_k)
        pixels_bk2, state_bk = batch.pixels_bl2[:, chosen_k], batch.state_bl[:, chosen_k]
        sigma_cells = self.config.label_sigma_cells
        terms = heatmap_loss(maps.logits_blhw, maps.invisible_l, pixels_bk2, state_bk, sigma_cells)
        if maps.fine_bdhw is not None:
            head = getattr(network, "module", network)  # behind DistributedDataParallel
            terms["fine"] = fine_loss(head, maps, batch.pixels_bl2, batch.state_bl, sigma_cells)
        return terms

    def _landmarks_of(self, batch: FeatureBatch) -> torch.Tensor:
        """Those seen in the batch and a share of the others: most are in no image of it, and teach little."""
        seen_l = (batch.state_bl > 0).any(dim=0)
        drawn_l = torch.rand(len(seen_l), device=seen_l.device) < self.config.unseen_share
        return (seen_l | drawn_l).nonzero()[:, 0]

    def evaluate(self, network) -> dict[str, float]:
        """Pixel error and recall on the plain views of the held-out frames."""
        views = self.held_out_views(network, plain=True)
        if not views:
            return {}
        error_px, _ = pixel_errors(views, 0.3)
        landmarks_l3 = self.data.landmarks.points_world_l3.astype(float)
        _, _, distances = normalized_errors(views, landmarks_l3, NoiseModel(), self.options)
        distance_n, angle_deg = np.array(distances).T
        metrics = {
            "held_out_px": float(np.median(error_px)) if len(error_px) else float("nan"),
            "held_out_median_deg": float(np.median(angle_deg)),
            "held_out_localized": float(np.mean(np.isfinite(distance_n))),
        }
        if not self.data.map.metric:
            return metrics | {"held_out_median_scene_units": float(np.median(distance_n))}
        return metrics | {
            "held_out_recall_5cm_5deg": float(np.mean((distance_n <= 0.05) & (angle_deg <= 5))),
            "held_out_median_cm": float(np.median(distance_n) * 100),
        }

    @torch.no_grad()
    def held_out_views(self, network, plain: bool = False) -> list[HeldOutView]:
        """What `network` finds in every held-out view, or only in the plain ones."""
        if not self._held_out:
            for index in self.data.held_out:
                for number in range(_CALIBRATION_VIEWS):
                    view = self.data.view(index, number, 0)
                    image_b3hw = (
                        torch.from_numpy(view.image_hw3).to(self.device).permute(2, 0, 1)[None].float().contiguous()
                    )
                    with self._autocast():
                        features = [feature.half() for feature in self.backbone(image_b3hw)]
                    self._held_out.append((view, features))
        found = []
        for view, features in self._held_out[:: _CALIBRATION_VIEWS if plain else 1]:
            with self._autocast():
                maps = network([feature.float() for feature in features])
            peaks = network.find(maps)
            pixels_l2, score_l = peaks.pixels_bl2[0].double().cpu().numpy(), peaks.score_bl[0].double().cpu().numpy()
            found.append(
                HeldOutView(pixels_l2, score_l, view.pixels_l2, view.state_l, view.camera, view.T_world_camera)
            )
        return found

    def _autocast(self):
        half = half_precision(self.device)
        return torch.autocast(self.device.type, half or torch.bfloat16, enabled=half is not None)

    def noise_model(self, network) -> NoiseModel:
        """Pixel noise and covariance, calibrated on the held-out views."""
        views = self.held_out_views(network)
        noise = fit_pixel_noise(views, self.data.usual_noise, self.options.min_score)
        landmarks_l3 = self.data.landmarks.points_world_l3.astype(float)
        error_m6, covariance_m66, _ = normalized_errors(views, landmarks_l3, noise, self.options)
        return fit_covariance(error_m6, covariance_m66, noise)

    def save(self, out: Path, result: LoopResult) -> dict[str, float]:
        noise = self.noise_model(result.network) if self.data.held_out else self.data.usual_noise
        scene = _scene_of(self.data, self.backbone, result.network, noise, self.config)
        metrics = {
            "train_s": self.buffer_s + result.seconds,
            "buffer_s": self.buffer_s,
            "held_out_frames": len(self.data.held_out),
            **(result.history[-1] if result.history else {}),
            "skipped_steps": result.skipped_steps,
        }
        scene.header |= {"figures": finite(metrics)}
        scene.save(out, self.embed_backbone)
        return metrics | {"scene_bytes": out.stat().st_size}


def _pixels(camera: Camera) -> int:
    return camera.width_px * camera.height_px


def held_out_frames(frames: int, share: float, blocks: int = 5) -> list[int]:
    """Indices of `share` of the frames, in up to `blocks` runs of neighbours spread over the recording."""
    count = round(frames * share)
    if count == 0:
        return []
    blocks = min(blocks, count)
    sizes = np.diff(np.linspace(0, count, blocks + 1).round().astype(int))
    middles = (np.arange(blocks) + 0.5) * frames / blocks
    return sorted(
        {int(middle - size / 2) + n for middle, size in zip(middles, sizes, strict=True) for n in range(size)}
    )


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
        rank, world = accelerator.process_index, accelerator.num_processes
        return HeadTask(data, backbone, device, rank, world, embed_backbone)

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
    frames = [
        [frame.name, data.map.T_world_camera[frame.name], camera_to_dict(data.map.cameras[frame.name])]
        for frame in data.frames
    ]
    images = digest_of_files(data.dataset.image_path(frame) for frame in data.frames)
    landmarks = [data.landmarks.points_world_l3, data.landmarks.visibility_fl[data.rows]]
    as_json = config.to_json(exclude={"backbone_file", "device"})
    return digest_of(TRAINING_VERSION, as_json, backbone.checksum, frames, images, landmarks)
