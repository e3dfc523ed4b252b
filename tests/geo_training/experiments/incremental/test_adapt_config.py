"""The experiment's config: the paper's values, and what is refused."""

import pytest
from geo_training.calibration.data.crops import PAPER_DISTRIBUTION
from geo_training.experiments.incremental.config import AdaptConfig, TrainingConfig, load_adapt_config
from geo_training.experiments.incremental.task import loop_config

from geo_perception.errors import InputError


def test_the_papers_config_holds_the_papers_values():
    config = load_adapt_config("paper")
    assert config.domains == ("indoor", "outdoor")
    assert config.both_ways
    assert config.crop == PAPER_DISTRIBUTION
    assert (config.crop.sizes_px, config.crop.focal_px) == (((299, 299),), (50, 500))
    assert (config.crop.pitch_deg, config.crop.roll_deg) == ((-90, 0), (-45, 45))
    assert (config.crops, config.validation_share, config.test_crops) == (149504, 0.2, 3584)
    assert config.backbone == "resnet50"
    training = config.training
    assert (training.optimizer, training.learning_rate, training.batch) == ("sgd", 0.003, 16)
    assert (training.schedule, training.plateau_factor, training.plateau_patience) == ("plateau", 0.1, 2)
    assert (training.warm_up, training.gradient_norm, training.steps) == (0.0, None, None)
    assert config.adapting is None
    assert config.exemplar_shares == (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    assert (config.options.exemplar_share, config.options.gate) == (0.2, None)
    assert set(config.methods) >= {"finetune", "lwf", "icarl", "lucir", "bic"}


def test_the_papers_config_is_the_default():
    assert load_adapt_config("paper") == AdaptConfig()


def test_the_small_one_has_the_papers_fields_of_view():
    crop = load_adapt_config("adapt_small").crop
    assert [299 / 160 * focal for focal in crop.focal_px] == pytest.approx([50, 500], rel=1e-4)


def test_the_papers_training_as_the_loop_gets_it():
    loop = loop_config(load_adapt_config("paper").training, 119603, 0)
    assert (loop.optimizer, loop.learning_rate, loop.momentum, loop.weight_decay) == ("sgd", 0.003, 0.0, 0.0)
    assert (loop.schedule, loop.plateau_factor, loop.plateau_patience) == ("plateau", 0.1, 2)
    assert loop.watched == "validation_umse"
    assert loop.evaluate_every == 119603 // 16
    assert loop.steps == 20 * loop.evaluate_every
    assert loop.gradient_norm == float("inf")


def test_steps_are_the_same_whatever_is_replayed():
    training = TrainingConfig(schedule="cosine", steps=50, evaluations=1)
    assert [loop_config(training, crops, 0).steps for crops in (100, 10000)] == [50, 50]
    assert loop_config(training, 100, 0).evaluate_every == 0


def test_few_crops_and_epochs_can_be_asked_for():
    config = load_adapt_config("paper", crops=64, epochs=1, panoramas="somewhere")
    assert (config.crops, config.test_crops, config.training.epochs) == (64, 64, 1)
    short = load_adapt_config("adapt_small", epochs=3)
    assert (short.training.steps, short.adapting.steps, short.adapting.epochs) == (None, None, 3)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("speed: 3\n", "config key 'speed'"),
        ("training:\n  rate: 1\n", r"config key 'training\.rate'"),
        ("methods: [lwf, ewc]\n", r"config key 'methods\.1'.*'bic'"),
        ("domains: [indoor, indoor]\n", "must differ"),
        ("exemplar_shares: [0.5, 20]\n", "between 0 and 1"),
        ("options:\n  gate: -1\n", r"config key 'options\.gate'"),
        ("training:\n  evaluations: 3\n", "plateau is looked for once an epoch"),
        ("crop:\n  sizes_px: [[64, 64], [32, 32]]\n  focal_px: [20, 50]\n", "one of sizes_px"),
        ("crop:\n  sizes_px: [[64, 64]]\n  vfov_deg: [20, 50]\n", "range of focal_px"),
        ("domains: [indoor, up]\nattitudes:\n  up: {pitch_deg: [-10, 0], roll_deg: [0, 5]}\n", "both of the domains"),
        (
            "domains: [up, down]\nattitudes:\n  up: {pitch_deg: [-10, 10], roll_deg: [0, 5]}\n"
            "  down: {pitch_deg: [-60, -30], roll_deg: [0, 5]}\n",
            r"attitudes\.up\.pitch_deg must lie within crop's \[-90",
        ),
    ],
)
def test_a_wrong_key_or_value_is_named(tmp_path, text, words):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        load_adapt_config(path)


def test_a_name_that_is_no_config_is_answered_with_those_there_are():
    with pytest.raises(InputError, match=r"'papier'.*paper, adapt_small"):
        load_adapt_config("papier")
    with pytest.raises(InputError, match=r"no config 'missing\.yaml'"):
        load_adapt_config("missing.yaml")


def test_a_domain_of_attitudes_has_the_crops_of_its_range():
    config = load_adapt_config("adapt_attitudes")
    level, tilted = (config.crop_of(name) for name in config.domains)
    assert (level.pitch_deg, level.roll_deg) == ((-20, 0), (-10, 10))
    assert (tilted.pitch_deg, tilted.roll_deg) == ((-75, -25), (-45, 45))
    assert level.focal_px == tilted.focal_px == config.crop.focal_px
    assert load_adapt_config("adapt_small").crop_of("indoor") == load_adapt_config("adapt_small").crop
