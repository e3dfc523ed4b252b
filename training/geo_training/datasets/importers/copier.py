"""One frame into the dataset: upright, without the lens's distortion, in 8 bits; copied as it is where it can be."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

from geo_perception.errors import InputError
from geo_perception.geometry import Camera, same_shape
from geo_perception.ros.bit_depth import BitDepth
from geo_training.datasets.importers.account import CUT_SHORT, NOT_READ, OTHER_SHAPE, Account, printable
from geo_training.datasets.importers.depth_files import NOT_DEPTH, DepthFile, load_mask, resized, unit_sentence
from geo_training.datasets.importers.source import SourceFrame, guessed_camera, leave_frame
from geo_training.datasets.orientation import UPRIGHT, mirrors, turned_array, turned_camera, turned_pose
from geo_training.datasets.pictures import (
    LOSSLESS_SUFFIXES,
    PictureHeader,
    bits_in_use,
    is_cut_short,
    read_header,
    read_upright,
)
from geo_training.datasets.scene_writer import SceneWriter
from geo_training.datasets.undistort import Undistorter

# Of the image's side: a view of 174 degrees, and one of half a degree. A K that is not in pixels lies beyond.
_MIN_FOCAL_SHARE, _MAX_FOCAL_SHARE = 0.025, 100.0
MIRRORED = "of images marked as mirrored, which no turn of a camera is"


class Copier:
    """Copies frames to a writer. `counts` holds how many had depth, masks, were undistorted; `refusal` the first reason
    why an image could not be this camera's."""

    def __init__(self, writer: SceneWriter, account: Account, frames: list[SourceFrame]):
        self.writer, self.account = writer, account
        self.counts: Counter[str] = Counter()
        self.refusal = ""
        self._undistorters: dict[Camera, Undistorter] = {}
        self._camera_ids: dict[tuple, str] = {}
        self._scaled_K: set[tuple] = set()
        self._resized: Counter[tuple] = Counter()
        self._turned = self._by_exif = self._guessed = 0
        self._medians_m: defaultdict[str, list[float]] = defaultdict(list)
        self._files = defaultdict(list)
        for frame in frames:
            self._files[frame.sequence].append(frame.image_file)
        self._bits: dict[str, BitDepth] = {}
        self._names: set[tuple[str, str]] = set()
        self._renamed = 0

    def copy(self, frame: SourceFrame) -> bool:
        """Adds one frame. False, and a word in the account, when its image cannot be used."""
        try:
            header = read_header(frame.image_file)
        except InputError as reason:
            return self._leave(frame, str(reason))
        if is_cut_short(frame.image_file, header):
            return self._leave(frame, CUT_SHORT)
        fitted = self._fitted(frame, header)
        if fitted is None:
            return self._leave(frame, OTHER_SHAPE)
        camera, stored_grid = fitted
        mark = header.mark if stored_grid else UPRIGHT
        undistorter = self._undistorter(turned_camera(camera, mark), frame.image_file)
        as_it_is = header.mark == UPRIGHT and not header.deep and not undistorter.is_distorted
        image_rgb = None
        if not as_it_is:
            try:
                depth = self._bits_of(frame.sequence) if header.deep else None
                image_rgb = undistorter.image(read_upright(frame.image_file, header, depth))
            except InputError:
                return self._leave(frame, NOT_READ)
        self._turned += header.mark != UPRIGHT
        self.counts["undistorted"] += undistorter.is_distorted
        depth_m, mask_hw = self._depth(frame, header, stored_grid), self._mask(frame, header, stored_grid)
        self.writer.add_frame(
            frame.sequence,
            frame.stamp_ns,
            self._camera_id(frame, undistorter),
            image_rgb=image_rgb,
            image_file=frame.image_file if as_it_is else None,
            stem=self._stem(frame),
            T_world_camera=self._pose(frame, mark),
            depth_m=None if depth_m is None else undistorter.depth(depth_m),
            mask_hw=None if mask_hw is None else undistorter.depth(mask_hw),
            split=frame.split,
            lossless=not undistorter.is_distorted and frame.image_file.suffix.lower() in LOSSLESS_SUFFIXES,
        )
        return True

    def notes(self) -> list[str]:
        """What was changed or assumed on the way, one sentence each."""
        notes = []
        if self._turned:
            notes.append(f"{self._turned} images have an orientation mark; they are stored upright, without it.")
        for (width, height), (new_width, new_height) in sorted(self._scaled_K):
            notes.append(f"K was given for {width}x{height} and is scaled to the images of {new_width}x{new_height}.")
        for ((width, height), (new_width, new_height)), count in sorted(self._resized.items()):
            notes.append(f"{count} depth images or masks of {width}x{height} are resized to {new_width}x{new_height}.")
        for sequence, depth in sorted(self._bits.items()):
            if depth.bits:
                notes.append(f"{sequence}: images of more than 8 bits are stored in 8; {depth.bits} bits were in use.")
        if self._renamed:
            notes.append(f"{self._renamed} images have the name of another one but for its ending; they are renamed.")
        for taken, medians_m in self._medians_m.items():
            notes.append(unit_sentence(taken, float(np.median(medians_m))))
        if self._by_exif:
            notes.append(f"{self._by_exif} images say in EXIF about what their focal length is; mapping refines it.")
        if self._guessed:
            notes.append(
                "The focal length is not known: 45 degrees along the longer side are assumed until it is mapped."
            )
        return notes

    def _leave(self, frame: SourceFrame, reason: str) -> bool:
        leave_frame(frame, reason, self.account, frame.image_file.name)
        return False

    def _fitted(self, frame: SourceFrame, header: PictureHeader) -> tuple[Camera, bool] | None:
        """The camera at the image's size, and whether it is that of the file's rows and columns (else of the picture as
        shown). None where it can be neither."""
        if frame.camera is None:
            self._by_exif += header.focal_px is not None
            self._guessed += header.focal_px is None
            return guessed_camera(*header.stored_size, header.focal_px), True
        camera_size = frame.camera.width_px, frame.camera.height_px
        shares = frame.camera.fx_px / camera_size[0], frame.camera.fy_px / camera_size[1]
        if min(shares) < _MIN_FOCAL_SHARE or max(shares) > _MAX_FOCAL_SHARE:
            raise InputError(
                f"{frame.image_file}: a focal length of {frame.camera.fx_px:g}, {frame.camera.fy_px:g} cannot be "
                f"that of {camera_size[0]}x{camera_size[1]} pixels; give K in pixels of the images"
            )
        sizes = {header.stored_size: True, header.shown_size: header.shown_size == header.stored_size}
        if camera_size in sizes:
            return frame.camera, sizes[camera_size]
        for size, stored_grid in sizes.items():
            if same_shape(size, camera_size):
                self._scaled_K.add((camera_size, size))
                return frame.camera.resized(*size), stored_grid
        self.refusal = self.refusal or (
            f"{frame.image_file} is {header.stored_size[0]}x{header.stored_size[1]}, its camera "
            f"{camera_size[0]}x{camera_size[1]}: another shape; give the images this K was made for"
        )
        return None

    def _undistorter(self, recorded: Camera, image_file: Path) -> Undistorter:
        if recorded not in self._undistorters:
            try:
                self._undistorters[recorded] = Undistorter(recorded)
            except InputError as error:
                raise InputError(f"{image_file}: {error}") from None
        return self._undistorters[recorded]

    def _camera_id(self, frame: SourceFrame, undistorter: Undistorter) -> str:
        key = undistorter.recorded, frame.camera is not None
        if key not in self._camera_ids:
            recorded = undistorter.recorded if undistorter.is_distorted else None
            self._camera_ids[key] = self.writer.add_camera(undistorter.target, known=key[1], recorded=recorded)
        return self._camera_ids[key]

    def _bits_of(self, sequence: str) -> BitDepth:
        """One bit depth for all images of a sequence, so that one brightness is one grey value."""
        if sequence not in self._bits:
            self._bits[sequence] = bits_in_use(_deep_files(self._files[sequence]))
        return self._bits[sequence]

    def _stem(self, frame: SourceFrame) -> str:
        """The file's name, unless another image of the sequence has it: depth and masks are found by it."""
        stem = printable(frame.stem).replace("/", "_")
        if (frame.sequence, stem) in self._names:
            self._renamed += 1
            base = stem = f"{stem}_{frame.image_file.suffix.lower().lstrip('.')}"
            number = 2
            while (frame.sequence, stem) in self._names:
                stem, number = f"{base}_{number}", number + 1
        self._names.add((frame.sequence, stem))
        return stem

    def _pose(self, frame: SourceFrame, mark: int) -> np.ndarray | None:
        if frame.T_world_camera is None:
            return None
        if mirrors(mark):
            self.account.leave("poses", MIRRORED, frame.image_file.name)
        return turned_pose(frame.T_world_camera, mark)

    def _depth(self, frame: SourceFrame, header: PictureHeader, stored_grid: bool) -> np.ndarray | None:
        if frame.depth is None:
            return None
        name, floats = frame.depth.path.name, False
        try:
            if isinstance(frame.depth, DepthFile):
                depth_m, floats = frame.depth.read()
            else:
                depth_m = frame.depth.load_m()
        except InputError as reason:
            self.account.leave_depth(str(reason), name)
            return None
        if depth_m is None:
            self.account.leave_depth(NOT_DEPTH, name)
            return None
        upright_m = self._upright(depth_m, header, stored_grid)
        if upright_m is None:
            self.account.leave_depth(f"of another shape than their image ({_sizes(depth_m, header)})", name)
            return None
        self.counts["depth"] += 1
        known_n = depth_m[depth_m > 0]
        if isinstance(frame.depth, DepthFile) and len(known_n):
            self._medians_m[frame.depth.taken_as(floats)].append(float(np.median(known_n)))
        return upright_m

    def _mask(self, frame: SourceFrame, header: PictureHeader, stored_grid: bool) -> np.ndarray | None:
        if frame.mask_file is None:
            return None
        try:
            mask_hw = load_mask(frame.mask_file)
        except InputError as reason:
            self.account.leave("masks", str(reason), frame.mask_file.name)
            return None
        upright_hw = self._upright(mask_hw, header, stored_grid)
        if upright_hw is None:
            reason = f"of another shape than their image ({_sizes(mask_hw, header)})"
            self.account.leave("masks", reason, frame.mask_file.name)
            return None
        self.counts["masks"] += 1
        return upright_hw

    def _upright(self, values_hw: np.ndarray, header: PictureHeader, stored_grid: bool) -> np.ndarray | None:
        """Depth or a mask as the picture is shown, in its size. Its own size says which grid it is of: the file's, or
        the shown one; where both have the same size it is that of the camera. None where it is of neither."""
        size = values_hw.shape[::-1]
        grids = [(header.stored_size, header.mark), (header.shown_size, UPRIGHT)]
        grids = grids if stored_grid else grids[::-1]
        mark = next((mark for grid, mark in grids if grid == size), None)
        if mark is None:
            mark = next((mark for grid, mark in grids if same_shape(size, grid)), None)
            if mark is None:
                return None
        upright_hw = turned_array(values_hw, mark)
        if upright_hw.shape[::-1] == header.shown_size:
            return upright_hw
        self._resized[upright_hw.shape[::-1], header.shown_size] += 1
        return resized(upright_hw, header.shown_size)


def _deep_files(files: list[Path]) -> list[Path]:
    deep = []
    for file in files:
        try:
            if read_header(file).deep:
                deep.append(file)
        except InputError:
            continue
    return deep


def _sizes(values_hw: np.ndarray, header: PictureHeader) -> str:
    (height, width), (image_width, image_height) = values_hw.shape, header.stored_size
    return f"{width}x{height} for {image_width}x{image_height}"
