"""What localization benchmarks share: the stages import, split, map, landmarks and head, and the evaluation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from geo_perception.errors import InputError
from geo_perception.localization.estimator import Localizer
from geo_training.datasets.importers import import_dataset
from geo_training.datasets.scene import SceneDataset
from geo_training.evaluation.localization.evaluate import evaluate_dataset
from geo_training.experiments.bench import BenchOptions, BenchResult, StageCache
from geo_training.localization.config import HeadTrainingConfig
from geo_training.localization.fit import fit_head
from geo_training.mapping.build import MapOptions, build_map, save_map
from geo_training.mapping.landmark_set import FILE_NAME
from geo_training.mapping.landmarks import SelectionOptions, select_landmarks
from geo_training.mapping.scene_map import SceneMap


def import_stage(stages: StageCache, source: Path, format_name: str) -> Path:
    """The data set as a dataset below the work folder."""
    out = stages.folder / "dataset"
    stages.stage("import", lambda: import_dataset(source, out, format_name, overwrite=True))
    return out


def split_stage(stages: StageCache, root: Path, split: Callable) -> dict:
    """Writes the splits that `split(frames)` gives; counts of the frames to map and to query."""

    def make() -> dict:
        dataset = SceneDataset(root)
        dataset.save_frames(split(dataset.frames))
        return {name: len(dataset.of_split(name)) for name in ("train", "test")}

    return stages.stage("split", make)


def map_stage(stages: StageCache, root: Path, poses: str, all_frames: bool = False) -> dict:
    """The map, with its report. Raises InputError when the map is not good enough."""

    def make() -> dict:
        dataset = SceneDataset(root)
        report, model = build_map(dataset, MapOptions(poses=poses, all_frames=all_frames))
        if not report.good or model is None:
            raise InputError(f"the map is not good enough: {'; '.join(report.problems) or 'nothing could be mapped'}")
        save_map(dataset, report, model)
        return report.to_json()

    return stages.stage("map", make)


def landmarks_stage(stages: StageCache, root: Path, count: int) -> dict:
    """The landmarks, chosen and measured on the frames that may be trained on."""

    def make() -> dict:
        dataset, scene = SceneDataset(root), SceneMap.load(root)
        frames = {frame.name: frame for frame in dataset.frames if frame.split not in ("test", "val")}
        allowed = [name for name in scene.frame_names if name in frames]
        options = SelectionOptions(count=count)
        landmarks = select_landmarks(scene.restricted_to(allowed), options, lambda name: dataset.depth_m(frames[name]))
        landmarks.save(root / FILE_NAME)
        return {"options": asdict(options), "report": landmarks.report}

    return stages.stage("landmarks", make)


def head_stage(stages: StageCache, root: Path, options: BenchOptions) -> tuple[Path, dict]:
    """The trained scene and what the training said of itself."""
    scene = stages.folder / "scene.safetensors"

    def make() -> dict:
        config = HeadTrainingConfig.load(None, device=options.device, seed=options.seed)
        result = fit_head(root, scene, config, overwrite=True)
        return {"figures": result.metrics, "config": config.model_dump(mode="json")}

    return scene, stages.stage("head", make)


def measure_scene(
    stages: StageCache, root: Path, options: BenchOptions, split: dict, landmarks: int, title: str, **truth
) -> BenchResult:
    """Landmarks and head of a mapped dataset, measured on its test frames; `split` goes into the config of the result;
    `truth` are the options of `evaluate_dataset` that say which poses are true."""
    chosen = landmarks_stage(stages, root, landmarks)
    scene_path, trained = head_stage(stages, root, options)
    localizer = Localizer.load(scene_path, options.device)
    scene = localizer.scene
    evaluation = evaluate_dataset(
        localizer, SceneDataset(root), scene.landmarks_map_l3, scene.metric, seed=options.seed, title=title, **truth
    )
    metrics = {
        **evaluation.metrics,
        "landmarks_s": chosen["wall_s"],
        "train_s": trained["wall_s"],
        "scene_bytes": scene_path.stat().st_size,
    }
    config = {"split": split, "landmarks": chosen["options"], "head": trained["config"]}
    return BenchResult(metrics, config, evaluation)
