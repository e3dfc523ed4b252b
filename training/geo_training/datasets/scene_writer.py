"""Writing the dataset layout of scene.py: images, cameras, depth, masks and poses, made whole before they take their
place."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from geo_perception.errors import InputError
from geo_perception.geometry import Camera
from geo_perception.runtime.files import replace_text
from geo_training.datasets.scene import (
    DATASET,
    DatasetInfo,
    Frame,
    camera_to_dict,
    stays_inside,
    write_cameras,
    write_frames,
)
from geo_training.storage.folders import check_output, output_folder
from geo_training.storage.images import copy_file, write_depth, write_image


class SceneWriter:
    """Writes a dataset beside its place and moves it there when all is well, so that nothing half-made is left.

        with SceneWriter(out, sources=[...]) as writer:
            camera_id = writer.add_camera(camera)
            writer.add_frame(sequence, stamp_ns, camera_id, image_rgb=image, T_world_camera=T)

    `sources` names where the frames come from: paths, which `out` must not touch, or descriptions. Raises InputError
    when `check_output` refuses `out`, before anything is done, or when no frame was added.
    """

    def __init__(self, out: str | Path, sources: Sequence[str | Path], overwrite: bool = False, jpeg_quality: int = 95):
        self.out = Path(out)
        paths = [source for source in sources if isinstance(source, Path)]
        check_output(self.out, DATASET, paths, overwrite)
        names = [source.resolve().name if isinstance(source, Path) else source for source in sources]
        self.info = DatasetInfo(sources=names)
        self.cameras: dict[str, Camera] = {}
        self.camera_notes: dict[str, dict] = {}
        self.frames: list[Frame] = []
        self._stems: set[tuple[str, str]] = set()
        self._jpeg_quality = jpeg_quality
        self._folder = output_folder(self.out, DATASET, paths, overwrite)
        self._stack = ExitStack()

    def __enter__(self) -> SceneWriter:
        self._work = self._stack.enter_context(self._folder)
        (self._work / "images").mkdir(parents=True)
        return self

    def __exit__(self, kind, error, trace) -> None:
        if kind is not None:
            self._stack.__exit__(kind, error, trace)
            return
        with self._stack:
            if not self.frames:
                raise InputError(
                    f"no frame to write to {self.out}: {'; '.join(self.info.notes) or 'the source is empty'}"
                )
            write_cameras(self._work, self.cameras, self.camera_notes)
            write_frames(self._work, self.frames)
            replace_text(self._work / "dataset.json", self.info.model_dump_json(indent=2) + "\n")

    def add_camera(
        self,
        camera: Camera,
        camera_id: str | None = None,
        known: bool = True,
        recorded: Camera | None = None,
        rectified: bool = False,
    ) -> str:
        """Adds the camera of the stored (undistorted) images; `recorded` is the lens they were taken with, `rectified`
        says that they came without its distortion.

        `known=False` marks a guess that mapping has to refine. The same camera twice is stored once. Returns its id.
        """
        if camera.model != "pinhole":
            raise InputError("images are stored without distortion; undistort them and give the pinhole camera")
        note = {"known": known} | ({"recorded": camera_to_dict(recorded)} if recorded else {})
        note |= {"rectified": True} if rectified else {}
        for known_id, known_camera in self.cameras.items():
            if known_camera == camera and self.camera_notes[known_id] == note and camera_id in (None, known_id):
                return known_id
        camera_id = camera_id or f"camera{len(self.cameras)}"
        if camera_id in self.cameras:
            camera_id = f"{camera_id}_{len(self.cameras)}"
        self.cameras[camera_id], self.camera_notes[camera_id] = camera, note
        return camera_id

    def add_frame(
        self,
        sequence: str,
        stamp_ns: int,
        camera_id: str,
        image_rgb: np.ndarray | None = None,
        image_file: str | Path | None = None,
        stem: str | None = None,
        T_world_camera: np.ndarray | None = None,
        depth_m: np.ndarray | None = None,
        split: str = "",
        mask_hw: np.ndarray | None = None,
        lossless: bool = False,
    ) -> Frame:
        """Adds one image: pixels (encoded as JPEG, or `lossless` as PNG), or a file that is copied as it is. `mask_hw`
        holds the number of the object at each pixel, 0 for none."""
        stem = stem or f"{len(self.frames):06d}"
        suffix = Path(image_file).suffix.lower() if image_file is not None else ".png" if lossless else ".jpg"
        frame = Frame(f"{sequence}/{stem}{suffix}", sequence, int(stamp_ns), camera_id, split, T_world_camera)
        if not stays_inside(frame.name):
            raise InputError(f"a frame named {frame.name} would lie outside the dataset; rename its file or folder")
        path = self._work / "images" / frame.name
        if (sequence, stem) in self._stems:  # whatever the suffix: depth and masks have their own
            raise InputError(f"two frames are named {sequence}/{stem}; give each recording its own sequence name")
        self._stems.add((sequence, stem))
        path.parent.mkdir(parents=True, exist_ok=True)
        if image_file is not None:
            copy_file(image_file, path)
        else:
            write_image(path, image_rgb, self._jpeg_quality)
        if depth_m is not None:
            write_depth(self._work / "depth" / frame.name, depth_m)
        if mask_hw is not None:
            write_image((self._work / "masks" / frame.name).with_suffix(".png"), mask_hw.astype(np.uint16))
        self.frames.append(frame)
        return frame

    def note(self, sentence: str) -> None:
        """Keeps a sentence for dataset.json: what was left out, and why."""
        self.info = self.info.model_copy(update={"notes": [*self.info.notes, sentence]})

    def describe(self, **changes) -> None:
        """Sets fields of dataset.json (scale, scale_source, gravity_world, ...)."""
        self.info = DatasetInfo.model_validate(self.info.model_dump() | changes)
