"""`geo-train dataset`: recordings and public formats in, one layout out."""

from __future__ import annotations

from geo_training.console import command_group

app = command_group("Recordings and public formats in, one dataset layout out.")
