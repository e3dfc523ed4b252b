"""Depth by any network that somebody else trained: an ONNX file with a card (card.py), run by ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from geo_perception.depth.card import DepthCard, card_beside, card_of
from geo_perception.depth.card_estimator import CardDepthEstimator
from geo_perception.depth.estimator import DepthEstimator
from geo_perception.depth.huggingface_estimator import HuggingFaceDepthEstimator, folder_files
from geo_perception.errors import InputError
from geo_perception.runtime.device import pick_device
from geo_perception.runtime.engine import ONNXRUNTIME, Choice
from geo_perception.runtime.onnx_engine import SUFFIX, open_session


class OnnxDepthEstimator(CardDepthEstimator):
    """Depth by an ONNX file."""

    def __init__(self, session: Any, card: DepthCard, device: torch.device):
        super().__init__(card, device)
        self._session = session
        given = session.get_inputs()
        self._images = [one for one in given if one.name not in card.inputs]
        self._others = {one.name: _constant(one, card.inputs[one.name]) for one in given if one.name in card.inputs}
        self._outputs = _outputs_of(session, card)

    @classmethod
    def load(cls, path: str | Path | None = None, device: str = "auto", engine: str = "auto") -> OnnxDepthEstimator:
        """Reads an ONNX file and its card; only ONNX Runtime runs it. Raises InputError when either, ONNX Runtime or
        the device cannot be used, or when the network does not take and give what the card says."""
        if path is None:
            raise InputError("no ONNX file is given; name one")
        path, chosen = Path(path), pick_device(device)
        if engine not in ("auto", ONNXRUNTIME):
            raise InputError(f"engine {engine} does not run {path}; use {ONNXRUNTIME} or auto")
        if not path.is_file():
            raise InputError(f"{path} is not there; check the path")
        card = card_of(path)
        try:
            session = open_session(path, chosen)
        except ImportError:
            raise InputError(f"{path} needs ONNX Runtime; run `pip install onnxruntime`") from None
        try:
            estimator = cls(session, card, chosen)
            estimator._try()
        except InputError as problem:
            raise InputError(f"{path}: {problem}") from None
        estimator.size_bytes = path.stat().st_size
        return estimator

    @property
    def choice(self) -> Choice:
        return Choice(ONNXRUNTIME, "the network is an ONNX file")

    def _try(self) -> None:
        """Runs once. Raises InputError when the network and the card do not belong together."""
        if len(self._images) != 1:
            names = ", ".join(one.name for one in self._images)
            raise InputError(
                f"it takes {len(self._images)} inputs ({names}); only networks of one image can be used, with numbers "
                "for the others (inputs in its card)"
            )
        width_px, height_px = self._map_size(4, 3)
        asked, given = [1, 3, height_px, width_px], self._images[0].shape
        fits = len(given) == 4 and all(
            isinstance(b, str) or b is None or a == b for a, b in zip(asked, given, strict=True)
        )
        if not fits:
            raise InputError(f"it takes images of {given}, its card says {asked}; mend the card")
        answer, *_ = self._answers(np.zeros((height_px, width_px, 3), np.uint8))
        if not np.isfinite(answer).any():
            raise InputError("it gives nothing but invalid numbers; mend range, mean and std of its card")

    @property
    def _takes_any_size(self) -> bool:
        fixed = any(isinstance(side, int) for side in self._images[0].shape[2:])
        return super()._takes_any_size and not fixed

    def _answers(self, view_hw3: np.ndarray) -> tuple[np.ndarray, np.ndarray | None, np.float32]:
        card, image_b3hw = self.card, self._prepared(view_hw3)
        try:  # tried when it was loaded; later it fails where memory is gone
            given = self._session.run(self._outputs, {self._images[0].name: image_b3hw, **self._others})
        except Exception as problem:  # ONNX Runtime has a class for each kind, and no common one
            raise InputError(f"it cannot be run ({' '.join(str(problem).split())[:200]}); export it again") from None
        by_name = {name: np.asarray(value, np.float32) for name, value in zip(self._outputs, given, strict=True)}
        answer = by_name[self._outputs[0]].squeeze()
        if card.output == "points":
            answer = np.moveaxis(answer, 0, -1) if answer.ndim == 3 and answer.shape[-1] != 3 else answer
        if answer.ndim != (3 if card.output == "points" else 2) or (answer.ndim == 3 and answer.shape[2] != 3):
            shape, wanted = list(by_name[self._outputs[0]].shape), "points" if card.output == "points" else "one map"
            raise InputError(f"its output '{self._outputs[0]}' is of the shape {shape}, not {wanted}; name another")
        mask_hw = by_name[card.mask_name].squeeze() if card.mask_name else None
        if mask_hw is not None and mask_hw.shape != answer.shape[:2]:
            raise InputError(f"its mask '{card.mask_name}' is of the shape {list(mask_hw.shape)}, not of its answer's")
        scale = by_name[card.scale_name].ravel() if card.scale_name else np.ones(1, np.float32)
        if len(scale) != 1:
            raise InputError(f"its output '{card.scale_name}' is not one number; mend scale_name in its card")
        return answer, mask_hw, scale[0]


def load_depth_estimator(path: str | Path | None = None, device: str = "auto", engine: str = "auto") -> DepthEstimator:
    """By weights of this package (the reference ones where none are given), by an ONNX file, or by a folder that
    Hugging Face's transformers saved.

    Raises InputError as their `load` do.
    """
    if path is not None and Path(path).is_dir():
        return HuggingFaceDepthEstimator.load(path, device, engine)
    by_onnx = path is not None and Path(path).suffix.lower() == SUFFIX
    kind = OnnxDepthEstimator if by_onnx else DepthEstimator
    return kind.load(path, device, engine)


def model_files(path: str | Path) -> list[Path]:
    """The files that decide what a network says: its own, those with its tensors, and the card that somebody wrote."""
    path = Path(path)
    if path.is_dir():
        return folder_files(path)
    if path.suffix.lower() != SUFFIX:
        return [path]
    outside = [path.with_name(path.name + ".data"), path.with_name(path.name + "_data")]  # tensors of large networks
    return [path, *(file for file in (*outside, card_beside(path)) if file is not None and file.is_file())]


def _outputs_of(session: Any, card: DepthCard) -> list[str]:
    """The outputs that a card names, that of depth first. Raises InputError where one is not there."""
    names = [output.name for output in session.get_outputs()]
    for key in ("output_name", "mask_name", "scale_name"):
        wanted = getattr(card, key)
        if wanted and wanted not in names:
            raise InputError(f"it gives {', '.join(names)}, not '{wanted}'; mend {key} in its card")
    return [card.output_name or names[0], *(name for name in (card.mask_name, card.scale_name) if name)]


def _constant(given: Any, value: float) -> np.ndarray:
    """A number as an input of the network takes it."""
    shape = [side if isinstance(side, int) else 1 for side in given.shape]
    return np.full(shape, value, np.int64 if given.type == "tensor(int64)" else np.float32)
