"""Crops on disk: what is drawn from which panorama, and the folder read back. `crop_writer.py` makes it.

images/<split>/<n>.png            train, validation, test: no panorama is in two of them
crops.csv                         file, split, panorama, domain, width, height, focal_px, pitch_rad, roll_rad, yaw_rad
config.yaml                       the whole config
crops.json                        where the crops are from: panoramas and their checksums, licence, version, complete
"""

from __future__ import annotations

import csv
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from geo_perception.errors import InputError
from geo_training.calibration.data.crops import ROBOT_DISTRIBUTION, CropDistribution, CropSpec
from geo_training.calibration.data.panoramas import Panorama, random_split, split_panoramas, with_domain
from geo_training.config import Strict
from geo_training.storage.images import read_rgb

FORMAT_VERSION = 1
SPLITS = ("train", "validation", "test")
COLUMNS = ("file", "split", "panorama", "domain", "width", "height", "focal_px", "pitch_rad", "roll_rad", "yaw_rad")
_SUFFIX = {"png": ".png", "jpeg": ".jpg"}


class CropSetConfig(Strict):
    """What `geo-train calibration crops` makes. The defaults are a robot's: `configs/crops_robot.yaml`.

    PNG is the default: a crop read from disk is then the crop that training makes on the fly, bit for bit, and no
    second compression leaves marks whose look goes with the zoom.
    """

    help_command: ClassVar[str] = "geo-train calibration crops --help"
    crops: CropDistribution = ROBOT_DISTRIBUTION
    count: int = Field(20_000, ge=1, description="crops of each domain, training and validation together")
    validation_share: float = Field(0.2, ge=0, lt=1, description="of the panoramas that are not for testing")
    test_share: float = Field(0.1, ge=0, lt=1, description="of the panoramas; those in held_out instead, where given")
    held_out: tuple[str, ...] = Field((), description="the panoramas for testing, by name")
    test_count: int | None = Field(None, ge=0, description="test crops of each domain; the others' share where None")
    domains: tuple[str, ...] = Field((), description="only these domains; all where empty")
    image_format: Literal["png", "jpeg"] = "png"
    jpeg_quality: int = Field(95, ge=50, le=100)
    licence: str = Field("", description="of the panoramas, in words; kept in crops.json")
    seed: int = Field(0, ge=0)


@dataclass(frozen=True)
class Crop:
    """One crop: its file below the folder, its panorama by name, and its camera."""

    file: str
    split: str
    panorama: str
    domain: str
    spec: CropSpec

    @property
    def row(self) -> tuple:
        """As it stands in crops.csv; the numbers come back exactly."""
        s = self.spec
        numbers = (s.width_px, s.height_px, s.focal_px, s.pitch_rad, s.roll_rad, s.yaw_rad)
        return self.file, self.split, self.panorama, self.domain, *map(repr, numbers)


def crop_spec(config: CropSetConfig, panorama: str, number: int) -> CropSpec:
    """Camera `number` of a panorama: it depends on the seed, the panorama's name and the number, on nothing else."""
    return config.crops.draw(np.random.default_rng([config.seed, zlib.crc32(panorama.encode()), number]))


def split_by_panorama(panoramas: Sequence[Panorama], config: CropSetConfig) -> dict[str, list[Panorama]]:
    """The panoramas of each split, within each domain by the config's shares; drawn by the seed.

    Raises InputError when `held_out` or `domains` names what is not there, or nothing is left to learn from.
    """
    if config.domains:
        panoramas = [panorama for domain in config.domains for panorama in with_domain(panoramas, domain)]
    rest, test = split_panoramas(panoramas, config.held_out)
    splits: dict[str, list[Panorama]] = {split: [] for split in SPLITS}
    for domain in sorted({panorama.domain for panorama in panoramas}):
        kept = [panorama for panorama in rest if panorama.domain == domain]
        tested = [panorama for panorama in test if panorama.domain == domain]
        if not kept:
            raise InputError(f"every panorama of the domain '{domain}' is held out; leave some to learn from")
        if not config.held_out:
            kept, tested = random_split(kept, config.test_share, config.seed)
        kept, validated = random_split(kept, config.validation_share, config.seed)
        for split, chosen in zip(SPLITS, (kept, validated, tested), strict=True):
            splits[split] += chosen
    return splits


def plan_crops(splits: dict[str, list[Panorama]], config: CropSetConfig) -> list[Crop]:
    """Every crop of the set, domain by domain. Within a split each panorama gives as many as the next, or one more."""
    crops: list[Crop] = []
    domains = sorted({panorama.domain for chosen in splits.values() for panorama in chosen})
    for domain in domains:
        of = {split: [panorama for panorama in splits[split] if panorama.domain == domain] for split in SPLITS}
        learning = [(split, panorama) for split in SPLITS[:2] for panorama in of[split]]
        test_count = config.test_count
        if test_count is None:
            test_count = round(config.count / len(learning) * len(of["test"]))
        shares = [*_shared(config.count, learning), *_shared(test_count, [("test", p) for p in of["test"]])]
        for (split, panorama), count in shares:
            for number in range(count):
                file = f"images/{split}/{len(crops):06d}{_SUFFIX[config.image_format]}"
                spec = crop_spec(config, panorama.name, number)
                crops.append(Crop(file, split, panorama.name, domain, spec))
    return crops


def _shared(count: int, receivers: list) -> list[tuple]:
    """The receivers with their equal shares of `count`; what is left over goes to the first, one each."""
    if not receivers:
        return []
    each, over = divmod(count, len(receivers))
    return [(receiver, each + (index < over)) for index, receiver in enumerate(receivers)]


class CropFolder:
    """A folder of crops, read. `crops` are in the order of crops.csv, `info` is crops.json.

    Raises InputError when it is none, is not finished, or crops.csv holds what it should not.
    """

    def __init__(self, root: str | Path):
        self.root = Path(root)
        self.info = read_info(self.root)
        if self.info is None:
            raise InputError(f"{self.root} holds no crops; make them with `geo-train calibration crops`")
        if self.info["format_version"] != FORMAT_VERSION:
            raise InputError(f"{self.root} has crop format {self.info['format_version']}, this version reads "
                             f"{FORMAT_VERSION}; make it again")  # fmt: skip
        if not self.info["complete"]:
            raise InputError(f"{self.root} is not finished; run the same `geo-train calibration crops` again")
        self.crops = _read_crops(self.root / "crops.csv")

    def __len__(self) -> int:
        return len(self.crops)

    def of(self, split: str | None = None, domain: str | None = None) -> list[Crop]:
        """Those of a split and a domain; of all where None."""
        return [crop for crop in self.crops if split in (None, crop.split) and domain in (None, crop.domain)]

    def image(self, crop: Crop) -> np.ndarray:
        """RGB uint8 (height_px, width_px, 3). Raises InputError when it cannot be read or has another size."""
        try:
            image_rgb = read_rgb(self.root / crop.file)
        except InputError:
            image_rgb = np.empty((0, 0, 3), np.uint8)
        if image_rgb.shape[:2] != (crop.spec.height_px, crop.spec.width_px):
            raise InputError(f"{self.root / crop.file} is missing or damaged; delete it and run the same `geo-train "
                             "calibration crops` again")  # fmt: skip
        return image_rgb


def read_info(root: Path) -> dict | None:
    """crops.json; None where the folder has none. Raises InputError when it is broken."""
    path = root / "crops.json"
    try:
        info = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}); delete the folder and make the crops again") from None
    if not isinstance(info, dict) or not {"format_version", "complete", "config", "sources"} <= set(info):
        raise InputError(f"{path} is not of a crop set; delete the folder and make the crops again")
    return info


def _read_crops(path: Path) -> list[Crop]:
    try:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; make the crops again") from None
    crops = []
    for line, row in enumerate(rows, start=2):
        try:
            sides = int(row["width"]), int(row["height"])
            spec = CropSpec(*sides, *(float(row[column]) for column in COLUMNS[6:]))
            crops.append(Crop(row["file"], row["split"], row["panorama"], row["domain"], spec))
        except (KeyError, TypeError, ValueError):
            raise InputError(f"{path} line {line} is not a crop; it needs {','.join(COLUMNS)}") from None
    return crops
