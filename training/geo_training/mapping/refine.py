"""Recorded poses that drift, refined with the images: triangulation and bundle adjustment by turns, the recorded poses
as priors with errors that the images themselves tell."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pycolmap

from geo_perception.errors import InputError
from geo_perception.geometry import Camera, pose_error
from geo_training.console import say
from geo_training.datasets.colmap_model import PIXEL_CENTRE, camera_from_colmap
from geo_training.datasets.scene import Frame, SceneDataset
from geo_training.mapping.bundle_adjustment import Bundle, Observations, adjust
from geo_training.mapping.colmap_io import registered_poses
from geo_training.mapping.features import FeatureStore
from geo_training.mapping.held_out import HeldOutMatches
from geo_training.mapping.reconstruct import known_cameras, place_others, triangulate
from geo_training.mapping.recorded_poses import STEPS, GivenSigmas, RecordedPoses, Sigmas

# How far off the poses may be in each round, as a multiple of COLMAP's limits for right ones.
TOLERANCES = (4.0, 2.0, 1.0)
FIRST_SIGMA_PX = 1.0
# Observations share errors (of the lens, of a shutter that rolls, of a feature along its track): so many count as one.
SHARED_BY = 9
MEDIAN_OF_RAYLEIGH = 1.1774  # of the length of an error of two components with deviation 1
MIN_POINTS = 15  # of a frame without a recorded pose, to stay
# The held-out error must change by this share to be called better or worse.
CLEAR_CHANGE = 0.03
SHOWN_STEPS = (1, 2, 5, 10)


@dataclass(frozen=True)
class PoseRefinement:
    """What became of recorded poses. Distances in their unit, angles in degrees, errors in pixels.

    `reprojection_*`: medians over the first round's points with the recorded poses, and the last round's with the
    refined ones. `epipolar_*`: medians of matches that the adjustment did not see, over all pairs and by how many
    frames the two are apart. `verdict` by these alone: improved, unchanged or worse. `transfer_*`: medians of how far
    those matches are from where measured depth puts them; None without depth.
    """

    verdict: str
    moved_median: float
    moved_max: float
    turned_median_deg: float
    turned_max_deg: float
    reprojection_before_px: float
    reprojection_after_px: float
    epipolar_matches: int
    epipolar_before_px: float
    epipolar_after_px: float
    epipolar_by_step: dict[str, dict[str, float]]
    transfer_before_px: float | None
    transfer_after_px: float | None
    sigma_px: float
    sigma_absolute: float
    sigma_absolute_deg: float
    sigma_motion: dict[str, dict[str, float]]
    sigma_source: dict[str, str]


@dataclass(frozen=True)
class Refined:
    """Frames with refined poses, in the recorded world; COLMAP's cameras by number; what was found."""

    frames: list[Frame]
    cameras: dict[int, pycolmap.Camera]
    report: PoseRefinement


def refine_poses(frames: list[Frame], dataset: SceneDataset, store: FeatureStore, given: GivenSigmas) -> Refined:
    """Refines recorded poses in a bundle adjustment over all poses and points.

    The images hold neither the place of the world nor its scale, so both stay where the priors together want them: the
    best rigid alignment is part of the adjustment. Frames without a pose are placed by the images, or left out; cameras
    that are a guess are refined. Raises InputError when the images agree on no points.
    """
    recorded = RecordedPoses(frames)
    sigmas, sigma_px, cameras, errors_px = given.over(recorded.loose_sigmas()), FIRST_SIGMA_PX, None, []
    posed = [frame for frame in frames if frame.T_world_camera is not None]
    with tempfile.TemporaryDirectory(dir=store.folder) as work:
        database_path = Path(work) / "database.db"
        shutil.copyfile(store.path, database_path)
        held_out = HeldOutMatches.take_from(database_path)
        for number, tolerance in enumerate(TOLERANCES):
            model = triangulate(posed, dataset, store, database_path, tolerance, cameras)
            if number == 1 and len(posed) < len(frames):
                model = place_others(frames, dataset, store, database_path, model)
            cameras = dict(sorted(model.cameras.items()))
            posed = _placed(frames, recorded, model)
            if not model.points3D:
                raise InputError(
                    "the images agree on no points by the recorded poses; `geo-train dataset check` tells whether they "
                    "are of this camera, --poses none maps without them"
                )
            bundle, seen = _problem(posed, dataset, store, cameras, model)
            errors_px.append(bundle.reprojection_errors(seen))
            index_of = {frame.name: index for index, frame in enumerate(posed)}
            bundle = adjust(bundle, seen, recorded.priors(index_of, sigmas), sigma_px)
            errors_px.append(bundle.reprojection_errors(seen))
            for camera, free, (focal_px, radial) in zip(cameras, bundle.free_c, bundle.lens_c2, strict=True):
                if free:
                    _, cx, cy, _ = cameras[camera].params
                    cameras[camera].params = [focal_px, cx, cy, radial]
            sigma_px = float(np.median(errors_px[-1])) / MEDIAN_OF_RAYLEIGH
            say(f"round {number + 1}: reprojection {np.median(errors_px[-2]):.2f} to {np.median(errors_px[-1]):.2f} px")
            if number + 1 < len(TOLERANCES):
                # First by loose priors, since tight ones would find themselves confirmed; then where the images insist.
                own = [index_of[name] for name in recorded.names]
                sigmas = given.over(recorded.estimated_sigmas(bundle.T_world_camera_f44[own]))
            posed = [
                replace(frame, T_world_camera=T) for frame, T in zip(posed, bundle.T_world_camera_f44, strict=True)
            ]
    report = _report(
        frames, posed, dataset, store, cameras, held_out, sigmas, given, sigma_px, (errors_px[0], errors_px[-1])
    )
    return Refined(posed, cameras, report)


def _placed(frames: list[Frame], recorded: RecordedPoses, model: pycolmap.Reconstruction) -> list[Frame]:
    """The frames with their poses in the model. One without a recorded pose needs points that hold it."""
    poses, names = registered_poses(model), set(recorded.names)
    seen = {image.name: image.num_points3D for image in model.images.values()}
    kept = [f for f in frames if f.name in names or (f.name in poses and seen[f.name] >= MIN_POINTS)]
    return [replace(frame, T_world_camera=poses[frame.name]) for frame in kept]


def _problem(
    frames: list[Frame],
    dataset: SceneDataset,
    store: FeatureStore,
    cameras: dict[int, pycolmap.Camera],
    model: pycolmap.Reconstruction,
) -> tuple[Bundle, Observations]:
    """What is adjusted of a model, and what its frames see. Known lenses are undistorted; a guess is SIMPLE_RADIAL."""
    row_of = {point: row for row, point in enumerate(model.points3D)}
    points_p3 = np.array([point.xyz for point in model.points3D.values()]).reshape(-1, 3)
    image_of = {image.name: image for image in model.images.values()}
    known = known_cameras(dataset, store)
    free_c = np.array([number not in known for number in cameras])
    lens_c2 = np.zeros((len(cameras), 2))
    frame_m, point_m, camera_m, pixels_m2 = [], [], [], []
    for row, number in enumerate(cameras):
        camera = camera_from_colmap(cameras[number])
        focal_px = (camera.fx_px + camera.fy_px) / 2
        lens_c2[row] = focal_px, cameras[number].params[3] if free_c[row] else 0.0
        for index, frame in enumerate(frames):
            if store.camera_number(frame.camera_id) != number:
                continue
            observed = image_of[frame.name].get_observation_points2D()
            pixels_k2 = np.array([point.xy for point in observed]).reshape(-1, 2) - PIXEL_CENTRE
            centre_2 = (camera.cx_px, camera.cy_px)
            pixels_m2.append(pixels_k2 - centre_2 if free_c[row] else focal_px * camera.normalize(pixels_k2))
            frame_m.append(np.full(len(observed), index))
            point_m.append(np.array([row_of[point.point3D_id] for point in observed], int))
            camera_m.append(np.full(len(observed), row))
    seen = Observations(*map(np.concatenate, (frame_m, point_m, camera_m, pixels_m2)), weight=1 / SHARED_BY)
    return Bundle(np.stack([frame.T_world_camera for frame in frames]), points_p3, lens_c2, free_c), seen


def _report(
    frames: list[Frame],
    refined: list[Frame],
    dataset: SceneDataset,
    store: FeatureStore,
    cameras: dict[int, pycolmap.Camera],
    held_out: HeldOutMatches,
    sigmas: Sigmas,
    given: GivenSigmas,
    sigma_px: float,
    errors_px: tuple[np.ndarray, np.ndarray],
) -> PoseRefinement:
    before = {frame.name: frame.T_world_camera for frame in frames if frame.T_world_camera is not None}
    after = {frame.name: frame.T_world_camera for frame in refined}
    change_n2 = np.array([pose_error(T, after[name]) for name, T in before.items()])
    camera_of: dict[str, Camera] = {
        frame.name: camera_from_colmap(cameras[store.camera_number(frame.camera_id)]) for frame in frames
    }
    both = {name: after[name] for name in before}
    before_px, after_px = held_out.errors_px(before, camera_of), held_out.errors_px(both, camera_of)
    number_of = {frame.name: (frame.sequence, number) for number, frame in enumerate(frames)}
    by_step = {}
    for step in SHOWN_STEPS:
        rows = [row for row, (a, b, *_) in enumerate(held_out.pairs) if _apart(number_of, a, b) == step]
        medians = [_median([errors[row] for row in rows]) for errors in (before_px, after_px)]
        if np.isfinite(medians).all():
            by_step[str(step)] = {"before_px": medians[0], "after_px": medians[1]}
    total_before, total_after = _median(before_px), _median(after_px)
    frame_of = {frame.name: frame for frame in frames}
    transfers_px = held_out.transfer_errors_px((before, both), camera_of, lambda name: dataset.depth_m(frame_of[name]))
    transfer_before, transfer_after = (float(np.median(e)) if len(e) else None for e in transfers_px)
    motion = zip(STEPS, sigmas.motion_s, np.degrees(sigmas.motion_rad_s), strict=True)
    return PoseRefinement(
        verdict=_verdict(total_before, total_after),
        moved_median=float(np.median(change_n2[:, 0])),
        moved_max=float(change_n2[:, 0].max()),
        turned_median_deg=float(np.degrees(np.median(change_n2[:, 1]))),
        turned_max_deg=float(np.degrees(change_n2[:, 1].max())),
        reprojection_before_px=float(np.median(errors_px[0])),
        reprojection_after_px=float(np.median(errors_px[1])),
        epipolar_matches=sum(map(len, after_px)),
        epipolar_before_px=total_before,
        epipolar_after_px=total_after,
        epipolar_by_step=by_step,
        transfer_before_px=transfer_before,
        transfer_after_px=transfer_after,
        sigma_px=sigma_px,
        sigma_absolute=sigmas.absolute,
        sigma_absolute_deg=float(np.degrees(sigmas.absolute_rad)),
        sigma_motion={str(step): {"sigma": float(sigma), "sigma_deg": float(deg)} for step, sigma, deg in motion},
        sigma_source={name: "estimated" if value is None else "given" for name, value in asdict(given).items()},
    )


def _apart(number_of: dict[str, tuple[str, int]], a: str, b: str) -> int | None:
    """How many frames two of one sequence are apart."""
    (sequence_a, number_a), (sequence_b, number_b) = number_of.get(a, ("", -1)), number_of.get(b, ("", -1))
    return abs(number_b - number_a) if sequence_a == sequence_b else None


def _median(parts: list[np.ndarray]) -> float:
    values = np.concatenate([np.zeros(0), *parts])
    return float(np.median(values)) if len(values) else float("nan")


def _verdict(before_px: float, after_px: float) -> str:
    if after_px < (1 - CLEAR_CHANGE) * before_px:
        return "improved"
    return "worse" if after_px > (1 + CLEAR_CHANGE) * before_px else "unchanged"
