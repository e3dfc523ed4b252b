"""Makes a folder of crops. Each file appears whole or not at all, and a run that was cut short goes on."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import cv2
import yaml

from geo_perception import __version__
from geo_perception.errors import InputError
from geo_perception.runtime.files import PARTIAL, replace_bytes, replace_text
from geo_training.calibration.data.crop_set import (
    COLUMNS,
    FORMAT_VERSION,
    SPLITS,
    Crop,
    CropSetConfig,
    plan_crops,
    read_info,
    split_by_panorama,
)
from geo_training.calibration.data.crops import render_crop
from geo_training.calibration.data.panorama_files import load_panorama
from geo_training.calibration.data.panoramas import Panorama, list_panoramas
from geo_training.console import progress_bar, say, warn
from geo_training.storage.fingerprints import file_digest
from geo_training.storage.folders import refuse_overlap
from geo_training.storage.images import encode_image

_CROPS_A_TASK = 64
_NAMED = 5  # broken panoramas, in one message


def write_crops(
    panoramas: str | Path, out: str | Path, config: CropSetConfig, jobs: int = 1, overwrite: bool = False
) -> dict:
    """Makes the crops of a folder of panoramas, in `jobs` processes. Returns what was done: counts by split and domain.

    The same call goes on where an earlier one was cut short. Raises InputError when a panorama cannot be used (all are
    looked at before the first crop), or when `out` holds something else.
    """
    out = Path(out)
    refuse_overlap(out, [panoramas])
    splits = split_by_panorama(list_panoramas(panoramas), config)
    for split in SPLITS[1:]:
        if not splits[split] and (config.validation_share if split == "validation" else config.test_share):
            warn(f"there are too few panoramas for a split '{split}'; it stays empty")
    crops = plan_crops(splits, config)
    found = {panorama.name: panorama for chosen in splits.values() for panorama in chosen}
    _refuse_foreign(out)
    with _mapper(jobs) as mapped:
        info = _describe(Path(panoramas), splits, crops, config, mapped)
        _prepare(out, info, overwrite)
        replace_text(out / "config.yaml", yaml.safe_dump(info["config"], sort_keys=False))
        replace_text(out / "crops.json", json.dumps(info, indent=2) + "\n")
        missing = _missing(out, crops)
        if len(missing) < len(crops):
            say(f"{out}: {len(crops) - len(missing)} of {len(crops)} crops are there, going on")
        with progress_bar("crops", len(missing)) as advance:
            for made in mapped(_make, _tasks(out, missing, found, config)):
                advance(made)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([COLUMNS, *(crop.row for crop in crops)])
    replace_text(out / "crops.csv", text.getvalue())
    replace_text(out / "crops.json", json.dumps(info | {"complete": True}, indent=2) + "\n")
    return {"out": str(out), "crops": len(crops), "made": len(missing), "splits": info["splits"],
            "domains": info["domains"], "panoramas": {split: len(splits[split]) for split in SPLITS}}  # fmt: skip


@dataclass(frozen=True)
class _Task:
    """Crops of one panorama, made by one process."""

    panorama: Path
    out: Path
    crops: tuple[Crop, ...]
    jpeg_quality: int


def _tasks(out: Path, missing: list[Crop], found: dict[str, Panorama], config: CropSetConfig) -> list[_Task]:
    by_panorama: dict[str, list[Crop]] = {}
    for crop in missing:
        by_panorama.setdefault(crop.panorama, []).append(crop)
    return [
        _Task(found[name].path, out, tuple(crops[start : start + _CROPS_A_TASK]), config.jpeg_quality)
        for name, crops in by_panorama.items()
        for start in range(0, len(crops), _CROPS_A_TASK)
    ]


def _make(task: _Task) -> int:
    """Makes the crops of a task; their number."""
    panorama_hw3 = load_panorama(task.panorama)
    for crop in task.crops:
        path = task.out / crop.file
        # Full colour resolution: colour fringes of halved colour would be the strongest marks that JPEG leaves.
        data = encode_image(path.suffix, render_crop(panorama_hw3, crop.spec), task.jpeg_quality, full_colour=True)
        try:
            replace_bytes(path, data)
        except OSError as error:
            raise InputError(
                f"{path} cannot be written: {error.strerror}; make room, then run the same again"
            ) from None
    return len(task.crops)


def _inspect(panorama: Panorama) -> tuple[str, str, str]:
    """Name, checksum, and why it cannot be used (empty when it can)."""
    try:
        load_panorama(panorama.path)
        return panorama.name, file_digest(panorama.path), ""
    except InputError as error:
        return panorama.name, "", str(error)


def _describe(folder: Path, splits: dict, crops: list[Crop], config: CropSetConfig, mapped: Callable) -> dict:
    """crops.json of the set. Raises InputError that names the panoramas that cannot be used."""
    chosen = [(split, panorama) for split in SPLITS for panorama in splits[split]]
    looked_at = {}
    with progress_bar("panoramas", len(chosen)) as advance:
        for name, checksum, problem in mapped(_inspect, [panorama for _, panorama in chosen]):
            looked_at[name] = checksum, problem
            advance()
    problems = [looked_at[panorama.name][1] for _, panorama in chosen if looked_at[panorama.name][1]]
    if problems:
        more = f"; and {len(problems) - _NAMED} more" if len(problems) > _NAMED else ""
        raise InputError("; ".join(problems[:_NAMED]) + more)
    counts = Counter(crop.panorama for crop in crops)
    return {
        "format_version": FORMAT_VERSION,
        "producer": f"geo_perception {__version__}",
        "complete": False,
        "panoramas": folder.resolve().name,
        "licence": config.licence,
        "splits": {split: sum(crop.split == split for crop in crops) for split in SPLITS},
        "domains": dict(sorted(Counter(crop.domain for crop in crops).items())),
        "config": config.model_dump(mode="json"),
        "sources": [
            {"name": panorama.name, "file": panorama.path.name, "domain": panorama.domain, "split": split,
             "crops": counts[panorama.name], "sha256": looked_at[panorama.name][0]}
            for split, panorama in chosen
        ],
    }  # fmt: skip


def _refuse_foreign(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; choose another --out")
    if out.is_dir() and any(out.iterdir()) and read_info(out) is None:
        raise InputError(f"{out} holds files that are not crops; choose another --out")


def _prepare(out: Path, info: dict, overwrite: bool) -> None:
    """Makes the folders, or clears them of another run's crops where that is wished."""
    there = read_info(out) if out.is_dir() else None
    if there is not None and overwrite:
        shutil.rmtree(out / "images", ignore_errors=True)
        for name in ("crops.csv", "config.yaml", "crops.json"):
            (out / name).unlink(missing_ok=True)
    elif there is not None and any(there[key] != info[key] for key in ("format_version", "config", "sources")):
        raise InputError(
            f"{out} holds crops of another config or other panoramas; choose another --out, or pass --overwrite"
        )
    try:
        for split in SPLITS:
            (out / "images" / split).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out} cannot be made: {error.strerror}; choose another --out") from None


def _missing(out: Path, crops: list[Crop]) -> list[Crop]:
    """The crops that are not on disk yet. What a killed run left half-written is removed."""
    there = set()
    for split in SPLITS:
        for entry in os.scandir(out / "images" / split):
            if entry.name.endswith(PARTIAL):
                os.unlink(entry.path)
            else:
                there.add(f"images/{split}/{entry.name}")
    return [crop for crop in crops if crop.file not in there]


@contextlib.contextmanager
def _mapper(jobs: int) -> Iterator[Callable]:
    """A `map` that gives results as they come, in this process or in `jobs` others."""
    if jobs == 1:
        yield map
        return
    # Started afresh rather than forked: a fork of a process with threads may hang.
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_start_worker)

    def mapped(function, items):
        for future in as_completed([pool.submit(function, item) for item in items]):
            yield future.result()

    try:
        yield mapped
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker() -> None:
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent takes it, and lets each worker finish its task
