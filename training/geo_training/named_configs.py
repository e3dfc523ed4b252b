"""The configs that come with the package, by name."""

from __future__ import annotations

from pathlib import Path

from geo_perception.errors import InputError


def config_path(name: str | Path, names: tuple[str, ...], folder: Path) -> Path:
    """A YAML file, or one of the packaged configs `names` in `folder` by its name. Raises InputError when it is
    neither."""
    if str(name) in names:
        return folder / f"{name}.yaml"
    if not Path(name).is_file():
        raise InputError(f"there is no config '{name}'; give a YAML file, or one of {', '.join(names)}")
    return Path(name)
