"""One image to one pose, without ROS: what a node, a notebook, a test and the replay tool all use."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from geo_perception.geometry import Camera
from geo_perception.localization.confidence import ConfidenceModel, Evidence, evidence_of
from geo_perception.localization.graph import SceneGraph
from geo_perception.localization.image_views import ImageViewer, UnusableError
from geo_perception.localization.look import (
    LEVELS,
    ImageLevels,
    Proposal,
    SecondLook,
    SecondLookOptions,
)  # fmt: skip
from geo_perception.localization.network import Peaks
from geo_perception.localization.network_view import network_camera_at
from geo_perception.localization.pnp import PoseOptions, PoseSolution, reprojection_px, solve_pose
from geo_perception.localization.result import Detections, Localization, Verdict
from geo_perception.localization.scene import NoiseModel, Scene
from geo_perception.localization.second_look import SecondLooker
from geo_perception.runtime.device import half_autocast, pick_device
from geo_perception.runtime.engine import Choice
from geo_perception.runtime.folding import fold_normalization
from geo_perception.runtime.frozen import FrozenNetwork
from geo_perception.runtime.held_bytes import held_bytes
from geo_perception.runtime.onnx_engine import graph_beside


@dataclass(frozen=True)
class LocalizerOptions:
    """What counts as localized."""

    min_score: float = 0.05  # detections below are not used at all
    min_inliers: int = 10
    max_sigma_m: float = 0.5  # of the worst direction; in a scene of unknown scale a tenth of its extent counts instead
    max_sigma_rad: float = 0.15
    pose: PoseOptions = field(default_factory=PoseOptions)
    second_look: bool = True  # where the scene carries map points for it
    min_confidence: float = 0.3  # probability of being right below which a pose of the second look is refused
    sure: float = 0.7  # from which on no other pose is tried
    confidence: ConfidenceModel = field(default_factory=ConfidenceModel)
    places: int = 6  # in which a pose is looked for where the whole scene gives none
    look: SecondLookOptions = field(default_factory=SecondLookOptions)


@dataclass(frozen=True)
class _Detected:
    """Every landmark's best place in an image, in pixels of the network's `camera`, though found in pixels `scale` as
    large."""

    pixels_l2: np.ndarray
    score_l: np.ndarray
    camera: Camera
    scale: float


@dataclass(frozen=True)
class _Seen:
    """Landmarks that are taken as seen, and their pixels in the network's `camera`, with the error expected there."""

    detections: Detections
    pixels_n2: np.ndarray
    sigma_px_n: np.ndarray
    camera: Camera

    def __len__(self) -> int:
        return len(self.detections)

    @property
    def to_image_scale(self) -> float:
        """How many pixels of the image are one of the network's."""
        return float(self.detections.sigma_px_n[0] / self.sigma_px_n[0]) if len(self) else 1.0


_CERTAIN = 0.98  # from which on nothing is looked for that speaks against a pose


class Localizer:
    """Localizes single images in one scene. Not safe to call from several threads at once.

    `viewer` is what looks at images, where several scenes share it: by the scene's backbone, at about its focal length.
    """

    def __init__(
        self,
        scene: Scene,
        device: str = "auto",
        options: LocalizerOptions | None = None,
        viewer: ImageViewer | None = None,
    ):
        self.scene = scene
        self.options = options or LocalizerOptions()
        self.device = pick_device(device)
        self.viewer = viewer or ImageViewer(FrozenNetwork(scene.backbone, self.device), scene.network_focal_px)
        # A copy: the scene keeps the weights that it is saved with.
        self._head = fold_normalization(scene.head).to(self.device).to(memory_format=torch.channels_last)
        self._looker = None
        if scene.points is not None and self.options.second_look:
            self._looker = SecondLooker(scene.points, scene.backbone.strides, self.device, self.options.look)
        self.size_bytes = 0
        spread_l = np.linalg.norm(scene.landmarks_map_l3 - np.median(scene.landmarks_map_l3, axis=0), axis=1)
        self._scene_extent = float(np.median(spread_l))

    @classmethod
    def load(
        cls,
        path: str | Path,
        device: str = "auto",
        options: LocalizerOptions | None = None,
        backbone_file: str | Path | None = None,
        engine: str = "auto",
    ) -> Localizer:
        """Reads a scene file. `engine`: what is to run its backbone and head as one graph (`runtime.engine`), known
        after the first image. Raises InputError when the file or the device cannot be used."""
        localizer = cls(Scene.load(path, backbone_file), device, options)
        localizer.size_bytes = Path(path).stat().st_size
        localizer._run_as_one(engine, graph_beside(path))
        return localizer

    def _run_as_one(self, engine: str, exported: Path | None) -> None:
        """The head with the backbone, as weights that do not change any more can be."""
        width_px, height_px = self.scene.network_size_px
        graph = SceneGraph(self.scene.backbone, self.scene.head)
        size_hw = height_px, width_px
        self.viewer.network = FrozenNetwork(graph, self.device, engine, exported, few_sizes=True, probe_hw=size_hw)

    @property
    def frozen(self) -> FrozenNetwork:
        """The network that looks at images."""
        return self.viewer.network

    @property
    def choice(self) -> Choice:
        """What runs the network, and why it."""
        return self.frozen.choice

    @property
    def metric(self) -> bool:
        """Whether the scene's scale is known."""
        return self.scene.metric

    @property
    def landmarks_map_l3(self) -> np.ndarray:
        """The scene's landmarks."""
        return self.scene.landmarks_map_l3

    def held_bytes(self) -> int:
        """What its arrays take in memory, without the network that looks at images."""
        return held_bytes(self, beside=(self.viewer, self.scene.backbone))

    def warm_up(self) -> None:
        """Runs once, so that the first image does not pay for set-up."""
        width_px, height_px = self.scene.network_size_px
        black_hw3 = np.zeros((height_px, width_px, 3), np.uint8)
        maps, peaks = self.viewer.look_at(black_hw3)
        if peaks is None:
            self._find(maps)
        if self._looker is not None:
            focal_px = self.scene.network_focal_px
            middle = Camera(width_px, height_px, focal_px, focal_px, (width_px - 1) / 2, (height_px - 1) / 2)
            half = network_camera_at(middle, focal_px / 2)
            self.frozen(np.zeros((half.height_px, half.width_px, 3), np.uint8))
            self._looker.warm_up(black_hw3)

    @torch.inference_mode()
    def estimate(self, image_hw3: np.ndarray, camera: Camera, seed: int = 0) -> Localization:
        """Where `camera` was when it took `image_hw3` (RGB uint8, as it came, with its distortion).

        Never raises on any image: what cannot be used comes back as `Verdict.BAD_IMAGE`. The same image, camera and
        seed give the same answer.
        """
        started_s = time.perf_counter()
        try:
            camera, image = self.viewer.levels(image_hw3, camera)
        except UnusableError as problem:
            return Localization(Verdict.BAD_IMAGE, str(problem))
        prepared_s = time.perf_counter()
        result = self.localize(image, camera, seed)
        timings_s = {"prepare": prepared_s - started_s, **result.timings_s}
        return replace(result, timings_s=timings_s | {"total": sum(timings_s.values())})

    @torch.inference_mode()
    def localize(self, image: ImageLevels, camera: Camera, seed: int = 0) -> Localization:
        """The same of an image that the viewer has looked at. `camera` is that of the image as it came."""
        started_s = time.perf_counter()
        whole = self._detect(image, 0)
        if self._looker is not None:
            self._looker.begin_keypoints(image)
        detected_s = time.perf_counter()
        seen = self._seen(whole, whole.score_l >= self.options.min_score, camera)
        first = self._solve(seen, seed)
        solved_s = time.perf_counter()
        if self._looker is not None:
            result = self._confirmed(first, seen, whole, image, camera, seed)
        else:
            result = self._assess(first, seen)
        finished_s = time.perf_counter()
        timings_s = {
            "network": detected_s - started_s,
            "pose": solved_s - detected_s,
            "second_look": finished_s - solved_s,
        }
        return replace(result, timings_s=timings_s)

    @torch.inference_mode()
    def looks(self, image_hw3: np.ndarray, camera: Camera, seed: int = 0) -> list[tuple[SecondLook, Evidence]]:
        """Every pose of an image from which map points are seen, with what speaks for it: what a confidence is fitted
        on. Empty where `estimate` would say `Verdict.BAD_IMAGE`, and without a second look."""
        if self._looker is None:
            return []
        try:
            camera, image = self.viewer.levels(image_hw3, camera)
        except UnusableError:
            return []
        whole = self._detect(image, 0)
        seen = self._seen(whole, whole.score_l >= self.options.min_score, camera)
        found = self._looks(self._solve(seen, seed), seen, whole, image, camera, seed)
        return [(look, replace(evidence, strays=self._looker.strays(look, image))) for look, evidence in found]

    def network_camera(self, camera: Camera) -> Camera:
        """The pinhole that the network looks through: the scene's focal length, the live camera's field of view."""
        return self.viewer.camera(camera)

    def _find(self, features: list[torch.Tensor]) -> Peaks:
        with half_autocast(self.device):
            maps = self._head(features)
        return self._head.find(maps)

    def _detect(self, image: ImageLevels, level: int) -> _Detected:
        view = image.view(level)
        peaks = view.peaks or self._find(view.maps)
        pixels_l2 = peaks.pixels_bl2[0].double().cpu().numpy()
        score_l = peaks.score_bl[0].double().cpu().numpy()
        camera, own = image.camera(0), image.camera(level)
        if level:
            pixels_l2 = camera.project(own.bearings(pixels_l2))
        return _Detected(pixels_l2, score_l, camera, camera.fx_px / own.fx_px)

    def _seen(self, found: _Detected, chosen_l: np.ndarray, camera: Camera) -> _Seen:
        """The chosen ones of the landmarks found, best first."""
        landmark_n = np.flatnonzero(chosen_l)
        landmark_n = landmark_n[np.argsort(-found.score_l[landmark_n], kind="stable")]
        score_n, pixels_n2 = found.score_l[landmark_n], found.pixels_l2[landmark_n]
        sigma_px_n = self.scene.noise.sigma_of(score_n) * found.scale
        detections = Detections(
            landmark_n,
            camera.project(found.camera.bearings(pixels_n2)),
            self.scene.landmarks_map_l3[landmark_n],
            score_n,
            sigma_px_n * camera.fx_px / found.camera.fx_px,
            np.zeros(len(landmark_n), bool),
        )
        return _Seen(detections, pixels_n2, sigma_px_n, found.camera)

    def _solve(self, seen: _Seen, seed: int) -> PoseSolution | None:
        """The pose on which the landmarks agree; None where they are too few or do not."""
        if len(seen) < self.options.min_inliers:
            return None
        found = seen.detections
        return solve_pose(
            seen.pixels_n2, found.points_map_n3, found.score_n, seen.sigma_px_n, seen.camera, self.options.pose, seed
        )

    def _confirmed(
        self, first: PoseSolution | None, seen: _Seen, whole: _Detected, image: ImageLevels, camera: Camera, seed: int
    ) -> Localization:
        """The pose, of those that landmarks and map points propose, from which the map points are seen as they should
        be; or why none is."""
        options, best, confidence = self.options, None, -1.0
        for look, evidence in self._looks(first, seen, whole, image, camera, seed):
            probability = options.confidence.probability(evidence)
            # What contradicts it is looked for where it could matter: it takes a comparison with the whole map.
            if options.min_confidence <= probability < _CERTAIN:
                assert self._looker is not None
                evidence = replace(evidence, strays=self._looker.strays(look, image))
                probability = options.confidence.probability(evidence)
            if probability > confidence:
                best, confidence = look, probability
            if confidence >= max(options.sure, options.min_confidence):
                break
        if best is not None and confidence >= options.min_confidence:
            assert self._looker is not None
            return self._assess_look(self._looker.exact(best, image), seen, confidence)
        if best is None and first is None:
            return self._assess(first, seen)
        detections = seen.detections if first is None else replace(seen.detections, inlier_n=first.inlier_n)
        if best is None:
            detail = "no map points are seen where the landmarks have the camera"
            return Localization(Verdict.NO_CONSENSUS, detail, detections, confidence=0.0)
        detail = (
            f"{best.agreeing} of {best.searched} map points are where the likeliest pose has them; its confidence is "
        )
        detail += f"{confidence:.2f}, {options.min_confidence:.2f} is needed"
        return _with_counts(Localization(Verdict.NO_CONSENSUS, detail, detections), best, confidence)

    def _looks(
        self, first: PoseSolution | None, seen: _Seen, whole: _Detected, image: ImageLevels, camera: Camera, seed: int
    ) -> Iterator[tuple[SecondLook, Evidence]]:
        """The candidates from which map points are seen, and what speaks for each."""
        assert self._looker is not None
        for proposal in self._candidates(first, whole, image, camera, seed):
            if proposal is None:
                continue
            look = self._looker.look(proposal, image, self.scene.look_noise.sigma_of, seed)
            if look is not None:
                agrees_n = self._agrees(look.solution.T_map_camera, seen)
                yield look, evidence_of(look, seen.detections.score_n, agrees_n)

    def _candidates(
        self, first: PoseSolution | None, whole: _Detected, image: ImageLevels, camera: Camera, seed: int
    ) -> Iterator[Proposal | None]:
        """Poses to look from: first the one on which all landmarks agree. Then, for each place for which they speak
        most, since a few right detections are lost among many false ones elsewhere: that of its landmarks alone, and
        that of its map points, looked for in the whole image. Then that of the landmarks found in the smaller image,
        where what is nearer than it was in the map looks as it did."""
        yield _proposed(first)
        assert self._looker is not None
        yield self._looker.propose_by_keypoints(image, seed)
        places = self.scene.places
        if places is not None:
            for place in places.by_votes(whole.score_l, self.options.places):
                yield _proposed(self._solve(self._seen(whole, places.shown(place, whole.score_l), camera), seed))
                yield _proposed(self._looker.search.solve_anywhere(places.T_map_camera_k44[place], image, seed))
        for level in range(1, LEVELS):
            found = self._detect(image, level)
            yield _proposed(self._solve(self._seen(found, found.score_l >= self.options.min_score, camera), seed))

    def _assess(self, first: PoseSolution | None, seen: _Seen) -> Localization:
        """The pose by the landmarks alone."""
        needed = self.options.min_inliers
        if len(seen) < needed:
            detail = f"{len(seen)} landmarks seen, {needed} are needed"
            return Localization(Verdict.TOO_FEW_LANDMARKS, detail, seen.detections)
        if first is None:
            detail = f"no pose agrees with the {len(seen)} landmarks seen"
            return Localization(Verdict.NO_CONSENSUS, detail, seen.detections)
        detections = replace(seen.detections, inlier_n=first.inlier_n)
        inliers = int(first.inlier_n.sum())
        detail = f"{inliers} of {len(seen)} landmarks agree"
        if inliers < needed:
            return Localization(Verdict.NO_CONSENSUS, f"only {detail}, {needed} are needed", detections)
        return self._stated(first, self.scene.noise, detections, detail, seen.to_image_scale)

    def _assess_look(self, look: SecondLook, seen: _Seen, confidence: float) -> Localization:
        agrees_n = self._agrees(look.solution.T_map_camera, seen)
        detail = f"{look.agreeing} of {look.searched} map points and {int(agrees_n.sum())} landmarks agree"
        detections = replace(seen.detections, inlier_n=agrees_n)
        result = self._stated(look.widened, self.scene.look_noise, detections, detail, seen.to_image_scale)
        return _with_counts(result, look, confidence)

    def _agrees(self, T_map_camera: np.ndarray, seen: _Seen) -> np.ndarray:
        """Which of the landmarks seen (N,) are where a pose has them."""
        options = self.options.pose
        residual_px_n = reprojection_px(T_map_camera, seen.pixels_n2, seen.detections.points_map_n3, seen.camera)
        return residual_px_n <= np.clip(options.max_error_sigmas * seen.sigma_px_n, 1.0, options.max_error_px)

    def _stated(
        self, solution: PoseSolution, noise: NoiseModel, detections: Detections, detail: str, to_image_scale: float
    ) -> Localization:
        """The pose with its calibrated covariance, unless that is too wide."""
        covariance_66 = solution.covariance_66 * noise.covariance_scale
        covariance_66 = covariance_66 + np.diag([noise.floor_m**2] * 3 + [noise.floor_rad**2] * 3)
        sigma_m = float(np.sqrt(np.linalg.eigvalsh(covariance_66[:3, :3])[-1]))
        sigma_rad = float(np.sqrt(np.linalg.eigvalsh(covariance_66[3:, 3:])[-1]))
        if sigma_m > self._sigma_limit() or sigma_rad > self.options.max_sigma_rad:
            unit = "m" if self.scene.metric else "scene units"
            detail = f"standard deviation {sigma_m:.2f} {unit} and {np.degrees(sigma_rad):.1f} degrees"
            return Localization(Verdict.TOO_UNCERTAIN, detail, detections)
        reprojection_px = float(np.median(solution.residual_px_n[solution.inlier_n]) * to_image_scale)
        return Localization(
            Verdict.LOCALIZED, detail, detections, solution.T_map_camera, covariance_66, reprojection_px
        )

    def _sigma_limit(self) -> float:
        return self.options.max_sigma_m if self.scene.metric else 0.1 * self._scene_extent


def _proposed(solution: PoseSolution | None) -> Proposal | None:
    return None if solution is None else Proposal(solution.T_map_camera)


def _with_counts(result: Localization, look: SecondLook, confidence: float) -> Localization:
    return replace(result, searched_points=look.searched, agreeing_points=look.agreeing, confidence=confidence)
