"""How likely a pose is right: the weights of the localizer's confidence, fitted on frames that no other benchmark
asks, and what they are worth in a world that was left out of the fit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import cv2
import numpy as np

from geo_perception.localization.confidence import ConfidenceModel
from geo_perception.localization.estimator import Localizer, LocalizerOptions
from geo_training.console import track
from geo_training.datasets.scene import Frame, SceneDataset
from geo_training.datasets.splits import time_block_split
from geo_training.evaluation.localization.set import Query
from geo_training.experiments.bench import Benchmark, BenchOptions, BenchResult, StageCache
from geo_training.experiments.benches import localization_office as office
from geo_training.experiments.benches import localization_pipeline as pipeline
from geo_training.experiments.benches import lost_worlds
from geo_training.experiments.benches.localization_lost import LANDMARKS, mirrored, queries_of
from geo_training.localization.confidence import PRIOR_RIGHT, Witness, fit_confidence, telling, witnesses_of

RENDERED = (("shop", 5), ("shop", 6), ("room", 7), ("room", 8), ("room", 9), ("room", 10))
# Of the house one walk is mapped and another asked; no other benchmark asks that one.
HOUSE_MAPPED, HOUSE_ASKED, HOUSE_EACH = "walk_a", "walk_c", 3
OFFICE_EACH = 5  # of ten frames in a row of those that the office's benchmark maps, each fifth ten is asked
ELSEWHERE = 40  # frames of the one of these two places that are asked of the other
# Poses of a kind (world, what was asked, right or wrong) count no more than so many: long recordings shall not decide.
MOST_OF_A_KIND = 40.0
ASKED = ("right", "moved", "wrong", "mirrored")
WEIGHTS = tuple(asdict(ConfidenceModel()))
LEFT_OUT = ("right_kept", "wrong_called", "share_right_below_half", "share_right_above_half")
METRICS = (*(f"weight_{name}" for name in WEIGHTS), "right_poses", "wrong_poses", *LEFT_OUT)
# Every second image is as a robot may take it on a worse day.
DIMMED, BLUR_PX, NOISE = 0.55, 1.0, 6.0

Kinds = dict[str, list[list[Witness]]]  # by what was asked; of each image those of all its poses


def run(data_root: Path, stages: StageCache, options: BenchOptions) -> BenchResult:
    """Maps the worlds, asks each for frames of the right place, of a wrong one, and mirrored, and fits the weights.

    Each world is then judged by a fit on the others: `right_kept` is the share of images with a right pose for which
    one is believed at `min_confidence`, `wrong_called` that of images for which a wrong pose is; below and above a
    confidence of one half, `share_right_...` is the share of right poses, where four of five are right.
    """
    roots = {f"{kind}_{seed}": _rendered(stages.part(f"{kind}_{seed}"), kind, seed) for kind, seed in RENDERED}
    roots["house"] = _recorded(stages.part("house"), data_root / "house", _split_house)
    roots["office"] = _recorded(stages.part("office"), data_root / "office", _split_office)
    elsewhere = {"house": roots["office"], "office": roots["house"]}
    worlds: dict[str, Kinds] = {}
    for name, root in roots.items():
        part = stages.part(name)
        pipeline.map_stage(part, root, "known")
        pipeline.landmarks_stage(part, root, LANDMARKS)
        scene, _ = pipeline.head_stage(part, root, options, steps=0)
        asked = questions(root, elsewhere.get(name))
        worlds[name] = collect(Localizer.load(scene, options.device), asked, options.seed)
    poses, model = fit(worlds.values())
    metrics = {f"weight_{name}": value for name, value in asdict(model).items()}
    metrics |= {"right_poses": sum(pose.right for pose in poses), "wrong_poses": sum(not pose.right for pose in poses)}
    judged = [judge(fit([k for o, k in worlds.items() if o != name])[1], kinds) for name, kinds in worlds.items()]
    metrics |= {name: float(np.nanmean([one[name] for one in judged])) for name in LEFT_OUT}
    for name, one in zip(worlds, judged, strict=True):
        metrics |= pipeline.prefixed(name, one)
    return BenchResult(metrics, {"worlds": list(worlds), "most_of_a_kind": MOST_OF_A_KIND})


def _rendered(part: StageCache, kind: str, seed: int) -> Path:
    root = part.folder / "dataset"
    part.stage("dataset", lambda: getattr(lost_worlds, kind)(root, seed))
    return root


def _recorded(part: StageCache, source: Path, split) -> Path:
    root = pipeline.import_stage(part, source, "images")
    pipeline.split_stage(part, root, split)
    return root


def _split_house(frames: Iterable[Frame]) -> list[Frame]:
    """One walk is mapped, of another each third frame asked; others take no part."""
    mapped = [replace(frame, split="train") for frame in frames if frame.sequence == HOUSE_MAPPED]
    asked = [frame for frame in frames if frame.sequence == HOUSE_ASKED]
    asked = [replace(frame, split="test" if number % HOUSE_EACH == 0 else "val") for number, frame in enumerate(asked)]
    others = [f for f in frames if f.sequence not in (HOUSE_MAPPED, HOUSE_ASKED)]
    return mapped + asked + [replace(frame, split="val") for frame in others]


def _split_office(frames: Iterable[Frame]) -> list[Frame]:
    """Of the frames that the office's benchmark maps, every fifth ten in a row is asked; those it asks take no part."""
    blocks = time_block_split(frames, office.FIRST_SHARE, office.BLOCK_FRAMES)
    chosen, number = [], 0
    for frame in blocks:
        if frame.split == "test":
            chosen.append(replace(frame, split="val"))
            continue
        asked = number // office.BLOCK_FRAMES % OFFICE_EACH == OFFICE_EACH - 1
        chosen.append(replace(frame, split="test" if asked else "train"))
        number += 1
    return chosen


def questions(root: Path, elsewhere: Path | None = None) -> dict[str, list[Query]]:
    """What is asked of a world, by its kind; of one that has no wrong place of its own, frames of another."""
    dataset = SceneDataset(root)
    asked = {sequence: queries_of(dataset, sequence) for sequence in ("right", "moved", "wrong")}
    if elsewhere is not None:
        asked["right"] = queries_of(dataset)
        other = queries_of(SceneDataset(elsewhere))
        asked["wrong"] = other[:: max(1, len(other) // ELSEWHERE)]
    asked["mirrored"] = [mirrored(query) for query in asked["right"]]
    return {
        kind: [query if number % 2 else dimmed(query, number) for number, query in enumerate(queries)]
        for kind, queries in asked.items()
    }


def dimmed(query: Query, seed: int) -> Query:
    """The query as it is in less light: darker, blurred by a longer exposure, and noisier."""

    def load() -> np.ndarray:
        image_hw3 = cv2.GaussianBlur(query.load(), (0, 0), BLUR_PX).astype(np.float32) * DIMMED
        noise_hw3 = np.random.default_rng(seed).normal(0, NOISE, image_hw3.shape)
        return np.clip(np.rint(image_hw3 + noise_hw3), 0, 255).astype(np.uint8)

    return replace(query, name=f"dimmed {query.name}", load=load, image_path=None)


def collect(localizer: Localizer, asked: dict[str, list[Query]], seed: int = 0) -> Kinds:
    """What speaks for the poses of all images; of a mirrored one, and of a place that is not mapped, none is right."""

    def seen(query: Query, known: bool):
        return query.load(), query.camera, query.T_true if known else None

    return {
        kind: witnesses_of(localizer, (seen(query, kind in ("right", "moved")) for query in track(queries, kind)), seed)
        for kind, queries in asked.items()
    }


def fit(worlds) -> tuple[list[Witness], ConfidenceModel]:
    """The poses of some worlds that tell most, and the weights by them."""
    poses: list[Witness] = []
    weights: list[float] = []
    for kinds in worlds:
        for frames in kinds.values():
            chosen = telling(frames)
            for right in (True, False):
                alike = [pose for pose in chosen if pose.right == right]
                poses += alike
                weights += [min(1.0, MOST_OF_A_KIND / len(alike))] * len(alike) if alike else []
    right_n = np.array([pose.right for pose in poses])
    return poses, fit_confidence([pose.evidence for pose in poses], right_n, np.array(weights))


def judge(model: ConfidenceModel, kinds: Kinds) -> dict[str, float]:
    """What these weights are worth in one world."""
    needed = LocalizerOptions().min_confidence

    def believed(witnesses: Sequence[Witness]) -> Witness | None:
        """The pose that a localizer would take, if any."""
        best = max(witnesses, key=lambda witness: model.probability(witness.evidence), default=None)
        return best if best is not None and model.probability(best.evidence) >= needed else None

    frames = [witnesses for kind in ASKED for witnesses in kinds[kind]]
    findable = [witnesses for witnesses in frames if any(witness.right for witness in witnesses)]
    answers = [believed(witnesses) for witnesses in frames]
    poses = telling(frames)
    right_n = np.array([pose.right for pose in poses])
    sure_n = np.array([model.probability(pose.evidence) for pose in poses]) >= 0.5
    weight_n = np.where(right_n, PRIOR_RIGHT / max(right_n.sum(), 1), (1 - PRIOR_RIGHT) / max((~right_n).sum(), 1))

    def share_right(chosen_n: np.ndarray) -> float:
        return float(weight_n[chosen_n & right_n].sum() / weight_n[chosen_n].sum()) if chosen_n.any() else np.nan

    return {
        "right_kept": float(np.mean([(a := believed(one)) is not None and a.right for one in findable])),
        "wrong_called": float(np.mean([answer is not None and not answer.right for answer in answers])),
        "share_right_below_half": share_right(~sure_n),
        "share_right_above_half": share_right(sure_n),
        **{
            f"{kind}_wrong_called": float(
                np.mean([(a := believed(one)) is not None and not a.right for one in kinds[kind]])
            )
            for kind in ASKED
            if kinds[kind]
        },
    }


BENCHMARK = Benchmark(
    name="localization-confidence",
    summary="the weights of the localizer's confidence, fitted on rendered shops and rooms, a house and an office, and "
    "what they are worth in a place that was left out",
    data=("house", "office"),
    needs="house/ (walk_a/, walk_c/ with rgb/, K.txt, poses.txt), office/ (rgb/, K.txt, poses.txt)",
    duration="30 minutes on 2 cores",
    metrics=METRICS,
    run=run,
)
