"""The configs that come with the package say what the papers say, and wrong ones are refused by name."""

from pathlib import Path

import pytest
from geo_training import depth as depth_room
from geo_training.depth.config import DepthTrainingConfig, LossConfig

from geo_perception.errors import InputError

CONFIGS = Path(depth_room.__file__).parent / "configs"


def test_the_default_config_is_the_default():
    assert DepthTrainingConfig.load(CONFIGS / "default.yaml") == DepthTrainingConfig()


def test_the_baseline_is_sfmlearner_to_its_values():
    config = DepthTrainingConfig.load(CONFIGS / "sfmlearner.yaml")
    assert (config.architecture, config.pretrained) == ("dispnet", False)
    assert (config.motion, config.motion_views, config.clips.length) == ("learned", "stacked", 3)
    assert (config.size_px, config.batch, config.steps) == ((416, 128), 4, 200_000)
    # Adam at 2e-4 all the way, without decay, averaging or shortened gradients.
    assert (config.learning_rate, config.weight_decay, config.schedule) == (2e-4, 0, "constant")
    assert (config.warm_up, config.ema, config.half) == (0, 0, False)
    assert config.gradient_norm >= 1e9
    assert (config.augmentation.flip, config.augmentation.zoom, config.augmentation.light) == (False, 1.15, None)
    losses = config.losses
    # Equation 2: 1, 0.5 / 2^s and 0.2, for images in -1..1; they are in 0..1 here.
    assert losses.weights == {"photometric": 2.0, "smoothness": 0.5, "mask": 0.2}
    assert (losses.difference, losses.reduction, losses.outside) == ("l1", "sum", "zeros")
    assert (losses.explainability, losses.auto_mask) == (True, False)
    assert (losses.scales, losses.full_resolution, losses.smoothness) == ("multi", False, "second_order")


def test_the_config_of_the_reference_weights_needs_its_four_datasets(tmp_path):
    config = DepthTrainingConfig.load(CONFIGS / "reference.yaml", datasets=[tmp_path] * 4)
    assert config.losses.weighs("depth")
    assert not config.losses.needs_views
    with pytest.raises(InputError, match=r"config key 'shares': .*one number for each dataset"):
        DepthTrainingConfig.load(CONFIGS / "reference.yaml", datasets=[tmp_path])


def test_the_config_of_sharper_edges_needs_what_it_sharpens(tmp_path):
    config = DepthTrainingConfig.load(CONFIGS / "sharpen.yaml", datasets=[tmp_path], start_from=tmp_path / "w")
    assert config.learn == "sharpener"
    assert not config.losses.needs_views
    with pytest.raises(InputError, match="give --from WEIGHTS"):
        DepthTrainingConfig.load(CONFIGS / "sharpen.yaml", datasets=[tmp_path])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depth": 1}, "config key 'depth'"),
        ({"losses": {"weights": {}}}, "losses.weights"),
        ({"losses": {"weights": {"beauty": 1.0}}}, "must weigh some of photometric"),
        ({"losses": {"weights": {"photometric": 0.0}}}, "one must be positive"),
        ({"losses": {"weights": {"photometric": 1.0, "mask": -1.0}}}, "number that is not negative"),
        ({"losses": {"weights": {"photometric": float("nan")}}}, "number that is not negative"),
        ({"losses": {"weights": {"photometric": float("inf")}}}, "number that is not negative"),
        ({"losses": {"weights": {"mask": 0.2}}}, "needs explainability"),
        ({"size_px": [100, 64]}, "multiples of 32"),
        ({"size_px": [0, 64]}, "multiples of 32"),
        ({"datasets": ["a", "b"], "shares": [0, 0]}, "one must be positive"),
        ({"steps": 0}, "config key 'steps'"),
        ({"keep_momentum": True}, "keep_momentum needs start_from"),
        ({"sharpener_width": 12}, "multiple of 8"),
        ({"learn": "sharpener"}, "no sharpener to learn; set sharpener_width"),
        ({"losses": {"weights": {"choice": 1.0}}}, "no sharpener to learn"),
        ({"losses": {"weights": {"choice": 1.0}}, "sharpener_width": 8, "architecture": "dispnet"}, "encoder_decoder"),
        ({"learn": "sharpener", "sharpener_width": 8}, "leaves the rest as it was; give --from"),
        ({"learn": "sharpener", "sharpener_width": 8, "start_from": "a"}, "leaves ego-motion as it was"),
    ],
)
def test_wrong_values_are_named(changes, message):
    with pytest.raises(InputError, match=message):
        DepthTrainingConfig.load(None, **changes)


def test_single_frames_do_when_no_term_looks_at_other_views():
    assert LossConfig().needs_views
    assert not LossConfig(weights={"depth": 1.0, "gradient": 1.0, "confidence": 0.1, "boundary": 1.0}).needs_views
    assert LossConfig(weights={"smoothness": 1.0, "confidence": 0.1}).needs_views  # judged by another view
    assert LossConfig(weights={"depth": 1.0, "keypoint": 1.0}).needs_views
