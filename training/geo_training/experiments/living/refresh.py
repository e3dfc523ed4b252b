"""A scene made true again where its place has changed: `geo-train localization refresh`."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial import cKDTree

from geo_perception.localization.estimator import Localizer
from geo_perception.localization.map_points import MapPoints
from geo_perception.localization.places import Places, group_views
from geo_perception.localization.scene import Scene
from geo_perception.localization.view_descriptors import describe_view
from geo_training.console import NotGoodEnough, say, warn
from geo_training.datasets.scene import Frame, SceneDataset
from geo_training.evaluation.localization.evaluate import evaluate_dataset
from geo_training.evaluation.scene_health.health import scene_health
from geo_training.evaluation.scene_health.observe import Observation, SceneEye, usual_distance
from geo_training.evaluation.scene_health.points import point_evidence
from geo_training.evaluation.scene_health.verdict import SceneHealth, Verdict
from geo_training.experiments.living.surroundings import Keeper, NewSurroundings, SeenFrame, new_surroundings
from geo_training.localization.closed_form import PlainView
from geo_training.localization.map_points import MapPointBuilder
from geo_training.localization.new_rows import silence, solve_rows
from geo_training.mapping.landmark_set import HIDDEN, SEEN, UNKNOWN
from geo_training.mapping.visibility import project_all

MARGIN = 0.01  # of the recall on the old held-out frames that a refresh may cost
GROWTH = 0.15  # of the file, that new map points may take beside the room of those that are gone
MAX_FRAMES = 60  # of the recordings that are looked at, evenly
MAX_PLACES = 255
_POINT_GONE, _LANDMARKS_SAY = 1.0, 3.0
_MIN_LEARNED = 8  # frames


@dataclass(frozen=True)
class Refreshed:
    """The new scene, what was judged, and the figures of what was done."""

    scene: Scene
    health: SceneHealth
    figures: dict[str, float]


def refresh_scene(
    scene: Scene, recordings: Sequence[tuple[SceneDataset, Sequence[Frame]]], device: str = "auto"
) -> Refreshed:
    """The scene without what is gone, and with what the recordings show instead. Landmarks that are alive keep their
    numbers, places and detectors; new ones take the numbers of those that are gone.

    Raises NotGoodEnough where nothing is gone, or too much for a refresh.
    """
    started_s = time.perf_counter()
    recordings = _thinned(recordings)
    eye = SceneEye(scene, device)
    keeper = Keeper(eye, recordings)
    health, observations = scene_health(eye, recordings, keep=keeper)
    looked_s = time.perf_counter() - started_s
    gone_l = health.judgement.gone_l
    if health.verdict is Verdict.REMAP:
        raise NotGoodEnough(f"a refresh cannot mend this scene: {health.reasons[0]}; map the place anew")
    if not gone_l.any():
        raise NotGoodEnough("no landmark is gone, so there is nothing to refresh")
    told_n = health.judgement.told_n
    frames = [keeper.kept[n] for n in np.flatnonzero(told_n) if n in keeper.kept]
    if len(frames) < _MIN_LEARNED:
        raise NotGoodEnough(f"{len(frames)} frames of the recordings can be placed, {_MIN_LEARNED} are needed")
    kept_a = np.ones(0, bool)
    if scene.points is not None:
        told = [one for one, says in zip(observations, told_n, strict=True) if says]
        kept_a = points_that_stay(scene.points, told, scene.landmarks_map_l3, health, eye.object_radius)
    known = None if scene.points is None else scene.points.kept(kept_a)
    slots = np.flatnonzero(gone_l)
    around = new_surroundings(eye, frames, known, usual_distance(scene), len(slots))
    mapped_s = time.perf_counter() - started_s - looked_s
    new, solved = _with_landmarks(scene, slots, frames, around)
    new.points = _with_points(scene, known, frames, around)
    if scene.views is not None:  # in a folder of scenes it is proposed by how it looks now, too
        new.views = scene.views.with_more([describe_view(frame.features) for frame in frames])
    new.places = _with_places(scene, gone_l, slots[: len(solved)][solved], frames, around, solved)
    figures = {
        "frames": len(observations),
        "frames_placed": len(frames),
        "gone": len(slots),
        "new_landmarks": int(solved.sum()),
        "map_points_gone": int((~kept_a).sum()),
        "map_points_new": (len(new.points) - len(known)) if new.points is not None and known is not None else 0,
        "look_s": looked_s,
        "map_s": mapped_s,
        "solve_s": time.perf_counter() - started_s - looked_s - mapped_s,
    }
    refreshes = list(scene.header.get("refreshed", []))
    own = {"recordings": [str(root.root.name) for root, _ in recordings], "landmarks": slots.tolist()}
    new.header = scene.header | {"refreshed": [*refreshes, own]}
    return Refreshed(new, health, figures)


def points_that_stay(
    points: MapPoints, observations: Sequence[Observation], landmarks_l3: np.ndarray, health: SceneHealth, radius: float
) -> np.ndarray:
    """Which appearances (A,) stay: those of points that are found where they are looked for, or of which nothing is
    known and whose surroundings stand. What the landmarks around a point say counts beside its own answers."""
    evidence_p, _ = point_evidence(points, observations)
    gone_l, known_l = health.judgement.gone_l, health.judgement.known_l
    tree = cKDTree(landmarks_l3[known_l])
    _, first = np.unique(points.point_a, return_index=True)
    for p, near in enumerate(tree.query_ball_point(points.points_map_a3[first], radius)):
        if near:
            evidence_p[p] += _LANDMARKS_SAY * float(np.mean(np.where(gone_l[known_l][near], 1.0, -1.0)))
    return (evidence_p <= _POINT_GONE)[points.point_a]


def never_worse(old: Scene, new: Scene, dataset: SceneDataset, device: str = "auto", seed: int = 0) -> dict[str, float]:
    """The recall of both on the held-out frames of the dataset that the scene was made of (its split `test` where it
    has one): `before` and `after`, or `after` alone where it finds all of them. Raises NotGoodEnough where the new one
    is worse by more than the margin."""

    def share(scene: Scene) -> tuple[float, str]:
        found = evaluate_dataset(Localizer(scene, device), dataset, scene.landmarks_map_l3, scene.metric, seed=seed)
        middle = found.length_unit.thresholds[2]
        return found.metrics[middle.key], middle.label

    after, label = share(new)
    if after >= 1.0:  # nothing can be better, so the old one need not be asked
        return {"after": after}
    before, _ = share(old)
    if after < before - MARGIN - 1e-9:
        raise NotGoodEnough(
            f"the refreshed scene finds {after:.1%} of the old held-out frames within {label}, the old one "
            f"{before:.1%}; it is not written"
        )
    return {"before": before, "after": after}


def _thinned(recordings: Sequence[tuple[SceneDataset, Sequence[Frame]]]) -> list[tuple[SceneDataset, list[Frame]]]:
    """At most MAX_FRAMES of all, evenly."""
    total = sum(len(frames) for _, frames in recordings)
    if total <= MAX_FRAMES:
        return [(dataset, list(frames)) for dataset, frames in recordings]
    thinned = []
    for dataset, frames in recordings:
        count = max(1, round(MAX_FRAMES * len(frames) / total))
        thinned.append((dataset, [frames[n] for n in np.linspace(0, len(frames) - 1, count).round().astype(int)]))
    return thinned


def _with_landmarks(
    scene: Scene, slots: np.ndarray, frames: Sequence[SeenFrame], around: NewSurroundings
) -> tuple[Scene, np.ndarray]:
    """The scene with new landmarks in the slots of those that are gone, and which of the new ones found a detector."""
    head, landmarks_l3 = copy.deepcopy(scene.head), scene.landmarks_map_l3.copy()
    silence(head, slots)
    solved = np.zeros(0, bool)
    if around.landmarks is not None:
        views = _views(frames, around)
        taken = slots[: len(around.landmarks)]
        solved = solve_rows(head, taken, views)
        landmarks_l3[taken[solved]] = around.landmarks.points_world_l3[solved]
    if solved.sum() < len(slots):
        warn(f"{int(solved.sum())} new landmarks for {len(slots)} that are gone: the recording shows no more")
    return replace(scene, head=head, landmarks_map_l3=landmarks_l3), solved


def _views(frames: Sequence[SeenFrame], around: NewSurroundings) -> list[PlainView]:
    """The frames with the new landmarks' places and states in the network's pixels."""
    landmarks = around.landmarks
    assert landmarks is not None
    points_l3 = landmarks.points_world_l3.astype(float)
    row_of = {name: row for row, name in enumerate(landmarks.frame_names)}
    views = []
    for frame in frames:
        camera = frame.observation.camera
        pixels_fl2, _ = project_all(points_l3, frame.T_map_camera[None], [camera])
        inside_l = camera.contains(np.nan_to_num(pixels_fl2[0], nan=-1e6))
        state_l = np.where(inside_l, landmarks.visibility_fl[row_of[frame.name]], HIDDEN).astype(np.int8)
        state_l[inside_l & (state_l == HIDDEN)] = UNKNOWN  # without measured depth it is not known what hides it
        views.append(PlainView(frame.features, np.nan_to_num(pixels_fl2[0], nan=-1e4), state_l))
    return views


def _with_points(
    scene: Scene, known: MapPoints | None, frames: Sequence[SeenFrame], around: NewSurroundings
) -> MapPoints | None:
    """The map points that stay, and new ones in the room of those that are gone and a little more."""
    if scene.points is None or known is None:
        return None
    described = scene.points.keypoints is not None
    builder = MapPointBuilder(
        around.scene_map, scene.backbone.strides, around.descriptors_nd if described else None, like=scene.points
    )
    for frame in frames:
        features = [feature.float() for feature in frame.features]
        builder.add(frame.name, features, frame.observation.camera, frame.T_map_camera)
    tensors = scene.points.to_tensors()
    bytes_each = sum(array.nbytes for array in tensors.values()) / max(len(scene.points), 1)
    room = bytes_each * (len(scene.points) - len(known)) + GROWTH * scene.size_bytes()
    more = builder.build(int(room))
    return known if more is None else known.with_more(more)


def _with_places(
    scene: Scene,
    gone_l: np.ndarray,
    taken: np.ndarray,
    frames: Sequence[SeenFrame],
    around: NewSurroundings,
    solved: np.ndarray,
) -> Places | None:
    """The scene's places without what is gone, and those from which the new landmarks are seen."""
    if scene.places is None:
        return None
    old_kl = scene.places.visible_kl & ~gone_l
    visible_fl = np.stack([frame.observation.answers.hit_l & ~gone_l for frame in frames])
    if around.landmarks is not None and len(taken):
        row_of = {name: row for row, name in enumerate(around.landmarks.frame_names)}
        rows = [row_of[frame.name] for frame in frames]
        visible_fl[:, taken] = (around.landmarks.visibility_fl[rows] == SEEN)[:, : len(solved)][:, solved]
    T_f44 = np.stack([frame.T_map_camera for frame in frames])
    room = MAX_PLACES - len(scene.places)
    if room < 1:
        return Places(old_kl, scene.places.T_map_camera_k44)
    found = group_views(visible_fl, T_f44, room)
    say(f"{len(found)} places beside {len(scene.places)}")
    return Places(
        np.concatenate([old_kl, found.visible_kl]),
        np.concatenate([scene.places.T_map_camera_k44, found.T_map_camera_k44]),
    )
