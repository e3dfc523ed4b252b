"""The configs of calibration that come with the package, by name."""

from __future__ import annotations

from pathlib import Path

from geo_training import named_configs

FOLDER = Path(__file__).parent / "configs"


def config_path(name: str | Path, names: tuple[str, ...]) -> Path:
    """A YAML file, or one of the packaged configs `names` by its name. Raises InputError when it is neither."""
    return named_configs.config_path(name, names, FOLDER)
