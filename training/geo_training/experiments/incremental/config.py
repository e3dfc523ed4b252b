"""Options of continual learning with the paper's network. Saved beside every result."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from geo_training.calibration.config import CONFIGS
from geo_training.calibration.data.crops import PAPER_DISTRIBUTION, CropDistribution, Range
from geo_training.calibration.frozen import FrozenConfig
from geo_training.config import Strict, config_path
from geo_training.experiments.incremental.strategies.base import StrategyOptions

NAMES = ("paper", "adapt_small", "adapt_attitudes")
Method = Literal["joint", "finetune", "lwf", "icarl", "lucir", "bic"]


class TrainingConfig(Strict):
    """One training, of the old domain or of the new. The defaults are section 4.2's."""

    optimizer: Literal["adamw", "sgd"] = "sgd"
    learning_rate: float = Field(0.003, gt=0)
    momentum: float = Field(0.0, ge=0, lt=1, description="of sgd; the paper states none")
    weight_decay: float = Field(0.0, ge=0, description="the paper states none")
    schedule: Literal["cosine", "plateau", "constant"] = "plateau"
    plateau_factor: float = Field(0.1, gt=0, lt=1)
    plateau_patience: int = Field(2, ge=0, description="epochs without improvement that are borne, as torch counts")
    warm_up: float = Field(0.0, ge=0, lt=1, description="share of the steps")
    gradient_norm: float | None = Field(None, gt=0, description="longer gradients are cut to it; null leaves them")
    batch: int = Field(16, ge=2)
    epochs: int = Field(20, ge=1, description="the paper states none")
    steps: int | None = Field(
        None, ge=1, description="instead of epochs: as many for every method, whatever it replays"
    )
    evaluations: int | None = Field(None, ge=1, description="on the validation crops; null: once an epoch")

    @model_validator(mode="after")
    def _check(self) -> TrainingConfig:
        if self.schedule == "plateau" and self.evaluations is not None:
            raise ValueError("a plateau is looked for once an epoch; leave evaluations out")
        return self


class Attitudes(Strict):
    """A domain that is a range of attitudes instead of a kind of place."""

    pitch_deg: Range
    roll_deg: Range


class AdaptConfig(Strict):
    """The paper's experiment: two domains, one learned after the other, by each method."""

    help_command: ClassVar[str] = "geo-train calibration adapt --help"
    panoramas: Path | None = Field(None, description="folder with an index.csv that names the domains")
    domains: tuple[str, str] = Field(("indoor", "outdoor"), description="the old one, then the new one")
    attitudes: dict[str, Attitudes] = Field(
        {}, description="domains that are ranges of attitudes: `crop` within these, of the panoramas of every kind"
    )
    both_ways: bool = Field(True, description="also the new one first")
    crop: CropDistribution = PAPER_DISTRIBUTION
    crops: int = Field(149504, ge=4, description="of each domain, for training and validation")
    validation_share: float = Field(0.2, gt=0, lt=1, description="of the crops, and of the panoramas behind them")
    test_crops: int = Field(3584, ge=2, description="of each domain")
    test_panoramas: float = Field(0.2, gt=0, lt=1, description="share of a domain's panoramas; the paper states none")
    cache: Literal["none", "memory", "disk"] = Field("none", description="where rendered crops are kept")
    backbone: str = "resnet50"
    backbone_file: Path | None = None
    frozen: FrozenConfig | None = Field(None, description="only a small network learns, on the backbone's maps")
    pretrained: Literal["required", "if_there", "none"] = Field("if_there", description="the backbone's weights")
    training: TrainingConfig = TrainingConfig()
    adapting: TrainingConfig | None = Field(None, description="of the new domain; null: as the old one")
    options: StrategyOptions = StrategyOptions()
    methods: tuple[Method, ...] = ("joint", "finetune", "lwf", "icarl", "lucir", "bic")
    exemplar_shares: tuple[float, ...] = Field(
        (0.0, 0.2, 0.4, 0.6, 0.8, 1.0), description="iCaRL's sweep; may be empty"
    )
    seeds: tuple[int, ...] = Field((0,), min_length=1)
    device: str = "auto"

    @model_validator(mode="after")
    def _check(self) -> AdaptConfig:
        if self.domains[0] == self.domains[1]:
            raise ValueError("the two domains must differ")
        if any(not 0 <= share <= 1 for share in self.exemplar_shares):
            raise ValueError("exemplar_shares must lie between 0 and 1")
        if len(self.crop.sizes_px) != 1 or self.crop.focal_px is None:
            raise ValueError("crop must have one of sizes_px and a range of focal_px: these the paper's network learns")
        if len(set(self.domains) & set(self.attitudes)) == 1:
            raise ValueError("attitudes must name both of the domains, or neither: places are not split as they are")
        for name, own in self.attitudes.items():
            for key, (low, high) in own:
                if not getattr(self.crop, key)[0] <= low <= high <= getattr(self.crop, key)[1]:
                    raise ValueError(f"attitudes.{name}.{key} must lie within crop's {list(getattr(self.crop, key))}")
        return self

    def crop_of(self, domain: str) -> CropDistribution:
        """From what a domain's crops are drawn."""
        own = self.attitudes.get(domain)
        return self.crop if own is None else self.crop.model_copy(update=dict(own))

    @property
    def directions(self) -> tuple[tuple[str, str], ...]:
        """(old, new) domain of each."""
        return (self.domains, self.domains[::-1]) if self.both_ways else (self.domains,)


def load_adapt_config(path: str, crops: int | None = None, epochs: int | None = None, **changes: Any) -> AdaptConfig:
    """The config in a YAML file, or the packaged one of that name (`NAMES`), with changes laid over it.

    `crops` also bounds the test crops. Raises InputError that names the key when one is unknown or has a wrong value.
    """
    found = config_path(path, NAMES, CONFIGS)
    config = AdaptConfig.load(found, **changes)
    update: dict[str, Any] = {}
    if crops is not None:
        update |= {"crops": crops, "test_crops": min(crops, config.test_crops)}
    if epochs is not None:
        trainings = {"training": config.training, "adapting": config.adapting}
        update |= {key: t.model_copy(update={"epochs": epochs, "steps": None}) for key, t in trainings.items() if t}
    return config.model_copy(update=update)
