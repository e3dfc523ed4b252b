"""Depth by a network in a local folder as Hugging Face's transformers saves it (config.json, model.safetensors)."""

from __future__ import annotations

import importlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from geo_perception.depth.card import DepthCard, read_card
from geo_perception.depth.card_estimator import CardDepthEstimator
from geo_perception.errors import InputError
from geo_perception.geometry import Camera
from geo_perception.runtime.device import pick_device
from geo_perception.runtime.engine import TORCH, Choice

CONFIG, PREPROCESSOR, WEIGHTS, INDEX = (
    "config.json", "preprocessor_config.json", "model.safetensors", "model.safetensors.index.json",
)  # fmt: skip
# What the configs of these do not say, because it is the same for all of them: transformers' own documentation.
_METRIC_DEPTH = ("glpn", "zoedepth")
_FOCAL_PER_WIDTH = "depth_pro"  # its inverse depth is that of a camera whose focal length is its image's width
_DEFAULT_AREA_PX, _DEFAULT_MULTIPLE_PX = 640 * 480, 32
_IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


class HuggingFaceDepthEstimator(CardDepthEstimator):
    """Depth by a network of transformers (`AutoModelForDepthEstimation`). Nothing is fetched, no code of the folder
    runs, and only safetensors are read."""

    def __init__(self, model: Any, card: DepthCard, device: torch.device):
        super().__init__(card, device)
        self._model = model.to(device).eval()

    @classmethod
    def load(
        cls, path: str | Path | None = None, device: str = "auto", engine: str = "auto"
    ) -> HuggingFaceDepthEstimator:
        """Reads a folder; only torch runs it. How its network is used follows from its config.json and
        preprocessor_config.json, and from a card beside the folder (`<folder>.yaml`), which comes first.

        Raises InputError when anything is missing or damaged, when transformers is not installed, or when nothing says
        what the network gives.
        """
        if path is None:
            raise InputError("no folder is given; name one")
        folder, chosen = Path(path), pick_device(device)
        if engine not in ("auto", TORCH):
            raise InputError(f"engine {engine} does not run {folder}; use {TORCH} or auto")
        card = card_of_folder(folder)
        if not any((folder / name).is_file() for name in (WEIGHTS, INDEX)):
            raise InputError(f"{folder} has no {WEIGHTS}, and other weights are not read; save it as safetensors")
        estimator = cls(_model(folder), card, chosen)
        try:
            estimator._try()
        except InputError as problem:
            raise InputError(f"{folder}: {problem}") from None
        estimator.size_bytes = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
        return estimator

    @property
    def choice(self) -> Choice:
        return Choice(TORCH, "transformers runs the network")

    def _try(self) -> None:
        width_px, height_px = self._map_size(4, 3)
        answer, *_ = self._answers(np.zeros((height_px, width_px, 3), np.uint8))
        if not np.isfinite(answer).any():
            raise InputError("it gives nothing but invalid numbers; write a card with its range, mean and std")

    def _run(self, view_hw3: np.ndarray, camera: Camera | None) -> tuple[np.ndarray, None]:
        depth_hw, _ = super()._run(view_hw3, camera)
        if self._model.config.model_type == _FOCAL_PER_WIDTH and camera is not None:
            depth_hw = depth_hw * np.float32(camera.fx_px / camera.width_px)
        return depth_hw, None

    @torch.inference_mode()
    def _answers(self, view_hw3: np.ndarray) -> tuple[np.ndarray, None, np.float32]:
        image_b3hw = torch.from_numpy(self._prepared(view_hw3)).to(self.device)
        try:
            output = self._model(pixel_values=image_b3hw)  # in float32: half precision leaves depth in steps
            answer = output.predicted_depth.float().cpu().numpy().squeeze()
        except (AttributeError, TypeError, ValueError, RuntimeError) as problem:
            raise InputError(f"it cannot be run on an image alone ({_short(problem)}); use another network") from None
        if answer.ndim != 2:
            raise InputError(f"it gives {list(answer.shape)}, not one map; use another network")
        return answer, None, np.float32(1)


def folder_files(folder: Path) -> list[Path]:
    """The files that decide what the network of a folder says, the card beside it included."""
    names = [folder / CONFIG, folder / PREPROCESSOR, folder / INDEX, *sorted(folder.glob("*.safetensors"))]
    return [file for file in (*names, _card_beside(folder)) if file.is_file()]


def card_of_folder(folder: Path) -> DepthCard:
    """The card of a folder, from its files and from `<folder>.yaml` beside it.

    Raises InputError when config.json is not there or of no network that estimates depth, or when neither it nor a card
    says what the network gives.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not there; check the path")
    config = _read_json(folder / CONFIG)
    if config is None:
        raise InputError(f"{folder} is no folder of a network: it has no {CONFIG} that can be read; check the path")
    known = {"name": folder.resolve().name, "licence": _licence(folder), **_images(folder, config), **_output(config)}
    beside = _card_beside(folder)
    if beside.is_file():
        return read_card(beside.read_text(errors="replace"), str(beside), known)
    if "output" not in known:
        kind = config.get("model_type", "unknown")
        raise InputError(
            f"{folder} does not say whether its network ({kind}) gives depth or disparity; write {beside} with output "
            "and metric (docs/depth.md)"
        )
    return read_card(json.dumps(known), str(folder))


def _output(config: dict[str, Any]) -> dict[str, Any]:
    """What a config says of the output, as a card has it."""
    kind = config.get("model_type")
    if kind in _METRIC_DEPTH:
        return {"output": "depth", "metric": True}
    if kind == _FOCAL_PER_WIDTH:
        return {"output": "inverse_depth", "metric": True}
    if kind == "depth_anything":
        metric = config.get("depth_estimation_type", "relative") == "metric"
        return {"output": "depth", "metric": True} if metric else {"output": "disparity"}
    if config.get("depth_estimation_type") == "metric":
        return {"output": "depth", "metric": True}
    return {}


def _images(folder: Path, config: dict[str, Any]) -> dict[str, Any]:
    """How images are given to the network, as a card has it."""
    given = _read_json(folder / PREPROCESSOR) or {}
    images: dict[str, Any] = {"range": 1 if given.get("do_rescale", True) else 255}
    if given.get("do_normalize", "image_mean" in given or not given):
        images["mean"] = given.get("image_mean", _IMAGENET["mean"])
        images["std"] = given.get("image_std", _IMAGENET["std"])
    size = given.get("size")
    sides = [size.get("width"), size.get("height")] if isinstance(size, dict) else [size, size]
    known = all(isinstance(side, int) for side in sides)
    if known and not given.get("keep_aspect_ratio"):
        return images | {"size_px": sides}
    backbone, whole_px = config.get("backbone_config"), config.get("image_size")
    if not known and backbone is None and isinstance(whole_px, int):
        return images | {"size_px": [whole_px, whole_px]}  # a vision transformer of this size alone
    patch_px = (backbone if isinstance(backbone, dict) else config).get("patch_size")
    multiples_px = [given.get("ensure_multiple_of"), given.get("size_divisor"), patch_px, _DEFAULT_MULTIPLE_PX]
    multiple_px = next(side for side in multiples_px if isinstance(side, int) and side > 1)
    return images | {"area_px": sides[0] * sides[1] if known else _DEFAULT_AREA_PX, "multiple_px": multiple_px}


def _model(folder: Path) -> Any:
    try:
        transformers: Any = importlib.import_module("transformers")  # optional
    except ImportError:
        raise InputError(f"{folder} needs transformers; run `pip install transformers`") from None
    telling = transformers.utils.logging
    verbosity, bars = telling.get_verbosity(), telling.is_progress_bar_enabled()
    telling.set_verbosity_error()
    telling.disable_progress_bar()
    try:
        with _offline():
            model, report = transformers.AutoModelForDepthEstimation.from_pretrained(
                str(folder.resolve()), local_files_only=True, trust_remote_code=False, use_safetensors=True,
                output_loading_info=True,
            )  # fmt: skip
    except Exception as problem:  # transformers raises what its parts raise
        raise InputError(f"{folder} cannot be used as a network of depth ({_short(problem)}); save it again") from None
    finally:
        telling.set_verbosity(verbosity)
        if bars:
            telling.enable_progress_bar()
    wrong = [*report.get("missing_keys", ()), *report.get("mismatched_keys", ())]
    if wrong:
        raise InputError(
            f"{folder}: its weights lack what its config asks for ({sorted(map(str, wrong))[0]}); copy it again"
        )
    return model


@contextmanager
def _offline() -> Iterator[None]:
    """Parts of a network (a backbone by its name) would be fetched otherwise."""
    constants: Any = importlib.import_module("huggingface_hub.constants")
    before, in_environment = constants.HF_HUB_OFFLINE, os.environ.get("HF_HUB_OFFLINE")
    constants.HF_HUB_OFFLINE = True
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
        if in_environment is None:
            del os.environ["HF_HUB_OFFLINE"]
        else:
            os.environ["HF_HUB_OFFLINE"] = in_environment


def _card_beside(folder: Path) -> Path:
    folder = folder.resolve()
    return folder.with_name(folder.name + ".yaml")


def _licence(folder: Path) -> str:
    """As the head of a README.md names it."""
    try:
        found = re.match(r"---\n(?:.*\n)*?license:[ \t]*(\S+)", (folder / "README.md").read_text(errors="replace"))
    except OSError:
        return "unknown"
    return found.group(1).strip("\"'") if found else "unknown"


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _short(problem: Exception) -> str:
    return " ".join(str(problem).split())[:200]
