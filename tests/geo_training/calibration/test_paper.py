"""The paper's network: targets, loss, errors, layers."""

import math

import numpy as np
import pytest
import torch
from geo_training.calibration.data.crops import PAPER_DISTRIBUTION, ROBOT_DISTRIBUTION, CropDistribution, CropSpec
from geo_training.calibration.paper import CosineLayer, PaperNetwork, TargetScale, mse_metrics, smooth_l1
from tiny_panoramas import TINY_BACKBONE

from geo_perception.errors import InputError

PAPER_SCALE = TargetScale(500.0, 90.0, 45.0)


def tiny(**options):
    torch.manual_seed(0)
    return PaperNetwork(TINY_BACKBONE, pretrained="none", **options)


def test_targets_are_divided_by_the_largest_absolute_value():
    assert TargetScale.of(PAPER_DISTRIBUTION) == PAPER_SCALE
    spec = CropSpec(299, 299, 125.0, math.radians(-30), math.radians(22.5))
    np.testing.assert_allclose(PAPER_SCALE.targets(spec), [0.25, -1 / 3, 0.5], rtol=1e-6)
    assert PAPER_SCALE.targets(spec).dtype == np.float32


def test_crops_without_what_the_targets_need_are_refused():
    with pytest.raises(InputError, match="give that range instead"):
        TargetScale.of(ROBOT_DISTRIBUTION)
    level = CropDistribution(sizes_px=((48, 48),), focal_px=(20, 40), pitch_deg=(0, 0))
    with pytest.raises(InputError, match="nothing to learn"):
        TargetScale.of(level)


def test_equation_4_by_hand():
    outputs_b3 = torch.tensor([[2.0, 0.5, 0.0], [0.0, 0.0, -1.0]])
    # 2 - 0.5 = 1.5; 0.5 x 0.25 = 0.125; 1 - 0.5 = 0.5. Summed over the batch, divided by the three outputs.
    assert float(smooth_l1(outputs_b3, torch.zeros(2, 3))) == pytest.approx(2.125 / 3)


def test_the_loss_is_summed_over_the_batch():
    one = torch.tensor([[0.5, 0.5, 0.5]])
    assert float(smooth_l1(one.repeat(16, 1), torch.zeros(16, 3))) == pytest.approx(16 * 0.125)


def test_errors_are_of_the_normalized_targets_and_in_units():
    outputs_n3 = np.array([[0.1, 0.0, 0.0], [0.1, 0.2, 0.0]])
    metrics = mse_metrics(outputs_n3, np.zeros((2, 3)), PAPER_SCALE)
    assert metrics["focal"] == pytest.approx(0.01)
    assert metrics["pitch"] == pytest.approx(0.02)
    assert metrics["roll"] == 0.0
    assert metrics["umse"] == pytest.approx(0.01)
    assert metrics["focal_rmse_px"] == pytest.approx(50.0)
    assert metrics["pitch_rmse_deg"] == pytest.approx(90 * math.sqrt(0.02))


def test_the_cosine_layer_by_hand():
    layer = CosineLayer(2, 3)
    with torch.no_grad():
        layer.weight_kc.copy_(torch.tensor([[1.0, 0.0], [0.0, -2.0], [3.0, 4.0]]))
        layer.scale.fill_(2.0)
    features_bc = torch.tensor([[30.0, 40.0]])  # its length does not matter, its direction does
    torch.testing.assert_close(layer(features_bc), torch.tensor([[1.2, -1.6, 2.0]]))


def test_the_last_layer_has_three_outputs_and_is_linear_or_cosine():
    image_b3hw = torch.randint(0, 256, (2, 3, 48, 48), dtype=torch.uint8)
    plain, cosine = tiny(), tiny(cosine=True)
    prediction = plain.eval()(image_b3hw)
    assert prediction.outputs_b3.shape == (2, 3)
    torch.testing.assert_close(plain.head(prediction.features_bc), prediction.outputs_b3)
    assert isinstance(cosine.head, CosineLayer)
    assert all(parameter.requires_grad for parameter in plain.parameters())


def test_corrections_follow_each_other():
    network, image_b3hw = tiny().eval(), torch.randint(0, 256, (2, 3, 48, 48), dtype=torch.uint8)
    plain_b3 = network(image_b3hw).outputs_b3.detach()
    network.correct_outputs(torch.tensor([2.0, 1.0, 0.5]), torch.tensor([0.0, 1.0, 0.25]))
    network.correct_outputs(torch.tensor([3.0, 1.0, 2.0]), torch.tensor([1.0, 0.0, 0.0]))
    expected_b3 = plain_b3 * torch.tensor([6.0, 1.0, 1.0]) + torch.tensor([1.0, 1.0, 0.5])
    torch.testing.assert_close(network(image_b3hw).outputs_b3, expected_b3)


def test_a_saved_network_says_the_same(tmp_path):
    network, image_b3hw = tiny(cosine=True).eval(), torch.randint(0, 256, (2, 3, 48, 48), dtype=torch.uint8)
    network.correct_outputs(torch.tensor([2.0, 1.0, 0.5]), torch.tensor([0.0, 1.0, 0.25]))
    network.save(tmp_path / "n.safetensors", PAPER_SCALE, (48, 48))
    again, scale = PaperNetwork.load(tmp_path / "n.safetensors")
    assert scale == PAPER_SCALE
    torch.testing.assert_close(again.eval()(image_b3hw).outputs_b3, network(image_b3hw).outputs_b3)


def test_weights_that_are_not_there_are_asked_for_or_done_without(tmp_path, capsys):
    with pytest.raises(InputError, match="no weights for the backbone"):
        PaperNetwork(TINY_BACKBONE)
    PaperNetwork(TINY_BACKBONE, pretrained="if_there")
    assert "random weights" in capsys.readouterr().err
    with pytest.raises(InputError, match="not a timm network"):
        PaperNetwork("no_such_network", pretrained="none")
    with pytest.raises(InputError, match="not a timm network"):
        PaperNetwork("no_such_network", pretrained="if_there")
    with pytest.raises(InputError, match="not a safetensors file"):
        PaperNetwork(TINY_BACKBONE, tmp_path / "missing.safetensors", "if_there")
