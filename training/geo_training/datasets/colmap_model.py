"""COLMAP models from disk, with the names of their images whole, and their cameras."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from geo_perception.errors import InputError
from geo_perception.geometry import Camera

if TYPE_CHECKING:
    import pycolmap

# The centre of the top-left pixel is (0.5, 0.5) in COLMAP and (0, 0) here.
PIXEL_CENTRE = 0.5
# COLMAP's model: indices of fx, fy, cx, cy in its parameters, then our model and the indices of its coefficients
# (None: zero).
_MODELS = {
    "SIMPLE_PINHOLE": ((0, 0, 1, 2), "pinhole", ()),
    "PINHOLE": ((0, 1, 2, 3), "pinhole", ()),
    "SIMPLE_RADIAL": ((0, 0, 1, 2), "plumb_bob", (3, None, None, None)),
    "RADIAL": ((0, 0, 1, 2), "plumb_bob", (3, 4, None, None)),
    "OPENCV": ((0, 1, 2, 3), "plumb_bob", (4, 5, 6, 7)),
    "FULL_OPENCV": ((0, 1, 2, 3), "rational_polynomial", (4, 5, 6, 7, 8, 9, 10, 11)),
    "SIMPLE_FISHEYE": ((0, 0, 1, 2), "equidistant", (None,) * 4),
    "FISHEYE": ((0, 1, 2, 3), "equidistant", (None,) * 4),
    "SIMPLE_RADIAL_FISHEYE": ((0, 0, 1, 2), "equidistant", (3, None, None, None)),
    "RADIAL_FISHEYE": ((0, 0, 1, 2), "equidistant", (3, 4, None, None)),
    "OPENCV_FISHEYE": ((0, 1, 2, 3), "equidistant", (4, 5, 6, 7)),
}
# IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME, where the name is all the rest of the line.
_IMAGE_LINE = re.compile(r"\s*(\d+)\s+(?:\S+\s+){7}\S+\s(.*)")


def read_reconstruction(folder: Path) -> pycolmap.Reconstruction:
    """The model in `folder`, binary or text.

    pycolmap ends a name in images.txt at its first blank; here it is the rest of the line. Raises what pycolmap raises
    for a model that is missing or damaged (ValueError, RuntimeError, OSError, IndexError).
    """
    import pycolmap  # slow to load, and only COLMAP models need it

    model = pycolmap.Reconstruction(str(folder))
    text = folder / "images.txt"
    for number, name in _names_in(text).items() if text.is_file() else ():
        # A binary model beside the text has whole names already.
        if number in model.images and name.startswith(model.images[number].name):
            model.images[number].name = name
    return model


def camera_from_colmap(camera: pycolmap.Camera) -> Camera:
    """Our form of COLMAP's camera, with the pixel centres moved by PIXEL_CENTRE; one without distortion is a pinhole.

    Raises InputError for a lens model that OpenCV does not have.
    """
    name = camera.model.name
    if name not in _MODELS:
        raise InputError(
            f"COLMAP camera {camera.camera_id} has the lens model {name}, which OpenCV lacks; run "
            "`colmap image_undistorter` and import its output"
        )
    places, model, coefficients = _MODELS[name]
    fx, fy, cx, cy = (float(camera.params[place]) for place in places)
    distortion = tuple(0.0 if place is None else float(camera.params[place]) for place in coefficients)
    K_33 = [[fx, 0, cx - PIXEL_CENTRE], [0, fy, cy - PIXEL_CENTRE], [0, 0, 1]]
    return Camera.from_K(K_33, camera.width, camera.height, model, distortion)


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
