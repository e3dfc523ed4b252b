"""Equirectangular panoramas: finding them, reading them, splitting them.

Layout: width = 2 x height; the middle column is straight ahead, azimuth grows to the right; the top row is the zenith.
The panorama stands upright: its middle row is the horizon. `panorama_files.py` reads the pixels.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geo_perception.errors import InputError
from geo_training.calibration.data.panorama_files import SUFFIXES, load_panorama
from geo_training.engine.loader import MemoryCache
from geo_training.storage.fingerprints import file_version

INDEX = "index.csv"
CACHE_BYTES = 3 << 30


@dataclass(frozen=True)
class Panorama:
    """One panorama on disk. `domain` is free text (indoor, outdoor, ...), or empty."""

    name: str
    path: Path
    domain: str = ""


def list_panoramas(folder: str | Path) -> list[Panorama]:
    """The panoramas in a folder, by name: those in its `index.csv` (file, domain), else every image.

    Raises InputError when there are none, two have the same name, or the index names a file that is not there.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give the one with the panoramas")
    index = folder / INDEX
    if index.is_file():
        found = _read_index(folder, index)
    else:
        files = [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.name[0] != "."]
        found = [Panorama(path.stem, path) for path in files]
    if not found:
        raise InputError(f"{folder} holds no panoramas; it needs equirectangular {', '.join(SUFFIXES)} files")
    name, times = Counter(panorama.name for panorama in found).most_common(1)[0]
    if times > 1:
        raise InputError(f"{folder} holds {times} panoramas named '{name}'; rename all but one")
    return sorted(found, key=lambda panorama: panorama.name)


def _read_index(folder: Path, index: Path) -> list[Panorama]:
    try:
        with index.open(newline="", encoding="utf-8-sig") as file:  # spreadsheets put a mark before the first column
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{index} cannot be read as a table ({error}); mend it or take it away") from None
    if rows and "file" not in rows[0]:
        raise InputError(f"{index} has no column 'file'; its first line must be: file,domain")
    found = []
    for number, row in enumerate(rows, start=2):
        path = folder / (row["file"] or "")
        if not path.is_file():
            raise InputError(f"{index} line {number} names {row['file']}, which is not there; mend the line or add it")
        found.append(Panorama(path.stem, path, (row.get("domain") or "").strip()))
    return found


def split_panoramas(panoramas: Sequence[Panorama], held_out: Sequence[str]) -> tuple[list[Panorama], list[Panorama]]:
    """(the rest, those named). A panorama is wholly on one side: two crops of one look alike.

    Raises InputError when a name is not among them, or nothing is left to learn from.
    """
    names = {panorama.name for panorama in panoramas}
    unknown = [name for name in held_out if name not in names]
    if unknown:
        raise InputError(
            f"held_out names the panorama '{unknown[0]}', which is not there; mend the config or the folder"
        )
    kept = [panorama for panorama in panoramas if panorama.name not in set(held_out)]
    if not kept:
        raise InputError("every panorama is held out; leave some to learn from")
    return kept, [panorama for panorama in panoramas if panorama.name in set(held_out)]


def random_split(panoramas: Sequence[Panorama], share: float, seed: int) -> tuple[list[Panorama], list[Panorama]]:
    """(the rest, `share` of them drawn by `seed`), at least one on each side where there are two."""
    order = np.random.default_rng(seed).permutation(len(panoramas))
    count = min(max(round(share * len(panoramas)), 1 if share > 0 else 0), len(panoramas) - 1)
    chosen = {panoramas[i].name for i in order[:count]}
    return [p for p in panoramas if p.name not in chosen], [p for p in panoramas if p.name in chosen]


def with_domain(panoramas: Sequence[Panorama], domain: str) -> list[Panorama]:
    """Those of one domain. Raises InputError when there is none."""
    found = [panorama for panorama in panoramas if panorama.domain == domain]
    if not found:
        known = sorted({panorama.domain for panorama in panoramas if panorama.domain})
        hint = f"there are {', '.join(known)}" if known else "their index.csv names none"
        raise InputError(f"no panorama is of the domain '{domain}'; {hint}")
    return found


_cache = MemoryCache(CACHE_BYTES)


def cached_panorama(path: Path) -> np.ndarray:
    """`load_panorama`, kept in memory: training crops each one many times. The `CACHE_BYTES` used last are kept."""
    return _cache.get(file_version(path), lambda: load_panorama(path))
