"""The manifest of a fleet: places, their recordings, and options by default and by place."""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar, Literal

import typer
import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from geo_perception.errors import InputError
from geo_training.config import Strict
from geo_training.fleet.remote import has_scheme
from geo_training.options import parse_bytes

PLACE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


class UnusableManifest(InputError):  # noqa: N818 (an InputError that is wrong usage: nothing was begun)
    """The manifest cannot be used as it is: exit 2 with one line."""

    exit_code = 2


def _size(value: Any) -> Any:
    """A size such as 4G, or a number of bytes."""
    if not isinstance(value, str):
        return value
    try:
        return parse_bytes(value)
    except typer.BadParameter as error:
        raise ValueError(str(error)) from None


class Needs(Strict):
    """What one stage takes of a machine: CPUs, GPUs (a share of one, or a whole number), bytes of memory; and how many
    such machines (`nodes`)."""

    nodes: int = Field(1, ge=1)
    cpu: float = Field(1.0, gt=0)
    gpu: float = Field(0.0, ge=0)
    memory: int | None = Field(None, ge=1)

    _memory_size = field_validator("memory", mode="before")(_size)

    @model_validator(mode="after")
    def _gpus_are_whole(self) -> Needs:
        if self.gpu > 1 and self.gpu != int(self.gpu):
            raise ValueError("more than one gpu must be a whole number")
        return self


class DatasetOptions(Strict):
    """As of `geo-train dataset from-bag` and `dataset import`. `fps` None: 4 of bags, all of what is imported."""

    fps: float | None = Field(None, ge=0)
    image: tuple[str, ...] = ()
    camera_info: tuple[str, ...] = ()
    pose: str | None = None
    rectified: Literal["auto", "true", "false"] = "auto"
    format: str | None = None


class MappingOptions(Strict):
    """As of `geo-train map`. `all_frames` None: where nothing but the map can tell the true poses of the held-out
    recording, which is without recorded poses."""

    poses: Literal["none", "prior", "known"] | None = None
    mapper: Literal["incremental", "global"] = "incremental"
    all_frames: bool | None = None
    image_size: int = Field(0, ge=0)
    max_features: int = Field(3000, ge=100)


class LandmarksOptions(Strict):
    """As of `geo-train landmarks`."""

    count: int = Field(600, ge=1)
    frame_target: int = Field(30, ge=1)
    max_depth: float | None = Field(None, gt=0)
    depth: Literal["auto", "measured", "fused", "none"] = "auto"


class HeadOptions(Strict):
    """As of `geo-train localization head`; `config` are its training options, as a YAML file or in place. `processes`:
    how many train together on each machine, where they are not as many as the stage has GPUs there."""

    config: dict[str, Any] | str | None = None
    steps: int | None = Field(None, ge=0)
    bytes: int | None = Field(None, ge=1)
    backbone: str | None = None
    backbone_file: str | None = None
    embed_backbone: bool = False
    seed: int | None = None
    processes: int | None = Field(None, ge=1)

    _bytes_size = field_validator("bytes", mode="before")(_size)


class EvaluationOptions(Strict):
    """As of `geo-eval localization`; `auto` takes the map's poses where the map was made without recorded ones."""

    truth: Literal["auto", "poses", "map"] = "auto"
    seed: int = 0


class GateOptions(Strict):
    """What the evaluation must reach, or the place is not published: least shares of frames within 5 cm and 10 cm (1 %
    and 2 % of the scene's depth where its scale is unknown) and 5 degrees, least share of poses whose stated 90 %
    ellipsoid holds the truth, most bytes of the scene file."""

    recall_5cm: float | None = Field(0.5, ge=0, le=1)
    recall_10cm: float | None = Field(None, ge=0, le=1)
    coverage: float | None = Field(None, ge=0, le=1)
    scene_bytes: int | None = Field(None, ge=1)

    _scene_size = field_validator("scene_bytes", mode="before")(_size)


class StageNeeds(Strict):
    """By stage; what is not named takes one CPU."""

    dataset: Needs = Needs()
    check: Needs = Needs()
    map: Needs = Needs()
    landmarks: Needs = Needs()
    head: Needs = Needs()
    evaluation: Needs = Needs()
    gate: Needs = Needs(cpu=0.1)
    publish: Needs = Needs(cpu=0.1)

    @model_validator(mode="after")
    def _several_machines_train(self) -> StageNeeds:
        for stage in type(self).model_fields:
            if stage != "head" and getattr(self, stage).nodes > 1:
                raise ValueError(f"{stage} runs on one machine; only the head is trained on several nodes")
        return self


class Options(Strict):
    """All that may be chosen for a place, by stage."""

    dataset: DatasetOptions = DatasetOptions()
    map: MappingOptions = MappingOptions()
    landmarks: LandmarksOptions = LandmarksOptions()
    head: HeadOptions = HeadOptions()
    evaluation: EvaluationOptions = EvaluationOptions()
    gate: GateOptions = GateOptions()
    needs: StageNeeds = StageNeeds()


class Place(Strict):
    """`recordings` map the place, `held_out` measures it: paths or URLs of any filesystem that fsspec knows."""

    recordings: tuple[str, ...] = Field(min_length=1)
    held_out: str
    options: Options = Options()


class Manifest(Strict):
    """Places by name. `options` are those of every place; a place's own are laid over them."""

    help_command: ClassVar[str] = "geo-train fleet --help"
    options: Options = Options()
    places: dict[str, Place] = Field(min_length=1)

    @classmethod
    def read(cls, path: str | Path) -> Manifest:
        """The manifest in a YAML file, recordings and files as absolute paths or URLs; relative ones lie beside it.

        Raises UnusableManifest that names the key or the place. Whether recordings exist is not looked at.
        """
        path = Path(path)
        content = _read_yaml(path)
        shared = content.get("options") or {}
        places = content.get("places")
        if isinstance(places, dict) and isinstance(shared, dict):
            content["places"] = {name: _with_options(place, shared) for name, place in places.items()}
        try:
            manifest = cls.model_validate(content)
        except ValidationError as error:
            raise UnusableManifest(f"manifest key {cls._first_problem(error)}; mend it in {path}") from None
        folder = Path(os.path.abspath(path)).parent
        return manifest.model_copy(
            update={"places": {name: _resolved(name, place, folder) for name, place in manifest.places.items()}}
        )


class _UniqueKeys(yaml.SafeLoader):  # makes plain values alone
    """YAML takes the last of two equal keys without a word: a place that is named twice would be lost."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key, count in Counter(map(str, keys)).items():
            if count > 1:
                raise yaml.YAMLError(f"'{key}' stands there {count} times (line {node.start_mark.line + 1} ff.)")
        return super().construct_mapping(node, deep)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = _UniqueKeys(path.read_text()).get_single_data()
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = (error.strerror or str(error)) if isinstance(error, OSError) else " ".join(str(error).split())
        raise UnusableManifest(f"{path} cannot be read as a manifest: {reason}; mend it") from None
    if not isinstance(content, dict):
        raise UnusableManifest(f"{path} must hold keys and values, with places below `places`; see docs/fleet.md")
    return content


def _with_options(place: Any, shared: dict) -> Any:
    if not isinstance(place, dict) or not isinstance(place.get("options") or {}, dict):
        return place  # the schema says what is wrong
    return place | {"options": _laid_over(shared, place.get("options") or {})}


def _laid_over(below: dict, above: dict) -> dict:
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _laid_over(merged[key], value) if both else value
    return merged


def _resolved(name: str, place: Place, folder: Path) -> Place:
    if not PLACE_NAME.fullmatch(name):
        raise UnusableManifest(f"place '{name}' cannot name a folder; use letters, digits, _ and -")
    recordings = tuple(_url(text, folder) for text in place.recordings)
    held_out = _url(place.held_out, folder)
    for url, count in Counter([*recordings, held_out]).items():
        if count > 1:
            what = "is held out, so it cannot map the place, too" if url == held_out else f"is named {count} times"
            raise UnusableManifest(f"place '{name}': {url} {what}; leave one out")
    options = place.options
    head = options.head.model_copy(update={"config": _training_options(name, options.head, folder)})
    if head.backbone_file:
        head = head.model_copy(update={"backbone_file": str(folder / head.backbone_file)})
    options = options.model_copy(update={"head": head})
    return place.model_copy(update={"recordings": recordings, "held_out": held_out, "options": options})


def _url(text: str, folder: Path) -> str:
    text = text.rstrip("/") or text
    if text.startswith("file://"):
        return os.path.normpath(text.removeprefix("file://"))
    return text if has_scheme(text) else os.path.normpath(folder / Path(text).expanduser())


def _training_options(name: str, head: HeadOptions, folder: Path) -> dict[str, Any]:
    """The training options, read where they are a file, and checked: a fleet does not find out after its maps."""
    from geo_training.localization.config import HeadTrainingConfig

    try:
        keys = HeadTrainingConfig.read_keys(folder / head.config) if isinstance(head.config, str) else head.config or {}
        HeadTrainingConfig.model_validate(keys)
    except ValidationError as error:
        problem = HeadTrainingConfig._first_problem(error)
        raise UnusableManifest(f"place '{name}': options.head.config key {problem}; mend it") from None
    except InputError as error:
        raise UnusableManifest(f"place '{name}': {error}") from None
    return keys
