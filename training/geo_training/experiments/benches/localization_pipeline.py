"""What localization benchmarks share: the stages import, split, map, landmarks and head; the evaluation beside SIFT."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from geo_perception.errors import InputError
from geo_perception.localization.estimator import Localizer, LocalizerOptions
from geo_training.datasets.importers import ImportOptions, import_dataset
from geo_training.datasets.scene import SceneDataset
from geo_training.evaluation.localization.evaluate import evaluate_dataset
from geo_training.evaluation.localization.sift_baseline import MAX_ERROR_PX, RATIO, SiftLocalizer, SiftMap
from geo_training.evaluation.localization.summary import Evaluation
from geo_training.experiments.bench import BenchOptions, BenchResult, StageCache
from geo_training.localization.config import HeadTrainingConfig
from geo_training.localization.data import HeadData
from geo_training.localization.fit import fit_head
from geo_training.mapping.build import MapOptions, build_map, save_map
from geo_training.mapping.landmark_set import FILE_NAME, LandmarkSet
from geo_training.mapping.landmarks import SelectionOptions, select_landmarks
from geo_training.mapping.scene_map import SceneMap
from geo_training.metrics.consistency import calibration_metrics
from geo_training.metrics.pose import latency_metrics, pose_metrics

# Of a metric scene that is measured beside SIFT.
METRICS = (
    *("instant_recall_5cm_5deg", "instant_s", "instant_bytes", "instant_frame_ms_p50"),
    *("recall_5cm_5deg", "recall_2cm_2deg", "recall_1cm_1deg", "median_cm", "median_deg"),
    *("second_look_recall_5cm_5deg", "second_look_recall_2cm_2deg", "second_look_recall_1cm_1deg"),
    *("second_look_median_cm", "scene_bytes", "train_s", "frame_ms_p50", "coverage_90"),
    *("sift_recall_1cm_1deg", "sift_recall_2cm_2deg", "sift_recall_5cm_5deg", "sift_recall_10cm_5deg"),
    *("sift_bytes", "sift_frame_ms_p50"),
)


def import_stage(stages: StageCache, source: Path, format_name: str, sequences: tuple[str, ...] = ()) -> Path:
    """The data set, or these sequences of it, as a dataset below the work folder."""
    out, options = stages.folder / "dataset", ImportOptions(sequences=sequences)
    stages.stage("import", lambda: import_dataset(source, out, format_name, options, overwrite=True))
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


def head_stage(
    stages: StageCache, root: Path, options: BenchOptions, name: str = "scene", landmarks: int | None = None, **training
) -> tuple[Path, dict]:
    """The scene file of this name and what its training said of itself, of all landmarks or the first ones; `training`
    are options of the training."""
    scene = stages.folder / f"{name}.safetensors"

    def make() -> dict:
        config = HeadTrainingConfig.load(None, device=options.device, seed=options.seed, **training)
        first = None if landmarks is None else LandmarkSet.load(root).first(landmarks)
        data = root if first is None else HeadData(SceneDataset(root), first, SceneMap.load(root), config)
        result = fit_head(data, scene, config, overwrite=True)
        return {"figures": result.metrics, "config": config.model_dump(mode="json")}

    return scene, stages.stage(name, make)


def measure_scene(
    stages: StageCache, root: Path, options: BenchOptions, split: dict, landmarks: int, title: str, **truth
) -> BenchResult:
    """Landmarks and scenes of a mapped dataset, measured on its test frames; `split` goes into the config of the
    result; `truth` are the options of `evaluate_dataset` that say which poses are true.

    Metrics of poses are of the trained head by its landmarks alone. `second_look_` is before those with its second
    look, as are latency, coverage and the evaluation; `instant_` before those, with second look, of a scene that was
    not trained.
    """
    chosen = landmarks_stage(stages, root, landmarks)
    instant_path, instant = head_stage(stages, root, options, "instant", steps=0)
    scene_path, trained = head_stage(stages, root, options)

    def evaluate(path: Path, second_look: bool = True) -> Evaluation:
        localizer = Localizer.load(path, options.device, LocalizerOptions(second_look=second_look))
        scene = localizer.scene
        return evaluate_dataset(
            localizer, SceneDataset(root), scene.landmarks_map_l3, scene.metric, seed=options.seed, title=title, **truth
        )

    evaluation, instant_answers = evaluate(scene_path), evaluate(instant_path)
    metrics = {
        **evaluate(scene_path, second_look=False).metrics,
        **calibration_metrics(evaluation.outcomes),
        **latency_metrics(evaluation.outcomes),
        **prefixed("second_look", _pose_metrics(evaluation)),
        **prefixed("instant", _pose_metrics(instant_answers) | latency_metrics(instant_answers.outcomes)),
        "landmarks_s": chosen["wall_s"],
        "train_s": trained["wall_s"],
        "scene_bytes": scene_path.stat().st_size,
        "instant_s": instant["wall_s"],
        "instant_bytes": instant_path.stat().st_size,
    }
    config = {"split": split, "landmarks": chosen["options"], "head": trained["config"]}
    return BenchResult(metrics, config, evaluation)


def beside_sift(result: BenchResult, root: Path, options: BenchOptions) -> BenchResult:
    """The result with the metrics of SIFT + PnP on the map of the dataset, its test frames asked; `sift_` before
    them."""
    sift_map = SiftMap.from_dataset(root)
    sift = evaluate_dataset(SiftLocalizer(sift_map), SceneDataset(root), sift_map.points_map_p3, seed=options.seed)
    metrics = {
        **prefixed("sift", _pose_metrics(sift) | latency_metrics(sift.outcomes)),
        "sift_bytes": sift_map.size_bytes,
        "sift_descriptor_bytes": sift_map.descriptor_bytes,
    }
    config = {
        "ratio": RATIO, "max_error_px": MAX_ERROR_PX, "max_features": sift_map.max_features,
        "sift_bytes_are": "128 a descriptor of a triangulated observation, 4 for its point, 12 a point",
    }  # fmt: skip
    return replace(result, metrics=result.metrics | metrics, config=result.config | {"sift": config})


def prefixed(prefix: str, metrics: dict[str, float]) -> dict[str, float]:
    return {f"{prefix}_{key}": value for key, value in metrics.items()}


def _pose_metrics(evaluation: Evaluation) -> dict[str, float]:
    return pose_metrics(evaluation.outcomes, evaluation.length_unit)
