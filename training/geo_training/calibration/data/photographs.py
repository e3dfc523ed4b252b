"""Photographs whose K and gravity are known, as examples for calibration, and crops of them to train on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from pydantic import Field

from geo_perception.errors import InputError
from geo_perception.geometry import Camera, attitude_from_up, so3_exp, up_from_attitude
from geo_training.calibration.data.crops import MAX_COVERED, ROBOT_DISTRIBUTION, CropSpec, rays_across
from geo_training.config import Strict
from geo_training.datasets.importers import READERS, ImportOptions, guess_format
from geo_training.datasets.scene import SceneDataset, camera_is_known
from geo_training.storage.images import read_rgb


@dataclass(frozen=True)
class CalibrationExample:
    """One photograph without lens distortion. Pitch and roll are those of the optical axis, which meets the image in
    the principal point (`camera.cx_px`, `camera.cy_px`), not always in its centre: see `centred`."""

    name: str
    image_path: Path
    camera: Camera
    pitch_rad: float
    roll_rad: float
    sequence: str = ""
    split: str = ""
    window_px: tuple[int, int] | None = None  # left and top of what `camera` sees, in a larger file

    @property
    def focal_px(self) -> float:
        return self.camera.focal_px

    @property
    def principal_offset_px(self) -> tuple[float, float]:
        """How far the principal point lies right of and below the image's centre."""
        camera = self.camera
        return camera.cx_px - (camera.width_px - 1) / 2, camera.cy_px - (camera.height_px - 1) / 2

    def image(self) -> np.ndarray:
        """RGB uint8 (H, W, 3), read from disk. Raises InputError when it cannot be, or is not of the camera's size."""
        image_rgb = read_rgb(self.image_path)
        left, top = self.window_px or (0, 0)
        width_px, height_px = self.camera.width_px, self.camera.height_px
        fits = image_rgb.shape[:2] == (height_px, width_px)
        if self.window_px is not None:
            fits = image_rgb.shape[0] >= top + height_px and image_rgb.shape[1] >= left + width_px
        if not fits:
            raise InputError(
                f"{self.image_path} has {image_rgb.shape[1]} x {image_rgb.shape[0]} pixels, which do not fit its K; "
                "give the images that this K was made for"
            )
        return image_rgb[top : top + height_px, left : left + width_px]


def examples(dataset: SceneDataset, gravity_world=None) -> list[CalibrationExample]:
    """The frames of a dataset that have a pose. `gravity_world` (3,) points down; without one, dataset.json's is used.

    Images are read when asked for. Raises InputError when gravity is not known, no frame has a pose, or K is a guess.
    """
    gravity_world = dataset.info.gravity_world if gravity_world is None else gravity_world
    if gravity_world is None:
        raise InputError(f"{dataset.root} does not say where down is; set gravity_world in dataset.json or give it")
    guessed = [camera_id for camera_id in dataset.cameras if not camera_is_known(dataset.root, camera_id)]
    if guessed:
        raise InputError(f"{dataset.root}: the K of camera '{guessed[0]}' is a guess; import with --K, or map it first")
    posed = [frame for frame in dataset.frames if frame.T_world_camera is not None]
    if not posed:
        raise InputError(f"{dataset.root} has no poses, so pitch and roll are not known; map it first")
    return [
        CalibrationExample(
            name=frame.name,
            image_path=dataset.image_path(frame),
            camera=dataset.camera(frame),
            **_attitude(frame.T_world_camera, gravity_world),
            sequence=frame.sequence,
            split=frame.split,
        )
        for frame in posed
    ]


def folder_examples(path: str | Path, gravity_world, format_name: str | None = None) -> list[CalibrationExample]:
    """The same of a public format as it lies on disk (rgb/, K.txt, poses.txt; TUM, 7-Scenes, ...), without a copy.

    Frames without a pose or a K are left out. Raises InputError when none is left, or when a lens bends: those images
    are undistorted by `geo-train dataset import`.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path} does not exist; check the path")
    source = READERS[format_name or guess_format(path)].read(path, ImportOptions())
    frames = [frame for frame in source.frames if frame.camera is not None and frame.T_world_camera is not None]
    if not frames:
        raise InputError(f"{path} has no image with both a K and a pose; add K.txt and poses.txt")
    if any(frame.camera.model != "pinhole" for frame in frames):
        raise InputError(f"{path}: the lens bends; run `geo-train dataset import` first and give the dataset it makes")
    return [
        CalibrationExample(
            name=f"{frame.sequence}/{frame.image_file.name}",
            image_path=frame.image_file,
            camera=frame.camera,
            **_attitude(frame.T_world_camera, gravity_world),
            sequence=frame.sequence,
            split=frame.split,
        )
        for frame in frames
    ]


def _attitude(T_world_camera: np.ndarray, gravity_world) -> dict[str, float]:
    down_3 = np.asarray(gravity_world, np.float64)
    if down_3.shape != (3,) or not np.isfinite(down_3).all() or np.linalg.norm(down_3) < 1e-9:
        raise InputError(f"gravity_world {gravity_world} is no direction; give three numbers that point down")
    pitch_rad, roll_rad = attitude_from_up(T_world_camera[:3, :3].T @ -down_3)
    return {"pitch_rad": float(pitch_rad), "roll_rad": float(roll_rad)}


def centred(example: CalibrationExample) -> CalibrationExample:
    """The largest part of the photograph whose centre is the principal point, to a quarter of a pixel.

    A method that takes the principal point for the centre sees another optical axis where it is not: 10 pixels at a
    focal length of 500 are 1.1 degrees. Pixels are left out, none is resampled, and the labels stay.
    """
    sides = []
    for offset_px, side_px in zip(
        example.principal_offset_px, (example.camera.width_px, example.camera.height_px), strict=True
    ):
        cut_px = round(2 * abs(offset_px))
        if cut_px >= side_px:
            raise InputError(f"{example.name}: the principal point lies outside the image; check its K")
        sides.append((cut_px if offset_px > 0 else 0, side_px - cut_px))
    (left, width_px), (top, height_px) = sides
    before = example.window_px or (0, 0)
    return replace(
        example,
        camera=example.camera.cropped(left, top, width_px, height_px),
        window_px=(before[0] + left, before[1] + top),
    )


class RecropConfig(Strict):
    """How far a crop may differ from its photograph: turned about the camera's place, zoomed in, of another shape."""

    sizes_px: tuple[tuple[int, int], ...] = Field(ROBOT_DISTRIBUTION.sizes_px, min_length=1)
    turn_deg: float = Field(8.0, ge=0, le=30, description="about the camera's x and y axes, each way")
    roll_deg: float = Field(10.0, ge=0, le=90, description="about the optical axis, each way")
    zoom: float = Field(1.8, ge=1, le=8, description="largest focal length, in those of the widest crop that fits")


def recrop(
    example: CalibrationExample,
    rng: np.random.Generator,
    config: RecropConfig | None = None,
    image_hw3: np.ndarray | None = None,
) -> tuple[np.ndarray, CropSpec]:
    """A crop of a photograph, RGB uint8 (height_px, width_px, 3), and its camera: centred, with square pixels.

    Turning and zooming a camera in its place is a homography of its image, so the labels stay exact; its yaw is 0. The
    crop lies wholly within the photograph. `image_hw3` is the photograph where it is at hand.
    """
    spec, R_photo_crop = draw_recrop(example, rng, config or RecropConfig())
    return render_recrop(example.image() if image_hw3 is None else image_hw3, example.camera, spec, R_photo_crop), spec


def draw_recrop(
    example: CalibrationExample, rng: np.random.Generator, config: RecropConfig
) -> tuple[CropSpec, np.ndarray]:
    """The camera of a crop, and the rotation (3, 3) from its optical frame to the photograph's."""
    width_px, height_px = config.sizes_px[int(rng.integers(len(config.sizes_px)))]
    turn_3 = np.radians([config.turn_deg, config.turn_deg, 0.0]) * rng.uniform(-1, 1, 3)
    roll_3 = np.array([0.0, 0.0, np.radians(config.roll_deg) * rng.uniform(-1, 1)])
    zoom = config.zoom ** rng.uniform(0, 1)
    for share in (1.0, 0.5, 0.25, 0.0):  # a narrow photograph may be too small for the whole turn
        R_photo_crop = so3_exp(share * turn_3) @ so3_exp(roll_3)
        shortest_px = _shortest_focal_px(example.camera, R_photo_crop, width_px, height_px)
        if shortest_px is not None:
            break
    else:
        raise InputError(f"{example.name}: the principal point lies outside the image; check its K")
    up_3 = R_photo_crop.T @ up_from_attitude(example.pitch_rad, example.roll_rad)
    pitch_rad, roll_rad = attitude_from_up(up_3)
    return CropSpec(width_px, height_px, shortest_px * zoom, float(pitch_rad), float(roll_rad)), R_photo_crop


def _shortest_focal_px(camera: Camera, R_photo_crop: np.ndarray, width_px: int, height_px: int) -> float | None:
    """The focal length at which the crop just fits into the photograph; None where its axis lies outside.

    The photograph is where four planes through the camera's place are on their positive side, at the outermost pixel
    centres. A corner of the crop is the direction R (x / f, y / f, 1), so each plane gives a bound that is linear in
    1 / f.
    """
    right, bottom = camera.width_px - 1, camera.height_px - 1
    planes_43 = np.array([
        [camera.fx_px, 0, camera.cx_px], [-camera.fx_px, 0, right - camera.cx_px],
        [0, camera.fy_px, camera.cy_px], [0, -camera.fy_px, bottom - camera.cy_px],
    ])  # fmt: skip
    corners_34 = np.array([[x * width_px / 2, y * height_px / 2, 0] for x in (-1, 1) for y in (-1, 1)]).T
    at_axis_41 = planes_43 @ R_photo_crop[:, 2:]
    slopes_44 = planes_43 @ R_photo_crop @ corners_34
    if (at_axis_41 <= 1e-6 * camera.fx_px).any():
        return None
    return float((-slopes_44 / at_axis_41).max())


def render_recrop(image_hw3: np.ndarray, camera: Camera, spec: CropSpec, R_photo_crop: np.ndarray) -> np.ndarray:
    """What the crop's camera sees of a photograph by `camera`: RGB uint8 (height_px, width_px, 3), supersampled as
    `render_crop` does it."""
    shrink = int(np.ceil(camera.fx_px / spec.focal_px / MAX_COVERED))
    if shrink > 1:
        size_px = camera.width_px // shrink, camera.height_px // shrink
        image_hw3, camera = cv2.resize(image_hw3, size_px, interpolation=cv2.INTER_AREA), camera.resized(*size_px)
    rays = rays_across(camera.fx_px / spec.focal_px)
    fine = spec.camera.resized(spec.width_px * rays, spec.height_px * rays)
    H_photo_fine = camera.K @ R_photo_crop @ np.linalg.inv(fine.K)
    method = cv2.INTER_CUBIC if spec.focal_px > camera.fx_px else cv2.INTER_LINEAR
    size_px = fine.width_px, fine.height_px
    fine_hw3 = cv2.warpPerspective(
        image_hw3, H_photo_fine, size_px, flags=method | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE
    )
    return cv2.resize(fine_hw3, (spec.width_px, spec.height_px), interpolation=cv2.INTER_AREA)
