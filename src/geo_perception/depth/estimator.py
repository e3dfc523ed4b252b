"""One image to relative depth, without ROS: what a node, a notebook, a test and the evaluation use.

`onnx_estimator.py` does the same with a network that somebody else trained.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from geo_perception.depth.dispnet import DispNet
from geo_perception.depth.graph import DepthGraph
from geo_perception.depth.network import DepthNetwork, make_depth_network
from geo_perception.depth.result import DepthVerdict, RelativeDepth
from geo_perception.errors import InputError
from geo_perception.geometry import Camera
from geo_perception.runtime.device import pick_device
from geo_perception.runtime.engine import Choice
from geo_perception.runtime.frozen import FrozenNetwork
from geo_perception.runtime.image import Resampler, contrast_problem, image_problem, network_size, resized
from geo_perception.runtime.onnx_engine import graph_beside
from geo_perception.runtime.weights import load_weights, packaged_weights, save_weights, state_checksum

KIND, FORMAT_VERSION = "depth", 1
REFERENCE_WEIGHTS = "depth-reference.safetensors"
CANONICAL_FOCAL_PX = 300.0
DEFAULT_AREA_PX = 256 * 192
SIDE_MULTIPLE_PX = 32
MAX_ASPECT = 4.0
_MIN_SIDE_PX = 32
_SMALLER = 4


class DepthEstimator:
    """Depth of single images. Not safe to call from several threads at once.

    `area_px` is about how many pixels the network looks at; `sigma_scale` the factor on what the network says of its
    own error, found on images that training did not see; None where it was not checked that what it says ranks errors:
    then nothing is said. `metric`: its depth is meant to be in metres; `shift_unknown`: its inverse depth is known
    up to a factor and a shift, not up to a factor alone.
    """

    metric = shift_unknown = False
    _shrink = 1  # by which the number of pixels is divided

    def __init__(
        self,
        network: DepthNetwork | DispNet,
        device: str = "auto",
        area_px: int = DEFAULT_AREA_PX,
        sigma_scale: float | None = 1.0,
        header: dict[str, Any] | None = None,
    ):
        self.area_px, self.sigma_scale = area_px, sigma_scale
        self.header, self.size_bytes = header or {}, 0
        self.device = pick_device(device)
        self.network = network.to(self.device).eval()
        self.frozen = FrozenNetwork(DepthGraph(self.network), self.device)  # of the weights as they are now
        self._resamplers: dict[tuple[Camera, Camera], Resampler] = {}

    @classmethod
    def load(cls, path: str | Path | None = None, device: str = "auto", engine: str = "auto") -> DepthEstimator:
        """Reads a weights file; the reference weights of the package where none is given. `engine`: what is to run them
        (`runtime.engine`), known after the first image.

        Raises InputError when it or the device cannot be used.
        """
        path = reference_weights() if path is None else Path(path)
        tensors, header = load_weights(path, KIND, FORMAT_VERSION)
        try:
            network = make_depth_network(header["network"])
            network.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in tensors.items()})
            sigma_scale = header["sigma_scale"]
            sigma_scale = None if sigma_scale is None else float(sigma_scale)
            area_px = int(header["area_px"])
        except (InputError, AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"{path} does not fit a depth network ({reason}); make it again") from None
        estimator = cls(network, device, area_px, sigma_scale, header)
        estimator.size_bytes = path.stat().st_size
        graph = DepthGraph(network, state_checksum(network))
        usual_hw = depth_map_size(4, 3, area_px)[::-1]
        exported = graph_beside(path)
        estimator.frozen = FrozenNetwork(graph, estimator.device, engine, exported, few_sizes=True, probe_hw=usual_hw)
        return estimator

    def save(self, path: str | Path, metadata: dict[str, Any]) -> None:
        """Writes the weights in float16, with `metadata` in the header (see `load`)."""
        tensors = {
            name: value.cpu().half().numpy() if value.is_floating_point() else value.cpu().numpy()
            for name, value in self.network.state_dict().items()
        }
        header = {
            "kind": KIND,
            "format_version": FORMAT_VERSION,
            "network": self.network.config_dict(),
            "area_px": self.area_px,
            "sigma_scale": self.sigma_scale,
            **metadata,
        }
        save_weights(path, tensors, header)

    @property
    def choice(self) -> Choice:
        """What runs the network, and why it."""
        return self.frozen.choice

    def warm_up(self) -> None:
        """Runs once, so that the first image does not pay for set-up."""
        self.estimate(np.tile(np.arange(240, dtype=np.uint8)[None, :, None], (180, 1, 3)), None)

    def use_smaller_input(self, smaller: bool) -> bool:
        """Looks at a quarter of its pixels from now on, or at all again; whether it can. Depth maps are as large as
        what is looked at."""
        self._shrink = _SMALLER if smaller and self._takes_any_size else 1
        return self._takes_any_size

    def estimate(self, image_hw3: np.ndarray, camera: Camera | None) -> RelativeDepth:
        """The depth of `image_hw3` (RGB uint8, any size), taken by `camera`. Its distortion is removed first.

        Without a camera the depth is that of a pinhole whose focal length is not known. Never raises on any image:
        what cannot be used comes back as `DepthVerdict.BAD_IMAGE`. Raises SizeMismatch when the camera is of another
        shape than the image.
        """
        started_s = time.perf_counter()
        if problem := image_problem(image_hw3, _MIN_SIDE_PX):
            return RelativeDepth(DepthVerdict.BAD_IMAGE, problem)
        height_px, width_px = image_hw3.shape[:2]
        camera = camera and camera.fitted(width_px, height_px)
        view_hw3, seen_hw, view_camera = self._view(image_hw3, camera)
        if problem := contrast_problem(view_hw3):
            return RelativeDepth(DepthVerdict.NO_STRUCTURE, problem, view_camera, view_hw3=view_hw3)
        prepared_s = time.perf_counter()
        depth_hw, sigma_hw = self._run(view_hw3, view_camera)
        if self._canonical_focal_px is not None and view_camera is not None:
            depth_hw = depth_hw * np.float32(focal_factor(view_camera, self._canonical_focal_px))
        if seen_hw is not None:
            depth_hw[~seen_hw] = np.nan
        finished_s = time.perf_counter()
        timings_s = {
            "prepare": prepared_s - started_s,
            "network": finished_s - prepared_s,
            "total": finished_s - started_s,
        }
        return RelativeDepth(DepthVerdict.ESTIMATED, "", view_camera, depth_hw, sigma_hw, view_hw3, timings_s)

    def _view(
        self, image_hw3: np.ndarray, camera: Camera | None
    ) -> tuple[np.ndarray, np.ndarray | None, Camera | None]:
        """The image as the network sees it, where it shows anything (None: everywhere), and the pinhole of that."""
        size_px = self._map_size(image_hw3.shape[1], image_hw3.shape[0])
        if camera is None:
            return resized(image_hw3, size_px), None, None
        target = camera.resized(*size_px).without_distortion()
        if (camera, target) not in self._resamplers:
            self._resamplers = {(camera, target): Resampler(camera, target)}  # one camera at a time is in use
        resampler = self._resamplers[camera, target]
        seen_hw = resampler.covered_hw >= 0.5
        return resampler.image(image_hw3, cv2.BORDER_REPLICATE), None if seen_hw.all() else seen_hw, target

    def _map_size(self, width_px: int, height_px: int) -> tuple[int, int]:
        return depth_map_size(width_px, height_px, self.area_px // self._shrink)

    @property
    def _takes_any_size(self) -> bool:
        """Whether the network looks at images of several sizes."""
        return True

    @property
    def _canonical_focal_px(self) -> float | None:
        """Of the camera whose depth the network gives; None where it gives that of the camera itself."""
        return CANONICAL_FOCAL_PX if self.network.focal_normalized else None

    @torch.inference_mode()
    def _run(self, view_hw3: np.ndarray, _camera: Camera | None) -> tuple[np.ndarray, np.ndarray | None]:
        """Depth and the scale of its logarithm's error, float32 (H, W)."""
        disparity_b1hw, *log_sigma = self.frozen(view_hw3)
        depth_hw = (1 / disparity_b1hw[0, 0].float()).cpu().numpy()
        if not log_sigma or self.sigma_scale is None:
            return depth_hw, None
        return depth_hw, (self.sigma_scale * torch.exp(log_sigma[0][0, 0].float())).cpu().numpy()


def focal_factor(camera: Camera, canonical_focal_px: float = CANONICAL_FOCAL_PX) -> float:
    """How many times farther away things are in this camera than in one of the canonical focal length."""
    return camera.focal_px / canonical_focal_px


def depth_map_size(width_px: int, height_px: int, area_px: int) -> tuple[int, int]:
    """(width, height) of the depth map of an image of this size, and of what the network looks at."""
    return network_size(width_px, height_px, area_px, SIDE_MULTIPLE_PX, MAX_ASPECT)


def reference_weights() -> Path:
    """The weights that come with the package. Raises InputError where the package was built without them."""
    return packaged_weights("geo_perception.depth", REFERENCE_WEIGHTS, "geo-train depth fit")
