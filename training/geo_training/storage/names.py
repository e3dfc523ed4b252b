"""Names of files in the order that people expect."""

from __future__ import annotations

import re
from pathlib import Path


def natural_key(path: Path | str) -> list[str | int]:
    """Sorts `frame2` before `frame10`."""
    # Every second part is a run of decimal digits; other characters that pass for digits (a raised 2) are text.
    return [int(part) if place % 2 else part for place, part in enumerate(re.split(r"(\d+)", str(path)))]
