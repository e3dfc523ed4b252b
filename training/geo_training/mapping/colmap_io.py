"""From our cameras to COLMAP's, between our poses and COLMAP's, and the models that `geo-train map` wrote."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path

import numpy as np
import pycolmap

from geo_perception.errors import InputError
from geo_perception.geometry import Camera, invert_pose, make_pose
from geo_training.datasets.colmap_model import PIXEL_CENTRE, read_reconstruction

pycolmap.logging.minloglevel = 3  # glog's warnings are about COLMAP's own doings; what matters is in our report
with contextlib.suppress(ValueError):  # in another thread than the main one
    # Loaded, it answers SIGTERM with a page of addresses; that a process is asked to end is no failure.
    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))


def to_pycolmap(camera: Camera, known: bool = True) -> pycolmap.Camera:
    """COLMAP's form of a camera.

    A camera that is not `known` is a guess: it becomes SIMPLE_RADIAL, to be refined, and COLMAP is told that its focal
    length is no prior.
    """
    cx, cy = camera.cx_px + PIXEL_CENTRE, camera.cy_px + PIXEL_CENTRE
    if not known:
        radial = _one_radial(camera)
        model, params = "SIMPLE_RADIAL", [(camera.fx_px + camera.fy_px) / 2, cx, cy, radial]
    else:
        K = [camera.fx_px, camera.fy_px, cx, cy]
        d = camera.distortion
        if camera.model == "pinhole":
            model, params = "PINHOLE", K
        elif camera.model == "equidistant":
            model, params = "OPENCV_FISHEYE", [*K, *d]
        elif len(d) == 4:
            model, params = "OPENCV", [*K, *d]
        elif len(d) in (5, 8):
            model, params = "FULL_OPENCV", [*K, *d, *([0.0] * (8 - len(d)))]
        else:
            raise InputError(f"COLMAP has no {len(d)}-coefficient {camera.model} lens; undistort the images first")
    result = pycolmap.Camera(model=model, width=camera.width_px, height=camera.height_px, params=params)
    result.has_prior_focal_length = known
    return result


def _one_radial(camera: Camera) -> float:
    """The one radial coefficient that comes nearest to the camera's lens over its image."""
    if camera.model == "pinhole":
        return 0.0
    across_px = np.linspace(0.1, 1.0, 10) * np.hypot(camera.width_px, camera.height_px) / 2
    pixels_n2 = np.array([camera.cx_px, camera.cy_px]) + np.outer(across_px, [1.0, 0.0])
    true_n, seen_n = camera.normalize(pixels_n2)[:, 0], across_px / camera.fx_px
    known_n = np.isfinite(true_n)
    true_n, seen_n = true_n[known_n], seen_n[known_n]
    return float(true_n**3 @ (seen_n - true_n) / (true_n**6).sum()) if known_n.any() else 0.0


def to_rigid(T_world_camera: np.ndarray) -> pycolmap.Rigid3d:
    """COLMAP's cam_from_world of a 4x4 pose."""
    T_camera_world = invert_pose(T_world_camera)
    return pycolmap.Rigid3d(pycolmap.Rotation3d(T_camera_world[:3, :3]), T_camera_world[:3, 3])


def from_rigid(cam_from_world: pycolmap.Rigid3d) -> np.ndarray:
    """The 4x4 T_world_camera of COLMAP's cam_from_world."""
    return invert_pose(make_pose(cam_from_world.rotation.matrix(), cam_from_world.translation))


def registered_poses(reconstruction: pycolmap.Reconstruction) -> dict[str, np.ndarray]:
    """T_world_camera (4, 4) of every image that has a pose, by name."""
    images = (image for image in reconstruction.images.values() if image.has_pose)
    return {image.name: from_rigid(image.cam_from_world()) for image in sorted(images, key=lambda image: image.name)}


def read_model(folder: Path) -> pycolmap.Reconstruction:
    """A COLMAP model from disk, text or binary. Raises InputError when there is none, or it cannot be read."""
    if not any((folder / name).is_file() for name in ("images.bin", "images.txt")):
        raise InputError(f"{folder} holds no COLMAP model; run `geo-train map` on the dataset first")
    try:
        return read_reconstruction(folder)
    except (RuntimeError, ValueError, IndexError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{folder} cannot be read ({reason}); run `geo-train map` again") from None
