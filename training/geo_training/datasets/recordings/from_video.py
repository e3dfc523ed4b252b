"""Films to a dataset: of each interval the sharpest image, as it is shown."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from geo_perception.errors import InputError
from geo_training.console import progress_bar
from geo_training.datasets.recordings.films import Film
from geo_training.datasets.recordings.recorded_cameras import GivenK, RecordedCameras
from geo_training.datasets.recordings.sharpness import SharpestPerInterval, TimedImage
from geo_training.datasets.scene_writer import SceneWriter
from geo_training.datasets.tally import Tally

_FEW_OF_PROMISED = 0.9


def dataset_from_videos(
    videos: list[Path], out: Path, fps: float = 4.0, K_33: np.ndarray | None = None, overwrite: bool = False
) -> dict:
    """Writes the dataset `out`, a sequence for each film. `fps` 0 keeps every image. Returns counts and notes.

    Stamps count from the first image of each film. `K_33` is for the images as they are shown: upright, with square
    pixels; without it the focal length is a guess that mapping refines. Raises InputError when a file is no film, or K
    does not fit its images.
    """
    with SceneWriter(out, sources=[Path(video) for video in videos], overwrite=overwrite) as writer:
        reader = _Reader(writer, fps, K_33)
        for video in map(Path, videos):
            with Film(video) as film:
                reader.read(film)
        if reader.cameras.guessed:
            writer.note("No K was given: the focal length is a guess until the dataset is mapped.")
    return {
        "out": str(out),
        "frames": len(writer.frames),
        "sequences": reader.sequences,
        "tallies": [tally.to_dict() for tally in reader.tallies],
        "cameras_known": not reader.cameras.guessed,
        "notes": writer.info.notes,
        "warnings": [note for note in writer.info.notes if note not in {tally.sentence for tally in reader.tallies}],
    }


class _Reader:
    """Reads one film after the other into the same dataset."""

    def __init__(self, writer: SceneWriter, fps: float, K_33: np.ndarray | None):
        self.cameras = RecordedCameras(writer)
        self.sequences: dict[str, int] = {}
        self.tallies: list[Tally] = []
        self._writer, self._fps = writer, fps
        self._given = None if K_33 is None else GivenK(K_33)

    def read(self, film: Film) -> None:
        sequence = _unique_name(film.path, self.sequences)
        self.sequences[sequence] = 0
        selector = SharpestPerInterval(self._fps)
        with progress_bar(f"images of {film.path.name}", film.promised) as advance:
            for image in film.images():
                advance()
                self._store(sequence, film, selector.offer(image.stamp_ns, image.image_rgb))
        self._store(sequence, film, selector.finish())
        if not film.decoded:
            raise InputError(
                f"{film.path} holds no image that can be decoded: it is damaged, or its codec ({film.codec}) is not "
                "one that can be read here; copy it again, or convert it to H.264"
            )
        self._sum_up(film, self.sequences[sequence])

    def _store(self, sequence: str, film: Film, best: TimedImage | None) -> None:
        if best is None:
            return
        camera = self._given.camera(best.image_rgb, film.path.name) if self._given else None
        image_rgb, camera_id = self.cameras.undistorted(best.image_rgb, camera)
        stem = f"{self.sequences[sequence]:06d}"
        self._writer.add_frame(sequence, best.stamp_ns, camera_id, image_rgb=image_rgb, stem=stem)
        self.sequences[sequence] += 1

    def _sum_up(self, film: Film, used: int) -> None:
        tally = Tally(film.path.name, found=film.decoded + film.undecodable, used=used)
        tally.leave_out(f"for the rate of {self._fps:g} a second", film.decoded - used)
        tally.leave_out("cut off, damaged or hidden by the film's edits", film.undecodable)
        self.tallies.append(tally)
        self._writer.note(tally.sentence)
        for note in film.notes:
            self._writer.note(note)
        if film.restamped:
            self._writer.note(
                f"{film.path.name}: the times of {film.restamped} images do not rise; each was put one image after the "
                "one before."
            )
        if film.promised and not film.undecodable and film.decoded < _FEW_OF_PROMISED * film.promised:
            self._writer.note(
                f"{film.path.name} has {film.decoded} images; by the duration in its header it would have about "
                f"{film.promised}: it may be cut off."
            )


def _unique_name(video: Path, taken: dict[str, int]) -> str:
    name = re.sub(r"[^\w-]+", "_", video.stem).strip("_") or "video"
    unique, number = name, 2
    while unique in taken:
        unique, number = f"{name}_{number}", number + 1
    return unique
