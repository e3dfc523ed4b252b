"""The calibration network: shapes, gradients, what stays frozen, and how large it is."""

import copy

import pytest
import torch

from geo_perception.calibration.fields import image_scale
from geo_perception.calibration.network import CalibrationNetwork, NetworkConfig
from geo_perception.runtime.weights import with_present_names

TINY = NetworkConfig("test_resnet", width=16, context_width=48, context_layers=1)


@pytest.fixture(scope="module")
def whole():
    """The network that is trained by default, on a backbone without its weights."""
    torch.manual_seed(0)
    return CalibrationNetwork(NetworkConfig())


@pytest.fixture
def tiny():
    torch.manual_seed(0)
    return CalibrationNetwork(TINY)


@pytest.mark.parametrize("size_hw", [(224, 224), (32, 32), (128, 384), (384, 128), (192, 256)])
def test_shapes_at_any_format(tiny, size_hw):
    height, width = size_hw
    cells = height * width // 64
    output = tiny.eval()(torch.rand(2, 3, *size_hw) * 255)
    assert output.xy_n2.shape == (cells, 2)
    assert output.fields_bn3.shape == (2, cells, 3)
    assert output.log_weights_bn2.shape == (2, cells, 2)
    assert output.log_focal_b.shape == (2,)
    assert output.up_b3.shape == (2, 3)
    assert output.log_weight_b2.shape == (2, 2)
    assert torch.allclose(output.fields_bn3[..., :2].norm(dim=-1), torch.ones(2, cells), atol=1e-5)
    assert torch.allclose(output.up_b3.norm(dim=-1), torch.ones(2), atol=1e-5)


def test_cells_are_told_in_the_order_of_their_places(tiny):
    """The last cells answer to the lower edge of the image: a change there changes them the most."""
    image = torch.full((1, 3, 96, 64), 128.0)
    changed = image.clone()
    changed[:, :, -8:] = 255.0
    tiny.eval()
    torch.nn.init.normal_(tiny.fields.weight, std=0.5)
    with torch.no_grad():
        before, after = tiny(image).log_weights_bn2, tiny(changed).log_weights_bn2
    moved_hw = (after - before).abs().sum(-1).reshape(12, 8)
    assert moved_hw[-2:].mean() > moved_hw[:4].mean()
    ys = tiny(image).xy_n2[:, 1].reshape(12, 8) * image_scale(*image.shape[-2:])
    assert ys[:, 0].tolist() == pytest.approx([-44 + 8 * n for n in range(12)], abs=1e-3)


def test_it_starts_as_a_level_camera_of_sixty_degrees(whole):
    with torch.no_grad():
        output = whole.eval()(torch.rand(1, 3, 96, 96) * 255)
    assert float(output.log_focal_b) == pytest.approx(0.55, abs=0.1)  # atan(exp(-0.55)) is 30 degrees
    assert output.up_b3[0].tolist() == pytest.approx([0, -1, 0], abs=0.1)


def test_gradients_reach_every_part(tiny):
    output = tiny.train()(torch.rand(2, 3, 64, 64) * 255)
    # The start's tiny last layers still let some through.
    total = output.fields_bn3.sum() + output.log_weights_bn2.sum() + output.log_focal_b.sum()
    total = total + output.up_b3[:, 2].sum() + output.log_weight_b2.sum()
    (total * tiny.correlation).backward()
    without = [name for name, value in tiny.named_parameters() if value.grad is None]
    assert not without
    assert all(torch.isfinite(value.grad).all() for value in tiny.parameters())
    assert next(tiny.backbone.parameters()).grad.abs().sum() > 0  # the very first convolution


def test_observations_divide_the_weights_by_the_correlation(tiny):
    output = tiny.eval()(torch.rand(1, 3, 64, 64) * 255)
    seen = output.observations(torch.tensor(4.0))
    up_w, sine_w = torch.exp(output.log_weights_bn2[0, 5] - 4.0)
    assert torch.allclose(seen.weights_bn3[0, 5], torch.stack([up_w, up_w, sine_w]))
    assert torch.allclose(seen.prior_weight_b2, torch.exp(output.log_weight_b2))
    alone = output.observations(torch.tensor(4.0), direct=False)
    assert torch.allclose(alone.prior_weight_b2, 1e-6 * seen.prior_weight_b2)
    assert torch.equal(alone.weights_bn3, seen.weights_bn3)
    deaf = output.observations(torch.tensor(4.0), fields=False)
    assert torch.allclose(deaf.weights_bn3, 1e-6 * seen.weights_bn3)


def test_in_training_the_statistics_of_the_backbone_stay(whole):
    whole.train()
    norms = [m for m in whole.backbone.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    assert len(norms) > 10
    assert not any(norm.training for norm in norms)
    assert whole.direct.training
    before = norms[0].running_mean.clone()
    whole(torch.rand(1, 3, 64, 64) * 255)
    assert torch.equal(norms[0].running_mean, before)
    whole.eval()


@pytest.mark.parametrize("count", [-1, 0, 2])
def test_frozen_stages_do_not_learn(count):
    network = CalibrationNetwork(NetworkConfig(width=16, context_width=48, context_layers=0))
    network.freeze_stages(count)
    stages = list(network.backbone.blocks.children())
    frozen = [not any(p.requires_grad for p in stage.parameters()) for stage in stages]
    assert frozen == [number < count for number in range(len(stages))]
    assert network.backbone.conv_stem.weight.requires_grad == (count < 0)
    assert network.fields.weight.requires_grad


def test_its_weights_in_half_precision_are_within_15_mb(whole):
    values = [value for value in whole.state_dict().values() if value.is_floating_point()]
    assert 2 * sum(value.numel() for value in values) < 15e6


def test_the_config_makes_the_same_network(tiny):
    again = CalibrationNetwork(NetworkConfig(**tiny.config_dict()))
    assert {k: v.shape for k, v in again.state_dict().items()} == {k: v.shape for k, v in tiny.state_dict().items()}


def test_maps_are_left_out_in_training_only(tiny):
    tiny.dropout = 0.5
    image = torch.rand(1, 3, 64, 64) * 255
    tiny.train()
    torch.manual_seed(0)
    first, second = tiny(image).fields_bn3, tiny(image).fields_bn3
    assert not torch.equal(first, second)
    tiny.eval()
    assert torch.equal(tiny(image).fields_bn3, tiny(image).fields_bn3)


def test_weights_with_former_module_names_load(tiny):
    former = {present: name for name, present in CalibrationNetwork.former_names.items()}
    state = with_present_names(tiny.state_dict(), former)
    assert state.keys() != tiny.state_dict().keys()
    again = torch.nn.ModuleDict({"inner": copy.deepcopy(tiny)})
    for parameter in again.parameters():
        torch.nn.init.zeros_(parameter)
    again.load_state_dict({f"inner.{key}": value for key, value in state.items()})
    assert all(torch.equal(value, again["inner"].state_dict()[key]) for key, value in tiny.state_dict().items())
