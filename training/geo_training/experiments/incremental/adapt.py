"""Continual learning: the paper's network, adapted from one domain to another by each method, measured on both."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from accelerate.utils import set_seed

from geo_perception.errors import InputError
from geo_perception.runtime.device import pick_device
from geo_perception.runtime.files import replace_text
from geo_training.calibration.data.crop_data import CropSet, CropSource
from geo_training.calibration.data.panoramas import Panorama, list_panoramas, random_split, with_domain
from geo_training.calibration.frozen import FrozenMaps
from geo_training.calibration.paper import PaperNetwork, Pretrained, TargetScale, mse_metrics, starting_weights
from geo_training.console import say
from geo_training.engine.checkpoint import NAME as CHECKPOINT_NAME
from geo_training.engine.loop import make_accelerator, run_loop
from geo_training.experiments.incremental.config import AdaptConfig, TrainingConfig
from geo_training.experiments.incremental.matrix import AdaptResult, DomainMetrics
from geo_training.experiments.incremental.strategies import Strategy, make_strategy
from geo_training.experiments.incremental.strategies.base import ContinualContext
from geo_training.experiments.incremental.strategies.finetune import Finetune
from geo_training.experiments.incremental.task import RegressionTask, Teacher, loop_config, predict, uses_half
from geo_training.processes import refuse_several
from geo_training.storage.fingerprints import digest_of, digest_of_files, file_digest
from geo_training.storage.output_file import check_folder_takes_files

NETWORK, RESULT = "network.safetensors", "result.json"
EXPERIMENT_VERSION = 3  # of how a network is trained and measured; a result of another version is not taken
SPLITS = ("validation", "test")
# What decides neither a single training nor its crops.
_NOT_OF_A_RUN = {
    "domains",
    "both_ways",
    "methods",
    "exemplar_shares",
    "seeds",
    "device",
    "cache",
    "panoramas",
    "options",
    "backbone_file",
}


@dataclass(frozen=True)
class Domain:
    """The crops of one domain. No panorama is in two of the three."""

    name: str
    train: CropSource
    validation: CropSource
    test: CropSource


class Experiment:
    """The trainings of one config. Each keeps its result in a folder below `out`; one that is done is not done again.

    Raises InputError when several processes are started, when the panoramas or their domains are not there, when a
    domain has too few to be split, when `out` cannot be written, or when it holds results of another config or other
    panoramas and `overwrite` is not set.
    """

    def __init__(self, config: AdaptConfig, out: str | Path, overwrite: bool = False):
        refuse_several("networks are adapted")
        if config.panoramas is None:
            raise InputError("no panoramas are given; set panoramas in the config or use --panoramas DIR")
        self.config, self.out, self.device = config, Path(out), pick_device(config.device)
        self._overwrite = overwrite
        check_folder_takes_files(self.out)
        self.scale = TargetScale.of(config.crop)
        panoramas = list_panoramas(config.panoramas)
        # Attitudes share their panoramas, and by the same seed they are split alike.
        self._panoramas = {
            name: panoramas if name in config.attitudes else with_domain(panoramas, name) for name in config.domains
        }
        for name, found in self._panoramas.items():
            if len(found) < 3:
                raise InputError(f"the domain '{name}' has {len(found)} panoramas; three are needed to hold some out")
        self._encoder = self._frozen_maps()
        self._base = self._base_key()
        self._refuse_other_results()
        self._domains: dict[tuple[str, int], Domain] = {}
        self._old: dict[tuple[str, int, bool], Teacher] = {}
        self.out.mkdir(parents=True, exist_ok=True)
        replace_text(self.out / "config.json", config.model_dump_json(indent=2) + "\n")

    def domain(self, name: str, seed: int) -> Domain:
        """Its panoramas, split by the seed, and their crops."""
        if (name, seed) not in self._domains:
            rest, test = random_split(self._panoramas[name], self.config.test_panoramas, seed)
            train, validation = random_split(rest, self.config.validation_share, seed)
            held = round(self.config.validation_share * self.config.crops)
            counts = {"train": self.config.crops - held, "validation": held, "test": self.config.test_crops}
            parts = {"train": train, "validation": validation, "test": test}
            sources = {part: self._source(name, part, parts[part], counts[part], seed) for part in parts}
            self._domains[name, seed] = Domain(name, **sources)
        return self._domains[name, seed]

    def _source(self, name: str, part: str, panoramas: list[Panorama], count: int, seed: int) -> CropSource:
        own_seed, config = zlib.crc32(f"{name}/{part}/{seed}".encode()), self.config
        crops, folder = config.crop_of(name), self.out / "crops"
        return CropSource(panoramas, crops, count, own_seed, config.cache, folder, self._encoder, self.scale)

    def _frozen_maps(self) -> FrozenMaps | None:
        config = self.config
        if config.frozen is None:
            return None
        drawn = starting_weights(config.backbone, config.backbone_file, config.pretrained) is None
        return FrozenMaps(config.backbone, config.frozen, config.backbone_file, drawn, self.device)

    def release_seed(self, seed: int) -> None:
        """Releases the seed's crops and networks in memory."""
        self._domains = {key: value for key, value in self._domains.items() if key[1] != seed}
        self._old = {key: value for key, value in self._old.items() if key[1] != seed}

    def teacher(self, name: str, seed: int, cosine: bool = False) -> tuple[Teacher, DomainMetrics]:
        """The network that learned the domain `name`, to distil from, and its metrics on both domains."""
        folder = self._old_folder(name, seed, cosine)
        key = self._key([name, cosine, seed])
        kept = self._read_result(folder, key)
        if kept is None:
            say(f"{folder}: learning {name}")
            domain = self.domain(name, seed)
            set_seed(seed)
            network = self._network(self.config.pretrained, cosine)
            crops = CropSet.all_of(domain.train)
            task = self._task(network, Finetune(), crops, domain, self.config.training, seed, None)
            network, train_s = self._train(task, self.config.training, seed, folder, key)
            kept = {"row": self._measure(network, seed), "train_s": train_s}
            self._keep(folder, key, network, kept)
        if (name, seed, cosine) not in self._old:
            self._old[name, seed, cosine] = Teacher(PaperNetwork.load(folder / NETWORK)[0], self.device)
        return self._old[name, seed, cosine], kept["row"]

    def adapt(self, old: str, new: str, method: str, seed: int, share: float | None = None) -> AdaptResult:
        """Learns `old`, then `new` by the method; `share` overrides the config's exemplar share."""
        options = self.config.options
        share = options.exemplar_share if share is None else share
        strategy = make_strategy(method, options.model_copy(update={"exemplar_share": share}))
        keeps = strategy.keeps_exemplars
        folder = self.out / f"seed_{seed}" / f"{old}_{new}" / (f"{method}_{round(100 * share)}" if keeps else method)
        teacher, before = self.teacher(old, seed, strategy.cosine)
        start = file_digest(self._old_folder(old, seed, strategy.cosine) / NETWORK)
        key = self._key([old, new, method, seed, strategy.options.model_dump(), start])
        kept = self._read_result(folder, key)
        if kept is None:
            say(f"{folder}: {old}, then {new} by {method}")
            kept = self._adapt(strategy, teacher, self.domain(old, seed), self.domain(new, seed), seed, folder, key)
        constant = self._constant(seed)
        return AdaptResult(old, new, method, share if keeps else None, seed, before, kept["row"], constant,
                           kept["exemplars"], kept["train_s"])  # fmt: skip

    def _adapt(self, strategy, teacher, old: Domain, new: Domain, seed: int, folder: Path, key: str) -> dict:
        context = ContinualContext(old.train, new.train, teacher.record, np.random.default_rng(seed))
        replay_set = strategy.replay_set(context)
        training = self.config.adapting or self.config.training
        network = self._network("none", strategy.cosine)
        network.load_state_dict(teacher.network.state_dict())
        task = self._task(network, strategy, replay_set.training, new, training, seed, teacher)
        network, train_s = self._train(task, training, seed, folder, key)
        strategy.finish(network, replay_set, lambda crops: predict(network, crops, self.device).outputs_n3)
        kept = {"row": self._measure(network, seed), "train_s": train_s, "exemplars": len(replay_set.exemplar_rows)}
        self._keep(folder, key, network, kept)
        return kept

    def _network(self, pretrained: Pretrained, cosine: bool) -> PaperNetwork:
        config = self.config
        return PaperNetwork(config.backbone, config.backbone_file, pretrained, cosine, config.frozen)

    def _task(self, network, strategy: Strategy, crops: CropSet, domain: Domain, training: TrainingConfig, seed: int,
              teacher: Teacher | None) -> RegressionTask:  # fmt: skip
        validation = CropSet.all_of(domain.validation)
        record_set = teacher.record_set if teacher else None
        return RegressionTask(network, strategy, crops, validation, self.scale, training, seed, self.device, record_set)

    def _train(self, task: RegressionTask, training: TrainingConfig, seed: int, folder: Path, key: str):
        loop = loop_config(training, len(task.training), seed)
        # One of its own: an accelerator keeps every network it ever prepared.
        accelerator = make_accelerator(self.device, uses_half(self.device))
        result = run_loop(task, loop, folder, accelerator, key, overwrite=self._overwrite)
        return result.network, result.seconds

    def _keep(self, folder: Path, key: str, network: PaperNetwork, content: dict) -> None:
        network.save(folder / NETWORK, self.scale, self.config.crop.sizes_px[0])
        content = {"key": key, "base": self._base} | content
        replace_text(folder / RESULT, json.dumps(content, indent=2) + "\n")
        (folder / CHECKPOINT_NAME).unlink(missing_ok=True)

    def _measure(self, network: PaperNetwork, seed: int) -> DomainMetrics:
        """The network's errors on both domains, on validation and test crops."""
        return self._errors_of(seed, lambda source, _: predict(network, CropSet.all_of(source), self.device).outputs_n3)

    def _constant(self, seed: int) -> DomainMetrics:
        """The errors of always answering the mean of a domain's own training targets."""
        mean_3 = {name: self.domain(name, seed).train.targets_n3.mean(axis=0) for name in self.config.domains}
        return self._errors_of(seed, lambda source, name: np.broadcast_to(mean_3[name], (len(source), 3)))

    def _errors_of(self, seed: int, outputs_of: Callable[[CropSource, str], np.ndarray]) -> DomainMetrics:
        """Errors of the outputs (N, 3) for a source of a domain, on both domains."""
        metrics: DomainMetrics = {}
        for name in self.config.domains:
            sources = {split: getattr(self.domain(name, seed), split) for split in SPLITS}
            metrics[name] = {s: mse_metrics(outputs_of(c, name), c.targets_n3, self.scale) for s, c in sources.items()}
        return metrics

    def _old_folder(self, name: str, seed: int, cosine: bool) -> Path:
        return self.out / f"seed_{seed}" / f"{name}{'_cosine' if cosine else ''}"

    def _base_key(self) -> str:
        """What every training of the experiment depends on."""
        config = self.config
        names = [[p.name, p.domain] for group in self._panoramas.values() for p in group]
        pixels = digest_of_files(p.path for group in self._panoramas.values() for p in group)
        as_json = config.to_json(exclude=_NOT_OF_A_RUN)
        start = starting_weights(config.backbone, config.backbone_file, config.pretrained)
        return digest_of(EXPERIMENT_VERSION, as_json, sorted(config.domains), names, pixels, start)

    def _key(self, choices: list) -> str:
        """What a training depends on."""
        return digest_of(self._base, choices)

    def _refuse_other_results(self) -> None:
        """Before the first training, not when its turn comes."""
        for path in sorted(self.out.glob(f"seed_*/**/{RESULT}")):
            if not self._overwrite and _read_json(path).get("base") != self._base:
                raise _other_result(path.parent)

    def _read_result(self, folder: Path, key: str) -> dict | None:
        """A result that was kept for the same key; None where it is still to be made. Raises InputError for one of
        another key, unless it may be replaced."""
        content = _read_json(folder / RESULT)
        if content and content.get("key") != key:
            if not self._overwrite:
                raise _other_result(folder)
            return None
        return content if content and (folder / NETWORK).is_file() else None


def run_incremental(
    config: AdaptConfig, out: str | Path, overwrite: bool = False
) -> tuple[list[AdaptResult], dict[str, dict[int, DomainMetrics]]]:
    """Every direction, method, seed and exemplar share of the config.

    Returns the results, and the rows of the networks that learned one domain only: domain -> seed -> row (Table 1).
    Writes `results.json` into `out`. Started again, it goes on where it was interrupted. Raises InputError as
    `Experiment` does.
    """
    experiment = Experiment(config, out, overwrite)
    results, single = [], {name: {} for name in config.domains}
    for seed in config.seeds:
        for name in config.domains if config.both_ways else config.domains[:1]:
            single[name][seed] = experiment.teacher(name, seed)[1]
        for old, new in config.directions:
            for method in config.methods:
                results.append(experiment.adapt(old, new, method, seed))
            for share in config.exemplar_shares:
                if "icarl" in config.methods and share == config.options.exemplar_share:
                    continue  # it is among the methods
                results.append(experiment.adapt(old, new, "icarl", seed, share))
        experiment.release_seed(seed)
    content = {"results": [result.to_json() for result in results], "single": single}
    replace_text(Path(out) / "results.json", json.dumps(content, indent=2) + "\n")
    return results, single


def _read_json(path: Path) -> dict:
    """Empty where there is no file; one that is damaged is no result of any config."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        return {"key": None}


def _other_result(folder: Path) -> InputError:
    return InputError(
        f"{folder} holds a result of another config, other panoramas or other starting weights; choose another --out, "
        "or pass --overwrite"
    )
