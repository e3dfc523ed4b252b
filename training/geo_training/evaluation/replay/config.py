"""The YAML file of `geo-eval replay --config`, checked: an unknown key or a wrong type is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, Field, field_validator

from geo_perception.errors import InputError
from geo_training.config import Strict


class ReplayConfig(Strict):
    """What to replay into what. Topics left out are chosen from what the bag holds."""

    model_config = ConfigDict(strict=True)
    help_command: ClassVar[str] = "geo-eval replay --help"

    scene: str = Field(min_length=1)  # relative to the file's folder
    image: str | None = None
    camera_info: str | None = None
    pose: str | None = None  # the topic of the true poses; "none" for no truth
    max_gap_s: float | None = Field(None, gt=0)  # of recorded poses that are interpolated between; None: 0.5
    rectified: Literal["auto", "true", "false"] = "auto"  # whether the images are without lens distortion
    image_bits: Literal[0, 10, 12, 14, 16] = 0  # how many of 16 bits the images use; 0: what they need
    device: str = "auto"
    seed: int = Field(0, ge=0)
    rate: float = Field(1.0, gt=0)  # of the bag's own, with --live
    start_timeout_s: float = Field(180.0, gt=0)  # until the node is active
    answer_timeout_s: float = Field(10.0, gt=0)  # for the last answers, after the last image
    depth: str | None = None  # with --live: the dataset with true depth, relative to the file's folder
    # Given to the live nodes.
    node_parameters: dict[str, bool | int | float | str | list[float] | list[str]] = Field(default_factory=dict)
    depth_parameters: dict[str, bool | int | float | str | list[float] | list[str]] = Field(default_factory=dict)

    @field_validator("rectified", mode="before")
    @classmethod
    def _word_of_truth(cls, value: Any) -> Any:
        """YAML reads the bare words true and false as booleans."""
        return str(value).lower() if isinstance(value, bool) else value

    @classmethod
    def read_keys(cls, path: str | Path | None) -> dict[str, Any]:
        """Paths are relative to the file."""
        content = super().read_keys(path)
        for key in ("scene", "depth"):
            if isinstance(content.get(key), str):
                content[key] = str(Path(path).parent / content[key])
        return content

    @classmethod
    def load(cls, path: str | Path | None, **changes: Any) -> ReplayConfig:
        """As every config is loaded; InputError also when no scene is given at all."""
        if changes.get("scene") is None and "scene" not in cls.read_keys(path):
            raise InputError("no scene is given; pass --scene SCENE.safetensors, or --config with the key `scene`")
        return super().load(path, **changes)
