"""The stages of a place, in their order: the same functions that the single-machine commands call.

A stage works in the place's workspace, a folder of its own on the worker's disk, and leaves there what OUTPUTS names.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geo_perception.errors import InputError
from geo_training.console import say, write_json
from geo_training.datasets.check.check import check_dataset
from geo_training.datasets.check.findings import Severity
from geo_training.datasets.scene import SceneDataset
from geo_training.fleet.head import ALONE, Node, head_config, train
from geo_training.fleet.ledger import StageRecord
from geo_training.fleet.manifest import Options
from geo_training.fleet.place_dataset import make_place_dataset
from geo_training.fleet.registry import PublishedScene, publish
from geo_training.fleet.remote import Folder, Source, file_digest_of
from geo_training.storage.fingerprints import digest_of

STAGES = ("dataset", "check", "map", "landmarks", "head", "evaluation", "gate", "publish")
# What a stage leaves for those after it and for people, below the workspace.
OUTPUTS: dict[str, tuple[str, ...]] = {
    "dataset": ("dataset/dataset.json", "dataset/cameras.json", "dataset/frames.csv", "dataset/poses.csv",
                "dataset/images", "dataset/depth"),
    "check": ("check.json",),
    "map": ("dataset/colmap", "dataset/map.json", "dataset/.cache/map"),
    "landmarks": ("dataset/landmarks.safetensors",),
    "head": ("scene.safetensors", "scene.safetensors.run/history.jsonl", "scene.safetensors.run/config.json"),
    "evaluation": ("evaluation.json", "report.html"),
    "gate": (),
    "publish": (),
}  # fmt: skip
# Raised where what a stage leaves from the same inputs changes.
VERSIONS = dict.fromkeys(STAGES, 1)
GATE_RECALLS = {"recall_5cm": 2, "recall_10cm": 3}  # place in the table of thresholds


class Gated(Exception):  # noqa: N818 (a verdict, not a mistake)
    """The scene was made, and is not good enough to be published; the sentence says why."""


@dataclass(frozen=True)
class StageContext:
    """What a stage is run with. `recordings` and `held_out` are local paths, and only the first stage has them."""

    place: str
    workspace: Path
    options: Options
    recordings: tuple[Path, ...] = ()
    held_out: Path | None = None
    device: str = "auto"
    registry: Folder | None = None
    fingerprint: str = ""
    sources: tuple[Source, ...] = ()
    records: tuple[StageRecord, ...] = ()
    node: Node = ALONE

    @property
    def dataset(self) -> Path:
        return self.workspace / "dataset"

    @property
    def scene(self) -> Path:
        return self.workspace / "scene.safetensors"


def fingerprints(
    options: Options, recordings: tuple[Source, ...], held_out: Source, registry: Folder
) -> dict[str, str]:
    """What each stage of a place depends on, as one checksum: its options, its version, and all stages before it. Where
    recordings lie and what a stage needs of a machine are not part of it; where a scene is published to is."""
    from geo_training.localization.fit import TRAINING_VERSION

    head = options.head.model_dump(mode="json", exclude={"processes"})
    if options.head.backbone_file:
        head["backbone_file"] = file_digest_of(options.head.backbone_file)
    depends: dict[str, Any] = {
        "dataset": [options.dataset.model_dump(), [source.digest for source in recordings], held_out.digest],
        "map": options.map.model_dump(),
        "landmarks": options.landmarks.model_dump(),
        "head": [head, TRAINING_VERSION],
        "evaluation": options.evaluation.model_dump(),
        "gate": options.gate.model_dump(),
        "publish": registry.url,
    }
    found, before = {}, ""
    for stage in STAGES:
        before = found[stage] = digest_of(stage, VERSIONS[stage], depends.get(stage), before)
    return found


def make_dataset(context: StageContext) -> dict[str, Any]:
    """As `geo-train dataset from-bag` or `import`, and `dataset split`."""
    assert context.held_out is not None
    return make_place_dataset(context.recordings, context.held_out, context.dataset, context.options.dataset)


def check(context: StageContext) -> dict[str, Any]:
    """As `geo-train dataset check`. Raises InputError with the gravest finding."""
    report = check_dataset(context.dataset)
    write_json(context.workspace / "check.json", report.to_dict())
    if not report.usable:
        worst = report.findings[0]
        raise InputError(f"dataset check: {worst.message}; {worst.remedy}")
    return {f"{severity.value}s": report.count(severity) for severity in Severity}


def make_map(context: StageContext) -> dict[str, Any]:
    """As `geo-train map`. Raises InputError when the map is not good."""
    from geo_training.mapping.build import MapOptions, build_map, choose_poses, mapping_frames, save_map
    from geo_training.mapping.features import FeatureOptions

    chosen, dataset = context.options.map, SceneDataset(context.dataset)
    poses = choose_poses(mapping_frames(dataset, all_frames=False), chosen.poses)
    all_frames = poses == "none" if chosen.all_frames is None else chosen.all_frames
    threads = max(1, int(context.options.needs.map.cpu))
    features = FeatureOptions(chosen.image_size, chosen.max_features, num_threads=threads)
    options = MapOptions(poses=poses, mapper=chosen.mapper, all_frames=all_frames, features=features)
    report, model = build_map(dataset, options)
    if not report.good or model is None:
        raise InputError(f"the map is not good: {'; '.join(report.problems) or 'nothing could be mapped'}")
    save_map(dataset, report, model)
    return {"registered": report.registered, "frames": report.frames, "points": report.points, "poses": poses}


def choose_landmarks(context: StageContext) -> dict[str, Any]:
    """As `geo-train landmarks`."""
    from geo_training.mapping.landmark_set import FILE_NAME
    from geo_training.mapping.landmarks import SelectionOptions
    from geo_training.mapping.mapped_landmarks import choose_landmarks

    chosen = context.options.landmarks
    options = SelectionOptions(count=chosen.count, max_depth=chosen.max_depth, frame_target=chosen.frame_target)
    landmarks, _ = choose_landmarks(SceneDataset(context.dataset), options, chosen.depth)
    landmarks.save(context.dataset / FILE_NAME)
    return {"count": landmarks.report["count"], "candidates": landmarks.report["candidates"]}


def train_head(context: StageContext) -> dict[str, Any]:
    """As `geo-train localization head`, in one process, or by torchrun in as many as the stage has GPUs, on each of its
    machines."""
    chosen = context.options.head
    processes = chosen.processes or max(1, int(context.options.needs.head.gpu))
    config = head_config(chosen, context.device)
    figures = train(context.dataset, context.scene, config, chosen.embed_backbone, processes, context.node)
    return {name: figures[name] for name in ("train_s", "map_points", "scene_bytes") if name in figures}


def evaluate(context: StageContext) -> dict[str, Any]:
    """As `geo-eval localization --report --json`, on the held-out recording."""
    from geo_training.evaluation.localization.evaluate import evaluate_scene

    chosen = context.options.evaluation
    made_without_poses = json.loads((context.dataset / "map.json").read_text())["poses"] == "none"
    truth = "map" if chosen.truth == "auto" and made_without_poses else chosen.truth
    dataset = SceneDataset(context.dataset)
    evaluation = evaluate_scene(context.scene, dataset, "test", truth, context.device, chosen.seed)  # type: ignore[arg-type]
    evaluation.write_report(context.workspace / "report.html", f"geo-train fleet, place {context.place}")
    write_json(context.workspace / "evaluation.json", evaluation.as_json())
    metrics, thresholds = evaluation.metrics, evaluation.length_unit.thresholds
    if not metrics["frames_with_truth"]:
        raise InputError("no frame of the held-out recording has a true pose; hold out another, or map all frames")
    figures = {name: float(metrics[thresholds[place].key]) for name, place in GATE_RECALLS.items()}
    units = {name: thresholds[place].label for name, place in GATE_RECALLS.items()}
    more = {"coverage": float(metrics["coverage_90"]), "frames": int(metrics["frames"])}
    return figures | more | {"scene_bytes": context.scene.stat().st_size, "limits": units}


def gate(context: StageContext) -> dict[str, Any]:
    """Compares the evaluation with what the manifest asks for. Raises Gated with all that falls short."""
    measured = next(record for record in context.records if record.stage == "evaluation").figures
    asked, short = context.options.gate, []
    for name in GATE_RECALLS:
        least = getattr(asked, name)
        if least is not None and not measured[name] >= least:
            limit = measured["limits"][name]
            short.append(
                f"{measured[name]:.1%} of {measured['frames']} held-out frames within {limit}, {least:.1%} asked"
            )
    if asked.coverage is not None and not measured["coverage"] >= asked.coverage:
        short.append(
            f"{measured['coverage']:.1%} of poses inside their stated 90 % ellipsoid, {asked.coverage:.1%} asked"
        )
    if asked.scene_bytes is not None and measured["scene_bytes"] > asked.scene_bytes:
        short.append(f"the scene has {measured['scene_bytes']} bytes, {asked.scene_bytes} allowed")
    if short:
        raise Gated("; ".join(short))
    return {}


def publish_scene(context: StageContext) -> dict[str, Any]:
    """Puts scene and report into the registry."""
    assert context.registry is not None
    figures = {record.stage: record.figures for record in context.records}
    scene = PublishedScene(
        context.place, context.fingerprint, context.scene, context.workspace / "report.html",
        context.workspace / "evaluation.json", figures, context.options, context.sources,
    )  # fmt: skip
    version = publish(context.registry, scene)
    say(f"{context.place}: published as {version}")
    return {"version": version} | {
        key: figures["evaluation"][key] for key in (*GATE_RECALLS, "coverage", "scene_bytes")
    }


RUN: dict[str, Callable[[StageContext], dict[str, Any]]] = {
    "dataset": make_dataset,
    "check": check,
    "map": make_map,
    "landmarks": choose_landmarks,
    "head": train_head,
    "evaluation": evaluate,
    "gate": gate,
    "publish": publish_scene,
}
