"""COLMAP models from disk, with the names of their images whole."""

from __future__ import annotations

import re
from pathlib import Path

# IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME, where the name is all the rest of the line.
_IMAGE_LINE = re.compile(r"\s*(\d+)\s+(?:\S+\s+){7}\S+\s(.*)")


def read_reconstruction(folder: Path):
    """The pycolmap.Reconstruction in `folder`, binary or text.

    pycolmap ends a name in images.txt at its first blank; here it is the rest of the line. Raises what pycolmap raises
    for a model that is missing or damaged (ValueError, RuntimeError, OSError, IndexError).
    """
    import pycolmap

    model = pycolmap.Reconstruction(str(folder))
    text = folder / "images.txt"
    for number, name in _names_in(text).items() if text.is_file() else ():
        # A binary model beside the text has whole names already.
        if number in model.images and name.startswith(model.images[number].name):
            model.images[number].name = name
    return model


def _names_in(path: Path) -> dict[int, str]:
    """Names by image number. Each image has two lines; the second holds its points and may be empty."""
    names = {}
    with path.open(encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            if found := _IMAGE_LINE.fullmatch(line.rstrip("\r\n")):
                names[int(found[1])] = found[2].strip()
            next(file, None)
    return names
