"""Which points of the map become landmarks: robust, seen often and from many sides, spread over the scene, and enough
of them in every frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from geo_perception.errors import InputError
from geo_training.datasets.tally import Tally
from geo_training.mapping.landmark_set import SEEN, LandmarkSet
from geo_training.mapping.point_statistics import PointStatistics, point_statistics, robustness_score
from geo_training.mapping.scene_map import SceneMap
from geo_training.mapping.visibility import DEPTH_FLOOR_M, depth_ratio, three_states

MIN_LANDMARKS = 20  # fewer cannot localize a camera reliably
POOL_PER_FRAME = 3  # candidates that a frame should see for each landmark it should see
MAX_POOL = 8000
MIN_AGREEMENT = 0.5  # of measured depth with a point, over its own track
# How far a landmark may be: metres, or median distances where the scale of the map is unknown.
MAX_DEPTH_M, MAX_DEPTH_MEDIANS = 10.0, 4.0
MAX_RELATIVE_SIGMA = 0.02  # of a point's position, as a share of its mean depth
# The limits are eased together, step by step, until there are enough candidates.
TRACK_LENGTHS = (25, 15, 10, 7, 5, 4, 3)
SPANS_RAD = (0.3, 0.25, 0.2, 0.15, 0.1, 0.06, 0.03)


@dataclass(frozen=True)
class SelectionOptions:
    """`frame_target`: landmarks that every frame should see. `max_depth`: mean distance from the cameras, in metres; in
    a map of unknown scale, whose unit means nothing, in median distances of the map. None: MAX_DEPTH_M or
    MAX_DEPTH_MEDIANS."""

    count: int = 600
    max_depth: float | None = None
    max_error_px: float = 2.0
    frame_target: int = 30
    coverage_weight: float = 6.0
    shrink: float = 0.5  # of the minimum distance, after each pass


def depth_limit(scene: SceneMap, options: SelectionOptions) -> float:
    """The largest mean distance of a landmark from the cameras, in the unit of the map."""
    if scene.metric:
        return MAX_DEPTH_M if options.max_depth is None else options.max_depth
    return (MAX_DEPTH_MEDIANS if options.max_depth is None else options.max_depth) * scene.median_distance


def unsound(statistics: PointStatistics, scene: SceneMap, options: SelectionOptions) -> dict[str, np.ndarray]:
    """Which points (N,) can be no landmarks, by the reason."""
    few_views_n = (statistics.track_n < TRACK_LENGTHS[-1]) | (statistics.span_rad_n < SPANS_RAD[-1])
    exact_n = statistics.sigma_n < MAX_RELATIVE_SIGMA * statistics.mean_depth_n
    return {
        "too far away": ~(statistics.mean_depth_n <= depth_limit(scene, options)),
        "seen from too few places": few_views_n,
        "not placed exactly enough": ~(exact_n & (statistics.error_px_n <= options.max_error_px)),
    }


def candidates(
    statistics: PointStatistics, score_n: np.ndarray, scene: SceneMap, options: SelectionOptions
) -> tuple[np.ndarray, dict]:
    """Indices of the points that may become landmarks, and the limits they passed.

    The limits on track length and angular span are eased only as far as it takes to have three for each landmark
    wanted. A frame that still sees few of those brings its own best sound points, whatever their track.
    """
    sound_n = ~np.any(list(unsound(statistics, scene, options).values()), axis=0)
    for min_track, min_span_rad in zip(TRACK_LENGTHS, SPANS_RAD, strict=True):
        passed_n = sound_n & (statistics.track_n >= min_track) & (statistics.span_rad_n >= min_span_rad)
        if passed_n.sum() >= 3 * options.count:
            break
    keep_n = passed_n.copy()
    enough = POOL_PER_FRAME * options.frame_target
    for frame in range(len(scene.frame_names)):
        mine = np.unique(scene.tracks.point_m[scene.tracks.frame_m == frame])
        mine = mine[sound_n[mine]]
        if keep_n[mine].sum() < enough:
            keep_n[mine[np.argsort(-score_n[mine], kind="stable")][:enough]] = True
    return np.flatnonzero(keep_n), {"min_track": min_track, "min_span_rad": min_span_rad}


def greedy_selection(
    points_c3: np.ndarray, score_c: np.ndarray, seen_fc: np.ndarray, options: SelectionOptions
) -> tuple[np.ndarray, np.ndarray, float]:
    """Chooses up to `options.count` of C candidates: each time the one with the best score plus what it adds to frames
    that do not see `frame_target` landmarks yet, not nearer than the minimum distance to one already chosen. When none
    is left that far away, the distance shrinks; after the last pass it is zero, so this ends.

    Returns the chosen indices in order, their values when chosen, and the minimum distance reached.
    """
    extent = _extent(points_c3)
    distance, floor = extent / 64, extent / 2000
    open_c = np.ones(len(points_c3), bool)  # neither chosen nor too near to one that is
    chosen: list[int] = []
    values: list[float] = []
    nearest_c = np.full(len(points_c3), np.inf)
    count_f = np.zeros(len(seen_fc))  # of the frames that do not see enough yet
    seen_float_fc = seen_fc.astype(np.float32)  # by those
    # Half of the weight is for helping many frames, as a share of what the most seen candidates help.
    many = max(float(np.percentile(seen_fc.sum(axis=0), 90)), 1.0)
    taken_c = np.zeros(len(points_c3), bool)
    while len(chosen) < options.count:
        if not open_c.any():
            if distance == 0 or taken_c.all():
                break
            distance = distance * options.shrink if distance * options.shrink > floor else 0.0
            open_c = ~taken_c & (nearest_c >= distance)
            continue
        lack_f = (1 - count_f / options.frame_target).astype(np.float32)
        # The other half is for the neediest frame that it helps, so that no corner of the scene is forgotten.
        neediest_c = (lack_f[:, None] * seen_float_fc).max(axis=0, initial=0)
        gain_c = 0.5 * (lack_f @ seen_float_fc) / many + 0.5 * neediest_c
        value_c = score_c + options.coverage_weight * gain_c
        best = int(np.argmax(np.where(open_c, value_c, -np.inf)))
        chosen.append(best)
        values.append(float(value_c[best]))
        taken_c[best] = True
        count_f += seen_float_fc[:, best]
        needy_f = count_f < options.frame_target
        if not needy_f.all():
            count_f, seen_float_fc = count_f[needy_f], seen_float_fc[needy_f]
        nearest_c = np.minimum(nearest_c, np.linalg.norm(points_c3 - points_c3[best], axis=1))
        open_c &= ~taken_c & (nearest_c >= distance)
    reached = min_distance(points_c3[chosen])
    return np.array(chosen, int), np.array(values), reached


def select_landmarks(
    scene: SceneMap,
    options: SelectionOptions = SelectionOptions(),
    depth_of: Callable[[str], np.ndarray | None] | None = None,
) -> LandmarkSet:
    """Chooses landmarks from the map and says who sees them. `depth_of` gives a frame's measured depth (H, W), 0 where
    unknown, or None.

    Returns fewer than `options.count` where the map has no more that can be used (the report says so). Raises
    InputError where there are fewer than MIN_LANDMARKS.
    """
    if not scene.frame_names or len(scene.points_world_n3) == 0:
        raise InputError("the map holds no points; map more or sharper images")
    statistics = point_statistics(scene)
    score_n = robustness_score(statistics)
    pool, limits = candidates(statistics, score_n, scene, options)
    if len(pool) < MIN_LANDMARKS:
        raise InputError(
            f"only {len(pool)} of {len(scene.points_world_n3)} points can serve as landmarks, at least {MIN_LANDMARKS} "
            f"are needed (track of 3 frames, depth up to {depth_limit(scene, options):.3g} "
            f"{'m' if scene.metric else 'units of the map'}, error up to {options.max_error_px:g} px); record more "
            "views of the scene, or raise --max-depth"
        )
    pool = pool[np.argsort(-score_n[pool], kind="stable")][:MAX_POOL]
    scaled_depth_of, depth_unit = _depth_in_map_units(scene, depth_of)
    visibility = three_states(scene, pool, scaled_depth_of, DEPTH_FLOOR_M / depth_unit)
    # A point that measured depth contradicts in most of its own track is a wrong match, or has moved.
    agrees = ~(visibility.agreement_l < MIN_AGREEMENT)
    contradicted, kept = int((~agrees).sum()), np.flatnonzero(agrees)
    if len(kept) < MIN_LANDMARKS:
        raise InputError(
            f"measured depth contradicts {contradicted} of {len(pool)} candidates: depth and poses do not fit; run "
            "`geo-train dataset check`, or remove the dataset's depth folder"
        )
    score_c = score_n[pool[kept]] + np.nan_to_num(visibility.agreement_l[kept], nan=MIN_AGREEMENT)
    chosen, values, distance = greedy_selection(
        scene.points_world_n3[pool[kept]], score_c, visibility.state_fl[:, kept] == SEEN, options
    )
    index_l = pool[kept[chosen]]
    state_fl, pixels_fl2 = visibility.state_fl[:, kept[chosen]], visibility.pixels_fl2[:, kept[chosen]]
    seen_f = (state_fl == SEEN).sum(axis=1)
    tally = Tally("the map", "points", len(statistics.track_n), len(chosen))
    counted_n = np.zeros(len(statistics.track_n), bool)
    for reason, wrong_n in unsound(statistics, scene, options).items():
        tally.leave_out(reason, int((wrong_n & ~counted_n).sum()))
        counted_n |= wrong_n
    tally.leave_out("that measured depth contradicts", contradicted)
    tally.leave_out("not needed beside these", tally.found - tally.used - sum(tally.left_out.values()))
    report = {
        "count": len(chosen),
        "asked": options.count,
        "candidates": len(kept),
        "contradicted_by_depth": contradicted,
        "taken": tally.to_dict(),
        "taken_words": tally.sentence,
        "limits": limits | {"max_depth": depth_limit(scene, options)},
        "median_depth": scene.median_distance,
        "frames": len(scene.frame_names),
        "seen_per_frame_min": int(seen_f.min()),
        "seen_per_frame_median": float(np.median(seen_f)),
        "frames_below_10": int((seen_f < 10).sum()),
        "frames_per_landmark_median": float(np.median((state_fl == SEEN).sum(axis=0))),
        "track_median": float(np.median(statistics.track_n[index_l])),
        "error_px_median": float(np.median(statistics.error_px_n[index_l])),
        "span_rad_median": float(np.median(statistics.span_rad_n[index_l])),
        "sigma_median": float(np.median(statistics.sigma_n[index_l])),
        "min_distance": distance,
        "visibility_from_depth": scaled_depth_of is not None,
        "metric": scene.metric,
        "seen_share": float((state_fl == SEEN).mean()),
        "unknown_share": float((state_fl == 0).mean()),
    }
    points_l3 = scene.points_world_n3[index_l].astype(np.float32)
    return LandmarkSet(points_l3, values.astype(np.float32), scene.frame_names, state_fl, pixels_fl2, report)


def min_distance(points_n3: np.ndarray) -> float:
    """The smallest distance between two of the points; 0 for fewer than two."""
    if len(points_n3) < 2:
        return 0.0
    return float(cKDTree(points_n3).query(points_n3, k=2)[0][:, 1].min())


def _extent(points_n3: np.ndarray) -> float:
    """The diagonal of the box that holds the middle 90 % of the points along each axis."""
    low_3, high_3 = np.percentile(points_n3, [5, 95], axis=0)
    return float(np.linalg.norm(high_3 - low_3))


def _depth_in_map_units(scene: SceneMap, depth_of: Callable[[str], np.ndarray | None] | None):
    """`depth_of` in the unit of the map (None without enough depth), and the size of that unit in the depth's."""
    ratio = depth_ratio(scene, depth_of) if depth_of is not None else None
    if ratio is None or ratio <= 0:
        return None, 1.0
    if scene.metric:
        return depth_of, 1.0

    def scaled(name: str) -> np.ndarray | None:
        depth_hw = depth_of(name)
        return None if depth_hw is None else depth_hw / np.float32(ratio)

    return scaled, ratio
