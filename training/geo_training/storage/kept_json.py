"""JSON that a later run reads back: valid for every reader, and with the numbers that JSON has not.

What a command writes for others is `console.json_text`, which has null for them.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from geo_perception.runtime.files import replace_text

_NUMBERS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def to_kept_json(content: Any, indent: int | None = 2) -> str:
    """The content as JSON; NaN and infinity by name, as strings. What JSON cannot hold is written as its text. Without
    an indent it is one line."""
    return json.dumps(_named(content), indent=indent, default=str, allow_nan=False) + "\n"


def from_kept_json(text: str) -> Any:
    """What `to_kept_json` was given: the names are numbers again. Raises ValueError for what is no JSON."""
    return _numbers(json.loads(text))


def write_kept_json(path: Path, content: Any) -> None:
    """Puts the content at `path` whole, as `to_kept_json` writes it; makes the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_text(path, to_kept_json(content))


def read_kept_json(path: Path) -> dict[str, Any] | None:
    """What an earlier run kept; None where there is nothing, or nothing that can be read: then it is made again."""
    try:
        content = from_kept_json(path.read_text())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _named(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _named(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_named(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_numbers(item) for item in value]
    return _NUMBERS.get(value, value) if isinstance(value, str) else value
