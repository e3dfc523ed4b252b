"""Where a training writes: its output and the folder of the run beside it, looked at before anything is learned."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from geo_perception.errors import InputError
from geo_training.engine.checkpoint import NAME, read_checkpoint
from geo_training.engine.curves import check_charts
from geo_training.storage.output_file import check_folder_takes_files, check_output_file

SUFFIX = ".safetensors"


def run_folder(out: str | Path) -> Path:
    """`<out>.run`: config, history, curves and, until the training is done, its checkpoint."""
    out = Path(out)
    return out.with_name(out.name + ".run")


def check_training_output(out: str | Path, overwrite: bool, beside: Sequence[Path] = ()) -> Path:
    """The run's folder, which is not made yet. Call it before all else.

    Raises InputError when `out` or one of the files `beside` it stands there already (a finished training's, or
    anybody's) and `overwrite` is not set, when they cannot be written or have another suffix than weights, or when what
    draws the curves at the end is not installed.
    """
    out = Path(out)
    for path in (out, *beside):
        check_output_file(path, SUFFIX, overwrite)
    folder = run_folder(out)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file where the run's folder would be; move it away, or choose another --out")
    check_folder_takes_files(folder)
    check_charts()
    return folder


def resumed_epoch(folder: Path, fingerprint: str, overwrite: bool) -> int:
    """The epoch in which an interrupted training goes on; 0 where there is none. Raises InputError as `run_loop` does
    of its checkpoint: call it as soon as the fingerprint is known."""
    checkpoint = read_checkpoint(folder / NAME, fingerprint, overwrite)
    return checkpoint.facts["place"][0] if checkpoint else 0
