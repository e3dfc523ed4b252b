"""The effect of each loss: five trainings from one start, with as many steps, on a real office and on rendered rooms
whose objects are known exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from geo_perception.depth.estimator import DepthEstimator
from geo_training.console import say
from geo_training.datasets.scene import SceneDataset
from geo_training.datasets.splits import sequence_split, tail_split
from geo_training.depth import fit
from geo_training.depth.config import DepthTrainingConfig
from geo_training.depth.data.boundaries import make_boundaries
from geo_training.depth.data.instance_masks import FOLDER, MaskFolder
from geo_training.evaluation.depth.evaluate import DepthOptions, evaluate_depth
from geo_training.evaluation.depth.set import dataset_queries
from geo_training.experiments.bench import Benchmark, BenchOptions, BenchResult, StageCache
from geo_training.experiments.benches.depth_claims import CLAIMS, METRICS, gain, named_metrics, write_results
from geo_training.experiments.benches.depth_stages import (
    FEWEST_STEPS,
    FlatDepth,
    Pace,
    import_stage,
    metrics_of,
    pace_stage,
)
from geo_training.metrics.depth import PRESETS
from geo_training.synthetic import depth_rooms

MINUTES = 45.0
OFFICE, ROOMS = "office", "rooms"
OFFICE_TEST = 0.25  # of its frames, the last ones
ROOM_COUNT, BURSTS, BURST_FRAMES, ROOM_SEED = 12, 4, 8, 11
ROOM_PX = (256, 192)
MEASURE_EVERY = 2  # of the held-out frames: neighbours look alike
START_SHARE = 0.2  # of a seed's training time
SEEDS, LEAST_STEPS = 3, 60  # fewer seeds, where this many steps each do not fit otherwise

# The papers' trainings with our small network: it sees the same clips, in the same size, in every variant. The rate is
# higher and that of the pretrained backbone lower than by default, since there are only some hundred steps.
COMMON = {
    "size_px": (128, 96),
    "batch": 4,
    "motion": "learned",
    "motion_views": "stacked",
    "augmentation": {"flip": True, "zoom": 1.15, "light": None},
    "learning_rate": 6e-4,
    "backbone_rate": 0.3,
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
# The boundary term sees disparity divided by its mean. Disparity that is learned together with the motion may be
# multiplied by anything: a step of 1 at an object could be had by making all disparities larger. The paper's network
# is held by its bounds (0.01 to 10), ours is not. The weights are the paper's best.
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
    """Figures are means over seeds, of frames held out by time: the last of the office, the last walk through every
    room. `abs_rel` and `d1` (each image by its own scale) are the mean of both sets, `edge` is of the rooms.

    With one seed `_std` is not a number (null in the JSON). The table is written to the work folder.
    """
    office, imported = import_stage(stages, data_root / OFFICE, lambda frames: tail_split(frames, 0.0, OFFICE_TEST))
    rooms, rendered = rooms_stage(stages)
    configs = variant_configs((rooms, office), options)
    held_out = HeldOutFrames(rooms, office, options.device)
    flat = stages.stage("a flat map", lambda: held_out.measure(FlatDepth()))
    paces = {name: pace_stage(stages, name, config) for name, config in configs.items()}
    spent_s = sum(stage["wall_s"] for stage in (imported, rendered, flat)) + sum(p.measured_s for p in paces.values())
    found = stages.stage("plan", lambda: vars(plan_steps(60 * options.minutes - spent_s, paces, flat["wall_s"])))
    plan = Plan(**metrics_of(found))
    say(f"{plan.seeds} seeds; {plan.start_steps} steps of the start, {plan.steps} of every variant")
    results: dict[str, list[dict]] = {name: [] for name in (START, *configs)}
    for seed in range(options.seed, options.seed + plan.seeds):
        folder = stages.folder / f"seed_{seed}"
        start = folder / f"{START}.safetensors"
        changes = {"seed": seed, "steps": plan.start_steps}
        results[START].append(
            train_stage(stages, START, configs[START_LOSSES].model_copy(update=changes), start, held_out)
        )
        for name, config in configs.items():
            # Another seed than the start's: with the same, every variant would see the clips of the start again.
            changes = {"seed": VARIANT_SEED + seed, "steps": plan.steps, "start_from": start}
            own = config.model_copy(update=changes)
            results[name].append(train_stage(stages, name, own, folder / f"{name}.safetensors", held_out))
    by_seed = {name: [result["figures"] for result in own] for name, own in results.items()}
    metrics = named_metrics(by_seed)
    metrics |= {f"flat_{key}": value for key, value in metrics_of(flat).items()}
    metrics |= {f"{name}_step_s": pace.step_s for name, pace in paces.items()} | vars(plan)
    gains = [gain(claim, by_seed) for claim in CLAIMS]
    sentences = [f"{found['sentence']}." for found in gains]
    for sentence in sentences:
        say(sentence)
    about = f"{plan.start_steps} steps of SfMLearner's losses make the common start of a seed; every variant goes on "
    about += f"from it for {plan.steps} steps. Frames held out by time, each image by its own scale."
    seeds = tuple(range(options.seed, options.seed + plan.seeds))
    write_results(results, [about, *sentences], seeds, configs, stages.folder)
    config = {
        "common": COMMON,
        "losses": {name: config.losses.model_dump(mode="json") for name, config in configs.items()},
        "plan": vars(plan),
        "gains": gains,
        "by_seed": by_seed,
        "measured_frames": held_out.counts,
    }
    return BenchResult(metrics, config)


def train_stage(stages: StageCache, name: str, config, weights: Path, held_out: HeldOutFrames) -> dict:
    """Trains and measures; `figures` and `train_s`."""

    def learn() -> dict:
        fitted = fit.fit_depth(config, weights, overwrite=True)
        return {"figures": held_out.measure_file(fitted.path), "train_s": fitted.metrics["train_s"]}

    return stages.stage(f"{name}, seed {config.seed}", learn)


class HeldOutFrames:
    """Measures depth weights on the held-out frames of the rooms and of the office."""

    def __init__(self, rooms: Path, office: Path, device: str):
        self.device = device
        datasets = {ROOMS: SceneDataset(rooms), OFFICE: SceneDataset(office)}
        self.queries = {
            name: dataset_queries(dataset, dataset.of_split("test")[::MEASURE_EVERY])
            for name, dataset in datasets.items()
        }

    @property
    def counts(self) -> dict[str, int]:
        return {name: len(queries) for name, queries in self.queries.items()}

    def measure_file(self, path: Path) -> dict[str, float]:
        return self.measure(DepthEstimator.load(path, self.device))

    def measure(self, estimator) -> dict[str, float]:
        """METRICS and DETAILS."""
        found = {
            # A depth camera leaves the rims of objects empty, so edges are those of the rooms.
            name: evaluate_depth(estimator, queries, DepthOptions(PRESETS["indoor"], edges=name == ROOMS)).metrics
            for name, queries in self.queries.items()
        }
        return combined(found[ROOMS], found[OFFICE])


def combined(rooms: dict, office: dict) -> dict[str, float]:
    """METRICS and DETAILS of one training. Both sets weigh the same, however many frames they have."""
    metrics = {key: (rooms[key] + office[key]) / 2 for key in ("abs_rel", "d1")}
    metrics |= {"edge": rooms["edge"], "object_edge": rooms["object_edge"]}
    sets = ((ROOMS, rooms), (OFFICE, office))
    return metrics | {f"{name}_{key}": own[key] for name, own in sets for key in ("abs_rel", "d1")}


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
    start's. `measure_s` is what measuring one training takes."""
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
    return Plan(seeds, start_steps, steps)


BENCHMARK = Benchmark(
    name="depth-losses",
    summary="five losses from the same start with the same steps: both papers', our default, and all together",
    data=(OFFICE,),
    needs="office/ (rgb/, depth/, K.txt, poses.txt); rooms are rendered",
    duration=f"as long as --minutes says, {MINUTES:g} unless it does; three seeds where time allows",
    metrics=(*(f"{name}_{key}{end}" for name in LOSSES for key in METRICS for end in ("", "_std")), "seeds", "steps",
             "start_steps"),
    run=run,
    minutes=MINUTES,
)  # fmt: skip
