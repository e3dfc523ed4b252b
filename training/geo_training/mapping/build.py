"""The pipeline from a dataset to its map: features, pairs, matches, reconstruction, alignment, verdict, files."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import pycolmap

from geo_perception.errors import InputError
from geo_perception.runtime.files import replace_text
from geo_training.console import say, write_json
from geo_training.datasets.colmap_model import camera_from_colmap
from geo_training.datasets.scene import Frame, SceneDataset, camera_is_known, camera_to_dict
from geo_training.datasets.tally import Tally
from geo_training.mapping.camera_guess import guess_cameras
from geo_training.mapping.features import FeatureOptions, FeatureStore
from geo_training.mapping.known_distances import KnownDistance
from geo_training.mapping.pairs import choose_pairs
from geo_training.mapping.pose_check import pose_agreement
from geo_training.mapping.reconstruct import map_globally, map_incrementally, triangulate
from geo_training.mapping.recorded_poses import GivenSigmas
from geo_training.mapping.refine import refine_poses
from geo_training.mapping.report import (
    MapReport,
    ScaleReport,
    model_statistics,
    pose_problems,
    refinement_warnings,
    verdict,
    versions,
    well_placed,
)
from geo_training.mapping.scale import set_scale
from geo_training.mapping.scene_map import REPORT_NAME
from geo_training.storage.fingerprints import digest_of
from geo_training.storage.folders import FolderKind, output_folder

# A recording whose poses have this share of the frames is mapped with them; the other frames are left out.
POSES_NEARLY_ALL = 0.95
MIN_FRAMES = 3
# The option that gives each of GivenSigmas.
OPTION_OF = {
    "absolute": "--prior-sigma",
    "absolute_rad": "--prior-sigma-deg",
    "motion": "--motion-sigma",
    "motion_rad": "--motion-sigma-deg",
}


@dataclass(frozen=True)
class MapOptions:
    """`poses`: known, prior, none, or None to choose; `prior_sigmas`: how far recorded poses that are a prior may be
    off."""

    poses: str | None = None
    mapper: str = "incremental"
    known_distances: tuple[KnownDistance, ...] = ()
    prior_sigmas: GivenSigmas = field(default_factory=GivenSigmas)
    keep_largest: bool = False
    all_frames: bool = False
    features: FeatureOptions = field(default_factory=FeatureOptions)


def mapping_frames(dataset: SceneDataset, all_frames: bool) -> list[Frame]:
    """The frames that may be used for mapping: those of the splits `test` and `val` are kept for judging.

    Raises InputError when fewer than MIN_FRAMES remain.
    """
    frames = [frame for frame in dataset.frames if all_frames or frame.split not in ("test", "val")]
    if len(frames) < MIN_FRAMES:
        hint = " outside the splits test and val; pass --all-frames" if not all_frames and len(dataset) else ""
        raise InputError(f"{dataset.root} has {len(frames)} frames to map{hint or '; record more'}")
    return frames


def choose_poses(frames: list[Frame], wanted: str | None) -> str:
    """How the recorded poses are used. Raises InputError when they are wanted and there are none."""
    with_pose = sum(frame.T_world_camera is not None for frame in frames)
    if wanted is None:
        return "known" if with_pose >= POSES_NEARLY_ALL * len(frames) else "none"
    if wanted != "none" and with_pose < MIN_FRAMES:
        raise InputError(f"--poses {wanted}: {with_pose} of {len(frames)} frames have a pose; pass --poses none")
    return wanted


def build_map(dataset: SceneDataset, options: MapOptions) -> tuple[MapReport, pycolmap.Reconstruction | None]:
    """Maps the dataset. The report is there in any case, the model when one frame could be placed at all.

    Raises InputError when the data or the options cannot be used.
    """
    frames = mapping_frames(dataset, options.all_frames)
    poses = choose_poses(frames, options.poses)
    if options.known_distances and (poses != "none" or _recorded_metric(dataset, frames)):
        raise InputError("the recorded poses already say how large the map is; leave out --scale-from")
    idle = {"--mapper global": options.mapper == "global" and poses != "none"}
    given = asdict(options.prior_sigmas)
    idle |= {OPTION_OF[name]: value is not None and poses != "prior" for name, value in given.items()}
    if any(idle.values()):
        named = ", ".join(option for option, is_idle in idle.items() if is_idle)
        raise InputError(f"with --poses {poses}, {named} would have no effect; leave out one of the two")
    say(f"mapping {len(frames)} of {len(dataset)} frames, poses: {_describe(poses, frames, options)}")
    seconds: dict[str, float] = {}
    with _stage(seconds, "cameras"):
        guesses = guess_cameras(dataset, frames)
    store = FeatureStore(dataset, options.features, {key: guess.camera for key, guess in guesses.items()})
    with _stage(seconds, "features"):
        store.extract(frames)
        readable = store.image_numbers()
        usable = [frame for frame in frames if frame.name in readable]
    tally = Tally(str(dataset.root), "frames", len(dataset))
    tally.leave_out("of the splits test and val", len(dataset) - len(frames))
    tally.leave_out("that cannot be read", len(frames) - len(usable))
    if len(usable) < MIN_FRAMES:
        raise InputError(f"only {len(usable)} images can be read; run `geo-train dataset check {dataset.root}`")
    if poses == "known":
        posed = [frame for frame in usable if frame.T_world_camera is not None]
        tally.leave_out("without a recorded pose", len(usable) - len(posed))
        usable = posed
    with _stage(seconds, "matches"):
        can_place = poses != "none" and all(frame.T_world_camera is not None for frame in usable)
        pairing, pairs = choose_pairs(usable, dataset, store, can_place)
        store.match(pairs)
    agreement = pose_agreement(usable, dataset, store, pairs) if can_place else None
    judged, refinement = agreement, None
    with _stage(seconds, "mapping"):
        if poses == "prior":
            refined = refine_poses(usable, dataset, store, options.prior_sigmas)
            models, refinement = [triangulate(refined.frames, dataset, store, cameras=refined.cameras)], refined.report
            # Recorded poses that drift may be far off: what comes out is judged.
            judged = pose_agreement(refined.frames, dataset, store, pairs)
        else:
            models = _reconstruct(usable, dataset, store, poses, options, pairs)
    report, model = _assess(dataset, frames, models, poses, options, (pairing, len(pairs)), seconds)
    tally.used = report.registered
    tally.leave_out("that could not be placed", len(usable) - report.registered)
    say(tally.sentence)
    report = replace(report, taken=tally.to_dict())
    problems = report.problems + (
        [] if judged is None else pose_problems(judged, "refined" if refinement else "recorded")
    )
    report = replace(report, matches_fit_poses=agreement, problems=problems)
    if refinement is not None:
        warnings = report.warnings + refinement_warnings(refinement)
        report = replace(report, refinement=asdict(refinement), warnings=warnings)
    return report, model


def _is_model(folder: Path) -> bool:
    return any((folder / f"images{suffix}").is_file() for suffix in (".bin", ".txt"))


COLMAP_MODEL = FolderKind("COLMAP model", _is_model, ("*.bin", "*.txt", "*.ply", "*.ini"))


def save_map(dataset: SceneDataset, report: MapReport, model: pycolmap.Reconstruction) -> None:
    """Writes colmap/ and map.json; a map that stood there is replaced at once, never half."""
    with output_folder(dataset.root / "colmap", COLMAP_MODEL, overwrite=True) as work:
        work.mkdir()
        model.write(work)
        (dataset.root / REPORT_NAME).unlink(missing_ok=True)
    write_json(dataset.root / REPORT_NAME, report.to_json())


def _reconstruct(
    frames: list[Frame], dataset: SceneDataset, store: FeatureStore, poses: str, options: MapOptions, pairs: list
) -> list[pycolmap.Reconstruction]:
    """Models, the largest first. Those that took long are kept in the cache: `--keep-largest` after a refusal, or the
    same command again, reads them back."""
    if poses == "known":
        return [triangulate(frames, dataset, store)]
    names = [frame.name for frame in frames]
    key = digest_of(options.mapper, names, pairs, store.signature, versions())[:16]
    folder = store.folder / "models"
    if (folder / "key").is_file() and (folder / "key").read_text() == key:
        say("the models of the last run are used again")
        return [pycolmap.Reconstruction(path) for path in sorted(folder.glob("[0-9]*"))]
    shutil.rmtree(folder, ignore_errors=True)
    way = map_globally if options.mapper == "global" else map_incrementally
    models = way(frames, dataset, store)
    for index, model in enumerate(models):
        path = folder / f"{index:03d}"
        path.mkdir(parents=True)
        model.write(path)
    folder.mkdir(exist_ok=True)
    replace_text(folder / "key", key)
    return models


def _assess(
    dataset: SceneDataset,
    frames: list[Frame],
    models: list[pycolmap.Reconstruction],
    poses: str,
    options: MapOptions,
    pairing: tuple[str, int],
    seconds: dict[str, float],
) -> tuple[MapReport, pycolmap.Reconstruction | None]:
    placed = [well_placed(model) for model in models]
    largest = models[0] if models else None
    registered = placed[0] if placed else set()
    elsewhere = len(set().union(*placed) - registered) if placed else 0
    components = [len(names) for names in placed]
    problems, warnings = verdict(len(frames), len(registered), components, elsewhere, options.keep_largest)
    scale, gravity = ScaleReport(False, "nothing was mapped"), None
    if largest is not None:
        with _stage(seconds, "alignment"):
            scale, gravity = set_scale(
                dataset, frames, largest, registered, poses,
                options.known_distances, options.keep_largest, problems, warnings,
            )  # fmt: skip
    cameras = {}
    if largest is not None:
        for number, camera_id in enumerate(dataset.cameras, start=1):
            if number in largest.cameras:
                camera = camera_to_dict(camera_from_colmap(largest.camera(number)))
                cameras[camera_id] = camera | {"refined": not camera_is_known(dataset.root, camera_id)}
    sequences = {}
    for frame in frames:
        counts = sequences.setdefault(frame.sequence, {"frames": 0, "registered": 0})
        counts["frames"] += 1
        counts["registered"] += frame.name in registered
    statistics = model_statistics(largest if largest is not None else pycolmap.Reconstruction())
    report = MapReport(
        poses=poses,
        mapper={"known": "triangulation", "prior": "bundle adjustment"}.get(poses, options.mapper),
        pairing=pairing[0],
        pairs=pairing[1],
        frames=len(frames),
        registered=len(registered),
        registered_share=len(registered) / len(frames),
        components=components,
        scale=scale,
        gravity_world=gravity,
        sequences=sequences,
        cameras=cameras,
        seconds={stage: round(value, 2) for stage, value in seconds.items()},
        versions=versions(),
        problems=problems,
        warnings=warnings,
        **statistics,
    )
    return report, largest


def _recorded_metric(dataset: SceneDataset, frames: list[Frame]) -> bool:
    return dataset.info.scale == "metric" and any(frame.T_world_camera is not None for frame in frames)


def _describe(poses: str, frames: list[Frame], options: MapOptions) -> str:
    with_pose = sum(frame.T_world_camera is not None for frame in frames)
    chosen = "" if options.poses else f" (chosen: {with_pose} of {len(frames)} have one)"
    what = {"known": "known, points are triangulated", "prior": "prior, refined with the images", "none": "none"}[poses]
    return what + chosen


@contextlib.contextmanager
def _stage(seconds: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - start
