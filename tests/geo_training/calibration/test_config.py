"""What can be chosen for a training of the calibration network, and the configs that come with it."""

import pytest
from geo_training.calibration.config import CONFIGS, LOSS_WEIGHTS, CalibrationTrainingConfig
from geo_training.calibration.data.crops import ROBOT_DISTRIBUTION
from geo_training.config import config_path

from geo_perception.calibration.network import NetworkConfig
from geo_perception.errors import InputError


def test_the_defaults_are_the_robot_s_crops_and_the_estimator_s_network():
    config = CalibrationTrainingConfig()
    assert config.crops == ROBOT_DISTRIBUTION
    assert config.loss_weights == LOSS_WEIGHTS
    assert NetworkConfig(config.backbone, config.width, config.context_width, config.context_layers) == NetworkConfig()


def test_the_reference_names_what_is_held_out_and_what_validates():
    config = CalibrationTrainingConfig.load(config_path("reference", ("reference",), CONFIGS))
    assert len(set(config.held_out)) == 6
    assert config.validation
    assert not set(config.held_out) & set(config.validation)


def test_options_are_laid_over_the_file():
    config = CalibrationTrainingConfig.load(
        config_path("reference", ("reference",), CONFIGS), steps=7, batch=None, panoramas="somewhere"
    )
    assert (config.steps, config.batch, str(config.panoramas)) == (7, CalibrationTrainingConfig().batch, "somewhere")
    assert len(config.held_out) == 6


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("speed: 1", "speed"),
        ("steps: 0", "steps"),
        ("width: 20", "width"),
        ("context_width: 100", "context_width"),
        ("ema: 1.0", "ema"),
        ("soften: 1.5", "soften"),
        ("synthetic: {share: 2}", "synthetic.share"),
        ("augmentation: {fog: 1}", "augmentation.fog"),
        ("crops: {sizes_px: [[64, 64]]}", "crops"),
        ("loss_weights: {rolls: 1.0}", "loss_weights"),
        ("loss_weights: {}", "loss_weights"),
    ],
)
def test_a_wrong_key_is_named(tmp_path, text, key):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=f"config key '{key}'"):
        CalibrationTrainingConfig.load(path)


def test_loss_weights_may_name_some_of_the_terms():
    assert CalibrationTrainingConfig(loss_weights={"up": 2.0}).loss_weights == {"up": 2.0}


def test_a_config_by_name_or_by_file(tmp_path):
    assert config_path("reference", ("reference",), CONFIGS) == CONFIGS / "reference.yaml"
    (tmp_path / "own.yaml").write_text("steps: 3\n")
    assert config_path(str(tmp_path / "own.yaml"), ("reference",), CONFIGS) == tmp_path / "own.yaml"
    with pytest.raises(InputError, match=r"no config 'nothing\.yaml'; .*reference"):
        config_path("nothing.yaml", ("reference",), CONFIGS)
