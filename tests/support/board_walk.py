"""Small images of textured boards at known places, from the poses of a walk: what COLMAP can map in seconds."""

import cv2
import numpy as np
from geo_training.datasets.scene import SceneDataset
from geo_training.datasets.scene_writer import SceneWriter

from geo_perception.geometry import Camera, invert_pose, make_pose, so3_exp

CAMERA = Camera(320, 240, 280, 280, 159.5, 119.5)


def boards(seed):
    """Three boards: depth of the plane, its left, top, width and height in metres, and its texture."""
    rng = np.random.default_rng(seed)
    placed = [(3.0, -4.0, -3.0, 8.0, 6.0), (2.2, -1.0, -0.8, 0.9, 1.2), (2.5, 0.3, -0.6, 1.0, 1.4)]
    for z, left, top, width, height in placed:
        shape = (int(height * 130), int(width * 130))
        coarse, fine = (cv2.GaussianBlur(rng.normal(size=(*shape, 3)), (0, 0), s) for s in (4.0, 1.3))
        texture = coarse / coarse.std() + fine / fine.std()
        yield z, left, top, width, height, np.clip(128 + 45 * texture, 0, 255).astype(np.uint8)


def render(scene, T_world_camera):
    """The image and the depth of boards, exactly."""
    image, depth = np.zeros((240, 320, 3), np.uint8), np.zeros((240, 320), np.float32)
    T_camera_world = invert_pose(T_world_camera)
    v, u = np.mgrid[:240, :320]
    rays = np.stack([(u - CAMERA.cx_px) / CAMERA.fx_px, (v - CAMERA.cy_px) / CAMERA.fy_px, np.ones_like(u)], -1)
    for z, left, top, width, _height, texture in scene:
        metres = width / texture.shape[1]
        board_world = np.array([[metres, 0, left + metres / 2], [0, metres, top + metres / 2], [0, 0, z]])
        H = CAMERA.K @ (T_camera_world[:3, :3] @ board_world + np.outer(T_camera_world[:3, 3], [0, 0, 1]))
        layer = cv2.warpPerspective(texture, H, (320, 240), flags=cv2.INTER_AREA)
        mask = cv2.warpPerspective(np.full(texture.shape[:2], 255, np.uint8), H, (320, 240)) == 255
        image[mask] = layer[mask]
        normal = T_camera_world[:3, 2]
        along = (z - T_world_camera[2, 3]) / (rays @ normal)
        depth[mask] = along[mask]
    return image, depth


def poses_of_walk(count):
    turns = np.linspace(-1, 1, count)
    return [
        make_pose(
            so3_exp(np.array([0.05 * np.sin(5 * a), -0.25 * a, 0.03])), np.array([0.9 * a, 0.1 * np.cos(4 * a), 0])
        )
        for a in turns
    ]


def write_dataset(
    out, walks, split_of=lambda i: "train", poses=True, depth=False, metric=True, known=True, camera=CAMERA
):
    """A dataset of walks, each (sequence, seed of the boards, number of frames)."""
    with SceneWriter(out, ["rendered boards"]) as writer:
        camera_id = writer.add_camera(camera, known=known)
        if poses and metric:
            writer.describe(scale="metric", scale_source="rendered", gravity_world=(0.0, 1.0, 0.0))
        for sequence, seed, count in walks:
            scene = list(boards(seed))
            for i, T in enumerate(poses_of_walk(count)):
                image, depth_m = render(scene, T)
                writer.add_frame(
                    sequence,
                    i * 250_000_000,
                    camera_id,
                    image_rgb=image,
                    T_world_camera=T if poses else None,
                    depth_m=depth_m if depth else None,
                    split=split_of(i),
                )
    return SceneDataset(out)
