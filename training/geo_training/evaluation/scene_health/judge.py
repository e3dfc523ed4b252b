"""From what was observed to a judgement of every landmark, and of the scene."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from scipy.spatial import cKDTree

from geo_perception.localization.map_points import MapPoints
from geo_training.evaluation.scene_health.motion import Drift, Look, drift_of, new_place
from geo_training.evaluation.scene_health.observe import Observation
from geo_training.evaluation.scene_health.points import points_say, said_around
from geo_training.evaluation.scene_health.sequential import (
    ErrorRates,
    Rates,
    Standing,
    fit_rates,
    novelty,
    run_test,
    total_evidence,
)

RIGHT_PX = 12.0  # of the network: nearer to its place a detection is right
# Grades of an answer, the best first: detected at its place; its map highest there, though too low to count; or else
# its place among the best by the share of places that look as much like it (`Answers.rank_l`), up to these; or worse.
# And how often chance has each.
GRADE_RANKS = (0.02, 0.1)
CHANCE_G = (0.01, 0.02, 0.07, 0.2, 0.7)
LOST_SHARE = 0.35  # of the middle frame's answers: a frame with fewer is lost, whatever its pose
LEAST_ANSWERS = 0.15  # of those asked: chance alone has a twentieth
MIN_TOLD = 2.0  # looks, as they count, without which nothing is said of a landmark
# Things are moved whole: what neighbours say counts, and what map points around it say, since a detector knows its
# surroundings, too, and may go on answering where another picture hangs. Against that its own answers count so much.
NEIGHBOUR_LIMIT, ALIVE_LIMIT = 4.0, 6.0
POINT_WEIGHT, POINT_REACH = 2.5, 0.6  # of an object's reach
MIN_TOGETHER = 3  # landmarks that drift alike, or were carried to one place
SAME_SHAPE = 0.25  # of an object's reach, by which distances on it may seem to differ afterwards
SECTORS = 4  # of the directions from which a landmark is seen


class State(str, Enum):
    """What became of a landmark."""

    ALIVE = "alive"
    DRIFTED = "drifted"
    MOVED = "moved"
    VANISHED = "vanished"
    UNKNOWN = "not seen enough"

    @property
    def gone(self) -> bool:
        """Whether a pose is wrong or poorer by it."""
        return self in (State.DRIFTED, State.MOVED, State.VANISHED)


@dataclass(frozen=True)
class LandmarkHealth:
    """One landmark. `told`: frames that say something of it; `recall` the share in which it answers, `precision` the
    share of its detections that are right (NaN where it has none). `evidence`: log Bayes factor for gone, with what its
    neighbours say. `since_s`: the stamp of the first frame in which it was gone, `since_recording` its recording.
    `moved`: how far, in the unit of the map; `to_3` where it is now, where that is known. `recall_by_view`: by the
    quarter of the compass from which it is seen (NaN where it was not)."""

    landmark: int
    state: State
    told: int
    recall: float
    precision: float
    evidence: float
    since_s: float | None
    since_recording: int | None
    moved: float
    to_3: np.ndarray | None
    recall_by_view: tuple[float, ...]


@dataclass(frozen=True)
class Judgement:
    """All landmarks, the rates that were found in each recording, and which observations (N,) told anything: in the
    others the robot was lost."""

    landmarks: list[LandmarkHealth]
    rates: list[Rates]
    told_n: np.ndarray

    @property
    def gone_l(self) -> np.ndarray:
        return np.array([one.state.gone for one in self.landmarks], bool)

    @property
    def known_l(self) -> np.ndarray:
        return np.array([one.state is not State.UNKNOWN for one in self.landmarks], bool)


def not_lost(observations: Sequence[Observation]) -> np.ndarray:
    """Which frames (N,) tell something: they have a pose, and landmarks answer there clearly oftener than by chance,
    and about as often as elsewhere in the recording."""
    share_n = np.array([
        one.answers.hit_l.sum() / one.answers.told_l.sum() if one.answers.told_l.any() else np.nan
        for one in observations
    ])  # fmt: skip
    recording_n = np.array([one.recording for one in observations], int)
    told_n = np.zeros(len(observations), bool)
    for recording in np.unique(recording_n):
        own_n = (recording_n == recording) & np.isfinite(share_n)
        if own_n.any():
            told_n[own_n] = share_n[own_n] >= max(LOST_SHARE * float(np.median(share_n[own_n])), LEAST_ANSWERS)
    return told_n


def grades(one: Observation, min_score: float) -> np.ndarray:
    """The grade of each landmark's answer in a frame (L,), the best 0; the worst where nothing was asked."""
    off_l = np.nan_to_num(np.linalg.norm(one.peak_l2 - one.predicted_l2, axis=1), nan=np.inf)
    right_l, rank_l = off_l <= RIGHT_PX, np.nan_to_num(one.answers.rank_l, nan=1.0)
    ranked_l = 2 + np.searchsorted(np.asarray(GRADE_RANKS) + 1e-9, rank_l)
    return np.where(right_l & (one.score_l >= min_score), 0, np.where(right_l, 1, ranked_l))


def judge(
    observations: Sequence[Observation],
    landmarks_l3: np.ndarray,
    object_radius: float,
    ground_23: np.ndarray,
    min_score: float = 0.05,
    errors: ErrorRates = ErrorRates(),
    points: MapPoints | None = None,
) -> Judgement:
    """Judges every landmark by the observations, which come in order of time. `object_radius`: how far an object about
    reaches, in the unit of the map; `ground_23`: right and forward on the ground; `min_score`: of a detection;
    `points`: the map points of the scene, where it has some."""
    told_n = not_lost(observations)
    seen = [one for one, told in zip(observations, told_n, strict=True) if told]
    grade_nl = [grades(one, min_score) for one in seen]
    L = len(landmarks_l3)
    recordings = 1 + max((one.recording for one in observations), default=0)
    counts_rlg = np.zeros((recordings, L, len(CHANCE_G)))
    frames_of = _frames_of(seen, L)
    weights, grades_of, numbers = [], [], []
    for landmark, frames in enumerate(frames_of):
        centres_n3 = np.array([seen[n].T_map_camera[:3, 3] for n in frames]).reshape(-1, 3)
        weights.append(novelty(centres_n3, landmarks_l3[landmark]))
        grades_of.append(np.array([grade_nl[n][landmark] for n in frames], int))
        numbers.append(np.array([seen[n].recording for n in frames], int))
        np.add.at(counts_rlg, (numbers[-1], landmark, grades_of[-1]), weights[-1])
    rates = [fit_rates(counts_lg, CHANCE_G) for counts_lg in counts_rlg]
    totals_rl = np.stack([total_evidence(counts, one) for counts, one in zip(counts_rlg, rates, strict=True)])
    looks_l, own_l, states = counts_rlg.sum(axis=(0, 2)), np.zeros(L), []
    for landmark in range(L):
        state = run_test(grades_of[landmark], weights[landmark], rates, numbers[landmark])
        states.append(state)
        # Short of an alarm of its own, all that it said in the newest recording that asked it counts.
        last = numbers[landmark][-1] if len(numbers[landmark]) else 0
        said = max(totals_rl[last, landmark], -ALIVE_LIMIT)
        own_l[landmark] = state.evidence if state.is_gone(errors) else said
    newest = [one for one in seen if one.recording == recordings - 1]
    around_l = np.zeros(L)
    if points is not None:
        around_l = POINT_WEIGHT * points_say(points, newest, landmarks_l3, POINT_REACH * object_radius)
    said_l = own_l + around_l
    evidence_l = said_l + said_around(landmarks_l3, landmarks_l3, said_l, object_radius, NEIGHBOUR_LIMIT, own=True)
    limit_l = np.array([errors.limit(state.beginnings) for state in states])
    gone_l = (evidence_l >= limit_l) & (counts_rlg[-1].sum(axis=1) >= errors.min_looks)
    since = [_since(state, frames, seen) for state, frames in zip(states, frames_of, strict=True)]
    hits = [np.array([seen[n].answers.hit_l[k] for n in frames], bool) for k, frames in enumerate(frames_of)]
    drifts = {}
    for landmark in np.flatnonzero(~gone_l & (looks_l >= MIN_TOLD)):
        found = _drift(seen, frames_of[landmark], hits[landmark], weights[landmark], landmark, landmarks_l3[landmark])
        if found is not None:
            drifts[int(landmark)] = found
    drifted = _moving_together({k: drift.offset_3 for k, (drift, _) in drifts.items()}, landmarks_l3, object_radius)
    to_of = {int(k): _new_place(seen, int(k), min_score) for k in np.flatnonzero(gone_l)}
    to_of = _carried_together({k: to_3 for k, to_3 in to_of.items() if to_3 is not None}, landmarks_l3, object_radius)
    judged = []
    for landmark, frames in enumerate(frames_of):
        state = State.ALIVE if looks_l[landmark] >= MIN_TOLD else State.UNKNOWN
        moved, to_3, first, point_3 = 0.0, None, None, landmarks_l3[landmark]
        if gone_l[landmark]:
            first, to_3 = since[landmark], to_of.get(landmark)
            state = State.VANISHED if to_3 is None else State.MOVED
        elif landmark in drifted:
            drift, first = drifts[landmark]
            state, to_3 = State.DRIFTED, point_3 + drift.offset_3
        if to_3 is not None:
            moved = float(np.linalg.norm(to_3 - point_3))
        judged.append(LandmarkHealth(
            landmark, state, len(frames), float(hits[landmark].mean()) if frames else float("nan"),
            _precision(seen, frames, landmark, min_score), float(evidence_l[landmark]),
            None if first is None else seen[first].stamp_s, None if first is None else seen[first].recording,
            moved, to_3, _recall_by_view(seen, frames, hits[landmark], point_3, ground_23),
        ))  # fmt: skip
    return Judgement(judged, rates, told_n)


def _since(state: Standing, frames: list[int], seen: Sequence[Observation]) -> int | None:
    """The frame in which a landmark that is gone was gone first: by its own answers, or where these did not cease, the
    first of the newest recording that asks it."""
    if state.since is not None:
        return frames[state.since]
    return next((n for n in frames if seen[n].recording == seen[frames[-1]].recording), None) if frames else None


def _frames_of(seen: Sequence[Observation], landmarks: int) -> list[list[int]]:
    """Of each landmark the observations that ask it."""
    frames: list[list[int]] = [[] for _ in range(landmarks)]
    for number, one in enumerate(seen):
        for landmark in np.flatnonzero(one.answers.told_l):
            frames[landmark].append(number)
    return frames


def _precision(seen: Sequence[Observation], frames: list[int], landmark: int, min_score: float) -> float:
    """Of the landmark's detections in frames that ask it, the share that is where it should be."""
    right = [_right(seen[n], landmark) for n in frames if seen[n].score_l[landmark] >= min_score]
    return float(np.mean(right)) if right else float("nan")


def _new_place(seen: Sequence[Observation], landmark: int, min_score: float) -> np.ndarray | None:
    """Where it is found, in all frames with a pose, and not where it should be."""
    elsewhere = [
        Look(one.T_map_camera, one.camera, one.peak_l2[landmark])
        for one in seen
        if one.score_l[landmark] >= min_score and not _right(one, landmark)
    ]
    return new_place(elsewhere, landmark)


def _carried_together(to_of: dict[int, np.ndarray], landmarks_l3: np.ndarray, radius: float) -> dict[int, np.ndarray]:
    """Of the places where landmarks are found now, those that fit to the thing that was carried there: its landmarks
    are as far from each other as before. Alone a landmark that is gone is found wherever something looks like it."""
    numbers = np.array(sorted(to_of), int)
    if len(numbers) < MIN_TOGETHER:
        return {}
    from_n3, to_n3 = landmarks_l3[numbers], np.stack([to_of[k] for k in numbers])
    kept = {}
    for n, near in enumerate(cKDTree(from_n3).query_ball_point(from_n3, 2 * radius)):
        before_m = np.linalg.norm(from_n3[near] - from_n3[n], axis=1)
        after_m = np.linalg.norm(to_n3[near] - to_n3[n], axis=1)
        if (np.abs(after_m - before_m) <= SAME_SHAPE * radius).sum() >= MIN_TOGETHER:  # itself is one of them
            kept[int(numbers[n])] = to_n3[n]
    return kept


def _moving_together(offsets: dict[int, np.ndarray], landmarks_l3: np.ndarray, radius: float) -> set[int]:
    """The landmarks whose drift most of their neighbours share. A detector that is off by itself is no drift: a thing
    that was pushed takes all of its landmarks along."""
    numbers = np.array(sorted(offsets), int)
    if len(numbers) < MIN_TOGETHER:
        return set()
    offset_n3 = np.stack([offsets[k] for k in numbers])
    together, tree = set(), cKDTree(landmarks_l3[numbers])
    for n, near in enumerate(tree.query_ball_point(landmarks_l3[numbers], radius)):
        alike = [m for m in near if np.linalg.norm(offset_n3[m] - offset_n3[n]) < 0.5 * np.linalg.norm(offset_n3[n])]
        if len(alike) >= max(MIN_TOGETHER, len(near) / 2):
            together.add(int(numbers[n]))
    return together


def _right(one: Observation, landmark: int) -> bool:
    off_2 = one.peak_l2[landmark] - one.predicted_l2[landmark]
    return bool(np.isfinite(off_2).all() and np.linalg.norm(off_2) <= RIGHT_PX)


def _drift(
    seen: Sequence[Observation], frames: list[int], hit_n, weight_n, landmark: int, point_3: np.ndarray
) -> tuple[Drift, int] | None:
    """The drift in the newest recording that tells of one, where it is significant, and the first frame of the
    recordings since which it is, without a gap."""
    newest: tuple[Drift, int] | None = None
    for recording in sorted({seen[n].recording for n in frames}, reverse=True):
        chosen = [k for k, n in enumerate(frames) if hit_n[k] and seen[n].recording == recording]
        looks = [
            Look(seen[frames[k]].T_map_camera, seen[frames[k]].camera, seen[frames[k]].answers.pixels_l2[landmark])
            for k in chosen
        ]
        drift = drift_of(point_3, looks, weight_n[chosen])
        if drift is None:
            continue
        if not drift.significant:
            break
        newest = (newest[0] if newest else drift), frames[chosen[0]]
    return newest


def _recall_by_view(
    seen: Sequence[Observation], frames: list[int], hit_n: np.ndarray, point_3: np.ndarray, ground_23: np.ndarray
) -> tuple[float, ...]:
    if not frames:
        return (float("nan"),) * SECTORS
    right_n, forward_n = ground_23 @ (np.array([seen[n].T_map_camera[:3, 3] for n in frames]) - point_3).T
    sector_n = np.floor((np.arctan2(forward_n, right_n) / (2 * np.pi) + 0.5) * SECTORS).astype(int) % SECTORS
    return tuple(float(hit_n[sector_n == k].mean()) if (sector_n == k).any() else float("nan") for k in range(SECTORS))
