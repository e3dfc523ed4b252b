"""What is known of a camera before its image is looked at: by its driver, by an IMU, by the file of a photograph."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np

from geo_perception.calibration.joint import CameraTerm
from geo_perception.calibration.lens import LensBend
from geo_perception.calibration.scale import image_scale
from geo_perception.errors import InputError
from geo_perception.geometry import Camera
from geo_perception.runtime.image import Resampler

UNKNOWN_SIGMA = 1e3  # of the focal length of a camera of which only the lens is known
_SAME_PX = 0.01  # a principal point and focal lengths that differ by less are those of the plain camera


@dataclass(frozen=True)
class KnownCamera:
    """A camera, an upward direction, or both. What is None is not known.

    `camera` is that of the whole image, with its lens where `lens_known`, else only its focal length is known.
    `focal_sigma` is the standard deviation of that as a share of it. `up_3` points up in the camera's optical frame
    (x right, y down, z forward), of any length, as gravity that an accelerometer at rest measures; `up_sigma_rad` is
    how far off it may be, about each level axis.

    Raises InputError for standard deviations that are not positive, and for an `up_3` that points nowhere.
    """

    camera: Camera | None = None
    focal_sigma: float = 0.01
    up_3: np.ndarray | None = None
    up_sigma_rad: float = 0.01
    lens_known: bool = True

    def __post_init__(self) -> None:
        for name in ("focal_sigma", "up_sigma_rad"):
            if not (np.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise InputError(f"{name} is {getattr(self, name):g}; give a standard deviation above zero")
        if self.up_3 is not None:
            up_3 = np.asarray(self.up_3, np.float64)
            length = float(np.linalg.norm(up_3)) if up_3.shape == (3,) else 0.0
            if not (np.isfinite(length) and length > 0):
                raise InputError("up_3 points nowhere; give the upward direction (3,) in the camera's frame")
            object.__setattr__(self, "up_3", up_3 / length)

    @classmethod
    def of_focal(cls, focal_px: float, width_px: int, height_px: int, focal_sigma: float = 0.01) -> KnownCamera:
        """A focal length alone. Raises InputError where it is not positive."""
        return cls(_plain(focal_px, width_px, height_px), focal_sigma, lens_known=False)

    def plain_image(self, image_hw3: np.ndarray) -> np.ndarray:
        """The image as a camera without distortion would have taken it, of the same size and focal length, its
        principal point in the centre. Raises InputError when it is not of the known camera's size."""
        if self.camera is None:
            return image_hw3
        size_px = self.camera.width_px, self.camera.height_px
        if image_hw3.shape[1::-1] != size_px:
            raise InputError(
                f"the image is {image_hw3.shape[1]} x {image_hw3.shape[0]} pixels, the known camera's "
                f"{size_px[0]} x {size_px[1]}; resize one of them"
            )
        plain = _plain(self.camera.focal_px, *size_px)
        if self.camera.model == "pinhole" and np.allclose(self.camera.K, plain.K, rtol=0, atol=_SAME_PX):
            return image_hw3
        return _resampler(self.camera, plain).image(image_hw3, cv2.BORDER_REPLICATE)

    @property
    def of_plain_image(self) -> KnownCamera:
        """What is known of the image that `plain_image` gives."""
        if self.camera is None:
            return self
        return replace(self, camera=_plain(self.camera.focal_px, self.camera.width_px, self.camera.height_px))

    @property
    def knows_focal(self) -> bool:
        """Whether it says anything of the focal length."""
        return self.camera is not None and self.focal_sigma < UNKNOWN_SIGMA

    @property
    def knows_lens(self) -> bool:
        """Whether it says how the lens bends, or that it does not."""
        return self.camera is not None and self.lens_known

    def with_lens(self, lens: LensBend, width_px: int, height_px: int) -> KnownCamera:
        """The same with a lens that bends."""
        # Without a focal length any will do: which pixel sees what does not depend on it.
        focal_px = image_scale(height_px, width_px) if self.camera is None else self.camera.focal_px
        sigma = UNKNOWN_SIGMA if self.camera is None else self.focal_sigma
        camera = lens.camera(focal_px, width_px, height_px)
        return replace(self, camera=camera, focal_sigma=sigma, lens_known=True)

    def with_focal(self, focal_px: float, focal_sigma: float, width_px: int, height_px: int) -> KnownCamera:
        """The same with another focal length: the lens, where there is one, stays as it is."""
        if self.camera is None:
            return replace(self, camera=_plain(focal_px, width_px, height_px), focal_sigma=focal_sigma)
        factor = focal_px / self.camera.focal_px
        camera = replace(self.camera, fx_px=factor * self.camera.fx_px, fy_px=factor * self.camera.fy_px)
        return replace(self, camera=camera, focal_sigma=focal_sigma)

    def term(self, like_up_3: np.ndarray) -> CameraTerm:
        """As evidence; where up is not known, `like_up_3` stands for it without weight."""
        focal_information = up_information = log_focal = 0.0
        if self.camera is not None:
            log_focal = float(np.log(self.camera.focal_px / image_scale(self.camera.height_px, self.camera.width_px)))
            focal_information = self.focal_sigma**-2.0
        if self.up_3 is not None:
            up_information = self.up_sigma_rad**-2.0
        information_33 = np.diag([focal_information, up_information, up_information])
        return CameraTerm(log_focal, like_up_3 if self.up_3 is None else self.up_3, information_33)


@lru_cache(maxsize=4)
def _resampler(camera: Camera, plain: Camera) -> Resampler:
    """Made once for all images of a camera."""
    return Resampler(camera, plain)


def _plain(focal_px: float, width_px: int, height_px: int) -> Camera:
    return Camera(width_px, height_px, focal_px, focal_px, (width_px - 1) / 2, (height_px - 1) / 2)
