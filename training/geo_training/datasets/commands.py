"""`geo-train dataset`: recordings and public formats in, one layout out."""

from geo_training.datasets import import_commands, recording_commands  # noqa: F401  (importing registers the commands)
from geo_training.datasets.app import app

__all__ = ["app"]
