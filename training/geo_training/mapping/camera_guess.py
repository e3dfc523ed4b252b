"""A focal length to begin mapping from, where none was recorded: told by the images themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from geo_perception.calibration.estimator import Calibrator
from geo_perception.calibration.known import KnownCamera
from geo_perception.errors import InputError
from geo_perception.geometry import Camera
from geo_training.console import say
from geo_training.datasets.importers.source import guessed_camera
from geo_training.datasets.pictures import EXIF_SIGMA
from geo_training.datasets.scene import Frame, SceneDataset, camera_is_known

IMAGES = 24  # of each camera, spread over its frames
SIGMA_OF_NOTHING = 0.5  # of a focal length that nobody said, as a share of it
MAX_SIGMA = 0.3  # what is less certain is no better than the usual guess


@dataclass(frozen=True)
class CameraGuess:
    """A camera that is about right; `sigma` is the standard deviation of its focal length as a share of it."""

    camera: Camera
    sigma: float


def guess_cameras(dataset: SceneDataset, frames: Sequence[Frame]) -> dict[str, CameraGuess]:
    """A better guess of each camera whose intrinsics were not given, by its id: of those for which the images tell one.

    What the dataset assumes is a weak prior: by EXIF it is about right, else it is what most cameras are.
    """
    unknown = [camera_id for camera_id in dataset.cameras if not camera_is_known(dataset.root, camera_id)]
    calibrator: Calibrator | None = None
    guesses = {}
    for camera_id in unknown:
        own = [frame for frame in frames if frame.camera_id == camera_id]
        if not own:
            continue
        calibrator = calibrator or Calibrator.load(device="auto")
        chosen = [own[n] for n in np.unique(np.linspace(0, len(own) - 1, IMAGES).round().astype(int))]
        guess = _guess(calibrator, dataset, dataset.cameras[camera_id], chosen)
        if guess is not None:
            guesses[camera_id] = guess
            angle_deg = 2 * np.degrees(np.arctan(guess.camera.width_px / 2 / guess.camera.focal_px))
            say(
                f"the focal length of {camera_id} is about {guess.camera.focal_px:.0f} px within {guess.sigma:.0%} "
                f"({angle_deg:.0f} degrees across), by {len(chosen)} images"
            )
    return guesses


def _guess(
    calibrator: Calibrator, dataset: SceneDataset, assumed: Camera, frames: Sequence[Frame]
) -> CameraGuess | None:
    width_px, height_px = assumed.width_px, assumed.height_px
    by_exif = abs(assumed.focal_px - guessed_camera(width_px, height_px).focal_px) > 0.5
    prior = KnownCamera.of_focal(assumed.focal_px, width_px, height_px, EXIF_SIGMA if by_exif else SIGMA_OF_NOTHING)
    answers = calibrator.estimate_many(_readable(dataset, frames), known=prior)
    answer = next((answer for answer in answers if answer.covariance_33 is not None), None)
    if answer is None or answer.sigma_focal_px > MAX_SIGMA * answer.focal_px:
        return None
    # To two digits: another machine rounds otherwise, and would make all features anew.
    focal_px = float(f"{answer.focal_px:.2g}")
    camera = guessed_camera(width_px, height_px, focal_px)
    if answer.lens is not None and not answer.lens.beyond:
        camera = replace(answer.lens, bend=round(answer.lens.bend, 2)).camera(focal_px, width_px, height_px)
    return CameraGuess(camera, answer.sigma_focal_px / answer.focal_px)


def _readable(dataset: SceneDataset, frames: Sequence[Frame]) -> list[np.ndarray]:
    """The images that can be read; mapping counts the others."""
    images = []
    for frame in frames:
        try:
            images.append(dataset.image(frame))
        except InputError:
            continue
    return images
