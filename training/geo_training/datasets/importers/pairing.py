"""Which line of a text file belongs to which image, and which depth image: by name or number, never by rank alone."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from geo_perception.errors import InputError


@dataclass(frozen=True)
class Pairing:
    """For each image the index of its line, and one sentence that says how that is known."""

    lines: list[int]
    how: str


def own_number(stem: str) -> int | None:
    """The last number in a name: 17 of `frame_000017`. None where there is none."""
    numbers = re.findall(r"\d+", stem)
    return int(numbers[-1]) if numbers else None


def pair_with_lines(
    stems: Sequence[str], line_count: int, file: Path, first_number: int | None = None, things: str = "lines"
) -> Pairing:
    """Pairs images, in the order of their names, with the lines of a file.

    As many lines as images: one each, in order. Else each image's own number is its line, counted from `first_number`
    (None: from 0 or 1, whichever is possible). Raises InputError when the numbers do not tell.
    """
    stray = _stray(stems)
    if len(stems) == line_count and stray:
        raise InputError(
            f"{file} has {line_count} {things} for {len(stems)} images, but {stray} is not numbered as the others, "
            "whose numbers have gaps; move it away, or begin each line with the image's name"
        )
    if len(stems) == line_count:
        return Pairing(list(range(line_count)), f"{file.name}: a line for each image, in the order of their names.")
    numbers = [own_number(stem) for stem in stems]
    counts = f"{file} has {line_count} {things} for {len(stems)} images"
    if None in numbers or len(set(numbers)) < len(numbers):
        raise InputError(f"{counts}, whose names hold no number of their own; give a line for each image")
    bases = (0, 1) if first_number is None else (first_number,)
    possible = [base for base in bases if min(numbers) >= base and max(numbers) - base < line_count]
    if not possible:
        raise InputError(f"{counts}: no line belongs to image {max(numbers)}; take the file that was made with them")
    if len(possible) > 1:
        raise InputError(
            f"{counts}, and their numbers ({min(numbers)} to {max(numbers)}) may count from 0 or from 1; "
            "give a line for each image, or begin each line with the image's name"
        )
    base = possible[0]
    how = f"{file.name}: the image's own number is its line, counted from {base}; {line_count} lines for {len(stems)}."
    return Pairing([number - base for number in numbers], how)


def _stray(stems: Sequence[str]) -> str:
    """An image without a number among images numbered alike with gaps: their counts are then equal by chance."""
    numbers = {stem: own_number(stem) for stem in stems}
    steps = {rank - number for rank, (_, number) in enumerate(numbers.items()) if number is not None}
    texts = {re.sub(r"\d+", "#", stem) for stem, number in numbers.items() if number is not None}
    stray = [stem for stem, number in numbers.items() if number is None]
    return stray[0] if stray and len(numbers) - len(stray) >= 3 and len(texts) == 1 and len(steps) > 1 else ""


def pair_by_name(images: Sequence[str], others: dict[str, Path], what: str) -> tuple[dict[str, Path], str]:
    """Pairs images with other files by their names (without suffix, with the sequence: `walk/0001`).

    Where no name fits at all and every name holds a number of its own, the numbers pair them. A name that two images
    share pairs with neither. Returns the file of each image that has one, and a sentence that says how.
    """
    shared = {name for name, count in Counter(images).items() if count > 1}
    by_name = {name: others[name] for name in images if name in others and name not in shared}
    if by_name or not others or not images:
        return by_name, f"{what} by name."
    image_numbers = {own_number(Path(name).name): name for name in images}
    other_numbers = {own_number(Path(name).name): file for name, file in others.items()}
    unique = len(image_numbers) == len(images) and len(other_numbers) == len(others)
    if not unique or None in image_numbers or None in other_numbers:
        return {}, f"{what}: no name is an image's, and the numbers do not tell."
    by_number = {name: other_numbers[number] for number, name in image_numbers.items() if number in other_numbers}
    return by_number, f"{what} by the number in the name."


def unique_names(names: Sequence[str]) -> list[str]:
    """The names, those that came before with a number behind them: a, a -> a, a_2."""
    taken: set[str] = set()
    result = []
    for name in names:
        unique, number = name, 2
        while unique in taken:
            unique, number = f"{name}_{number}", number + 1
        taken.add(unique)
        result.append(unique)
    return result
