"""The reference calibration weights, as they are, on crops of panoramas they never saw and on a real office walk."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

import numpy as np
import yaml

from geo_perception.calibration.estimator import Calibrator
from geo_perception.calibration.known import KnownCamera
from geo_perception.calibration.result import Calibration
from geo_perception.errors import InputError
from geo_perception.geometry import Camera
from geo_training.calibration.data.crops import ROBOT_DISTRIBUTION
from geo_training.calibration.data.panoramas import list_panoramas, split_panoramas
from geo_training.calibration.data.photographs import centred, folder_examples
from geo_training.evaluation.calibration.evaluate import evaluate_calibrator
from geo_training.evaluation.calibration.set import largest_offset_deg, panorama_crops, photographs
from geo_training.experiments.bench import Benchmark, BenchOptions, BenchResult, StageCache
from geo_training.experiments.benches.plain_lines import PlainLines
from geo_training.metrics.calibration import PARAMETERS, CalibrationOutcome, coverage_metrics, summarize

CROPS_PER_PANORAMA = 150
OFFICE = "office"
NATURAL = ("blouberg_sunrise_2", "noon_grass", "rooitou_park")  # those that are held out and show no building
OFFICE_DOWN = (0.0, -1.0, 0.0)  # the y axis of its world points up


def run(data_root: Path, stages: StageCache, options: BenchOptions) -> BenchResult:
    """150 crops of each held-out panorama, drawn by the seed from what a robot's camera may be, and every office frame.

    `network_` are metrics of the network alone, without lines, and `lines_` of the lines alone, from a guess that fits
    most cameras. `plain_` are of the network's answers refined by lines as simply as it can be done (`plain_lines.py`).
    `natural_` are those of the panoramas without buildings. `interval_` is the share of errors inside the
    stated 90 % interval, of the crops for which lines spoke (`interval_lines_`) and of the others
    (`interval_no_lines_`), too. The principal point of the office camera is off the centre by `office_offset_deg`;
    `office_centred_` are metrics of the same frames cut so that it is not, `office_known_` of the frames as they are
    with their camera known to the calibrator.

    Raises InputError when the weights do not say that those panoramas were held out of their training.
    """
    calibrator, names = Calibrator.load(device=options.device), held_out_names()
    check_held_out(calibrator.header, names)
    _, panoramas = split_panoramas(list_panoramas(data_root / "panoramas"), names)
    crops = panorama_crops(panoramas, ROBOT_DISTRIBUTION, CROPS_PER_PANORAMA, options.seed)
    frames = folder_examples(data_root / OFFICE, OFFICE_DOWN, "images")
    metadata = {
        "weights": f"the reference weights ({calibrator.size_bytes / 1e6:.2f} MB)",
        "panoramas": f"{', '.join(names)}; none was learned from",
        "crops": f"{CROPS_PER_PANORAMA} of each panorama, seed {options.seed}",
    }
    title = "The reference calibrator on panoramas it never saw"
    unseen = evaluate_calibrator(
        calibrator, crops, title, metadata, {"crops": ROBOT_DISTRIBUTION.model_dump(mode="json")}
    )
    office = evaluate_calibrator(calibrator, photographs(frames, OFFICE))
    cut = evaluate_calibrator(calibrator, photographs([centred(frame) for frame in frames], OFFICE))
    known = evaluate_calibrator(_Knowing(calibrator, frames[0].camera), photographs(frames, OFFICE))
    plain = calibrator.options
    calibrator.options = replace(plain, lines=False)
    network = evaluate_calibrator(calibrator, crops)
    network_office = evaluate_calibrator(calibrator, photographs(frames, OFFICE)).metrics
    simple = evaluate_calibrator(PlainLines(calibrator), crops).metrics
    calibrator.options = replace(plain, network=False)
    lines = evaluate_calibrator(calibrator, crops).metrics
    # The page is about the crops; the office stands beside them in its table.
    evaluation = replace(unseen, by_domain={**unseen.by_domain, OFFICE: office.metrics})
    config = {
        "held_out": names,
        "crops_per_panorama": CROPS_PER_PANORAMA,
        "crops": ROBOT_DISTRIBUTION.model_dump(mode="json"),
        "weights": {key: calibrator.header[key] for key in _HEADER_KEYS if key in calibrator.header},
    }
    metrics = named_metrics(unseen.metrics, unseen.by_domain, office.metrics)
    metrics |= {f"network_{key}": network.metrics[key] for key in (*_ANGLE_KEYS, "coverage_90", "frame_ms_p50")}
    metrics |= {f"lines_{key}": lines[key] for key in _ANGLE_KEYS}
    metrics |= {f"plain_{key}": simple[key] for key in _ANGLE_KEYS}
    for name, evaluated in (("natural", unseen), ("network_natural", network)):
        own = summarize([outcome for outcome in evaluated.outcomes if outcome.name.split("/")[0] in NATURAL])
        metrics |= {f"{name}_{key}": own[key] for key in _ANGLE_KEYS}
    metrics |= intervals(unseen.outcomes)
    metrics |= {f"network_{OFFICE}_{key.replace('fov', 'vfov')}": network_office[key] for key in _MEDIAN_KEYS}
    for name, evaluated in (("centred", cut), ("known", known)):
        metrics |= {f"{OFFICE}_{name}_{key}": evaluated.metrics[key] for key in ("pitch_median_deg", "roll_median_deg")}
    metrics["office_offset_deg"] = largest_offset_deg(photographs(frames))
    return BenchResult({**metrics, "weights_bytes": calibrator.size_bytes}, config, evaluation)


def intervals(outcomes: Sequence[CalibrationOutcome]) -> dict[str, float]:
    """The share of errors inside the stated 90 % interval, of each parameter: of all crops, of those for which lines
    spoke, and of the others."""
    groups = {
        "": list(outcomes),
        "lines_": [outcome for outcome in outcomes if outcome.result.lines],
        "no_lines_": [outcome for outcome in outcomes if not outcome.result.lines],
    }
    shares = {}
    for group, own in groups.items():
        held = coverage_metrics(own) if own else {}
        shares |= {f"interval_{group}{name}": held.get(f"coverage_90_{name}", math.nan) for name in PARAMETERS}
    return shares


@dataclass(frozen=True)
class _Knowing:
    """A calibrator that is told the camera of all images."""

    calibrator: Calibrator
    camera: Camera

    def estimate(self, image_hw3: np.ndarray) -> Calibration:
        return self.calibrator.estimate(image_hw3, KnownCamera(self.camera))

    def warm_up(self) -> None:
        self.calibrator.warm_up()


def named_metrics(crops: dict, by_domain: dict[str, dict], office: dict) -> dict[str, float]:
    """The metrics by their names in the benchmark: those of the crops plainly, those of a domain of crops and of the
    office behind its name. The field of view of the office is called vfov."""
    metrics = dict(crops)
    for domain, own in by_domain.items():
        metrics |= {f"{domain}_{key}": own[key] for key in _DETAIL_KEYS}
    for key in _DETAIL_KEYS:
        metrics[f"{OFFICE}_{key.replace('fov_', 'vfov_', 1) if key.startswith('fov_') else key}"] = office[key]
    return metrics


def held_out_names() -> list[str]:
    """The panoramas that the config of the reference weights keeps out of training."""
    config = resources.files("geo_training.calibration") / "configs" / "reference.yaml"
    return list(yaml.safe_load(config.read_text())["held_out"])


def check_held_out(header: dict, names: Sequence[str]) -> None:
    """Raises InputError when the header of the weights does not say that these panoramas were held out, or says that
    one of them was learned from."""
    learned = {*header.get("learned", ()), *header.get("validation", ())}
    seen = [name for name in names if name not in header.get("held_out", ()) or name in learned]
    if seen:
        raise InputError(
            f"the weights do not say that the panorama '{seen[0]}' was held out of their training, so metrics on it "
            "would flatter them; train them again with the committed config"
        )


_HEADER_KEYS = ("held_out", "validation", "network", "uncertainty", "figures", "input_size_px")
_ANGLE_KEYS = tuple(
    f"{name}_{what}" for name in ("roll", "pitch", "fov") for what in ("auc_1", "auc_5", "auc_10", "median_deg")
)
_MEDIAN_KEYS = tuple(key for key in _ANGLE_KEYS if key.endswith("_median_deg"))
_DETAIL_KEYS = (
    "frames", *_ANGLE_KEYS, "focal_median_pct", "horizon_median_pct", "horizon_auc_25", "coverage_90",
    "coverage_90_joint", "trusted_share", "frame_ms_p50",
)  # fmt: skip

BENCHMARK = Benchmark(
    name="calibration-panoramas",
    summary="the reference calibration weights on crops of panoramas held out of their training, and on a real office",
    data=("panoramas", OFFICE),
    needs="panoramas/ (index.csv and the six that were held out), office/ (rgb/, K.txt, poses.txt)",
    duration="4 minutes on 2 cores; nothing is trained",
    metrics=(
        *(key for key in _ANGLE_KEYS if "_auc_" in key),
        *_MEDIAN_KEYS,
        *(f"network_{key}" for key in _ANGLE_KEYS),
        *(f"network_office_{key.replace('fov', 'vfov')}" for key in _MEDIAN_KEYS),
        *(f"{name}_{key}" for name in ("lines", "plain", "natural", "network_natural") for key in _ANGLE_KEYS),
        *(f"interval_{group}{name}" for group in ("", "lines_", "no_lines_") for name in PARAMETERS),
        "office_known_roll_median_deg",
        "office_known_pitch_median_deg",
        "office_roll_median_deg",
        "office_pitch_median_deg",
        "office_vfov_median_deg",
        "coverage_90",
        "frame_ms_p50",
        "weights_bytes",
        "focal_median_pct",
        "horizon_median_pct",
        "trusted_share",
        "office_coverage_90",
        "office_trusted_share",
    ),
    run=run,
)
