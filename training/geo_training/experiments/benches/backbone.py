"""Frozen backbones on two scenes that none of them saw: ImageNet, XFeat, their sum, and one trained on other scenes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.cluster.vq import kmeans2

from geo_perception.localization.estimator import Localizer, LocalizerOptions
from geo_perception.runtime import DEFAULT_BACKBONE
from geo_perception.runtime.backbone import XFEAT
from geo_training.datasets.scene import Frame, SceneDataset
from geo_training.datasets.splits import every_nth_split, time_block_split
from geo_training.engine.run import FitResult
from geo_training.evaluation.localization.evaluate import evaluate_dataset
from geo_training.evaluation.localization.set import Truth
from geo_training.experiments.bench import Benchmark, BenchOptions, BenchResult, StageCache
from geo_training.experiments.benches import localization_pipeline as pipeline
from geo_training.experiments.benches.backbone_report import BackboneReport, Measured
from geo_training.experiments.benches.localization_office import BLOCK_FRAMES, FIRST_SHARE
from geo_training.localization.backbone.config import BackboneTrainingConfig
from geo_training.localization.backbone.fit import fit_backbone
from geo_training.localization.data import HeadData
from geo_training.mapping.landmarks import SelectionOptions, select_landmarks
from geo_training.mapping.scene_map import SceneMap
from geo_training.metrics.pose import FrameOutcome

MINUTES = 6.0
TRAINED_FROM_MINUTES = 60.0  # from here on heads are trained as well
COUNTS = (100, 300, 1000)
TRAINED_COUNT = 300
OURS = "agnostic"
BACKBONES = {
    "imagenet": DEFAULT_BACKBONE, "xfeat": XFEAT, "sum": f"{XFEAT}+{DEFAULT_BACKBONE}", OURS: DEFAULT_BACKBONE,
}  # fmt: skip
# The house: every third frame, its rooms as scenes of their own.
WALKS, EACH_FRAME, ROOMS, ROOM_LANDMARKS = ("walk_a", "walk_b", "walk_c"), 3, 4, 300
FOX_EACH = 3  # a query; the tenth part of fifty photographs would tell little
CLOSED_FORM_FRAMES = 150
FOUND_PX = 8.0  # of the queries
TRAINING = {"batch": 2, "crop_px": 192, "evaluations": 3, "held_out_frames": 12}  # small steps, so that there are many
_PROBE_STEPS = 12
_HOUSE = "start_held_out_found", "held_out_found"


@dataclass(frozen=True)
class Unseen:
    """A scene that is measured on: how it is imported, split and mapped, which poses are true, what is measured."""

    name: str
    format_name: str
    split: Callable[[Iterable[Frame]], list[Frame]]
    poses: str
    truth: Truth
    recall: str
    unit: str


SCENES = (
    Unseen(
        "office", "images", lambda frames: time_block_split(frames, FIRST_SHARE, BLOCK_FRAMES), "known", "auto",
        "recall_5cm_5deg", "cm",
    ),
    Unseen(
        "fox", "transforms", lambda frames: every_nth_split(frames, FOX_EACH), "none", "map", "recall_2pct_5deg", "pct"
    ),
)  # fmt: skip


def run(data_root: Path, stages: StageCache, options: BenchOptions) -> BenchResult:
    """The backbone is trained on the rooms of a house. Heads are filled in closed form, and asked by the landmarks
    alone; those of a smaller count are the first of the largest one's."""
    weights, trained = train_stage(stages.part("house"), data_root / "house", options)
    measured = tuple(
        found
        for scene in SCENES
        for found in measure(stages.part(scene.name), data_root / scene.name, scene, weights, options)
    )
    figures, seconds = trained["figures"], trained["wall_s"]
    metrics = {key: value for found in measured for key, value in found.metrics.items()}
    metrics |= {f"house_{key}": figures[key] for key in _HOUSE} | {"steps": figures["steps"], "train_s": seconds}
    config = {
        "backbone": trained["config"], "counts": COUNTS, "closed_form_frames": CLOSED_FORM_FRAMES,
        "house": {"walks": WALKS, "each": EACH_FRAME, "rooms": ROOMS}, "fox_each": FOX_EACH,
    }  # fmt: skip
    sentences = (
        f"The scene-agnostic backbone learned for {figures['steps']} steps ({seconds:.0f} s) from {ROOMS} rooms of a "
        f"house; in their held-out frames it finds {figures['held_out_found']:.0%} of the landmarks within 8 px, "
        f"{figures['start_held_out_found']:.0%} before.",
        "The heads below are made on frozen features. Fewer landmarks are the first of the most.",
    )
    return BenchResult(metrics, config, report=BackboneReport(measured, sentences, config))


def train_stage(stages: StageCache, source: Path, options: BenchOptions) -> tuple[Path, dict]:
    """The weights trained on the rooms of the house for the minutes of the options, and what was told of it."""
    root = pipeline.import_stage(stages, source, "images", WALKS)
    pipeline.split_stage(stages, root, _every_third)
    pipeline.map_stage(stages, root, "known")
    out = stages.folder / "backbone.safetensors"
    training = {"seed": options.seed, "device": options.device, **TRAINING}

    def pace() -> dict:
        few = {"steps": _PROBE_STEPS, "evaluations": 1, "closed_form_frames": 1, "held_out_frames": 1}
        seconds = _fit(out.with_name("pace.safetensors"), root, training | few).history[-1]["seconds"]
        return {"steps": max(1, math.floor(60 * (options.minutes or MINUTES) / max(seconds / _PROBE_STEPS, 1e-3)))}

    steps = stages.stage("pace", pace)["steps"]

    def make() -> dict:
        return {"figures": _fit(out, root, training | {"steps": steps}).metrics, "config": training}

    return out, stages.stage("backbone", make)


def _fit(out: Path, root: Path, training: dict) -> FitResult:
    config = BackboneTrainingConfig(scenes=(root,), **training)
    return fit_backbone(config, out, overwrite=True, scenes=rooms_of(root, config))


def rooms_of(root: Path, config: BackboneTrainingConfig) -> list[HeadData]:
    """The rooms of a mapped house as scenes, with landmarks of their own: frames that were taken near each other."""
    dataset, scene = SceneDataset(root), SceneMap.load(root)
    frames = {frame.name: frame for frame in dataset.frames}
    names = scene.frame_names
    places_f3 = np.stack([scene.T_world_camera[name][:3, 3] for name in names])
    _, room_f = kmeans2(places_f3, ROOMS, minit="++", seed=config.seed)
    rooms = []
    for room in range(ROOMS):
        part = scene.restricted_to([name for name, own in zip(names, room_f, strict=True) if own == room])
        options = SelectionOptions(count=ROOM_LANDMARKS)
        landmarks = select_landmarks(part, options, lambda name: dataset.depth_m(frames[name]))
        rooms.append(HeadData(dataset, landmarks, part, config.views()))
    return rooms


def measure(stages: StageCache, source: Path, scene: Unseen, weights: Path, options: BenchOptions) -> list[Measured]:
    """Each backbone with each number of landmarks, on the queries of an unseen scene."""
    root = pipeline.import_stage(stages, source, scene.format_name)
    pipeline.split_stage(stages, root, scene.split)
    pipeline.map_stage(stages, root, scene.poses, all_frames=scene.truth == "map")
    pipeline.landmarks_stage(stages, root, max(COUNTS))
    wanted = [(count, False) for count in COUNTS]
    if (options.minutes or MINUTES) >= TRAINED_FROM_MINUTES:
        wanted.append((TRAINED_COUNT, True))
    return [
        _measure_one(stages, root, scene, backbone, count, train, weights, options)
        for count, train in wanted
        for backbone in BACKBONES
    ]


def _measure_one(
    stages: StageCache, root: Path, scene: Unseen, backbone: str, count: int, train: bool, weights: Path,
    options: BenchOptions,
) -> Measured:  # fmt: skip
    name, file = f"{backbone}_{count}" + "_trained" * train, weights if backbone == OURS else None
    training = {} if train else {"steps": 0, "closed_form_frames": CLOSED_FORM_FRAMES}
    path, head = pipeline.head_stage(
        stages, root, options, name, landmarks=count, backbone=BACKBONES[backbone], backbone_file=file, max_bytes=0,
        **training,
    )  # fmt: skip

    def ask() -> dict:
        localizer = Localizer.load(path, options.device, LocalizerOptions(second_look=False), file)
        landmarks_l3, metric = localizer.scene.landmarks_map_l3, localizer.scene.metric
        dataset = SceneDataset(root)
        found = evaluate_dataset(localizer, dataset, landmarks_l3, metric, truth=scene.truth, seed=options.seed)
        keys = scene.recall, f"median_{scene.unit}"
        figures = [*(found.metrics[key] for key in keys), found_share(found.outcomes, landmarks_l3)]
        return {"figures": figures, "queries": len(found.outcomes)}

    asked = stages.stage(f"{name} asked", ask)
    recall, median, share = asked["figures"]
    return Measured(
        scene.name, backbone, count, train, asked["queries"], scene.recall, recall, scene.unit, median, share,
        head["wall_s"],
    )  # fmt: skip


def found_share(outcomes: Sequence[FrameOutcome], landmarks_map_l3: np.ndarray) -> float:
    """Of the landmarks whose true place is inside the image (seen or behind something), the share that was detected
    within FOUND_PX of it. A few queries tell more by this than by their poses."""
    inside, found = 0, 0
    for outcome in outcomes:
        if outcome.T_true is None or outcome.camera is None or outcome.localization is None:
            continue
        local_l3 = (landmarks_map_l3 - outcome.T_true[:3, 3]) @ outcome.T_true[:3, :3]
        pixels_l2 = outcome.camera.project(local_l3)
        inside_l = outcome.camera.contains(pixels_l2)
        detections = outcome.localization.detections
        off_px_n = np.linalg.norm(detections.pixels_n2 - pixels_l2[detections.landmark_n], axis=1)
        inside += int(inside_l.sum())
        found += int((inside_l[detections.landmark_n] & (off_px_n <= FOUND_PX)).sum())
    return found / inside if inside else math.nan


def _every_third(frames: Iterable[Frame]) -> list[Frame]:
    """Those between are `val`: they are not mapped."""
    return [replace(frame, split="train" if index % EACH_FRAME == 0 else "val") for index, frame in enumerate(frames)]


METRICS = tuple(
    f"{scene.name}_{backbone}_{count}_{key}"
    for scene in SCENES
    for backbone in BACKBONES
    for count in COUNTS
    for key in (scene.recall, f"median_{scene.unit}", "found_8px", "head_s")
)

BENCHMARK = Benchmark(
    name="backbone",
    summary="frozen backbones on two scenes that none of them saw: ImageNet, XFeat, their sum, and one trained on the "
    "rooms of a house; 100 to 1000 landmarks, heads in closed form",
    data=("house", "office", "fox"),
    needs="house/ (walk_a/, walk_b/, walk_c/), office/ and fox/, as the benchmarks localization-... need them",
    duration="half an hour on 2 cores, 6 minutes of it training (--minutes); from 60 minutes on heads are trained, too",
    metrics=(*METRICS, *(f"house_{key}" for key in _HOUSE), "steps", "train_s"),
    run=run,
    minutes=MINUTES,
)
