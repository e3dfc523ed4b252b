"""The YAML file of `geo-eval replay --config`, checked: an unknown key or a wrong type is named."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from geo_perception.errors import InputError


class ReplayConfig(BaseModel):
    """What to replay into what. Topics left out are chosen from what the bag holds."""

    model_config = ConfigDict(extra="forbid", strict=True)

    scene: str = Field(min_length=1)  # relative to the file's folder
    image: str | None = None
    camera_info: str | None = None
    pose: str | None = None  # the topic of the true poses; "none" for no truth
    max_gap_s: float | None = Field(None, gt=0)  # of recorded poses that are interpolated between; None: 0.5
    rectified: Literal["auto", "true", "false"] = "auto"  # whether the images are without lens distortion
    image_bits: Literal[0, 10, 12, 14, 16] = 0  # how many of 16 bits the images use; 0: what they need
    device: str = "auto"
    seed: int = Field(0, ge=0)
    rate: float = Field(1.0, gt=0)  # of the bag's own, with --live
    start_timeout_s: float = Field(180.0, gt=0)  # until the node is active
    answer_timeout_s: float = Field(10.0, gt=0)  # for the last answers, after the last image
    node_parameters: dict[str, bool | int | float | str | list[float] | list[str]] = {}  # given to the live node

    @field_validator("rectified", mode="before")
    @classmethod
    def _word_of_truth(cls, value: Any) -> Any:
        """YAML reads the bare words true and false as booleans."""
        return str(value).lower() if isinstance(value, bool) else value


def load_replay_config(path: str | Path | None, **changes) -> ReplayConfig:
    """The configuration in the file, with `changes` (those that are not None) put over it.

    Raises InputError, naming the key, for what does not fit; also when no scene is given at all.
    """
    content: dict = {}
    if path is not None:
        path = Path(path)
        try:
            content = yaml.safe_load(path.read_text()) or {}
        except OSError:
            raise InputError(f"{path} cannot be read; check the path of --config") from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise InputError(f"{path} is not YAML ({' '.join(str(error).split())[:120]}); mend it") from None
        if not isinstance(content, dict):
            raise InputError(
                f"{path} does not hold keys and values; begin with a line such as `scene: office.safetensors`"
            )
        if isinstance(content.get("scene"), str):
            content["scene"] = str(path.parent / content["scene"])
    content |= {key: value for key, value in changes.items() if value is not None}
    where = path or "the options"
    if "scene" not in content:
        raise InputError("no scene is given; pass --scene SCENE.safetensors, or --config with the key `scene`")
    try:
        return ReplayConfig.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{where}: {_first_problem(error)}") from None


def _first_problem(error: ValidationError) -> str:
    first = error.errors()[0]
    key = str(first["loc"][0])
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, ReplayConfig.model_fields, n=1)
        hint = f"did you mean '{near[0]}'" if near else f"known are {', '.join(ReplayConfig.model_fields)}"
        return f"the key '{key}' is not known; {hint}"
    return f"the key '{key}': {first['msg'].lower()}, not {first['input']!r}"
