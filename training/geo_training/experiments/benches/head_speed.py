"""How soon a scene's landmarks are found: SLD* trained whole, the shared-backbone paper's network and head, and ours
from nothing and from the analytic start, on the same frames and landmarks in one run."""

from __future__ import annotations

import copy
import math
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import torch

from geo_perception.localization.estimator import Localizer, LocalizerOptions
from geo_perception.localization.scene import Scene
from geo_perception.runtime.backbone import create_backbone
from geo_perception.runtime.device import pick_device
from geo_training.console import say
from geo_training.datasets.scene import SceneDataset, camera_to_dict
from geo_training.datasets.splits import time_block_split
from geo_training.engine.loop import LoopResult
from geo_training.engine.run import run_fit, run_folder
from geo_training.evaluation.localization.predictions import Estimator
from geo_training.evaluation.localization.set import Query, dataset_queries, true_poses
from geo_training.experiments.bench import Benchmark, BenchOptions, BenchResult, StageCache
from geo_training.experiments.benches import localization_pipeline as pipeline
from geo_training.experiments.landmark_papers.config import CONFIGS, ReferenceConfig
from geo_training.experiments.landmark_papers.fit import ReferenceTask, length_unit, open_data, with_steps
from geo_training.experiments.landmark_papers.measure import measure_frames
from geo_training.experiments.landmark_papers.networks import ReferenceNetwork
from geo_training.localization.config import HeadTrainingConfig
from geo_training.localization.data import HeadData
from geo_training.localization.fit import HeadTask
from geo_training.report.charts import ACCENT, BAD, GOOD, THIRD, axis, line, make_chart
from geo_training.report.numbers import number
from geo_training.report.page import tables_page, write_page
from geo_training.report.tables import TableSection

SLD_STAR, PAPER, SCRATCH, ANALYTIC = "sld_star", "paper", "scratch", "analytic"
CONTENDERS = {
    SLD_STAR: "SLD*, trained whole",
    PAPER: "the paper's network and head",
    SCRATCH: "ours, from nothing",
    ANALYTIC: "ours, from the analytic start",
}
COLORS = {SLD_STAR: BAD, PAPER: THIRD, SCRATCH: ACCENT, ANALYTIC: GOOD}
SHARES = {SLD_STAR: 0.61, PAPER: 0.15, SCRATCH: 0.12, ANALYTIC: 0.12}  # of the minutes
REACHED = 0.9  # of the best recall
RECALL = "recall_5cm_5deg"
FIRST_SHARE, BLOCK_FRAMES = 0.7, 10
PAGE = "head_speed.html"
_PACE_STEPS = 3


@dataclass(frozen=True)
class Size:
    """What is learned, and by which networks. `frames`: of the walk, the first ones; all where it is None.

    `paper` is the config of its network and head; `reference` and `own` are changes of the configs. `weights` is a file
    below the data root with those of the paper's backbone; without it the backbone starts as its config says.
    """

    frames: int | None
    network_width_px: int
    landmarks: int
    networks: int
    paper: str
    evaluations: int
    sld_star: dict[str, Any] = field(default_factory=dict)
    own: dict[str, Any] = field(default_factory=dict)
    weights: str = ""


# SLD* would train for days on two cores, and ResNeXt-101 has no weights in a package: hence fewer frames, smaller
# images, one network for all landmarks, and EfficientNet as the paper's backbone, one of its alternatives.
SMALL = Size(
    frames=120, network_width_px=320, landmarks=100, networks=1, paper="paper_efficientnet", evaluations=8,
    sld_star={"batch": 2}, own={"views": 2},
)  # fmt: skip


def run(data_root: Path, stages: StageCache, options: BenchOptions, size: Size = SMALL) -> BenchResult:
    """Metrics and, in the work folder, a page with the curves. Seconds are those of training alone, with what prepares
    it (features, closed form), without the evaluations between; recall is that of the test frames, by the landmarks
    alone."""
    root = pipeline.import_stage(stages, data_root / "office", "images")
    counts = pipeline.split_stage(stages, root, lambda frames: _split(list(frames)[: size.frames]))
    pipeline.map_stage(stages, root, "known")
    pipeline.landmarks_stage(stages, root, size.landmarks)
    test = _test_queries(root)
    assert options.minutes is not None  # the benchmark has its own
    results = {}
    for name in CONTENDERS:
        seconds = 60 * options.minutes * SHARES[name]

        def learn(name: str = name, seconds: float = seconds) -> dict:
            contender = _contender(name, root, data_root, options, size)
            return train_for(contender, seconds, test, stages.folder / f"{name}.safetensors")

        results[name] = stages.stage(CONTENDERS[name], learn)
    curves = {name: [tuple(point) for point in result["curve"]] for name, result in results.items()}
    metrics = speed_metrics(curves)
    metrics |= {f"{name}_steps": result["steps"] for name, result in results.items()}
    split = {"first_share": FIRST_SHARE, "block_frames": BLOCK_FRAMES, **counts}
    config = {"size": asdict(size), "split": split, "contenders": {name: r["config"] for name, r in results.items()}}
    page = write_page(stages.folder / PAGE, speed_page(curves, metrics, config))
    say(f"the curves: {page}")
    return BenchResult(metrics, config | {"curves": curves})


def seconds_to(curve: list[tuple[float, float]], recall: float) -> float:
    """When a curve of (seconds, recall) first has this recall; infinite where it never has."""
    return next((seconds for seconds, own in curve if own >= recall), math.inf)


def speed_metrics(curves: dict[str, list[tuple[float, float]]]) -> dict[str, float]:
    """Of each contender: seconds to 90 % of the best recall of all and of its own, its best and its final recall.

    `..._speedup` says how many times sooner than SLD* it had 90 % of SLD*'s best recall: not known where SLD* never
    found a frame, 0 where it never had that recall.
    """
    best = {name: max(recall for _, recall in curve) for name, curve in curves.items()}
    metrics: dict[str, float] = {}
    for name, curve in curves.items():
        metrics |= {
            f"{name}_seconds_to_90pct_of_best": _reached(curve, max(best.values())),
            f"{name}_seconds_to_90pct_of_own": _reached(curve, best[name]),
            f"{name}_best_recall": best[name],
            f"{name}_final_recall": curve[-1][1],
            f"{name}_trained_s": curve[-1][0],
        }
        if name != SLD_STAR:
            theirs = _reached(curves[SLD_STAR], best[SLD_STAR])
            metrics[f"{name}_speedup"] = theirs / _reached(curve, best[SLD_STAR]) if best[SLD_STAR] > 0 else math.nan
    return metrics


def _reached(curve: list[tuple[float, float]], best: float) -> float:
    return seconds_to(curve, REACHED * best) if best > 0 else math.inf


def speed_chart(curves: dict[str, list[tuple[float, float]]]) -> go.Figure:
    """Recall over seconds, a line for each contender."""
    traces = [
        line([seconds for seconds, _ in curve], [100 * recall for _, recall in curve], CONTENDERS[name], COLORS[name],
             "%{x:.0f} s: %{y:.0f} %", mode="lines+markers")
        for name, curve in curves.items()
    ]  # fmt: skip
    seconds_axis = axis("seconds of training", type="log")
    return make_chart(traces, xaxis=seconds_axis, yaxis=axis("within 5 cm and 5° (%)", range=[0, 101]))


def speed_page(curves: dict[str, list[tuple[float, float]]], metrics: dict[str, float], config: dict) -> str:
    """The page: the curves, and a table."""
    header = ["", "seconds to 90 % of the best", "to 90 % of its own", "best recall", "final recall", "speed-up"]
    rows = [
        [
            title,
            number(metrics[f"{name}_seconds_to_90pct_of_best"], 0),
            number(metrics[f"{name}_seconds_to_90pct_of_own"], 0),
            number(metrics[f"{name}_best_recall"], 3),
            number(metrics[f"{name}_final_recall"], 3),
            number(metrics.get(f"{name}_speedup", 1.0), 1),
        ]
        for name, title in CONTENDERS.items()
    ]
    size = config["size"]
    sentences = (
        f"{config['split']['train']} frames to learn from, {config['split']['test']} to ask, {size['landmarks']} "
        f"landmarks, images {size['network_width_px']} px wide; poses by the landmarks alone.",
        f"SLD* has {size['networks']} network(s); the paper's network and head are {size['paper']}.yaml.",
        "Speed-up: how many times sooner than SLD* a contender had 90 % of SLD*'s best recall.",
    )
    sections = [
        TableSection("Recall over seconds", "", None, speed_chart(curves)),
        TableSection("Figures", "", (header, rows)),
    ]
    return tables_page("How soon landmarks are found", sentences, sections, config)


@dataclass
class Contender:
    """A training that is ready to begin. `before_s` is what its preparation took, and `start_s` what it took before
    its start could be asked; `steps` are the most that it takes."""

    task: Any
    config: Any
    localizer: Callable[[torch.nn.Module], Estimator]
    data: HeadData
    steps: int
    before_s: float
    start_s: float


def train_for(contender: Contender, seconds: float, test: list[Query], out: Path) -> dict:
    """Trains for about so long, its preparation included, and asks the test frames on the way: `curve` has (seconds,
    recall), `steps` were taken, `config` was trained with."""
    pace_s = _seconds_a_step(contender)
    left_s = max(seconds - contender.before_s, 0.0)
    steps = max(1, min(contender.steps, int(left_s / pace_s)))
    say(f"{steps} steps of {pace_s:.2f} s, after {contender.before_s:.0f} s of preparation")
    config = contender.config.model_copy(update={"steps": steps})
    shutil.rmtree(run_folder(out), ignore_errors=True)  # its clock begins anew
    timed = TimedTask(contender, test)
    result = run_fit(config, out, lambda *_: timed, overwrite=True, half=getattr(config, "half", True))
    curve = [(record["trained_s"], record[RECALL]) for record in result.history]
    return {"curve": curve, "steps": steps, "pace_s": pace_s, "config": config.to_json()}


class TimedTask:
    """A contender's training whose evaluations ask the test frames, and which knows how long it has been trained."""

    def __init__(self, contender: Contender, test: list[Query]):
        self._contender, self._test = contender, test
        self._begun_s: float | None = None
        self._evaluated_s = 0.0
        self.network, self.loss_weights = contender.task.network, contender.task.loss_weights
        self.start = getattr(contender.task, "start", None)
        self.fingerprint = "timed"

    def batches(self, epoch: int, first: int = 0) -> Iterator[Any]:
        if self._begun_s is None:
            self._begun_s, self._evaluated_s = time.perf_counter(), 0.0
        return self._contender.task.batches(epoch, first)

    def losses(self, network, batch) -> dict[str, torch.Tensor]:
        return self._contender.task.losses(network, batch)

    def evaluate(self, network) -> dict[str, float]:
        asked_s = time.perf_counter()
        trained_s = self._contender.start_s
        if self._begun_s is not None:
            trained_s = self._contender.before_s + asked_s - self._begun_s - self._evaluated_s
        localizer = self._contender.localizer(copy.deepcopy(network))
        metrics = measure_frames(localizer, self._test, length_unit(self._contender.data))
        self._evaluated_s += time.perf_counter() - asked_s
        return {"trained_s": trained_s, RECALL: metrics[RECALL], "landmark_px": metrics["landmark_px"]}

    def save(self, out: Path, result: LoopResult) -> dict[str, float]:
        return {}


def _seconds_a_step(contender: Contender) -> float:
    """What a step takes on this machine: the mean of a few on a copy of the network, after a first one."""
    task, network = contender.task, copy.deepcopy(contender.task.network).to(_device(contender.config)).train()
    batches, started_s, steps = iter(task.batches(0)), 0.0, 0
    for step in range(1 + _PACE_STEPS):
        if step == 1:
            started_s = time.perf_counter()
        batch = next(batches, None)
        if batch is None:
            break
        terms = task.losses(network, batch)
        sum(weight * terms[name] for name, weight in task.loss_weights.items()).backward()
        steps = step
    return max((time.perf_counter() - started_s) / max(steps, 1), 1e-4)


def _contender(name: str, root: Path, data_root: Path, options: BenchOptions, size: Size) -> Contender:
    make = _reference if name in (SLD_STAR, PAPER) else _ours
    return make(name, root, data_root, options, size)


def _reference(name: str, root: Path, data_root: Path, options: BenchOptions, size: Size) -> Contender:
    networks = size.networks if name == SLD_STAR else 1
    changes = {"networks": networks, "landmarks_each": size.landmarks // networks, "held_out": 0.0,
               "network_width_px": size.network_width_px, "evaluations": size.evaluations,
               "seed": options.seed, "device": options.device}  # fmt: skip
    changes |= size.sld_star if name == SLD_STAR else {}
    config = ReferenceConfig.load(CONFIGS / f"{name if name == SLD_STAR else size.paper}.yaml", **changes)
    weights = data_root / size.weights
    if name == PAPER and size.weights and weights.is_file():
        config = config.model_copy(update={"backbone": config.backbone.model_copy(update={"file": weights})})
    data, network = open_data(root, config), ReferenceNetwork(config)
    steps = with_steps(config, len(data.training), network).steps
    started_s = time.perf_counter()
    task = ReferenceTask(data, config, network, _device(config))
    task.prepare()
    return Contender(task, config, task.localizer, data, steps, time.perf_counter() - started_s, 0.0)


def _ours(name: str, root: Path, data_root: Path, options: BenchOptions, size: Size) -> Contender:
    changes = {"network_width_px": size.network_width_px, "held_out": 0.0, "evaluations": size.evaluations,
               "seed": options.seed, "device": options.device}  # fmt: skip
    changes |= size.own | ({"linear_width": 0} if name == SCRATCH else {})
    config = HeadTrainingConfig.load(None, **changes)
    data = HeadData.open(root, config)
    backbone, device = create_backbone(config.backbone), _device(config)
    task = HeadTask(data, backbone, device)
    task.prepare()
    # From nothing only the features are needed: the rest of the preparation is for the second look.
    start_s = task.start_s if name == ANALYTIC else 0.0

    def localizer(network: torch.nn.Module) -> Localizer:
        camera = data.map.cameras[data.frames[0].name]
        seen = data.network_camera(0)
        scene = Scene(
            data.landmarks.points_world_l3.astype(float), network, backbone, data.network_focal_px,
            (seen.width_px, seen.height_px), camera_to_dict(camera), data.map.metric, data.usual_noise,
        )  # fmt: skip
        return Localizer(scene, str(device), LocalizerOptions(second_look=False))

    return Contender(task, config, localizer, data, config.steps, start_s + task.buffer_s, start_s)


def _split(frames: list) -> list:
    return time_block_split(frames, FIRST_SHARE, BLOCK_FRAMES)


def _test_queries(root: Path) -> list[Query]:
    dataset = SceneDataset(root)
    poses, cameras, _ = true_poses(dataset, "poses")
    return dataset_queries(dataset, dataset.of_split("test"), poses, cameras)


def _device(config) -> torch.device:
    return pick_device(config.device)


METRICS = (
    *(f"{name}_{key}" for name in CONTENDERS for key in (
        "seconds_to_90pct_of_best", "seconds_to_90pct_of_own", "best_recall", "final_recall", "trained_s", "steps")),
    *(f"{name}_speedup" for name in CONTENDERS if name != SLD_STAR),
)  # fmt: skip
BENCHMARK = Benchmark(
    name="head-speed",
    summary="seconds to 90 % of the best recall: SLD* trained whole, the paper's head, ours from nothing and from the "
    "analytic start; small (see head-speed-full)",
    data=("office",),
    needs="office/ (rgb/, depth/, K.txt, poses.txt)",
    duration="as long as --minutes says to train, 11 unless it does, and 3 minutes besides on 2 cores",
    metrics=METRICS,
    run=run,
    minutes=11.0,
)
