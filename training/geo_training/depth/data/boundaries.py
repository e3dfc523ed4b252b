"""Where objects end: a map of boundaries beside every frame, made of its instance masks.

Maps are `boundaries/<sequence>/<frame>.png`, 8 bits for 0..1 ("Deep Structure From Motion", section II C: both Sobel
responses of the masks, and their l2 norm).
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, PngImagePlugin

from geo_perception.errors import InputError
from geo_perception.runtime.files import replaced_file
from geo_training.console import progress_bar
from geo_training.datasets.scene import Frame, SceneDataset
from geo_training.depth.data import instance_masks
from geo_training.depth.data.depth_masks import DepthMasks
from geo_training.depth.data.instance_masks import DetectedMasks, MaskFolder, MaskNetwork, MaskSource
from geo_training.storage.folders import refuse_overlap
from geo_training.storage.images import read_grey
from geo_training.storage.kept_json import read_kept_json, write_kept_json

FOLDER, METADATA_FILE = "boundaries", "boundaries.json"
_SOBEL_SCALE = 0.25  # the 3 x 3 kernel answers 4 to a straight step of height 1
_OBJECTS_KEY = "objects"  # in the PNG: how many objects the frame shows
_VERSION_KEY = "made_of"  # in the PNG: the checksum of the mask


@dataclass(frozen=True)
class BoundaryCounts:
    """What `make_boundaries` did. Frames without a mask have no map, and are left out by the loss."""

    frames: int
    with_map: int
    made: int
    kept: int
    objects: int  # over all frames with a map
    frames_without_object: int

    @property
    def objects_per_frame(self) -> float:
        return self.objects / max(self.with_map, 1)

    def to_json(self) -> dict:
        return asdict(self) | {"objects_per_frame": self.objects_per_frame}


def boundary_map(ids_hw: np.ndarray) -> np.ndarray:
    """Boundaries of an image of object ids (0 = no object): float32, H x W, 0..1.

    The Sobel magnitude of every object's own mask, the largest over the objects: how far apart two ids are does not
    matter. A straight edge is 1 on the two pixels beside it. Where an object leaves the image it does not end.
    """
    boundary_hw = np.zeros(ids_hw.shape, np.float32)
    for number in np.unique(ids_hw[ids_hw != 0]):
        rows, columns = np.nonzero(ids_hw == number)
        # The object with one pixel more on every side; the filters look one further.
        box = tuple(slice(max(lines.min() - 2, 0), lines.max() + 3) for lines in (rows, columns))
        mask_hw = (ids_hw[box] == number).astype(np.float32)
        across, down = (
            cv2.Sobel(mask_hw, cv2.CV_32F, *axis, ksize=3, scale=_SOBEL_SCALE, borderType=cv2.BORDER_REPLICATE)
            for axis in ((1, 0), (0, 1))
        )
        np.maximum(boundary_hw[box], cv2.magnitude(across, down), out=boundary_hw[box])
    # A slanted edge answers a little more than 1.
    return np.minimum(boundary_hw, 1.0)


def boundary_path(dataset: SceneDataset, frame: Frame) -> Path:
    return instance_masks.mask_path(dataset.root / FOLDER, frame)


def load_boundary(dataset: SceneDataset, frame: Frame) -> np.ndarray | None:
    """A frame's map, float32 H x W in 0..1; None where it has none. Raises InputError when it cannot be read."""
    path = boundary_path(dataset, frame)
    if not path.is_file():
        return None
    try:
        return read_grey(path).astype(np.float32) / 255
    except InputError:
        raise InputError(
            f"{path} cannot be read as an image; delete it and run `geo-train depth boundaries` again"
        ) from None


def choose_masks(
    dataset: SceneDataset,
    folder: Path | None,
    network: MaskNetwork,
    ask_network: bool,
    overwrite: bool = False,
    from_depth: bool = False,
) -> MaskSource:
    """The masks to make boundaries of: those in `folder`; with `ask_network` those of `network`; with `from_depth`
    those that the dataset's depth shows; with none of these what the dataset has in masks/, and where it has none the
    network's.

    With `overwrite`, masks that were made are made again. Raises InputError when more than one is asked for, when
    `folder` holds no masks, when no frame has depth to make them of, or when masks/ is there but was not made so.
    """
    if sum((folder is not None, ask_network, from_depth)) > 1:
        raise InputError(
            "masks that exist, a network and depth are three ways to the same; pass one of --masks, --weights and "
            "--from-depth"
        )
    if folder is not None:
        refuse_overlap(dataset.root / FOLDER, [folder])
        return _existing(dataset, folder)
    own = dataset.root / instance_masks.FOLDER
    metadata = read_kept_json(own / instance_masks.METADATA_FILE)
    if metadata is None and own.is_dir() and any(own.rglob("*.png")):
        if ask_network or from_depth:
            asked = "--weights" if ask_network else "--from-depth"
            raise InputError(f"{own} holds masks that this command did not make; leave out {asked}, or move them away")
        return _existing(dataset, own)
    if from_depth:
        return _from_depth(dataset, metadata, overwrite)
    complete = all(instance_masks.mask_path(own, frame).is_file() for frame in dataset.frames)
    if metadata is not None and complete and not ask_network:
        return _existing(dataset, own)
    if metadata not in (None, network.metadata) and not overwrite:
        raise InputError(f"{own} was made with {_label(metadata)}; pass the same again, or --overwrite")
    if metadata is not None and overwrite:
        network.get_ready()  # before anything is lost
        shutil.rmtree(own)
    return DetectedMasks(dataset, network)


def make_boundaries(dataset: SceneDataset, masks: MaskSource, overwrite: bool = False) -> BoundaryCounts:
    """Writes the map of every frame that has a mask. Maps that were made of the masks as they are now are kept:
    interrupted, the same call goes on.

    Raises InputError when boundaries/ was made from other masks and `overwrite` is not set, or when no frame has a
    mask.
    """
    folder = dataset.root / FOLDER
    made_from = read_kept_json(folder / METADATA_FILE)
    if made_from is None and folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"{folder} holds files that this command did not write; move the folder away")
    if made_from not in (None, masks.metadata) and not overwrite:
        raise InputError(f"{folder} was made from {_label(made_from)}; pass --overwrite to make it again")
    versions = [(frame, masks.version(frame)) for frame in dataset.frames]
    there = [(frame, version) for frame, version in versions if version is not None]
    if not there:
        raise InputError(f"no frame of {dataset.root} has a mask; name them <sequence>/<frame>.png as the images")
    if overwrite and made_from is not None:
        shutil.rmtree(folder, ignore_errors=True)
    objects, made = [], 0
    with progress_bar("boundaries", len(there)) as advance:
        for frame, version in there:
            path = boundary_path(dataset, frame)
            count = _objects_of(path, version)
            if count is None:
                ids_hw = masks.ids(frame)
                count, made = len(np.unique(ids_hw[ids_hw != 0])), made + 1
                if not (folder / METADATA_FILE).is_file():
                    write_kept_json(folder / METADATA_FILE, masks.metadata)
                _write_map(path, boundary_map(ids_hw), count, masks.version(frame) or version)
            objects.append(count)
            advance(note=f"{frame.name}: {count} objects")
    return BoundaryCounts(
        frames=len(dataset), with_map=len(there), made=made, kept=len(there) - made, objects=sum(objects),
        frames_without_object=objects.count(0),
    )  # fmt: skip


def _from_depth(dataset: SceneDataset, metadata: dict | None, overwrite: bool) -> DepthMasks:
    masks, own = DepthMasks(dataset), dataset.root / instance_masks.FOLDER
    if not any(dataset.has_depth(frame) for frame in dataset.frames):
        raise InputError(f"{dataset.root} has no depth to find objects by; leave out --from-depth")
    if metadata not in (None, masks.metadata) and not overwrite:
        raise InputError(f"{own} was made with {_label(metadata)}; pass the same again, or --overwrite")
    if metadata is not None and overwrite:
        shutil.rmtree(own)
    return masks


def _existing(dataset: SceneDataset, folder: Path) -> MaskFolder:
    masks = MaskFolder(dataset, folder)
    if not any(masks.version(frame) is not None for frame in dataset.frames):
        raise InputError(f"{folder} has no mask of any frame; name them <sequence>/<frame>.png as the images")
    return masks


def _write_map(path: Path, boundary_hw: np.ndarray, objects: int, version: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    notes = PngImagePlugin.PngInfo()
    notes.add_text(_OBJECTS_KEY, str(objects))
    notes.add_text(_VERSION_KEY, version)
    with replaced_file(path) as work:
        Image.fromarray(np.rint(255 * boundary_hw).astype(np.uint8)).save(work, "PNG", pnginfo=notes)


def _objects_of(path: Path, version: str) -> int | None:
    """How many objects a map was made of; None where it does not say, or was made of another mask: it is made again."""
    try:
        with Image.open(path) as image:
            return int(image.text[_OBJECTS_KEY]) if image.text[_VERSION_KEY] == version else None
    except (OSError, SyntaxError, AttributeError, KeyError, ValueError):
        return None


def _label(metadata: dict) -> str:
    return ", ".join(f"{key} {value}" for key, value in metadata.items())
