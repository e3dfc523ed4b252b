"""Exact pictures of a room: what a camera at a pose sees, how far each pixel is, and which object it shows.

Every surface is a parallelogram, so the ray of each pixel is intersected with it in closed form: with M = [right down
corner] in the camera frame, M^-1 (x, y, 1) = (s, t, 1) / z; of a triangle only s + t <= 1 counts. Lens distortion only
bends the rays, so it is exact too.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from geo_perception.geometry import Camera, invert_pose
from geo_training.synthetic.lighting import Lighting, light_maps
from geo_training.synthetic.room import Room

NEAR_M = 0.02
_ROW_PX = 512  # pixels of one surface are sampled as an image of this width (cv2.remap wants an image)


@dataclass(frozen=True)
class Render:
    """`radiance_hw3` is linear light, float32; `image_rgb` what a plain sensor makes of it, uint8.

    `depth_m` is the distance along z of what the pixel's centre shows, float32, 0 where nothing is; `instance_hw` the
    object there (Room.instances), int32, 0 where nothing is. Both are None when they were not asked for.
    """

    image_rgb: np.ndarray
    radiance_hw3: np.ndarray
    depth_m: np.ndarray | None
    instance_hw: np.ndarray | None


def render(
    room: Room,
    camera: Camera,
    T_world_camera: np.ndarray,
    lighting: Lighting,
    supersample: int = 2,
    with_depth: bool = True,
) -> Render:
    """The picture of the room that `camera` takes at `T_world_camera`. Colours are averaged over `supersample`^2 rays a
    pixel; depth and instance are those of the ray through the pixel's centre."""
    T_camera_world = invert_pose(T_world_camera)
    rays = _rays(camera, supersample)
    surfaces = _facing(room, T_camera_world, rays)
    quad_hw, _ = _visible(surfaces, rays)
    radiance = _shade(room, lighting, surfaces, rays, quad_hw)
    if lighting.sky is not None and (quad_hw < 0).any():
        radiance[quad_hw < 0] = lighting.sky(_directions(rays, quad_hw < 0, T_world_camera))
    size = (camera.width_px, camera.height_px)
    radiance = cv2.resize(radiance, size, interpolation=cv2.INTER_AREA) if supersample > 1 else radiance
    depth_m = instance_hw = None
    if with_depth:
        quad_hw, inverse_z_hw = _visible(surfaces, _rays(camera, 1))
        with np.errstate(divide="ignore"):
            depth_m = np.where(quad_hw >= 0, 1.0 / inverse_z_hw, 0.0).astype(np.float32)
        ids = np.array([quad.instance for quad in room.quads] + [0], np.int32)
        instance_hw = ids[quad_hw]
    return Render(develop(radiance), radiance, depth_m, instance_hw)


def develop(radiance_hw3: np.ndarray, exposure: float = 1.0) -> np.ndarray:
    """Linear light to RGB uint8: exposure, a soft shoulder for what is bright, gamma."""
    light = np.maximum(radiance_hw3 * np.float32(exposure), 0)
    light = light * (1 + light / 6.0) / (1 + light)  # keeps dark tones, bends bright ones
    return np.clip(255.0 * np.sqrt(light * 1.18) + 0.5, 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class _Rays:
    """Undistorted coordinates on z = 1 of every sample, float64 (H, W), and how far they spread along each row and
    column, to find the samples a surface can touch."""

    x_hw: np.ndarray
    y_hw: np.ndarray
    column_low: np.ndarray
    column_high: np.ndarray
    row_low: np.ndarray
    row_high: np.ndarray
    step: float  # distance of neighbouring samples on z = 1


@lru_cache(maxsize=8)
def _rays(camera: Camera, supersample: int) -> _Rays:
    width, height = camera.width_px * supersample, camera.height_px * supersample
    columns = (np.arange(width) + 0.5) / supersample - 0.5
    rows = (np.arange(height) + 0.5) / supersample - 0.5
    xy = camera.normalize(np.stack(np.meshgrid(columns, rows), -1).reshape(-1, 2)).reshape(height, width, 2)
    x, y = np.ascontiguousarray(xy[..., 0]), np.ascontiguousarray(xy[..., 1])
    spans = np.nanmin(x, 0), np.nanmax(x, 0), np.nanmin(y, 1), np.nanmax(y, 1)
    return _Rays(x, y, *spans, 1.0 / (camera.fx_px * supersample))


@dataclass(frozen=True)
class _Surface:
    """A quad that faces the camera: M^-1 (see above), and bounds (x low, x high, y low, y high) on z = 1."""

    index: int
    inverse_33: np.ndarray
    bounds: tuple[float, float, float, float]
    triangle: bool


@lru_cache(maxsize=4)
def _frames(room: Room) -> tuple[np.ndarray, np.ndarray]:
    """Of every quad: [right down corner] as (Q, 3, 3), and its corners (Q, 4, 3), in the world."""
    frames = np.array([np.stack([quad.right_3, quad.down_3, quad.corner_3], axis=1) for quad in room.quads])
    return frames, np.array([quad.corners_43 for quad in room.quads])


def _facing(room: Room, T_camera_world: np.ndarray, rays: _Rays) -> list[_Surface]:
    """The quads whose front the camera could see, by the direction they face and the field of view."""
    frames_q33, corners_q43 = _frames(room)
    R_33, t_3 = T_camera_world[:3, :3], T_camera_world[:3, 3]
    frames_q33 = R_33 @ frames_q33
    frames_q33[:, :, 2] += t_3
    corners_q43 = corners_q43 @ R_33.T + t_3
    volume_q = np.linalg.det(frames_q33)  # right x down points away from who sees the front
    near_q = (corners_q43[:, :, 2] < NEAR_M).any(axis=1)
    behind_q = (corners_q43[:, :, 2] < NEAR_M).all(axis=1)
    view = rays.column_low.min(), rays.column_high.max(), rays.row_low.min(), rays.row_high.max()
    surfaces = []
    for index in np.flatnonzero((volume_q > 1e-9) & ~behind_q):
        outline_n3 = _clipped(corners_q43[index]) if near_q[index] else corners_q43[index]
        xy = outline_n3[:, :2] / outline_n3[:, 2:]
        (x_low, y_low), (x_high, y_high) = xy.min(0).tolist(), xy.max(0).tolist()
        if x_high >= view[0] and x_low <= view[1] and y_high >= view[2] and y_low <= view[3]:
            inverse_33 = np.linalg.inv(frames_q33[index])
            surfaces.append(
                _Surface(int(index), inverse_33, (x_low, x_high, y_low, y_high), room.quads[index].triangle)
            )
    return surfaces


def _clipped(outline_n3: np.ndarray) -> np.ndarray:
    """The part of a polygon in front of the near plane."""
    kept = []
    for here, after in zip(outline_n3, np.roll(outline_n3, -1, axis=0), strict=True):
        if here[2] >= NEAR_M:
            kept.append(here)
        if (here[2] >= NEAR_M) != (after[2] >= NEAR_M):
            kept.append(here + (NEAR_M - here[2]) / (after[2] - here[2]) * (after - here))
    return np.array(kept)


def _visible(surfaces: list[_Surface], rays: _Rays) -> tuple[np.ndarray, np.ndarray]:
    """For each sample the nearest quad (int16, -1 for none) and its 1/z (float64)."""
    best_hw = np.zeros(rays.x_hw.shape)
    quad_hw = np.full(rays.x_hw.shape, -1, np.int16)
    for surface in surfaces:
        x_low, x_high, y_low, y_high = surface.bounds
        columns = np.flatnonzero((rays.column_high >= x_low) & (rays.column_low <= x_high))
        rows = np.flatnonzero((rays.row_high >= y_low) & (rays.row_low <= y_high))
        if len(columns) == 0 or len(rows) == 0:
            continue
        window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        x, y = rays.x_hw[window], rays.y_hw[window]
        (a1, b1, c1), (a2, b2, c2), (a3, b3, c3) = surface.inverse_33
        inverse_z = a3 * x + b3 * y + c3
        best = best_hw[window]
        seen = inverse_z > best
        if not seen.any():
            continue
        for a, b, c in ((a1, b1, c1), (a2, b2, c2)):
            along = a * x + b * y + c
            seen &= (along >= 0) & (along <= inverse_z)
        if surface.triangle:
            seen &= (a1 + a2) * x + (b1 + b2) * y + (c1 + c2) <= inverse_z
        np.copyto(best, inverse_z, where=seen)
        np.copyto(quad_hw[window], surface.index, where=seen)
    return quad_hw, best_hw


def _shade(room: Room, lighting: Lighting, surfaces: list[_Surface], rays: _Rays, quad_hw: np.ndarray) -> np.ndarray:
    """Linear light of every sample, float32 (H, W, 3): texture times irradiance, plus what radiates by itself."""
    maps = _light_maps(room, lighting)
    flat = quad_hw.ravel()
    order = np.argsort(flat, kind="stable")
    starts = np.searchsorted(flat[order], np.arange(len(room.quads) + 1))
    x_n, y_n = rays.x_hw.ravel(), rays.y_hw.ravel()
    light_n3 = np.zeros((flat.size, 3), np.float32)
    for surface in surfaces:
        pixels = order[starts[surface.index] : starts[surface.index + 1]]
        if len(pixels) == 0:
            continue
        quad = room.quads[surface.index]
        x, y = x_n[pixels], y_n[pixels]
        (a1, b1, c1), (a2, b2, c2), (a3, b3, c3) = surface.inverse_33
        z = 1.0 / (a3 * x + b3 * y + c3)
        s, t = (a1 * x + b1 * y + c1) * z, (a2 * x + b2 * y + c2) * z
        height, width = quad.texture.levels[0].shape[:2]
        dx = np.hypot((a1 - s * a3) * width, (a2 - t * a3) * height)
        dy = np.hypot((b1 - s * b3) * width, (b2 - t * b3) * height)
        footprint = np.maximum(dx, dy) * np.abs(z) * rays.step
        narrow = np.abs(np.linalg.det(surface.inverse_33)) * width * height * (z * rays.step) ** 2 * np.abs(z)
        narrow = narrow / np.maximum(footprint, 1e-9)
        # Long thin footprints are sampled finer than their length: the rays of a pixel average along it.
        level = np.log2(np.maximum(np.maximum(footprint / 2, narrow), 1.0))
        albedo = _sample_levels(quad.texture.levels, s, t, level) * np.float32(1 / 255)
        albedo *= albedo
        light = _sample(maps[surface.index], s, t)
        if quad.emission:
            glow = lighting.window_rgb if quad.emission >= 1.0 else lighting.lamp_rgb
            light = (1 - np.float32(quad.emission)) * light + np.float32(quad.emission) * np.asarray(glow, np.float32)
        light_n3[pixels] = albedo * light
    return light_n3.reshape(*quad_hw.shape, 3)


def _directions(rays: _Rays, chosen_hw: np.ndarray, T_world_camera: np.ndarray) -> np.ndarray:
    """Unit directions (N, 3) in the world of the chosen samples."""
    x, y = rays.x_hw[chosen_hw], rays.y_hw[chosen_hw]
    direction_n3 = np.stack([x, y, np.ones_like(x)], axis=1) @ T_world_camera[:3, :3].T
    return direction_n3 / np.linalg.norm(direction_n3, axis=1, keepdims=True)


@lru_cache(maxsize=4)
def _light_maps(room: Room, lighting: Lighting) -> list[np.ndarray]:
    return light_maps(room, lighting)


def _sample_levels(levels: tuple[np.ndarray, ...], s: np.ndarray, t: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Texture at (s, t), bilinear within a level and linear between levels, float32 (N, 3)."""
    level = np.clip(level, 0, len(levels) - 1)
    lower = level.astype(np.int64)
    colour_n3 = np.zeros((len(s), 3), np.float32)
    low, high = int(lower.min()), int(lower.max())
    for index in range(low, high + 1):
        chosen = np.flatnonzero(lower == index) if low != high else slice(None)
        share = (level[chosen] - index).astype(np.float32)[:, None]
        fine = _sample(levels[index], s[chosen], t[chosen])
        coarse = _sample(levels[min(index + 1, len(levels) - 1)], s[chosen], t[chosen])
        colour_n3[chosen] = fine + share * (coarse - fine)
    return colour_n3


def _sample(image: np.ndarray, s: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Bilinear samples of an image at shares (s, t) of its width and height, float32 (N, 3)."""
    count = len(s)
    if count == 0:  # cv2.remap refuses an empty map; between two texture levels in use there may be one that is not
        return np.zeros((0, 3), np.float32)
    rows = -(-count // _ROW_PX)
    grid = np.zeros((2, rows * _ROW_PX), np.float32)
    grid[0, :count] = s * image.shape[1] - 0.5
    grid[1, :count] = t * image.shape[0] - 0.5
    grid = grid.reshape(2, rows, _ROW_PX)
    out = cv2.remap(image, grid[0], grid[1], cv2.INTER_LINEAR, None, cv2.BORDER_REPLICATE)
    return out.reshape(-1, 3)[:count].astype(np.float32)
