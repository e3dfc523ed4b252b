"""A trained reference on disk: its networks and what has to be known to use them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import ValidationError

from geo_perception import __version__
from geo_perception.errors import InputError
from geo_perception.runtime.weights import load_weights, save_weights
from geo_training.experiments.landmark_papers.config import ReferenceConfig
from geo_training.experiments.landmark_papers.networks import ReferenceNetwork

KIND, FORMAT_VERSION = "landmark reference", 1


@dataclass
class Reference:
    """Networks trained for one scene. `network_focal_px` is the focal length that they were trained at."""

    config: ReferenceConfig
    network: ReferenceNetwork
    landmarks_map_l3: np.ndarray
    network_focal_px: float
    metric: bool

    def save(self, path: str | Path, **more: object) -> None:
        """Writes the file; `more` goes into its header."""
        tensors = {f"network.{key}": value.cpu().numpy() for key, value in self.network.state_dict().items()}
        tensors["landmarks_map_l3"] = self.landmarks_map_l3.astype(np.float64)
        header = {
            "kind": KIND,
            "format_version": FORMAT_VERSION,
            "producer": f"geo_perception {__version__}",
            "config": self.config.to_json(exclude={"device"}),
            "network_focal_px": float(self.network_focal_px),
            "metric": bool(self.metric),
        }
        save_weights(path, tensors, header | more)

    @classmethod
    def load(cls, path: str | Path) -> Reference:
        """Reads a file. Raises InputError when it is missing, damaged, or of another version."""
        tensors, header = load_weights(path, KIND, FORMAT_VERSION)
        try:
            config = ReferenceConfig.model_validate(header["config"])
            network = ReferenceNetwork(config, load=False)
            state = {
                key.removeprefix("network."): torch.from_numpy(value)
                for key, value in tensors.items()
                if key.startswith("network.")
            }
            network.load_state_dict(state)
            landmarks_l3 = tensors["landmarks_map_l3"]
            focal_px, metric = float(header["network_focal_px"]), bool(header["metric"])
        except (KeyError, TypeError, ValueError, RuntimeError, ValidationError):
            raise InputError(f"{path} lacks parts; make it again with `geo-train localization reference`") from None
        return cls(config, network.eval(), landmarks_l3, focal_px, metric)
