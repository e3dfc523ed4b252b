"""What ROS costs: each node, and all three in one process, beside the bare estimators on the same images, in turns."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from geo_perception.errors import InputError
from geo_training.console import progress_bar, say
from geo_training.datasets.scene import Frame, SceneDataset
from geo_training.evaluation.latency import graph
from geo_training.evaluation.latency.figures import (
    Slice,
    ages_in_frames,
    container_ratios,
    node_ratios,
    percentile,
    worst,
)
from geo_training.evaluation.latency.pictures import COMPRESSED, RAW, Pictures, brought_to_size
from geo_training.evaluation.replay.process import Process, graph_of_its_own
from geo_training.experiments.bench import Benchmark, BenchOptions, BenchResult, StageCache
from geo_training.experiments.benches import localization_pipeline as pipeline

NODES = ("localization", "calibration", "depth")
CONTAINER = "container"
GROUPS = {**{name: (name,) for name in NODES}, CONTAINER: NODES}
CELLS = tuple((transport, rate_hz) for transport in (RAW, COMPRESSED) for rate_hz in (10, 30))
MINUTES = 7.0
SLICE_S, WARM_UP_S, WARM_UPS = 2.0, 4.0, 8
_MIDDLEWARE = "FASTDDS_", "FASTRTPS_", "RMW_", "CYCLONEDDS_"
LANDMARKS, FRAMES = 300, 160  # of the office, half of which are mapped and half shown


def run(data_root: Path, stages: StageCache, options: BenchOptions) -> BenchResult:
    """A camera process shows pictures of the office in 640 x 480, 10 and 30 a second, raw and compressed (JPEG, quality
    90), to one node in a process of its own, then to `perception_container` with all three. Slices of two seconds
    alternate with slices of a process that decodes the same images and calls the same estimators at the same pace, with
    the same engines and threads, without ROS.

    `<node>_ratio_p50`, `<node>_ratio_p99`: what an answer takes, from the publication of its image to its reception by
    another process, against decoding and estimating in the bare process; the worst of the four cells. Time in which an
    image waits for the one before counts on neither side. `container_ratio_p50`: what all answers to an image
    take together, against one decoding and the estimators that answered it. `lost_raw_10hz`: images, of all that were
    published raw at 10 Hz, that a node did not receive. `age_frames_p99`: how old results were when they were received,
    waiting included, in periods of their node's own rate. `start_s`, `rss_mb`: of the container, from the start of its
    process to all nodes active, with engines that were compiled before; and the memory it then has.
    """
    scene, folder = _scene(data_root, stages, options), stages.folder / "pictures"
    stages.stage("pictures", lambda: _save_pictures(stages.folder / "dataset", folder))
    groups = {name: nodes for name, nodes in GROUPS.items() if options.only in (None, name)}
    setup = graph.Setup(folder, scene, options.device, stages.folder)
    cell_s = 60 * (options.minutes or MINUTES) / (len(groups) * len(CELLS))
    measured: dict[str, Group] = {}
    with graph_of_its_own() as environment, progress_bar("node latency", len(groups) * len(CELLS)) as advance:
        for name, nodes in groups.items():
            measured[name] = Group(nodes)
            for cell in measure(setup, measured[name], environment, cell_s):
                advance(1, note=f"{name} {cell}")
    metrics = dict.fromkeys(METRICS, math.nan)
    for name, group in measured.items():
        metrics |= group.metrics(name)
    lost = [group.lost.get(_cell(RAW, 10)) for group in measured.values()]
    metrics["lost_raw_10hz"] = float(sum(n for n in lost if n is not None))
    metrics["age_frames_p99"] = worst(age for group in measured.values() for age in group.ages_p99().values())
    if CONTAINER in measured:
        metrics |= {key: metrics[f"{CONTAINER}_{key}"] for key in ("start_s", "rss_mb")}
    middleware = {name: value for name, value in sorted(os.environ.items()) if name.startswith(_MIDDLEWARE)}
    config = {"cell_s": cell_s, "slice_s": SLICE_S, "middleware": middleware} | {
        name: group.config() for name, group in measured.items()
    }
    return BenchResult(metrics, config)


@dataclass
class Group:
    """Nodes of one process, and what was measured of them: slices and lost images by cell."""

    nodes: Sequence[str]
    slices: dict[str, list[Slice]] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)
    starts_s: list[float] = field(default_factory=list)
    rss_mb: list[float] = field(default_factory=list)
    load: list[float] = field(default_factory=list)
    bare: dict = field(default_factory=dict)

    def metrics(self, name: str) -> dict[str, float]:
        """By the names of the benchmark."""
        cells = {}
        for cell, slices in self.slices.items():
            cells[cell] = node_ratios(slices, name) if len(self.nodes) == 1 else container_ratios(slices)
        found = {f"{name}_{cell}_{key}": value for cell, values in cells.items() for key, value in values.items()}
        for key in ("ratio_p50", "ratio_p99") if len(self.nodes) == 1 else ("ratio_p50",):
            found[f"{name}_{key}"] = worst(values[key] for values in cells.values())
        return found | {f"{name}_start_s": min(self.starts_s), f"{name}_rss_mb": max(self.rss_mb)}

    def ages_p99(self) -> dict[str, float]:
        """By cell."""
        return {cell: percentile(ages_in_frames(of, _rate(cell)), 99) for cell, of in self.slices.items()}

    def config(self) -> dict:
        """What the numbers are of."""
        shown = {cell: sum(len(one.published_s) for one in slices) for cell, slices in self.slices.items()}
        answered = {
            cell: {name: sum(len(one.answers[name]) for one in slices) for name in self.nodes}
            for cell, slices in self.slices.items()
        }
        return {
            "bare": self.bare, "published": shown, "answered": answered, "lost": self.lost, "starts_s": self.starts_s,
            "age_frames_p99": self.ages_p99(),
            "load_average": {"min": min(self.load), "max": max(self.load)},
        }  # fmt: skip


def measure(setup: graph.Setup, group: Group, environment: Mapping[str, str], cell_s: float) -> Iterator[str]:
    """Measures the cells of a group, each as long as asked for. Yields their names."""
    with graph.bare_process(setup, group.nodes, environment) as bare:
        group.bare = graph.asked(bare, None)
        engines = {name: choice["engine"] for name, choice in group.bare["engines"].items()}
        say(f"{' and '.join(group.nodes)}: {', '.join(f'{name} by {engine}' for name, engine in engines.items())}")
        for transport in (RAW, COMPRESSED):
            with ExitStack() as stack:
                listener = stack.enter_context(graph.Listener(group.nodes))
                began_s = time.monotonic()
                command = graph.node_command(setup, group.nodes, transport, engines)
                process = stack.enter_context(Process(command, environment, _process_name(group.nodes)))
                listener.wait_until_active(process)
                group.starts_s.append(time.monotonic() - began_s)
                camera = stack.enter_context(graph.camera_process(setup, transport, environment))
                graph.asked(camera, None, listener.spin)
                _warm_up(listener, camera, bare, transport)
                for rate_hz in (rate for kind, rate in CELLS if kind == transport):
                    cell = _cell(transport, rate_hz)
                    _measure_cell(group, cell, (listener, process, camera, bare), transport, rate_hz, cell_s)
                    group.rss_mb.append(graph.resident_mb(process))
                    yield cell


def _measure_cell(
    group: Group, cell: str, parts: tuple[graph.Listener, Process, Process, Process], transport: str, rate_hz: int,
    cell_s: float,
) -> None:  # fmt: skip
    listener, process, camera, bare = parts
    count, slices = round(SLICE_S * rate_hz), group.slices.setdefault(cell, [])
    before = listener.received(process)
    began_s, shown = time.monotonic(), 0
    while time.monotonic() - began_s < cell_s or len(slices) < 2:
        group.load.append(os.getloadavg()[0])
        first = len(slices) * count
        slices.append(
            graph.slice_of(listener, camera, bare, transport, rate_hz, count, first, bare_first=len(slices) % 2 == 1)
        )
        shown += count
    after = listener.received(process)
    group.lost[cell] = sum(max(0, shown - (after[name] - before[name])) for name in group.nodes)


def _warm_up(listener: graph.Listener, camera: Process, bare: Process, transport: str) -> None:
    """Until every node has answered: a lens is asked for in the first views, a graph compiled for the first size."""
    count = round(10 * WARM_UP_S)
    for _ in range(WARM_UPS):
        _, answers = graph.shown(listener, camera, 10, count, 0)
        graph.asked(bare, {"transport": transport, "rate_hz": 10, "count": 10, "first": 0}, listener.spin)
        if all(answers.values()):
            return
    silent = [graph.node_name(name) for name, found in answers.items() if not found]
    raise InputError(f"{' and '.join(silent)} answered none of {WARM_UPS * count} images")


def _scene(data_root: Path, stages: StageCache, options: BenchOptions) -> Path:
    """A scene of one room of the office whose head was not trained but filled in: it takes as long to run."""
    root = pipeline.import_stage(stages, data_root / "office", "images")
    pipeline.split_stage(stages, root, _split)
    pipeline.map_stage(stages, root, "known")
    pipeline.landmarks_stage(stages, root, LANDMARKS)
    return pipeline.head_stage(stages, root, replace(options, only=None), steps=0)[0]


def _split(frames: Sequence[Frame]) -> list[Frame]:
    """Of the first frames every second is mapped, and the others are shown."""
    return [replace(f, split="train" if n < FRAMES and n % 2 == 0 else "test") for n, f in enumerate(frames)]


def _save_pictures(root: Path, folder: Path) -> dict:
    dataset = SceneDataset(root)
    shown = [frame for number, frame in enumerate(dataset.frames[:FRAMES]) if number % 2]
    pairs = [brought_to_size(dataset.image(frame), dataset.camera(frame)) for frame in shown]
    Pictures(np.stack([image_hw3 for image_hw3, _ in pairs]), pairs[0][1]).save(folder)
    return {"pictures": len(pairs)}


def _cell(transport: str, rate_hz: int) -> str:
    return f"{transport}_{rate_hz}hz"


def _rate(cell: str) -> float:
    return float(cell.rpartition("_")[2].removesuffix("hz"))


def _process_name(nodes: Sequence[str]) -> str:
    return graph.node_name(nodes[0]) if len(nodes) == 1 else "perception_container"


_OF_ALL = (f"{CONTAINER}_ratio_p50", "lost_raw_10hz", "age_frames_p99", "start_s", "rss_mb")
METRICS = (
    *(f"{name}_ratio_{percent}" for name in NODES for percent in ("p50", "p99")),
    *_OF_ALL,
    *(f"{name}_{key}" for name in GROUPS for key in ("start_s", "rss_mb")),
    *(
        f"{name}_{_cell(*cell)}_{key}"
        for name in GROUPS
        for cell in CELLS
        for key in ("ratio_p50", *(() if name == CONTAINER else ("ratio_p99",)), "p50_ms", "bare_p50_ms")
    ),
)
BENCHMARK = Benchmark(
    name="node-latency",
    summary="each node, and all in one process, from the publication of an image to its answer, beside the bare "
    "estimators, in turns",
    data=("office",),
    needs="office/ (rgb/, depth/, K.txt, poses.txt)",
    duration="12 minutes on 2 cores, of which the scene takes 2 (kept by --work); --minutes sets the measuring itself",
    metrics=METRICS,
    run=run,
    minutes=MINUTES,
    parts=tuple(GROUPS),
)
