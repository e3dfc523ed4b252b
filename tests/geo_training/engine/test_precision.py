"""Strided depthwise convolutions stay in single precision."""

import copy

import pytest
import torch
from geo_training.engine.precision import single_pixels_in_float32, strided_depthwise_in_float32
from torch import nn


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8),  # the only one that is meant
        nn.Conv2d(8, 8, 3, padding=1, groups=8),
        nn.Conv2d(8, 4, 3, stride=2, padding=1),
    )


def output_types(net, image):
    seen = []
    hooks = [m.register_forward_hook(lambda _m, _i, out: seen.append(out.dtype)) for m in net]
    with torch.autocast("cpu", torch.bfloat16):
        net(image)
    for hook in hooks:
        hook.remove()
    return seen


def test_only_strided_depthwise_convolutions_are_kept_out_of_autocast():
    net = strided_depthwise_in_float32(network())
    half = torch.bfloat16
    assert output_types(net, torch.rand(1, 3, 16, 16)) == [half, torch.float32, half, half]
    assert [isinstance(m, nn.Conv2d) for m in net] == [True] * 4


def test_answers_gradients_and_names_stay():
    plain = network()
    kept = strided_depthwise_in_float32(copy.deepcopy(plain))
    image = torch.rand(2, 3, 16, 16)
    for net in (plain, kept):
        net(image).square().sum().backward()
    assert torch.equal(kept(image), plain(image))
    assert list(kept.state_dict()) == list(plain.state_dict())
    for one, other in zip(kept.parameters(), plain.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)


def test_a_convolution_of_another_kind_keeps_its_own_forward():
    class Doubled(nn.Conv2d):
        def forward(self, x):
            return 2 * super().forward(x)

    net = nn.Sequential(Doubled(4, 4, 3, stride=2, groups=4))
    image = torch.rand(1, 4, 9, 9)
    expected = net(image)
    strided_depthwise_in_float32(net)
    assert torch.equal(net(image), expected)
    assert isinstance(net[0], Doubled)


def test_it_can_be_copied_and_done_twice():
    net = strided_depthwise_in_float32(strided_depthwise_in_float32(network()))
    again = copy.deepcopy(net)
    image = torch.rand(1, 3, 16, 16)
    assert torch.equal(again(image), net(image))
    assert output_types(again, image)[1] is torch.float32
    again(image).sum().backward()
    assert net[1].weight.grad is None  # the copy's forward is the copy's own
    assert again[1].weight.grad is not None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_half_precision_input_is_taken(dtype):
    net = strided_depthwise_in_float32(network())
    assert net[1](torch.rand(1, 8, 8, 8, dtype=dtype)).dtype is torch.float32


def test_the_gradient_of_a_strided_convolution_of_one_pixel_is_computed():
    torch.manual_seed(0)
    network = single_pixels_in_float32(nn.Sequential(nn.Conv2d(256, 256, 3, 2, 1)))
    assert network.state_dict().keys() == {"0.weight", "0.bias"}
    for side, dtype in ((1, torch.float32), (4, torch.bfloat16)):
        x = torch.randn(2, 256, side, side)
        with torch.autocast("cpu", torch.bfloat16):
            # What was in memory before would show.
            junk = [torch.full_like(network[0].weight, torch.nan, dtype=torch.bfloat16) for _ in range(3)]
            del junk
            y = network(x)
        assert y.dtype == dtype
        network.zero_grad()
        y.float().sum().backward()
        gradient = network[0].weight.grad.clone()
        network.zero_grad()
        nn.functional.conv2d(x, network[0].weight, network[0].bias, 2, 1).sum().backward()
        error = (gradient - network[0].weight.grad).abs().max() / network[0].weight.grad.abs().max()
        assert float(error) < 0.02
