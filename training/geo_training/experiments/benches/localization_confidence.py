"""How likely a pose is right: the weights of the localizer's confidence, fitted on rendered worlds that no other
benchmark asks, and what they are worth in a world that was left out of the fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from geo_perception.localization.confidence import ConfidenceModel
from geo_perception.localization.estimator import Localizer, LocalizerOptions
from geo_training.console import track
from geo_training.datasets.scene import SceneDataset
from geo_training.evaluation.localization.set import Query
from geo_training.experiments.bench import Benchmark, BenchOptions, BenchResult, StageCache
from geo_training.experiments.benches import localization_pipeline as pipeline
from geo_training.experiments.benches import lost_worlds
from geo_training.experiments.benches.localization_lost import LANDMARKS, mirrored, queries_of
from geo_training.localization.confidence import Witness, fit_confidence, telling, witnesses_of

WORLDS = (("shop", 5), ("shop", 6), ("room", 7), ("room", 8), ("room", 9), ("room", 10))
# Poses of a kind (world, what was asked, right or wrong) count no more than so many: long recordings shall not decide.
MOST_OF_A_KIND = 40.0
ASKED = ("right", "moved", "wrong", "mirrored")
WEIGHTS = tuple(asdict(ConfidenceModel()))
LEFT_OUT = ("right_kept", "wrong_called", "share_right_below_half", "share_right_above_half")
METRICS = (*(f"weight_{name}" for name in WEIGHTS), "right_poses", "wrong_poses", *LEFT_OUT)

Kinds = dict[str, list[list[Witness]]]  # by what was asked; of each image those of all its poses


def run(data_root: Path, stages: StageCache, options: BenchOptions) -> BenchResult:
    """Maps the worlds, asks each for frames of the right place, of a wrong one, and mirrored, and fits the weights.

    Each world is then judged by a fit on the others: `right_kept` is the share of images with a right pose for which
    one is believed at `min_confidence`, `wrong_called` that of images for which a wrong pose is; below and above a
    confidence of one half, `share_right_...` is the share of right poses, where right and wrong ones count the same.
    """
    worlds: dict[str, Kinds] = {}
    for kind, seed in WORLDS:
        name = f"{kind}_{seed}"
        part = stages.part(name)
        root = part.folder / "dataset"
        part.stage("dataset", lambda kind=kind, root=root, seed=seed: getattr(lost_worlds, kind)(root, seed))
        pipeline.map_stage(part, root, "known")
        pipeline.landmarks_stage(part, root, LANDMARKS)
        scene, _ = pipeline.head_stage(part, root, options, steps=0)
        worlds[name] = collect(Localizer.load(scene, options.device), root, options.seed)
    poses, model = fit(worlds.values())
    metrics = {f"weight_{name}": value for name, value in asdict(model).items()}
    metrics |= {"right_poses": sum(pose.right for pose in poses), "wrong_poses": sum(not pose.right for pose in poses)}
    judged = [judge(fit([k for o, k in worlds.items() if o != name])[1], kinds) for name, kinds in worlds.items()]
    metrics |= {name: float(np.nanmean([one[name] for one in judged])) for name in LEFT_OUT}
    for name, one in zip(worlds, judged, strict=True):
        metrics |= pipeline.prefixed(name, one)
    return BenchResult(metrics, {"worlds": list(worlds), "most_of_a_kind": MOST_OF_A_KIND})


def collect(localizer: Localizer, root: Path, seed: int = 0) -> Kinds:
    """What speaks for the poses of a world's test frames; of a mirrored one and of a place that is not in the map no
    pose is right."""
    dataset = SceneDataset(root)
    asked = {sequence: queries_of(dataset, sequence) for sequence in ("right", "moved", "wrong")}
    asked["mirrored"] = [mirrored(query) for query in asked["right"]]

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
    weight_n = np.where(right_n, 1 / max(right_n.sum(), 1), 1 / max((~right_n).sum(), 1))

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
    summary="the weights of the localizer's confidence, fitted on rendered shops and rooms, and what they are worth in "
    "one that was left out",
    data=(),
    needs="no data",
    duration="20 minutes on 2 cores",
    metrics=METRICS,
    run=run,
)
