"""What must be known of somebody else's depth network to use it: how it wants its images, and what it gives."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from fnmatch import fnmatch
from importlib import resources
from pathlib import Path
from typing import Any

from geo_perception.errors import InputError

OUTPUTS = ("depth", "inverse_depth", "disparity", "log_depth", "points")
RANGES = (1, 255)
_KEYS_OF_LISTS = {"files": str, "size_px": int, "mean": float, "std": float}


@dataclass(frozen=True)
class DepthCard:
    """How a network is used. `name`, `source` and `licence` are of its weights, `files` the names that its files go by.

    Images are RGB of 0 to `range`, less `mean`, by `std`; of `size_px` (width, height), or of about `area_px` pixels in
    their own format with sides that are multiples of `multiple_px`. The output (the one called `output_name`, else the
    first) is z, its inverse, the same up to an unknown shift (`disparity`), its logarithm, or the points of all pixels
    up to a factor and a shift along z (`points`); in metres, if `metric`.
    With `canonical_focal_px` it is that of a camera of this focal length (in pixels of the network's image).

    Beside it may come the output `mask_name`, above 0.5 where the network sees anything, and `scale_name`, one number
    by which depth is multiplied. `inputs` are what the network takes beside the image, by name: numbers.
    """

    name: str
    output: str
    source: str = ""
    licence: str = "unknown"
    files: tuple[str, ...] = ()
    size_px: tuple[int, int] | None = None
    area_px: int | None = None
    multiple_px: int = 32
    range: int = 1
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    output_name: str = ""
    metric: bool = False
    canonical_focal_px: float | None = None
    mask_name: str = ""
    scale_name: str = ""
    inputs: dict[str, float] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if self.output not in OUTPUTS:
            raise InputError(f"output '{self.output}' is none of {', '.join(OUTPUTS)}")
        if self.range not in RANGES:
            raise InputError(f"range {self.range} is neither 1 nor 255, the value of white")
        if (self.size_px is None) == (self.area_px is None):
            raise InputError("give size_px (width, height) or area_px, one of them")
        if self.size_px is not None and (len(self.size_px) != 2 or min(self.size_px) < 1):
            raise InputError(f"size_px {list(self.size_px)} is no width and height")
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise InputError("mean and std are three numbers each, those of std positive")
        if self.multiple_px < 1 or (self.area_px is not None and self.area_px < self.multiple_px**2):
            raise InputError("multiple_px must be positive, and area_px no less than its square")
        if self.canonical_focal_px is not None and self.canonical_focal_px <= 0:
            raise InputError("canonical_focal_px must be positive")
        if self.canonical_focal_px is not None and self.output == "points":
            raise InputError("points are of the camera that took the image; leave out canonical_focal_px")


def read_card(text: str, origin: str, known_before: dict[str, Any] | None = None) -> DepthCard:
    """A card from YAML, laid over what is known of the network anyway. Raises InputError, which names `origin`, when it
    is not one."""
    import yaml

    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as problem:
        raise InputError(f"{origin} is no YAML ({' '.join(str(problem).split())})") from None
    known = {one.name for one in fields(DepthCard)}
    if not isinstance(content, dict) or not set(content) <= known:
        wrong = (
            "" if not isinstance(content, dict) else f" '{sorted(set(map(str, content)) - known)[0]}' is none of them."
        )
        raise InputError(f"{origin} is no card of a depth network;{wrong} A card has {', '.join(sorted(known))}")
    before = known_before or {}
    if {"size_px", "area_px"} & set(content):  # one of them is given, the other need not be known
        before = {key: value for key, value in before.items() if key not in ("size_px", "area_px")}
    content = before | content
    missing = [key for key in ("name", "output") if key not in content]
    if missing:
        raise InputError(f"{origin} lacks '{missing[0]}'; add it")
    try:
        return DepthCard(**{key: _as_meant(key, value) for key, value in content.items()})
    except (TypeError, ValueError, InputError) as problem:
        raise InputError(f"{origin}: {problem}; mend the card") from None


def card_of(model: str | Path) -> DepthCard:
    """The card of a network's file: the YAML file of the same name beside it, else the packaged one that knows it.

    Raises InputError when there is neither.
    """
    model = Path(model)
    beside = card_beside(model)
    if beside is not None:
        return read_card(beside.read_text(errors="replace"), str(beside))
    cards = packaged_cards()
    known = [card for card in cards if any(fnmatch(model.stem.lower(), pattern) for pattern in card.files)]
    if not known:
        names = ", ".join(pattern for card in cards for pattern in card.files)
        raise InputError(
            f"{model}: it is not known how this network is used; write {model.stem}.yaml beside it (docs/depth.md), "
            f"or name the file as one of {names}"
        )
    return max(known, key=lambda card: max(len(p) for p in card.files if fnmatch(model.stem.lower(), p)))


def card_beside(model: Path) -> Path | None:
    """The card that somebody wrote for an ONNX file; None where there is none."""
    card = model.with_suffix(".yaml")
    return card if model.suffix.lower() == ".onnx" and card.is_file() else None


def packaged_cards() -> list[DepthCard]:
    """The cards that come with the package."""
    folder = resources.files("geo_perception.depth") / "cards"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".yaml"))
    return [read_card((folder / name).read_text(), name) for name in names]


def _as_meant(key: str, value: Any) -> Any:
    if key in _KEYS_OF_LISTS:
        if not isinstance(value, list):
            raise InputError(f"{key} must be a list")
        return tuple(_KEYS_OF_LISTS[key](part) for part in value)
    if key in ("area_px", "multiple_px", "range") and (isinstance(value, bool) or not isinstance(value, int)):
        raise InputError(f"{key} must be a whole number")
    if key == "metric" and not isinstance(value, bool):
        raise InputError("metric must be true or false")
    if key == "inputs":
        numbers = isinstance(value, dict) and all(
            isinstance(one, (int, float)) and not isinstance(one, bool) for one in value.values()
        )
        if not numbers:
            raise InputError("inputs must be numbers by the names of what the network takes")
        return {str(name): one for name, one in value.items()}
    if key == "canonical_focal_px":
        return float(value)
    return value if key in ("area_px", "multiple_px", "range", "metric") else str(value)
