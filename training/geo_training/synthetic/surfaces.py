"""Surfaces: a scene is a list of textured parallelograms in the world frame (metres, z up), each lit from its front."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

MAX_TEXTURE_PX = 1600


@dataclass(frozen=True, eq=False)
class Texture:
    """RGB uint8 images, each half the size of the one before; the first is the full resolution. Values are the square
    root of the reflected share, so that 8 bits serve dark colours as well as pale ones."""

    levels: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, image_rgb: np.ndarray) -> Texture:
        """A texture of an RGB uint8 image (H, W, 3), which is taken as the square root of reflectance."""
        levels = [np.ascontiguousarray(image_rgb)]
        while min(levels[-1].shape[:2]) > 1 and max(levels[-1].shape[:2]) > 4:
            height, width = levels[-1].shape[:2]
            half = (max(width // 2, 1), max(height // 2, 1))
            levels.append(cv2.resize(levels[-1], half, interpolation=cv2.INTER_AREA))
        return cls(tuple(levels))


@dataclass(frozen=True, eq=False)
class Quad:
    """A parallelogram: the top left corner as one sees it from the front, the edge to the right, the edge downwards.

    `instance` is the object it belongs to. `emission` is what the texture radiates by itself, in units of the room's
    light; `casts_shadow` is False for what is too thin or too small to matter. Of a `triangle` only the half at the
    corner is there: the corner and the ends of both edges.
    """

    corner_3: np.ndarray
    right_3: np.ndarray
    down_3: np.ndarray
    texture: Texture
    instance: int
    emission: float = 0.0
    casts_shadow: bool = True
    triangle: bool = False

    @property
    def normal_3(self) -> np.ndarray:
        """Unit normal; it points to who sees the front."""
        normal = np.cross(self.down_3, self.right_3)
        return normal / np.linalg.norm(normal)

    @property
    def corners_43(self) -> np.ndarray:
        """Top left, top right, bottom right, bottom left."""
        far = self.corner_3 + self.right_3 + self.down_3
        return np.stack([self.corner_3, self.corner_3 + self.right_3, far, self.corner_3 + self.down_3])


@dataclass(frozen=True)
class Place:
    """A local frame in the room: x to the right, y away from who faces it, z up, turned by `yaw_rad` about z."""

    x_m: float = 0.0
    y_m: float = 0.0
    z_m: float = 0.0
    yaw_rad: float = 0.0

    def world(self, point_3) -> np.ndarray:
        return self.turn(point_3) + [self.x_m, self.y_m, self.z_m]

    def turn(self, vector_3) -> np.ndarray:
        c, s = np.cos(self.yaw_rad), np.sin(self.yaw_rad)
        x, y, z = (float(v) for v in vector_3)
        return np.array([c * x - s * y, s * x + c * y, z])

    def at(self, x_m: float, y_m: float, z_m: float = 0.0, yaw_rad: float = 0.0) -> Place:
        """The frame at (x, y, z) of this one, turned further."""
        return Place(*self.world((x_m, y_m, z_m)), self.yaw_rad + yaw_rad)


@dataclass
class Surfaces:
    """Collects quads. `draw(height_px, width_px)` callables make textures at `pixels_per_m`."""

    quads: list[Quad] = field(default_factory=list)
    instances: list[str] = field(default_factory=lambda: ["nothing"])

    def instance(self, name: str) -> int:
        """A new object; its id is positive, 0 is "nothing"."""
        self.instances.append(name)
        return len(self.instances) - 1

    def quad(self, place: Place, corner_3, right_3, down_3, draw, instance: int, pixels_per_m: float = 220.0, **more):
        """One parallelogram, its corner and edges in the frame of `place`."""
        width_m, height_m = np.linalg.norm(right_3), np.linalg.norm(down_3)
        scale = min(pixels_per_m, MAX_TEXTURE_PX / max(width_m, height_m))
        height, width = max(int(height_m * scale), 4), max(int(width_m * scale), 4)
        texture = Texture.of(draw(height, width))
        self.quads.append(
            Quad(place.world(corner_3), place.turn(right_3), place.turn(down_3), texture, instance, **more)
        )

    def box(
        self, place: Place, size_3, draw, instance: int, faces: dict | None = None, pixels_per_m: float = 220.0, **more
    ):
        """An upright box: `place` is the middle of its bottom, `size_3` its width, depth and height.

        `faces` replaces the texture of some faces (front, back, left, right, top, bottom), or leaves them out (None).
        The bottom is left out unless it is named.
        """
        w, d, h = (float(v) for v in size_3)
        frames = {
            "front": ((-w / 2, -d / 2, h), (w, 0, 0), (0, 0, -h)),
            "back": ((w / 2, d / 2, h), (-w, 0, 0), (0, 0, -h)),
            "left": ((-w / 2, d / 2, h), (0, -d, 0), (0, 0, -h)),
            "right": ((w / 2, -d / 2, h), (0, d, 0), (0, 0, -h)),
            "top": ((-w / 2, d / 2, h), (w, 0, 0), (0, -d, 0)),
            "bottom": ((-w / 2, -d / 2, 0), (w, 0, 0), (0, d, 0)),
        }
        drawn = {"bottom": None} | (faces or {})
        for name, (corner, right, down) in frames.items():
            face = drawn.get(name, draw)
            if face is not None:
                self.quad(place, corner, right, down, face, instance, pixels_per_m, **more)
