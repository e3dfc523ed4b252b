"""Depth that another network gives for the frames that are learned from: computed once, kept on disk, read by clips."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from geo_perception.depth.estimator import DepthEstimator
from geo_perception.depth.onnx_estimator import load_depth_estimator, model_files
from geo_perception.errors import InputError
from geo_perception.runtime.files import replaced_file
from geo_training.console import progress_bar
from geo_training.datasets.scene import Frame, SceneDataset, camera_to_dict
from geo_training.depth.losses.teacher_loss import TeacherKind
from geo_training.engine.shared_folder import shared_folder
from geo_training.engine.whole_batch import gathered, once, rank, world
from geo_training.storage.fingerprints import digest_of, file_digest, sample_digest

VERSION = 1  # of what is kept
FOLDER = "teacher"  # in the run's folder
_LEAST, _MOST = 1e-4, 6e4  # what float16 holds to 0.1 percent


class Teacher:
    """A network to learn from: `kind` says up to what its depth is known, `name` and `licence` whose it is.

    `checksum` is of its files and of how they are read: of all that decides what it says of an image.
    """

    def __init__(self, path: Path, device: torch.device):
        """Raises InputError as `load_depth_estimator` does."""
        estimator = load_depth_estimator(path, str(device))
        self.kind = _kind_of(estimator)
        header = estimator.header
        self.name = str(header["network"]) if isinstance(header.get("network"), str) else path.stem
        self.licence = str(header.get("licence", "unknown"))
        files = [file_digest(file) for file in model_files(path)]
        self.checksum = digest_of(VERSION, files, repr(getattr(estimator, "card", None)))
        self._estimator: DepthEstimator | None = estimator
        self._folder: Path | None = None
        self._paths: dict[tuple[Path, str], Path] = {}

    def prepare(self, targets: Iterable[tuple[SceneDataset, Frame]], folder: Path) -> None:
        """Looks at every frame that it has not seen, and keeps what it says below `folder`; an answer that is kept for
        the same image, camera and teacher is not made again. Processes share the frames; the main one looks what is
        kept, and writes.

        The network is not held any longer. Raises InputError when an image cannot be read.
        """
        assert self._estimator is not None
        self._folder = folder / FOLDER / self.checksum[:16]
        by_name = {self._path(dataset, frame).name: (dataset, frame) for dataset, frame in targets}
        missing = once(lambda: [name for name in sorted(by_name) if not (self._folder / name).is_file()])
        if rank() == 0:
            self._folder.mkdir(parents=True, exist_ok=True)
        with progress_bar(f"asking {self.name}", len(missing)) as advance:
            for first in range(0, len(missing), world()):
                names = missing[first : first + world()]
                own = self._asked(*by_name[names[rank()]]) if rank() < len(names) else None
                for name, answer in zip(names, gathered(own), strict=False):
                    if rank() == 0:
                        with replaced_file(self._folder / name) as work, work.open("wb") as file:
                            np.save(file, answer, allow_pickle=False)
                advance(len(names))
        self._estimator = None
        self._folder = shared_folder(self._folder)
        self._paths.clear()

    def inverse_depth_path(self, dataset: SceneDataset, frame: Frame) -> Path:
        """Where the answer for a frame is kept; only after `prepare`."""
        return self._path(dataset, frame)

    def inverse_depth(self, dataset: SceneDataset, frame: Frame) -> np.ndarray:
        """Its inverse depth, float16 (H, W) of any size, of the whole image, 0 where it says nothing: per metre if it
        is metric, else with a median of 1. Only after `prepare`. Raises InputError when what was kept is damaged."""
        path = self._path(dataset, frame)
        try:
            inverse_hw = np.load(path, allow_pickle=False)
            if inverse_hw.ndim != 2 or inverse_hw.dtype != np.float16:
                raise ValueError
        except (OSError, ValueError, EOFError):
            raise InputError(f"{path} is damaged; remove it, and run the same command again") from None
        return inverse_hw

    def _path(self, dataset: SceneDataset, frame: Frame) -> Path:
        assert self._folder is not None
        key = dataset.root, frame.name
        if key not in self._paths:
            camera = camera_to_dict(dataset.camera(frame).without_distortion())
            self._paths[key] = self._folder / f"{digest_of(sample_digest(dataset.image_path(frame)), camera)[:32]}.npy"
        return self._paths[key]

    def _asked(self, dataset: SceneDataset, frame: Frame) -> np.ndarray:
        # As the clips are: images of a dataset have no distortion.
        answer = self._estimator.estimate(dataset.image(frame), dataset.camera(frame).without_distortion())
        if not answer.estimated:
            return np.zeros((1, 1), np.float16)
        with np.errstate(divide="ignore", invalid="ignore"):
            inverse_hw = 1 / answer.depth_hw
        known_hw = np.isfinite(inverse_hw) & (inverse_hw > 0)
        if known_hw.any() and self.kind != "metric":
            inverse_hw = inverse_hw / np.median(inverse_hw[known_hw])
        return np.where(known_hw, np.clip(inverse_hw, _LEAST, _MOST), 0).astype(np.float16)


def _kind_of(estimator: DepthEstimator) -> TeacherKind:
    if estimator.shift_unknown:
        return "disparity"
    return "metric" if estimator.metric else "depth"
