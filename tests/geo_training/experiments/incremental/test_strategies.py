"""The methods' losses by hand, and BiC's second stage."""

import copy

import numpy as np
import pytest
import torch
from geo_training.calibration.data.crop_data import CropSet
from geo_training.calibration.paper import PaperNetwork, Prediction
from geo_training.experiments.incremental.strategies import STRATEGIES, StrategyOptions, make_strategy
from geo_training.experiments.incremental.strategies.base import Batch, ContinualContext, Predictions, ReplaySet
from geo_training.experiments.incremental.strategies.bic import fit_correction
from tiny_panoramas import TINY_BACKBONE

from geo_perception.errors import InputError

NOW = Prediction(torch.tensor([[0.5, 0.0, 0.0], [0.0, 1.0, 0.0]]), torch.tensor([[3.0, 4.0], [1.0, 0.0]]))
OLD = Prediction(torch.tensor([[0.5, 2.0, 0.0], [0.0, 0.0, 0.2]]), torch.tensor([[4.0, 3.0], [-2.0, 0.0]]))
BATCH = Batch(torch.zeros(2, 3), OLD)
NEW_LOSS = (0.125 + 0.5) / 3  # 0.5 x 0.5^2, and 1 - 0.5
OLD_LOSS = (1.5 + 0.5 + 0.02) / 3  # differences 2, 1 and 0.2


class FakeSource:
    """Targets and features without images."""

    size_px = (8, 8)

    def __init__(self, count, seed):
        self.targets_n3 = np.random.default_rng(seed).uniform(-1, 1, (count, 3)).astype(np.float32)

    def __len__(self):
        return len(self.targets_n3)


def context(old=50, new=40):
    def record(source):
        features_nc = np.random.default_rng(5).normal(size=(len(source), 6)).astype(np.float32)
        return Predictions(np.zeros((len(source), 3), np.float32), features_nc)

    return ContinualContext(FakeSource(old, 0), FakeSource(new, 1), record, np.random.default_rng(2))


def rows_of(crops, source):
    found = [rows for part, rows in crops.parts if part is source]
    return np.concatenate(found).tolist() if found else []


def total(strategy, batch=BATCH):
    terms = strategy.losses(NOW, batch)
    return sum(weight * float(terms[name]) for name, weight in strategy.loss_weights.items())


@pytest.mark.parametrize("name", ["finetune", "joint"])
def test_finetuning_and_joint_training_follow_the_labels_alone(name):
    assert total(make_strategy(name)) == pytest.approx(NEW_LOSS)


@pytest.mark.parametrize("name", ["lwf", "icarl", "bic"])
def test_distillation_adds_the_old_networks_outputs(name):
    assert total(make_strategy(name)) == pytest.approx(NEW_LOSS + OLD_LOSS)
    assert total(make_strategy(name, StrategyOptions(lambda_old=0.5))) == pytest.approx(NEW_LOSS + 0.5 * OLD_LOSS)


def test_without_lambda_lwf_is_finetuning():
    assert total(make_strategy("lwf", StrategyOptions(lambda_old=0))) == pytest.approx(total(make_strategy("finetune")))


def test_the_gate_leaves_out_what_the_old_network_gets_wrong():
    # The old outputs are 0.5, 2 and 0.2 from the truth: a gate of 1 leaves out the second.
    assert total(make_strategy("lwf", StrategyOptions(gate=1.0))) == pytest.approx(NEW_LOSS + (0.5 + 0.02) / 3)
    assert StrategyOptions().gate is None


def test_lucir_keeps_the_features_direction():
    # <(3, 4), (4, 3)> / 25 = 0.96; the second feature has turned round: 1 - (-1).
    expected = (1 - 0.96) + 2.0
    assert float(make_strategy("lucir").losses(NOW, BATCH)["features"]) == pytest.approx(expected)
    assert total(make_strategy("lucir")) == pytest.approx(NEW_LOSS + expected)
    assert total(make_strategy("lucir", StrategyOptions(lambda_features=0.5))) == pytest.approx(NEW_LOSS + expected / 2)


def test_only_lucir_needs_a_cosine_layer_from_the_start():
    assert [name for name, strategy in STRATEGIES.items() if strategy.cosine] == ["lucir"]


def test_what_each_method_learns_from():
    given = context()
    seen = {name: make_strategy(name).replay_set(given).training for name in STRATEGIES}
    old = {name: len(rows_of(crops, given.old)) for name, crops in seen.items()}
    new = {name: len(rows_of(crops, given.new)) for name, crops in seen.items()}
    # 20 % of 50 are 10 exemplars; BiC holds out a tenth of them, at least two, and as many new ones.
    assert old == {"joint": 50, "finetune": 0, "lwf": 0, "icarl": 10, "lucir": 10, "bic": 8}
    assert new == {"joint": 40, "finetune": 40, "lwf": 40, "icarl": 40, "lucir": 40, "bic": 38}


def test_bic_validates_on_as_many_old_as_new_that_stage_1_never_sees():
    given = context(200, 100)
    replay_set = make_strategy("bic", StrategyOptions(exemplar_share=0.5, validation_share=0.2)).replay_set(given)
    exemplars = make_strategy("icarl", StrategyOptions(exemplar_share=0.5)).replay_set(given).exemplar_rows
    held = {source: set(rows_of(replay_set.balanced, source)) for source in (given.old, given.new)}
    learned = {source: set(rows_of(replay_set.training, source)) for source in (given.old, given.new)}
    assert len(held[given.old]) == len(held[given.new]) == 20
    assert not held[given.old] & learned[given.old]
    assert not held[given.new] & learned[given.new]
    assert held[given.old] | learned[given.old] == set(exemplars)  # out of the exemplars: no other old data is left
    assert held[given.new] | learned[given.new] == set(range(100))
    assert set(replay_set.exemplar_rows) == learned[given.old]


def test_bic_says_when_there_are_too_few_exemplars():
    for share in (0.0, 0.04):
        with pytest.raises(InputError, match="raise exemplar_share"):
            make_strategy("bic", StrategyOptions(exemplar_share=share)).replay_set(context())


def test_the_second_stage_finds_a_known_bias_exactly():
    outputs_n3 = np.random.default_rng(0).normal([0.5, -0.4, 0.0], [0.01, 0.2, 0.6], (60, 3))
    alpha_3, beta_3 = np.array([2.0, 0.5, -1.0]), np.array([-0.3, 0.1, 0.0])
    found_alpha_3, found_beta_3 = fit_correction(outputs_n3, alpha_3 * outputs_n3 + beta_3)
    np.testing.assert_allclose(found_alpha_3, alpha_3, atol=1e-6)
    np.testing.assert_allclose(found_beta_3, beta_3, atol=1e-6)


def test_the_second_stage_minimizes_equation_4_not_the_squares():
    # Four crops at o = 0: three true at 0, one 9 away. The squares would shift by 2.25; by equation 4 the far one
    # pulls with force 1, the three near ones with 3 beta: beta = 1/3. Four at o = 1 alike.
    outputs_n1 = np.array([0.0] * 4 + [1.0] * 4)[:, None]
    targets_n1 = np.array([0.0, 0.0, 0.0, 9.0, 1.0, 1.0, 1.0, 10.0])[:, None]
    alpha_1, beta_1 = fit_correction(outputs_n1, targets_n1)
    assert float(alpha_1) == pytest.approx(1.0, abs=1e-6)
    assert float(beta_1) == pytest.approx(1 / 3, abs=1e-6)


def test_an_output_that_never_changes_cannot_be_corrected():
    with pytest.raises(InputError, match="same for every image"):
        fit_correction(np.full((8, 3), 0.5), np.zeros((8, 3)))


def test_the_second_stage_leaves_the_network_as_it_is():
    torch.manual_seed(0)
    network = PaperNetwork(TINY_BACKBONE, pretrained="none").eval()
    before = copy.deepcopy(network.state_dict())
    source = FakeSource(30, 4)
    # The network's answers are what they should be, but half as large and shifted.
    said_n3 = 0.5 * source.targets_n3 + 0.25
    replay_set = ReplaySet(CropSet.all_of(source), balanced=CropSet.all_of(source))
    make_strategy("bic").finish(network, replay_set, lambda crops: said_n3)
    after = network.state_dict()
    assert {key for key in after if not torch.equal(after[key], before[key])} == {"alpha_3", "beta_3"}
    torch.testing.assert_close(network.alpha_3, torch.full((3,), 2.0), atol=1e-5, rtol=0)
    torch.testing.assert_close(network.beta_3, torch.full((3,), -0.5), atol=1e-5, rtol=0)


def test_an_unknown_method_is_answered_with_those_there_are():
    with pytest.raises(InputError, match="use one of joint, finetune, lwf, icarl, lucir, bic"):
        make_strategy("ewc")
