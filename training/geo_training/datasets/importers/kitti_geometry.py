"""What KITTI raw knows about its cameras, its lidar and its way: calibration files, lidar depth and GPS/IMU poses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geo_perception.errors import InputError
from geo_perception.geometry import Camera, checked_rotation, invert_pose, make_pose
from geo_training.datasets.importers.source import read_text

EARTH_RADIUS_M = 6_378_137.0
_NEAR_M = 0.1
_MAX_LATITUDE = 85.0  # where a Mercator map ends


@dataclass(frozen=True)
class DateCalibration:
    """One date's calib_*.txt. `cam_to_cam` holds its numbers by key; the transforms are None where a file is missing.

    Raises InputError (on reading) when calib_cam_to_cam.txt is missing or a file is broken.
    """

    folder: Path
    cam_to_cam: dict[str, np.ndarray]
    T_camera0_velo: np.ndarray | None
    T_velo_imu: np.ndarray | None

    @classmethod
    def read(cls, folder: Path) -> DateCalibration:
        cameras = folder / "calib_cam_to_cam.txt"
        if not cameras.is_file():
            raise InputError(
                f"{folder} has no calib_cam_to_cam.txt; unpack the calibration of this date beside its drives"
            )
        rigid = [_read_rigid(folder / name) for name in ("calib_velo_to_cam.txt", "calib_imu_to_velo.txt")]
        return cls(folder, _read_fields(cameras), *rigid)

    def camera(self, number: int, size: tuple[int, int] | None = None) -> Camera:
        """The rectified camera, of the size in the file, or of `size` (width, height) where the file has none."""
        K_33, _ = self._projection(number)
        shape = self.cam_to_cam.get(f"S_rect_{number:02d}")
        width, height = size if shape is None or len(shape) != 2 else (round(shape[0]), round(shape[1]))
        return Camera.from_K(K_33, width, height)

    def T_camera_velo(self, number: int) -> np.ndarray | None:
        """Lidar points into the rectified camera: its z is the depth. None without calib_velo_to_cam.txt."""
        if self.T_camera0_velo is None:
            return None
        turn = self.cam_to_cam.get("R_rect_00")
        if turn is None or len(turn) != 9:
            raise InputError(
                f"{self.folder / 'calib_cam_to_cam.txt'} has no R_rect_00 of nine numbers; unpack it again"
            )
        _, T_camera_rectified0 = self._projection(number)
        R_rect_33 = _checked(turn, self.folder / "calib_cam_to_cam.txt", "R_rect_00")
        return T_camera_rectified0 @ make_pose(R_rect_33, np.zeros(3)) @ self.T_camera0_velo

    def T_imu_camera(self, number: int) -> np.ndarray | None:
        """The rectified camera in the frame of the GPS/IMU. None where a file is missing."""
        T_camera_velo = self.T_camera_velo(number)
        if T_camera_velo is None or self.T_velo_imu is None:
            return None
        return invert_pose(T_camera_velo @ self.T_velo_imu)

    def _projection(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """K (3, 3), and the shift from the rectified camera 0: P = K [I | t]."""
        P = self.cam_to_cam.get(f"P_rect_{number:02d}")
        try:
            return split_projection(P.reshape(3, 4))
        except (AttributeError, ValueError, np.linalg.LinAlgError):
            path = self.folder / "calib_cam_to_cam.txt"
            raise InputError(f"{path} has no P_rect_{number:02d} of twelve numbers; unpack it again") from None


def split_projection(P_34: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """K (3, 3), and the shift (4, 4) from the camera that the projection P = K [I | t] starts at.

    Raises ValueError or LinAlgError when P is no such projection.
    """
    K_33 = P_34[:, :3]
    if not np.isfinite(P_34).all() or K_33[0, 0] <= 0 or K_33[1, 1] <= 0 or np.abs(K_33[2] - [0, 0, 1]).max() > 1e-6:
        raise ValueError
    return K_33, make_pose(np.eye(3), np.linalg.solve(K_33, P_34[:, 3]))


@dataclass(frozen=True)
class LidarDepth:
    """A lidar scan as the depth image of a camera: velodyne_points/data/*.bin, float32 (N, 4): x, y, z, reflectance."""

    path: Path
    camera: Camera
    T_camera_velo: np.ndarray

    def load_m(self) -> np.ndarray | None:
        """Depth along the camera's z in metres, float32 (H, W), 0 where no point falls; of several points in a
        pixel the nearest counts. None when the file is no scan."""
        try:
            numbers = np.fromfile(self.path, np.float32)
        except OSError:
            return None
        if len(numbers) == 0 or len(numbers) % 4:
            return None
        points_n3 = numbers.reshape(-1, 4)[:, :3]
        points_n3 = points_n3[np.isfinite(points_n3).all(axis=1)].astype(np.float64)
        points_n3 = points_n3 @ self.T_camera_velo[:3, :3].T + self.T_camera_velo[:3, 3]
        points_n3 = points_n3[points_n3[:, 2] > _NEAR_M]
        pixels_n2 = self.camera.project(points_n3)
        inside_n = self.camera.contains(pixels_n2)
        columns, rows = np.rint(pixels_n2[inside_n]).astype(int).T
        depth_m = np.full((self.camera.height_px, self.camera.width_px), np.inf, np.float32)
        # A pixel reaches half a pixel to each side, and the last one keeps what is rounded up at its edge.
        rows, columns = rows.clip(0, depth_m.shape[0] - 1), columns.clip(0, depth_m.shape[1] - 1)
        np.minimum.at(depth_m, (rows, columns), points_n3[inside_n, 2].astype(np.float32))
        depth_m[np.isinf(depth_m)] = 0
        return depth_m


def imu_poses(files: list[Path]) -> list[np.ndarray | None]:
    """T_world_imu (4, 4) of every oxts file: metres east, north and up of the first one. None where a file is missing
    or broken, or says a place that is none (no fix: 0, 0).

    Latitude and longitude become metres by a Mercator map with the scale of the first latitude.
    """
    poses: list[np.ndarray | None] = []
    scale = origin_3 = None
    for file in files:
        try:
            values = [float(word) for word in file.read_text().split()[:6]]
        except (OSError, ValueError):
            values = []
        if len(values) < 6 or not np.isfinite(values).all():
            poses.append(None)
            continue
        latitude, longitude, altitude_m, roll, pitch, yaw = values
        if abs(latitude) > _MAX_LATITUDE or abs(longitude) > 360 or (latitude == 0 and longitude == 0):
            poses.append(None)
            continue
        scale = np.cos(np.radians(latitude)) if scale is None else scale
        position_3 = np.array([
            scale * EARTH_RADIUS_M * np.radians(longitude),
            scale * EARTH_RADIUS_M * np.log(np.tan(np.pi / 4 + np.radians(latitude) / 2)),
            altitude_m,
        ])  # fmt: skip
        origin_3 = position_3 if origin_3 is None else origin_3
        poses.append(make_pose(_about(2, yaw) @ _about(1, pitch) @ _about(0, roll), position_3 - origin_3))
    return poses


def _about(axis: int, angle_rad: float) -> np.ndarray:
    """Rotation about x (0), y (1) or z (2)."""
    first, second = (axis + 1) % 3, (axis + 2) % 3
    R_33 = np.eye(3)
    R_33[first, first] = R_33[second, second] = np.cos(angle_rad)
    R_33[second, first] = np.sin(angle_rad)
    R_33[first, second] = -np.sin(angle_rad)
    return R_33


def _read_fields(path: Path) -> dict[str, np.ndarray]:
    """`key: numbers` lines; what is not made of numbers (the time of calibration) is left out."""
    fields = {}
    for line in read_text(path).splitlines():
        key, _, values = line.partition(":")
        try:
            fields[key.strip()] = np.array([float(value) for value in values.split()])
        except ValueError:
            continue
    return fields


def _read_rigid(path: Path) -> np.ndarray | None:
    """A transform (4, 4) of lines R and T. None where there is no such file."""
    if not path.is_file():
        return None
    fields = _read_fields(path)
    R, t = fields.get("R"), fields.get("T")
    if R is None or t is None or len(R) != 9 or len(t) != 3:
        raise InputError(f"{path} has no R of nine and T of three numbers; unpack it again")
    if not np.isfinite(t).all():
        raise InputError(f"{path}: T is {t.tolist()}; unpack it again")
    return make_pose(_checked(R, path, "R"), t)


def _checked(R_9: np.ndarray, path: Path, key: str) -> np.ndarray:
    try:
        return checked_rotation(R_9.reshape(3, 3))
    except InputError as error:
        raise InputError(f"{path}: {key}: {error}") from None
