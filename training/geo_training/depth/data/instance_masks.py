"""Which pixels show which object: from masks that exist already, or from Mask R-CNN.

Masks are images of object ids beside the frames, `masks/<sequence>/<frame>.png` (uint16, 0 = no object).
"""

from __future__ import annotations

import http.client
import pickle
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from geo_perception.errors import InputError
from geo_perception.geometry import same_shape
from geo_perception.runtime.device import pick_device
from geo_perception.runtime.files import replace_bytes
from geo_training.datasets.pictures import read_ids
from geo_training.datasets.scene import Frame, SceneDataset
from geo_training.storage.fingerprints import file_digest, sample_digest
from geo_training.storage.images import encode_image
from geo_training.storage.kept_json import read_kept_json, write_kept_json

FOLDER, METADATA_FILE = "masks", "masks.json"
MIN_SCORE = 0.7  # below this the network itself would rather not say
IMAGE_SIDE_PX = 800  # the shorter side that torchvision's weights were trained with
_MASK_LEVEL = 0.5
_V1_KEY, _CLASS_KEY = "roi_heads.box_head.fc6.weight", "roi_heads.box_predictor.cls_score.weight"


class MaskSource(Protocol):
    """Where the masks of a dataset's frames come from."""

    @property
    def metadata(self) -> dict: ...  # what the masks depend on, saved beside what is made of them

    def version(self, frame: Frame) -> str | None: ...  # checksum of what its mask is made of; None: it has none

    def ids(self, frame: Frame) -> np.ndarray: ...  # object ids, integers H x W, 0 = no object


@dataclass(frozen=True)
class MaskFolder:
    """Masks that exist: `<folder>/<sequence>/<frame>.png`."""

    dataset: SceneDataset
    folder: Path

    @property
    def metadata(self) -> dict:
        own = self.folder == self.dataset.root / FOLDER  # goes where the dataset goes
        return read_kept_json(self.folder / METADATA_FILE) or {"masks": FOLDER if own else str(self.folder.resolve())}

    def version(self, frame: Frame) -> str | None:
        return sample_digest(mask_path(self.folder, frame)) or None

    def ids(self, frame: Frame) -> np.ndarray:
        """Raises InputError when the file is no image of ids, or has another aspect ratio than the frame's camera."""
        path = mask_path(self.folder, frame)
        ids_hw = read_ids(path)
        camera = self.dataset.camera(frame)
        if not same_shape(ids_hw.shape[1::-1], (camera.width_px, camera.height_px)):
            sizes = f"{ids_hw.shape[1]}x{ids_hw.shape[0]}", f"{camera.width_px}x{camera.height_px}"
            raise InputError(f"{path} is {sizes[0]}, its frame {sizes[1]}; make the masks from the frames as stored")
        return ids_hw


@dataclass
class MaskNetwork:
    """Mask R-CNN. `weights` is a file with a state dict (None: torchvision's own); it is read at the first image."""

    weights: Path | None = None
    min_score: float = MIN_SCORE
    device: str = "auto"
    image_side_px: int = IMAGE_SIDE_PX
    _network: Any = field(default=None, repr=False)
    _device: Any = field(default="cpu", repr=False)

    @property
    def metadata(self) -> dict:
        metadata = {"network": "Mask R-CNN", "weights": _weights_name(self.weights), "min_score": self.min_score}
        return metadata | ({"weights_sha256": self._weights_sha256} if self.weights is not None else {})

    @cached_property
    def _weights_sha256(self) -> str:
        """Two files of weights may have one name. "" where there is none, which is an error when it is needed."""
        return file_digest(self.weights) if self.weights.is_file() else ""

    def get_ready(self) -> None:
        """Loads the weights, once. Raises InputError when there are none, or the device is not there."""
        if self._network is None:
            self._device = pick_device(self.device)
            self._network = load_mask_rcnn(self.weights, self.image_side_px).to(self._device)

    def ids(self, image_hw3: np.ndarray) -> np.ndarray:
        """Object ids (uint16, H x W) of an RGB uint8 image. Raises InputError when there are no weights to load."""
        self.get_ready()
        with torch.inference_mode():
            image_3hw = torch.from_numpy(np.ascontiguousarray(image_hw3)).permute(2, 0, 1).to(self._device) / 255
            found = self._network([image_3hw])[0]
        sure = found["scores"] >= self.min_score
        masks_nhw = (found["masks"][sure, 0] >= _MASK_LEVEL).cpu().numpy()
        return paint_ids(masks_nhw, found["scores"][sure].cpu().numpy(), image_hw3.shape[:2])


@dataclass(frozen=True)
class DetectedMasks:
    """Masks that a network makes of a dataset's images, kept in its `masks` folder: each is made once."""

    dataset: SceneDataset
    network: MaskNetwork

    @property
    def metadata(self) -> dict:
        return self.network.metadata

    def version(self, frame: Frame) -> str | None:
        """That of the mask once it is made; before, it is like no other."""
        if not self.dataset.image_path(frame).is_file():
            return None
        return sample_digest(mask_path(self.dataset.root / FOLDER, frame)) if self._is_made(frame) else "not made"

    def _is_made(self, frame: Frame) -> bool:
        made_ns = _changed_ns(mask_path(self.dataset.root / FOLDER, frame))
        image_ns = _changed_ns(self.dataset.image_path(frame))
        return made_ns is not None and image_ns is not None and made_ns >= image_ns

    def ids(self, frame: Frame) -> np.ndarray:
        folder = self.dataset.root / FOLDER
        path = mask_path(folder, frame)
        if self._is_made(frame):
            return read_ids(path)
        ids_hw = self.network.ids(self.dataset.image(frame))
        write_kept_json(folder / METADATA_FILE, self.metadata)
        write_ids(path, ids_hw)
        return ids_hw


def mask_path(folder: Path, frame: Frame) -> Path:
    return (folder / frame.name).with_suffix(".png")


def write_ids(path: Path, ids_hw: np.ndarray) -> None:
    """Writes an image of ids (below 65536) as a PNG; half of it is never seen."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_bytes(path, encode_image(".png", ids_hw.astype(np.uint16)))


def paint_ids(masks_nhw: np.ndarray, scores_n: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Masks (bool, N x H x W) as one image of ids, uint16. The surest has the id 1, and lies on top where they
    overlap."""
    ids_hw = np.zeros(size_hw, np.uint16)
    surest_first = np.argsort(-np.asarray(scores_n), kind="stable")
    for rank in range(len(surest_first), 0, -1):
        ids_hw[masks_nhw[surest_first[rank - 1]]] = rank
    return ids_hw


def load_mask_rcnn(weights: Path | None, image_side_px: int = IMAGE_SIDE_PX):
    """torchvision's Mask R-CNN with a ResNet-50, ready to look at images.

    `weights` is a file with the state dict of its first or second version, for any number of classes; None lets
    torchvision download its own (MaskRCNN_ResNet50_FPN_V2_Weights). Nothing in the file can run code. Raises InputError
    when the file does not fit, or nothing can be downloaded.
    """
    from torchvision.models.detection import maskrcnn_resnet50_fpn, maskrcnn_resnet50_fpn_v2  # loads slowly

    state = _downloaded_state() if weights is None else _state_of(weights)
    try:
        make = maskrcnn_resnet50_fpn if _V1_KEY in state else maskrcnn_resnet50_fpn_v2
        classes = len(state[_CLASS_KEY])
        network = make(weights=None, weights_backbone=None, num_classes=classes, min_size=image_side_px)
        network.load_state_dict(state)
    except (KeyError, TypeError, RuntimeError, AttributeError):
        raise InputError(
            f"{weights} does not hold the state dict of torchvision's maskrcnn_resnet50_fpn or "
            "maskrcnn_resnet50_fpn_v2; save it with torch.save(network.state_dict(), FILE)"
        ) from None
    return network.eval()


def _downloaded_state() -> dict:
    from torchvision.models.detection import MaskRCNN_ResNet50_FPN_V2_Weights  # loads slowly

    weights = MaskRCNN_ResNet50_FPN_V2_Weights.DEFAULT
    try:
        return weights.get_state_dict(progress=False, check_hash=True, map_location="cpu", weights_only=True)
    except (OSError, http.client.HTTPException, RuntimeError) as error:
        name = Path(weights.url).name
        raise InputError(
            f"torchvision cannot get {name} ({str(error) or type(error).__name__}); where there is a network, run "
            '`python3 -c "from torchvision.models.detection import MaskRCNN_ResNet50_FPN_V2_Weights as W; '
            'W.DEFAULT.get_state_dict()"`, bring the file that it names here and pass --weights FILE, or pass masks '
            "that exist with --masks DIR"
        ) from None


def _state_of(path: Path) -> dict:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; pass the file of Mask R-CNN weights with --weights") from None
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError):
        raise InputError(f"{path} cannot be read as weights; save a state dict with torch.save") from None


def _weights_name(weights: Path | None) -> str:
    return "torchvision" if weights is None else weights.name


def _changed_ns(path: Path) -> int | None:
    return path.stat().st_mtime_ns if path.is_file() else None
