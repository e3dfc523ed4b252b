"""Which images to match: all with all where there are few, else neighbours in time, in place, or in looks."""

from __future__ import annotations

import cv2
import numpy as np

from geo_perception.geometry import Camera, invert_pose
from geo_training.datasets.scene import Frame, SceneDataset
from geo_training.mapping.features import FeatureStore

EXHAUSTIVE_FRAMES = 120  # up to here every pair is tried: 7,140 pairs, some minutes on two cores
SEQUENTIAL_STEPS = (1, 2, 3, 4, 5, 6, 8, 12, 16)
NEARBY_STEPS = 16  # a loop is closed with frames further away in time than this
LOOP_PAIRS = 14  # partners of a frame beyond its neighbours in time
LOOP_SPACING = 3  # of partners that follow each other in time only one in so many
VISUAL_WORDS = 32  # of the vocabulary learned from the dataset itself


def choose_pairs(
    frames: list[Frame], dataset: SceneDataset, store: FeatureStore, use_poses: bool
) -> tuple[str, list[tuple[str, str]]]:
    """The pairs to match and the name of the way they were chosen: `exhaustive`, `spatial` or `sequential`.

    `use_poses`: every frame has a pose that can be believed, so pairs that share their view are known beforehand.
    """
    names = [frame.name for frame in frames]
    if use_poses:
        pairs = sequential_pairs(frames) | spatial_pairs(frames, dataset)
        return "spatial", _named(pairs, names)
    if len(frames) <= EXHAUSTIVE_FRAMES:
        return "exhaustive", [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    similarity_ff = appearance_similarity([descriptors for _, descriptors in store.all_features(names)])
    pairs = sequential_pairs(frames) | loop_pairs(similarity_ff, frames, minimum=0.0)
    return "sequential", _named(pairs, names)


def sequential_pairs(frames: list[Frame]) -> set[tuple[int, int]]:
    """Each frame with its neighbours in time, within its sequence. Frames come ordered by sequence and stamp."""
    return {
        (i, i + step)
        for step in SEQUENTIAL_STEPS
        for i in range(len(frames) - step)
        if frames[i].sequence == frames[i + step].sequence
    }


def spatial_pairs(frames: list[Frame], dataset: SceneDataset) -> set[tuple[int, int]]:
    """Each frame with those that see the same part of the scene by their poses, loops in time included."""
    T_f44 = np.stack([frame.T_world_camera for frame in frames])
    cameras = [dataset.camera(frame) for frame in frames]
    return loop_pairs(view_overlap(T_f44, cameras, view_depths(frames, dataset, T_f44)), frames, minimum=0.3)


def view_depths(frames: list[Frame], dataset: SceneDataset, T_f44: np.ndarray) -> np.ndarray:
    """How far each frame looks (F,), in the unit of the poses: its own median depth, or a third of the walk's extent.

    Without depth the true distance is not known yet; a wrong one costs a few useless or missed pairs, no more.
    """
    extent = float(np.linalg.norm(np.ptp(T_f44[:, :3, 3], axis=0)))
    guess = extent / 3 if extent > 0 else 1.0
    depths_f = np.full(len(frames), np.nan)
    if dataset.info.scale == "metric":
        guess = min(guess, 4.0) if guess > 0.5 else 2.0
        for index in range(0, len(frames), 4):
            depth_m = dataset.depth_m(frames[index])
            if depth_m is not None and (depth_m > 0).any():
                depths_f[index] = np.median(depth_m[::4, ::4][depth_m[::4, ::4] > 0]) if depth_m.size else np.nan
    known_f = np.isfinite(depths_f)
    if not known_f.any():
        return np.full(len(frames), guess)
    return np.interp(np.arange(len(frames)), np.flatnonzero(known_f), depths_f[known_f])


def view_overlap(T_world_camera_f44: np.ndarray, cameras: list[Camera], depths_f: np.ndarray) -> np.ndarray:
    """Share (F, F) of what frame i sees (a grid of points at 0.6, 1 and 1.6 times its depth) that j sees from a like
    direction; symmetric, the smaller of both ways."""
    count = len(cameras)
    T_camera_world_f44 = invert_pose(T_world_camera_f44)
    overlap_ff = np.zeros((count, count), np.float32)
    axes_f3 = T_world_camera_f44[:, :3, 2]
    for i, camera in enumerate(cameras):
        u, v = np.meshgrid(
            np.linspace(0.1, 0.9, 5) * camera.width_px, np.linspace(0.1, 0.9, 5) * camera.height_px, indexing="xy"
        )
        rays_n3 = np.c_[camera.normalize(np.c_[u.ravel(), v.ravel()]), np.ones(u.size)]
        points_n3 = np.concatenate([rays_n3 * depths_f[i] * factor for factor in (0.6, 1.0, 1.6)])
        world_n3 = points_n3 @ T_world_camera_f44[i, :3, :3].T + T_world_camera_f44[i, :3, 3]
        local_fn3 = np.einsum("fij,nj->fni", T_camera_world_f44[:, :3, :3], world_n3)
        local_fn3 += T_camera_world_f44[:, None, :3, 3]
        for j in np.flatnonzero(axes_f3 @ axes_f3[i] > 0.3):
            overlap_ff[i, j] = cameras[j].contains(cameras[j].project(local_fn3[j])).mean()
    overlap_ff = np.minimum(overlap_ff, overlap_ff.T)
    np.fill_diagonal(overlap_ff, 0)
    return overlap_ff


def appearance_similarity(descriptors_f: list[np.ndarray]) -> np.ndarray:
    """Cosine similarity (F, F) of the frames' VLAD vectors over a small vocabulary learned from their own SIFT."""
    rng = np.random.default_rng(0)
    samples = [_root(d[rng.choice(len(d), min(len(d), 150), replace=False)]) for d in descriptors_f if len(d)]
    if not samples or sum(map(len, samples)) < VISUAL_WORDS:
        return np.zeros((len(descriptors_f), len(descriptors_f)), np.float32)
    samples_n128 = np.concatenate(samples)
    samples_n128 = samples_n128[rng.permutation(len(samples_n128))[:20000]]
    cv2.setRNGSeed(0)
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_MAX_ITER, 15, 1e-4)
    _, _, words_k128 = cv2.kmeans(samples_n128, VISUAL_WORDS, None, criteria, 1, cv2.KMEANS_PP_CENTERS)
    vectors_fd = np.stack([_vlad(_root(descriptors), words_k128) for descriptors in descriptors_f])
    vectors_fd -= vectors_fd.mean(axis=0)
    vectors_fd /= np.maximum(np.linalg.norm(vectors_fd, axis=1, keepdims=True), 1e-9)
    similarity_ff = vectors_fd @ vectors_fd.T
    np.fill_diagonal(similarity_ff, -1)
    return similarity_ff


def loop_pairs(score_ff: np.ndarray, frames: list[Frame], minimum: float) -> set[tuple[int, int]]:
    """Each frame's best partners by score beyond its neighbours in time, spread over time: of a run of frames that look
    alike one in LOOP_SPACING is taken, so that a frame's pairs are not all spent on one moment."""
    sequence_of = {name: number for number, name in enumerate(dict.fromkeys(f.sequence for f in frames))}
    sequence_f = np.array([sequence_of[frame.sequence] for frame in frames])
    index_f = np.arange(len(frames))
    pairs = set()
    for i in index_f:
        near_f = (sequence_f == sequence_f[i]) & (np.abs(index_f - i) <= NEARBY_STEPS)
        free_f = ~near_f & (score_ff[i] > minimum)
        for _ in range(LOOP_PAIRS):
            if not free_f.any():
                break
            j = int(np.argmax(np.where(free_f, score_ff[i], -np.inf)))
            pairs.add((min(i, j), max(i, j)))
            free_f &= (np.abs(index_f - j) >= LOOP_SPACING) | (sequence_f != sequence_f[j])
    return {(int(a), int(b)) for a, b in pairs}


def _named(pairs: set[tuple[int, int]], names: list[str]) -> list[tuple[str, str]]:
    return [(names[a], names[b]) for a, b in sorted(pairs)]


def _root(descriptors_n128: np.ndarray) -> np.ndarray:
    descriptors_n128 = descriptors_n128.astype(np.float32)
    return descriptors_n128 / np.maximum(np.linalg.norm(descriptors_n128, axis=1, keepdims=True), 1e-9)


def _vlad(descriptors_n128: np.ndarray, words_k128: np.ndarray) -> np.ndarray:
    if len(descriptors_n128) == 0:
        return np.zeros(words_k128.size, np.float32)
    distance_nk = (words_k128**2).sum(1) - 2 * descriptors_n128 @ words_k128.T
    word_n = distance_nk.argmin(axis=1)
    vlad_k128 = np.zeros_like(words_k128)
    np.add.at(vlad_k128, word_n, descriptors_n128 - words_k128[word_n])
    vlad_k128 /= np.maximum(np.linalg.norm(vlad_k128, axis=1, keepdims=True), 1e-9)
    return vlad_k128.ravel() / np.sqrt(len(words_k128))
