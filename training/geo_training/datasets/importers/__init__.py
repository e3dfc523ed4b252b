"""Public formats in: one reader for each, one writer for all."""

from __future__ import annotations

from pathlib import Path

from geo_perception.errors import InputError
from geo_training.datasets.importers import colmap, images, indoor6, kitti, kitti_raw, seven_scenes, transforms, tum
from geo_training.datasets.importers.depth_files import DepthFile
from geo_training.datasets.importers.source import ImportOptions
from geo_training.datasets.importers.write import write_source
from geo_training.datasets.scene import DATASET
from geo_training.storage.folders import check_output

# In the order in which they are tried: a plain folder of images last, since most formats hold one.
READERS = {
    "transforms": transforms,
    "indoor6": indoor6,
    "7scenes": seven_scenes,
    "tum": tum,
    "kitti": kitti,
    "kitti_raw": kitti_raw,
    "colmap": colmap,
    "images": images,
}

__all__ = ["READERS", "ImportOptions", "guess_format", "import_dataset"]


def guess_format(path: Path) -> str:
    """The format whose files `path` holds. Raises InputError when it holds none."""
    for name, reader in READERS.items():
        if reader.matches(path):
            return name
    raise InputError(
        f"{path} looks like none of {', '.join(sorted(READERS))}; check the path, or say which by --format"
    )


def import_dataset(
    path: str | Path,
    out: str | Path,
    format_name: str | None = None,
    options: ImportOptions | None = None,
    overwrite: bool = False,
) -> dict:
    """Turns a data set of a public format into ours. Returns what was done: format, counts, scale, notes.

    Raises InputError when the path or the format is wrong, a file is broken, an option would have no effect, or `out`
    exists.
    """
    path, options = Path(path), options or ImportOptions()
    if not path.exists():
        raise InputError(f"{path} does not exist; check the path")
    name = format_name or guess_format(path)
    if name not in READERS:
        raise InputError(f"there is no format '{name}'; use one of {', '.join(sorted(READERS))}")
    if options.split_files and name != "kitti_raw":
        raise InputError(f"--split-file is for kitti_raw; split this {name} data set with `geo-train dataset split`")
    if options.rate_hz is not None and name == "tum":
        raise InputError("the images of TUM RGB-D have stamps, so --rate would have no effect; leave it out")
    check_output(out, DATASET, [path], overwrite)
    source = READERS[name].read(path, options)
    if options.depth_units_per_m is not None and not any(isinstance(f.depth, DepthFile) for f in source.frames):
        raise InputError(f"no depth images were found in {path}, so --depth-scale would have no effect; leave it out")
    return {"format": name, **write_source(source, path, Path(out), options, overwrite)}
