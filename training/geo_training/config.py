"""Configs: YAML checked against a typed schema. An unknown key or a wrong value is an error that names the key."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from geo_perception.errors import InputError

Config = TypeVar("Config", bound="Strict")


class Strict(BaseModel):
    """What every config derives from: unknown keys are refused, and nothing changes once it is made."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    help_command: ClassVar[str] = ""  # what names the keys

    @classmethod
    def load(cls: type[Config], path: str | Path | None, **changes: Any) -> Config:
        """The config in a YAML file (or the defaults), with `changes` that are not None laid over it.

        Raises InputError that names the key when one is unknown or wrong.
        """
        content = cls.read_keys(path) | {key: value for key, value in changes.items() if value is not None}
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise InputError(f"config key {cls._first_problem(error)}; mend it in {path or 'the options'}") from None

    @classmethod
    def read_keys(cls, path: str | Path | None) -> dict[str, Any]:
        """What a YAML file holds, not checked yet; nothing without a file. Raises InputError when it holds no keys."""
        if path is None:
            return {}
        try:
            content = yaml.safe_load(Path(path).read_text()) or {}
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"{path} cannot be read as YAML: {reason}; mend it") from None
        if not isinstance(content, dict):
            raise InputError(f"{path} must hold keys and values; `{cls.help_command}` names them")
        return content

    @classmethod
    def _first_problem(cls, error: ValidationError) -> str:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "(the whole file)"
        near = difflib.get_close_matches(key, cls.model_fields, n=1) if first["type"] == "extra_forbidden" else ()
        return f"'{key}' is not known; did you mean '{near[0]}'" if near else f"'{key}': {first['msg']}"

    def to_json(self, exclude: Any = None) -> dict:
        """What JSON and YAML can hold of it, without the keys `exclude` (see `BaseModel.model_dump`)."""
        return json.loads(self.model_dump_json(exclude=exclude))


def config_path(name: str | Path, names: tuple[str, ...], folder: Path) -> Path:
    """A YAML file, or one of the packaged configs `names` in `folder` by its name. Raises InputError when it is
    neither."""
    if str(name) in names:
        return folder / f"{name}.yaml"
    if not Path(name).is_file():
        raise InputError(f"there is no config '{name}'; give a YAML file, or one of {', '.join(names)}")
    return Path(name)
