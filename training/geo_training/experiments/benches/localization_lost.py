"""Lost means lost: how often a localizer that is lured calls a wrong place, a mirrored picture or a wrong pose its own,
and what its refusals cost where the place is right. SIFT + PnP beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from geo_perception.localization.estimator import Localizer, LocalizerOptions
from geo_training.datasets.scene import SceneDataset
from geo_training.evaluation.localization.evaluate import outcome_of
from geo_training.evaluation.localization.predictions import Estimator, predict_queries
from geo_training.evaluation.localization.set import Query, dataset_queries
from geo_training.evaluation.localization.sift_baseline import MIN_INLIERS, SiftLocalizer, SiftMap
from geo_training.experiments.bench import Benchmark, BenchOptions, BenchResult, StageCache
from geo_training.experiments.benches import localization_pipeline as pipeline
from geo_training.experiments.benches import lost_worlds
from geo_training.metrics.consistency import map_error_6
from geo_training.metrics.pose import FrameOutcome, recall

LANDMARKS = 1200
STEPS_A_MINUTE = 200  # of training, on two cores
RIGHT_M, RIGHT_DEG = 0.05, 5.0
# A pose is wrong where it is farther off than this, or than so many of its own standard deviations.
WRONG_M, WRONG_DEG, WRONG_SIGMAS = 0.25, 10.0, 5.0
UNREFUSED = LocalizerOptions(min_confidence=0.0)
WORLDS = ("shop", "room", "house")
OWN = ("wrong_place_localized", "mirrored_localized", "right_recall_5cm_5deg")
MOVED = ("moved_localized_wrong", "moved_localized_far", "moved_recall_5cm_5deg")
METRICS = (
    *("wrong_place_localized", "mirrored_localized", "moved_localized_wrong", "recall_loss"),
    *(f"{world}_{name}" for world in WORLDS for name in (*OWN, "unrefused_recall_5cm_5deg", "right_localized_wrong")),
    *MOVED[1:],
    *("sift_wrong_place_localized", "sift_mirrored_localized", "sift_moved_localized_wrong"),
    *(f"sift_{world}_{name}" for world in WORLDS for name in OWN),
)


def run(data_root: Path, stages: StageCache, options: BenchOptions) -> BenchResult:
    """Maps each world with its poses, makes a scene of it, and asks it for frames of the right and of a wrong place.

    `wrong_place_localized` and `mirrored_localized` are the worst of the worlds; `recall_loss` is the largest loss of
    recall, right place, against the same localizer without refusals.
    """
    metrics: dict[str, float] = {}
    config: dict = {
        "wrong": {"metres": WRONG_M, "degrees": WRONG_DEG, "sigmas": WRONG_SIGMAS},
        "unrefused": {"min_confidence": 0.0},
        "sift_localized_inliers": MIN_INLIERS,
    }  # fmt: skip
    for world in WORLDS:
        part = stages.part(world)
        root = _dataset(part, world, data_root)
        mapped = pipeline.map_stage(part, root, "known")
        pipeline.landmarks_stage(part, root, LANDMARKS)
        steps = round((options.minutes or 0.0) / len(WORLDS) * STEPS_A_MINUTE)
        scene, head = pipeline.head_stage(part, root, options, steps=steps)
        refusing = Localizer.load(scene, options.device)
        measured = measure(refusing, root, options.seed)
        unrefused = measure(Localizer.load(scene, options.device, UNREFUSED), root, options.seed, ("right",))
        measured["unrefused_recall_5cm_5deg"] = unrefused["right_recall_5cm_5deg"]
        sift = measure(SiftLocalizer(SiftMap.from_dataset(root)), root, options.seed)
        metrics |= pipeline.prefixed(world, measured) | pipeline.prefixed(f"sift_{world}", sift)
        metrics |= {f"{world}_map_s": mapped["wall_s"], f"{world}_head_s": head["wall_s"]}
        config[world] = {"head": head["config"]}
    return BenchResult(metrics | summary(metrics) | pipeline.prefixed("sift", summary(_of_sift(metrics))), config)


def measure(
    estimator: Estimator, root: Path, seed: int = 0, asked: Sequence[str] = ("right", "wrong", "moved")
) -> dict[str, float]:
    """What the localizer answers to the sequences of a world that are asked, as shares of their frames.

    `wrong_place_localized` and `mirrored_localized` count what it calls localized, `..._localized_wrong` what it calls
    localized and is wrong, `moved_localized_far` without regard to what it states of its error.
    """
    dataset = SceneDataset(root)

    def outcomes(queries: list[Query]) -> list[FrameOutcome]:
        predictions = predict_queries(estimator, queries, seed)
        return [outcome_of(query, answer) for query, answer in zip(queries, predictions.answers, strict=True)]

    metrics: dict[str, float] = {}
    for sequence in asked:
        queries = queries_of(dataset, sequence)
        if not queries:
            continue
        answers = outcomes(queries)
        if sequence == "wrong":
            metrics["wrong_place_localized"] = _share(answers, lambda outcome: outcome.localized)
            continue
        metrics[f"{sequence}_recall_5cm_5deg"] = recall(answers, RIGHT_M, RIGHT_DEG)
        metrics[f"{sequence}_localized_wrong"] = _share(answers, is_wrong)
        metrics[f"{sequence}_localized_far"] = _share(answers, partial(is_wrong, sigmas=np.inf))
        if sequence == "right" and "wrong" in asked:
            metrics["mirrored_localized"] = _share(
                outcomes([mirrored(query) for query in queries]), lambda outcome: outcome.localized
            )
    return metrics


def is_wrong(outcome: FrameOutcome, sigmas: float = WRONG_SIGMAS) -> bool:
    """Whether a pose was called localized that is off by more than WRONG_M, WRONG_DEG, or `sigmas` standard deviations
    of the worst direction of its place or its rotation."""
    if not outcome.localized or outcome.T_true is None:
        return False
    distance_m, degrees = outcome.error
    if distance_m > WRONG_M or degrees > WRONG_DEG:
        return True
    if outcome.covariance_66 is None:
        return False
    error_6 = map_error_6(outcome.T_true, outcome.T_estimated)
    parts = (slice(0, 3), slice(3, 6))
    worst = [np.sqrt(np.linalg.eigvalsh(outcome.covariance_66[part, part])[-1]) for part in parts]
    return any(np.linalg.norm(error_6[part]) > sigmas * sigma for part, sigma in zip(parts, worst, strict=True))


def mirrored(query: Query) -> Query:
    """The query with its picture flipped left to right, as a camera would have taken it of a mirrored world."""
    camera = replace(query.camera, cx_px=query.camera.width_px - 1 - query.camera.cx_px)
    load = lambda: np.ascontiguousarray(query.load()[:, ::-1])  # noqa: E731
    return replace(query, name=f"mirrored {query.name}", camera=camera, load=load, T_true=None, image_path=None)


def summary(metrics: dict[str, float]) -> dict[str, float]:
    """The worst of the worlds."""
    worst = {
        name: max(metrics[f"{world}_{name}"] for world in WORLDS)
        for name in ("wrong_place_localized", "mirrored_localized")
    }
    moved = {name: metrics[f"room_{name}"] for name in MOVED}
    losses = [
        metrics[f"{world}_unrefused_recall_5cm_5deg"] - metrics[f"{world}_right_recall_5cm_5deg"]
        for world in WORLDS
        if f"{world}_unrefused_recall_5cm_5deg" in metrics
    ]
    return worst | moved | ({"recall_loss": max(losses)} if losses else {})


def _of_sift(metrics: dict[str, float]) -> dict[str, float]:
    return {name.removeprefix("sift_"): value for name, value in metrics.items() if name.startswith("sift_")}


def _dataset(part: StageCache, world: str, data_root: Path) -> Path:
    """The dataset of a world, made once."""
    root = part.folder / "dataset"
    if world == "house":
        whole = part.part("whole")
        source = pipeline.import_stage(whole, data_root / "house", "images", (*lost_worlds.MAPPED, lost_worlds.QUERIED))
        part.stage("dataset", lambda: lost_worlds.house_part(source, root))
    else:
        part.stage("dataset", lambda: getattr(lost_worlds, world)(root))
    return root


def queries_of(dataset: SceneDataset, sequence: str | None = None) -> list[Query]:
    """The test frames of a world, or those of one of its sequences, asked with their true poses."""
    frames = [frame for frame in dataset.of_split("test") if sequence in (None, frame.sequence)]
    poses = {frame.name: frame.T_world_camera for frame in frames if frame.T_world_camera is not None}
    cameras = {frame.name: dataset.camera(frame) for frame in frames}
    return dataset_queries(dataset, frames, poses, cameras)


def _share(outcomes: list[FrameOutcome], counts: Callable[[FrameOutcome], bool]) -> float:
    return float(np.mean([counts(outcome) for outcome in outcomes]))


BENCHMARK = Benchmark(
    name="localization-lost",
    summary="a shop with repeated racks, a rearranged room and a house of which a part was mapped: how often a wrong "
    "place, a mirrored picture or a wrong pose is called localized, and what refusing costs; beside SIFT + PnP",
    data=("house",),
    needs="house/ (walk_a/, walk_b/, walk_c/ with rgb/, depth/, K.txt, poses.txt)",
    duration="15 minutes on 2 cores, and --minutes M for training",
    metrics=METRICS,
    run=run,
    minutes=0.0,
)
