"""The effect of each loss: five trainings from one start, with as many steps, on walks through a rendered house and
through rendered rooms."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from geo_perception.depth.estimator import DepthEstimator
from geo_perception.runtime.device import pick_device
from geo_training.console import say
from geo_training.datasets.scene import Frame, SceneDataset
from geo_training.datasets.splits import sequence_split
from geo_training.depth import fit
from geo_training.depth.config import DepthTrainingConfig
from geo_training.depth.data.boundaries import make_boundaries
from geo_training.depth.data.depth_masks import DepthMasks
from geo_training.depth.data.instance_masks import FOLDER, MaskFolder
from geo_training.evaluation.depth.evaluate import DepthOptions, evaluate_depth
from geo_training.evaluation.depth.set import dataset_queries
from geo_training.experiments.bench import Benchmark, BenchOptions, BenchResult, StageCache
from geo_training.experiments.benches.depth_claims import (
    CLAIMS,
    DETAILS,
    FLAT,
    FRAME_METRICS,
    METRICS,
    gain,
    named_metrics,
    write_results,
)
from geo_training.experiments.benches.depth_stages import (
    FEWEST_STEPS,
    PACE_FOLDER,
    FlatDepth,
    Pace,
    import_stage,
    measure_pace,
    metrics_of,
    pace_of,
)
from geo_training.experiments.side_by_side import Job, SideBySide, cores_for
from geo_training.metrics.depth import PRESETS
from geo_training.synthetic import depth_rooms

MINUTES = 60.0
HOUSE, ROOMS = "house", "rooms"
LEARNED_WALK, HELD_OUT_WALK = "house/walk_a", "house/walk_c"
ROOM_COUNT, BURSTS, BURST_FRAMES, ROOM_SEED = 12, 4, 8, 11
ROOM_PX = (256, 192)
MEASURE_EVERY = {HOUSE: 5, ROOMS: 2}  # of the held-out frames: neighbours look alike
HOUSE_BLOCK = 3  # measured frames, 1.5 m of a walk; in the rooms a walk is a block
START_SHARE = 0.2  # of a seed's training time
SHARED = 0.85  # of the cores' time that trainings beside each other use: some wait for others, and the last ends alone
SEEDS, LEAST_STEPS = 3, 60  # fewer seeds, where this many steps each do not fit otherwise
# However much time there is: a run that reaches them makes the same trainings on any machine.
MOST_START_STEPS, MOST_STEPS = 1500, 800

# The papers' trainings with our small network, all variants on the same clips in the same size. The rate is higher than
# by default, since there are only some hundred steps. Ego-motion is the renderer's: a motion network that begins with
# drawn weights has hardly found the turns of a camera in the hand after so few, and depth learns its errors meanwhile.
COMMON = {
    "size_px": (96, 64),
    "batch": 4,
    "motion": "known",
    "motion_views": "stacked",
    "augmentation": {"flip": True, "zoom": 1.15, "light": None},
    "learning_rate": 6e-4,
    "backbone_rate": 0.3,
    "evaluations": 1,
}
# As sfmlearner.yaml has it: the paper's weights are for images in -1..1, where errors are twice as large as in 0..1.
BASELINE = {
    "weights": {"photometric": 2.0, "smoothness": 0.5, "mask": 0.2},
    "difference": "l1",
    "reduction": "sum",
    "auto_mask": False,
    "explainability": True,
    "outside": "zeros",
    "scales": "multi",
    "full_resolution": False,
    "smoothness": "second_order",
}
# The boundary term sees disparity divided by its mean: a step of 1 in metres^-1 would be one from 4 m to 0.8 m. The
# weights are the paper's best.
BOUNDARY = BASELINE | {
    "weights": {"photometric": 2.0, "smoothness": 0.75, "boundary": 2.5},
    "explainability": False,
    "boundary_order": 1,
    "boundary_normalized": True,
}
# The keypoint paper's weights are not legible in the text at hand. These are keypoints_paper.yaml's, by which the
# gradient of the term is as strong as the photometric one's.
KEYPOINT = BASELINE | {
    "weights": {"photometric": 2.0, "smoothness": 0.02, "keypoint": 0.04},
    "explainability": False,
    "scales": "single",
    "smoothness": "edge_aware",
    "keypoint_detector": True,
}
# Beside the photometric term of the default, which is several times smaller than the baseline's (a minimum and a mean,
# where that has sums), both terms weigh less in the same measure.
DEFAULT = {"photometric": 1.0, "smoothness": 1e-3, "consistency": 0.5, "confidence": 0.05}
LOSSES = {
    "baseline": BASELINE,
    "boundary": BOUNDARY,
    "keypoint": KEYPOINT,
    "default": {"weights": DEFAULT},
    "default_both": {
        "weights": DEFAULT | {"boundary": 0.4, "keypoint": 0.015},
        "boundary_normalized": True,
    },
}
START, START_LOSSES = "start", "baseline"  # whose losses make the common start
VARIANT_SEED = 1000


@dataclass(frozen=True)
class Plan:
    """How many seeds, and how many steps of the start and of every variant."""

    seeds: int
    start_steps: int
    steps: int


def run(data_root: Path, stages: StageCache, options: BenchOptions) -> BenchResult:
    """Figures are means over seeds, of frames held out: another walk through the house, the last walk through every
    room. `abs_rel` and `d1` (each image by its own scale) and `edge` are the mean of both sets. `gains` in the config
    are the paired differences.

    With one seed `_std` is not a number (null in the JSON). The table is written to the work folder.
    """
    walk, imported = house_stage(stages, data_root)
    held_walk, held = held_out_stage(stages, data_root)
    rooms, rendered = rooms_stage(stages)
    configs = variant_configs((rooms, walk), options)
    held_roots = {ROOMS: rooms, HOUSE: held_walk}
    held_out = HeldOutFrames(held_roots, options.device)
    flat = stages.stage("a flat map", lambda: held_out.measure(FlatDepth()))
    with SideBySide(stages, cores_for(pick_device(options.device).type)) as beside:
        paced = {f"pace of {name}": (config, stages.folder / PACE_FOLDER / name) for name, config in configs.items()}
        began_s = time.perf_counter()
        found = beside.run([Job(stage, measure_pace, asked) for stage, asked in paced.items()])
        spent_s = time.perf_counter() - began_s
        paces = {name: pace_of(found[f"pace of {name}"]) for name in configs}
        # Of a network, not of the flat map, which answers at once.
        probe = min((stages.folder / PACE_FOLDER / START_LOSSES).glob("*[0-9].safetensors"))
        measured = stages.stage("time of measuring", lambda: held_out.measure_file(probe)["figures"])
        spent_s += sum(stage["wall_s"] for stage in (imported, held, rendered, flat, measured))
        left_s = (60 * options.minutes - spent_s) * (1 if beside.jobs == 1 else SHARED * beside.jobs)
        found = stages.stage("plan", lambda: vars(plan_steps(left_s, paces, measured["wall_s"])))
        plan = Plan(**metrics_of(found))
        say(f"{plan.seeds} seeds; {plan.start_steps} steps of the start, {plan.steps} of every variant")
        seeds = tuple(range(options.seed, options.seed + plan.seeds))
        asked = held_roots, options.device
        found = beside.run(trainings(stages.folder, configs, plan, seeds, asked))
    results = {name: [found[stage_name(name, seed)] for seed in seeds] for name in (START, *configs)}
    by_seed = {name: [result["figures"] for result in own] for name, own in results.items()}
    metrics = named_metrics(by_seed)
    metrics |= {f"flat_{key}": value for key, value in flat["figures"].items()}
    metrics |= {f"{name}_step_s": pace.step_s for name, pace in paces.items()} | vars(plan)
    frames = {name: [result["frames"] for result in own] for name, own in results.items()}
    frames[FLAT] = [flat["frames"]] * plan.seeds
    gains = [gain(claim, frames, held_out.blocks) for claim in CLAIMS]
    sentences = [f"{found['sentence']}." for found in gains]
    for sentence in sentences:
        say(sentence)
    about = f"{plan.start_steps} steps of SfMLearner's losses make the common start of a seed; every variant goes on "
    about += f"from it for {plan.steps} steps. Held-out frames, each image by its own scale. A flat map has an abs_rel "
    about += f"of {flat['figures']['abs_rel']:.3f}."
    write_results(results, gains, [about, *sentences], seeds, configs, stages.folder)
    config = {
        "common": COMMON,
        "losses": {name: config.losses.model_dump(mode="json") for name, config in configs.items()},
        "plan": vars(plan),
        "gains": gains,
        "by_seed": by_seed,
        "measured_frames": held_out.counts,
        "blocks": {name: len(set(numbers)) for name, numbers in held_out.blocks.items()},
    }
    return BenchResult(metrics, config)


def stage_name(name: str, seed: int) -> str:
    return f"{name}, seed {seed}"


def trainings(
    folder: Path, configs: dict[str, DepthTrainingConfig], plan: Plan, seeds: Sequence[int], asked: tuple
) -> list[Job]:
    """The starts of all seeds first, since every variant goes on from that of its seed. `asked` is what `learn` takes
    beside the config and the weights."""
    starts, variants = [], []
    for seed in seeds:
        start = folder / f"seed_{seed}" / f"{START}.safetensors"
        config = configs[START_LOSSES].model_copy(update={"seed": seed, "steps": plan.start_steps})
        starts.append(Job(stage_name(START, seed), learn, (config, start, *asked)))
        for name, own in configs.items():
            # Another seed than the start's: with the same, every variant would see the clips of the start again.
            changes = {"seed": VARIANT_SEED + seed, "steps": plan.steps, "start_from": start}
            config, weights = own.model_copy(update=changes), start.with_name(f"{name}.safetensors")
            variants.append(Job(stage_name(name, seed), learn, (config, weights, *asked), stage_name(START, seed)))
    return [*starts, *variants]


def learn(config: DepthTrainingConfig, weights: Path, held_roots: dict[str, Path], device: str) -> dict:
    """Trains and measures; `figures`, `frames` and `train_s`."""
    fitted = fit.fit_depth(config, weights, overwrite=True)
    return HeldOutFrames(held_roots, device).measure_file(fitted.path) | {"train_s": fitted.metrics["train_s"]}


class HeldOutFrames:
    """Measures depth weights on the held-out frames of the rooms and of the house. `blocks` has the number of the block
    that each measured frame belongs to, by set."""

    def __init__(self, roots: dict[str, Path], device: str):
        self.device = device
        datasets = {name: SceneDataset(root) for name, root in roots.items()}
        frames = {name: measured_frames(name, dataset) for name, dataset in datasets.items()}
        self.queries = {name: dataset_queries(datasets[name], own) for name, own in frames.items()}
        self.blocks = {name: block_numbers(name, own) for name, own in frames.items()}

    @property
    def counts(self) -> dict[str, int]:
        return {name: len(queries) for name, queries in self.queries.items()}

    def measure_file(self, path: Path) -> dict:
        return self.measure(DepthEstimator.load(path, self.device))

    def measure(self, estimator) -> dict:
        """`figures`: METRICS and DETAILS; `frames`: FRAME_METRICS of every frame, by set."""
        options = DepthOptions(PRESETS["indoor"])
        found = {name: evaluate_depth(estimator, queries, options) for name, queries in self.queries.items()}
        frames = {
            name: {key: [row.get(key, math.nan) for row in evaluation.rows] for key in FRAME_METRICS}
            for name, evaluation in found.items()
        }
        return {"figures": combined({name: own.metrics for name, own in found.items()}), "frames": frames}


def measured_frames(name: str, dataset: SceneDataset) -> list[Frame]:
    return dataset.of_split("test")[:: MEASURE_EVERY[name]]


def block_numbers(name: str, frames: list[Frame]) -> list[int]:
    """Frames of one block are not independent: those of a walk through a room, and neighbours in the house."""
    if name == HOUSE:
        return [index // HOUSE_BLOCK for index in range(len(frames))]
    sequences = sorted({frame.sequence for frame in frames})
    return [sequences.index(frame.sequence) for frame in frames]


def combined(by_set: dict[str, dict]) -> dict[str, float]:
    """METRICS and DETAILS of one training. All sets weigh the same, however many frames they have."""
    metrics = {key: float(np.mean([own[key] for own in by_set.values()])) for key in (*METRICS, "object_edge")}
    return metrics | {f"{name}_{key}": own[key] for name, own in by_set.items() for key in METRICS}


def house_stage(stages: StageCache, data_root: Path) -> tuple[Path, dict]:
    """The walk that is learned from, with the boundaries of what its depth shows; and what was made."""
    root, imported = import_stage(stages, data_root / LEARNED_WALK, lambda frames: _of_split(frames, "train"))

    def make() -> dict:
        dataset = SceneDataset(root)
        return make_boundaries(dataset, DepthMasks(dataset)).to_json()

    made = stages.stage("boundaries of the house", make)
    return root, {"wall_s": imported["wall_s"] + made["wall_s"]}


def held_out_stage(stages: StageCache, data_root: Path) -> tuple[Path, dict]:
    """The walk that is measured on, with masks of the frames that are looked at; and what was made."""
    root, imported = import_stage(stages, data_root / HELD_OUT_WALK, lambda frames: _of_split(frames, "test"))

    def make() -> dict:
        dataset = SceneDataset(root)
        frames = measured_frames(HOUSE, dataset)
        return {"objects": sum(int(DepthMasks(dataset).ids(frame).max()) for frame in frames)}

    made = stages.stage("masks of the held-out walk", make)
    return root, {"wall_s": imported["wall_s"] + made["wall_s"]}


def _of_split(frames: list[Frame], split: str) -> list[Frame]:
    return [replace(frame, split=split) for frame in frames]


def rooms_stage(stages: StageCache) -> tuple[Path, dict]:
    """Rendered rooms with exact depth, masks and boundaries, the last walk of each held out; and what was made."""
    out = stages.folder / ROOMS

    def make() -> dict:
        chosen = depth_rooms.DepthRoomOptions(
            rooms=ROOM_COUNT,
            streets=0,
            seed=ROOM_SEED,
            bursts=BURSTS,
            burst_frames=BURST_FRAMES,
            width_px=ROOM_PX[0],
            height_px=ROOM_PX[1],
            split="",
        )
        frames = depth_rooms.depth_dataset(out, chosen, overwrite=True)
        dataset = SceneDataset(out)
        last = [name for name in dataset.sequences if name.endswith(f"_{BURSTS - 1}")]
        dataset.save_frames(sequence_split(dataset.frames, last))
        boundaries = make_boundaries(dataset, MaskFolder(dataset, out / FOLDER))
        return {"frames": frames, "boundaries": boundaries.to_json(), "options": chosen.model_dump(mode="json")}

    return out, stages.stage(ROOMS, make)


def variant_configs(datasets: tuple[Path, ...], options: BenchOptions) -> dict:
    """The config of every variant: they differ in the losses alone."""
    shares = (1.0,) * len(datasets)
    common = {**COMMON, "datasets": datasets, "shares": shares, "device": options.device, "seed": options.seed}
    return {name: DepthTrainingConfig.load(None, **common, losses=losses) for name, losses in LOSSES.items()}


def plan_steps(left_s: float, paces: dict[str, Pace], measure_s: float) -> Plan:
    """As many seeds as leave LEAST_STEPS steps to every variant, SEEDS at most; START_SHARE of the training time is the
    start's; no more steps than MOST_START_STEPS and MOST_STEPS. `measure_s` is what measuring one training takes."""
    besides_s = (
        paces[START_LOSSES].fixed_s + sum(pace.fixed_s for pace in paces.values()) + (1 + len(paces)) * measure_s
    )
    round_s = sum(pace.step_s for pace in paces.values())
    for seeds in range(SEEDS, 0, -1):
        train_s = left_s / seeds - besides_s
        start_steps = max(FEWEST_STEPS, math.floor(START_SHARE * train_s / paces[START_LOSSES].step_s))
        steps = max(FEWEST_STEPS, math.floor((1 - START_SHARE) * train_s / round_s))
        if steps >= LEAST_STEPS:
            break
    return Plan(seeds, min(start_steps, MOST_START_STEPS), min(steps, MOST_STEPS))


BENCHMARK = Benchmark(
    name="depth-losses",
    summary="five losses from the same start with the same steps: both papers', our default, and all together",
    data=(LEARNED_WALK, HELD_OUT_WALK),
    needs="house/walk_a and house/walk_c (rgb/, depth/, K.txt, poses.txt); rooms are rendered",
    duration=f"--minutes at most, {MINUTES:g} unless it says otherwise; in less time fewer steps, then fewer seeds",
    metrics=(*(f"{name}_{key}{end}" for name in LOSSES for key in (*METRICS, *DETAILS) for end in ("", "_std")),
             "flat_abs_rel", "seeds", "steps", "start_steps"),
    run=run,
    minutes=MINUTES,
)  # fmt: skip
