"""The right scene by itself: a robot that wakes in one of twenty mapped rooms, or in one that nobody mapped."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geo_perception.localization.result import Localization
from geo_perception.localization.scene_set import MultiSceneLocalizer
from geo_training.console import track
from geo_training.datasets.scene import SceneDataset
from geo_training.evaluation.localization.evaluate import outcome_of
from geo_training.evaluation.localization.set import Query
from geo_training.evaluation.predictions import Prediction
from geo_training.experiments.bench import Benchmark, BenchOptions, BenchResult, StageCache
from geo_training.experiments.benches import localization_pipeline as pipeline
from geo_training.experiments.benches.localization_lost import RIGHT_DEG, RIGHT_M, queries_of
from geo_training.metrics.pose import FrameOutcome, recall
from geo_training.synthetic.visits import RoomVisit, write_visits

# The descriptor was chosen on other rooms.
ROOMS, STRANGE = tuple(range(200, 220)), 220
MAPPED, ASKED, EVENING_ASKED, STRANGE_ASKED, WALKS, LANDMARKS = 60, 12, 6, 6, 6, 300
OWN = ("right_first", "right_among_three", "right_scene", "wrong_scene", "recall_5cm_5deg")
METRICS = (
    *OWN,
    *(f"evening_{name}" for name in OWN),
    *("alone_recall_5cm_5deg", "propose_ms_p50", "localization_ms_p50", "propose_share", "woken_asked"),
    *("walk_right_scene", "walk_asked"),
    *("strange_refused_by_all", "strange_refused", "view_bytes", "scene_bytes", "scene_mb", "load_ms_p50"),
)


@dataclass(frozen=True)
class _Woken:
    """What a folder answered to a frame, with the rank of the scene of its room among those proposed."""

    room: str
    rank: int
    result: Localization
    asked: int


def run(data_root: Path, stages: StageCache, options: BenchOptions) -> BenchResult:
    """Maps each room with its poses, makes a scene of it in seconds, and asks all of them for frames of another walk,
    and of one in other light (`evening_`): each frame alone, as by a robot that has just been switched on, and the
    walks by day in one go.

    `propose_share` is the median of the time that proposing takes by that of the rest, over frames that one scene was
    asked for.
    """
    folder = stages.folder / "scenes"
    folder.mkdir(exist_ok=True)
    queries: dict[str, list[Query]] = {}
    evening: list[tuple[str, Query]] = []
    for seed in ROOMS:
        part = stages.part(f"room_{seed}")
        root = _dataset(part, seed)
        pipeline.map_stage(part, root, "known")
        pipeline.landmarks_stage(part, root, LANDMARKS)
        scene, _ = pipeline.head_stage(part, root, options, steps=0)
        shutil.copyfile(scene, folder / f"room_{seed}.safetensors")
        queries[f"room_{seed}"] = queries_of(SceneDataset(root), "day")
        evening += [(f"room_{seed}", query) for query in queries_of(SceneDataset(root), "evening")]
    strange = queries_of(SceneDataset(_strange(stages.part(f"room_{STRANGE}"))))

    localizer = MultiSceneLocalizer.load(folder, options.device)
    localizer.warm_up()
    metrics = _loading(localizer)

    def measured(name: str, measure: Callable[[], dict[str, float]]) -> dict[str, float]:
        found = stages.stage(name, measure)
        return {key: value for key, value in found.items() if key != "wall_s"}

    asked = [(room, query) for room, of_room in queries.items() for query in of_room]
    metrics |= measured(
        "waking", lambda: _waking(localizer, asked, options.seed) | _alone(localizer, asked, options.seed)
    )
    metrics |= measured("strangers", lambda: _of_strangers(localizer, strange, options.seed))
    metrics |= pipeline.prefixed("evening", measured("evening", lambda: _waking(localizer, evening, options.seed)))
    metrics |= measured("walks", lambda: _walking(localizer, dict(list(queries.items())[:WALKS]), options.seed))
    config = {"rooms": ROOMS, "strange": STRANGE, "landmarks": LANDMARKS, "steps": 0}
    return BenchResult(metrics, config)


def _dataset(part: StageCache, seed: int) -> Path:
    """A furnished room, mapped by day, asked on another walk by day and on one in the evening."""
    visits = (
        RoomVisit("map", "train", seed, "own", 1, MAPPED, "daylight", 3.0),
        RoomVisit("day", "test", seed, "own", 2, ASKED, "daylight", -2.0),
        RoomVisit("evening", "test", seed, "own", 3, EVENING_ASKED, "evening", -1.0),
    )
    return _rendered(part, visits)


def _strange(part: StageCache) -> Path:
    """A room of the same kind of furniture that is in no scene."""
    return _rendered(part, (RoomVisit("day", "test", STRANGE, "own", 2, STRANGE_ASKED, "daylight", -2.0),))


def _rendered(part: StageCache, visits: Sequence[RoomVisit]) -> Path:
    root = part.folder / "dataset"
    part.stage("dataset", lambda: {"frames": write_visits(root, visits, "a rendered room", overwrite=True)})
    return root


def _loading(localizer: MultiSceneLocalizer) -> dict[str, float]:
    """Loads every scene, so that no frame waits for it later; what they take."""
    seconds = []
    for name in localizer.folder.scenes:
        started_s = time.perf_counter()
        localizer.localizer_of(name)
        seconds.append(time.perf_counter() - started_s)
    scenes = localizer.folder.scenes.values()
    views = [scene.views for scene in scenes if scene.views is not None]
    return {
        "view_bytes": float(np.mean([one.bytes_per_view for one in views])),
        "scene_bytes": localizer.size_bytes / len(scenes),
        "scene_mb": localizer.loaded_mb / len(localizer.loaded),
        "load_ms_p50": 1e3 * float(np.median(seconds)),
    }


def _waking(localizer: MultiSceneLocalizer, asked: Sequence[tuple[str, Query]], seed: int) -> dict[str, float]:
    """Each frame on its own, as by a robot that has just been switched on."""
    woken = [_woken(localizer, room, query, seed, True) for room, query in track(asked, "waking")]
    found = [_outcome(query, one.result, one.room) for (_, query), one in zip(asked, woken, strict=True)]
    timed = [one.result.timings_s for one in woken if one.asked == 1]
    propose_s = np.array([timings["propose"] for timings in timed])
    rest_s = np.array([timings["total"] for timings in timed]) - propose_s
    return {
        "right_first": float(np.mean([one.rank == 1 for one in woken])),
        "right_among_three": float(np.mean([1 <= one.rank <= 3 for one in woken])),
        "right_scene": float(np.mean([one.result.localized and one.result.scene == one.room for one in woken])),
        "wrong_scene": float(np.mean([one.result.localized and one.result.scene != one.room for one in woken])),
        "recall_5cm_5deg": recall(found, RIGHT_M, RIGHT_DEG),
        "propose_ms_p50": 1e3 * float(np.median(propose_s)),
        "localization_ms_p50": 1e3 * float(np.median(rest_s)),
        "propose_share": float(np.median(propose_s / rest_s)),
        "woken_asked": float(np.mean([one.asked for one in woken])),
    }


def _alone(localizer: MultiSceneLocalizer, asked: Sequence[tuple[str, Query]], seed: int) -> dict[str, float]:
    """What the scene of its room says of each frame when it alone is asked."""
    alone = []
    for room, query in track(asked, "alone"):
        single = localizer.localizer_of(room)
        assert single is not None
        alone.append(_outcome(query, single.estimate(query.load(), query.camera, seed), ""))
    return {"alone_recall_5cm_5deg": recall(alone, RIGHT_M, RIGHT_DEG)}


def _walking(localizer: MultiSceneLocalizer, walks: dict[str, list[Query]], seed: int) -> dict[str, float]:
    """Walks in one go: only the first frame of each forgets where the robot was."""
    found = [
        _woken(localizer, room, query, seed, query is of_room[0])
        for room, of_room in track(list(walks.items()), "walking")
        for query in of_room
    ]
    return {
        "walk_right_scene": float(np.mean([one.result.localized and one.result.scene == one.room for one in found])),
        "walk_asked": float(np.mean([one.asked for one in found])),
    }


def _woken(localizer: MultiSceneLocalizer, room: str, query: Query, seed: int, forgets: bool) -> _Woken:
    if forgets:
        localizer.forget()
    result = localizer.estimate(query.load(), query.camera, seed)
    standing = localizer.standing
    ranks = [one.scene for one in standing.proposed]
    return _Woken(room, ranks.index(room) + 1 if room in ranks else 0, result, len(standing.asked))


def _outcome(query: Query, result: Localization, room: str) -> FrameOutcome:
    """How far a pose is off; one in another room is none."""
    outcome = outcome_of(query, Prediction(query.name, result, result.timings_s.get("total", float("nan"))))
    if result.scene == room:
        return outcome
    return FrameOutcome(query.name, query.sequence, query.stamp_ns, "in a wrong scene", query.T_true)


def _of_strangers(localizer: MultiSceneLocalizer, strange: Sequence[Query], seed: int) -> dict[str, float]:
    """Frames of a room that nobody mapped: refused as the folder asks its scenes, and by each of all scenes."""
    refused, by_all = [], []
    for query in track(strange, "strangers"):
        image_hw3 = query.load()
        localizer.forget()
        refused.append(not localizer.estimate(image_hw3, query.camera, seed).localized)
        localizer.forget()
        found = []
        for name in localizer.folder.scenes:
            single = localizer.localizer_of(name)
            assert single is not None
            single.options = localizer.options_for(name)
            found.append(single.estimate(image_hw3, query.camera, seed).localized)
        by_all.append(not any(found))
    return {"strange_refused_by_all": float(np.mean(by_all)), "strange_refused": float(np.mean(refused))}


BENCHMARK = Benchmark(
    name="scenes",
    summary="twenty rendered rooms in a folder of scenes: whether the right one is proposed, what proposing costs, and "
    "whether a room that nobody mapped is refused by all",
    data=(),
    needs="nothing: it renders its rooms",
    duration="15 to 20 minutes on 2 cores",
    metrics=METRICS,
    run=run,
)
