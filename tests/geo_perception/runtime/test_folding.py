"""Normalization folded into convolutions: the same answers, the weights that are kept untouched."""

import threading

import pytest
import timm
import torch
import torch.nn.functional as F  # noqa: N812 - the field's name
from torch import nn

from geo_perception.runtime.backbone import create_backbone
from geo_perception.runtime.folding import fold_normalization
from geo_perception.runtime.weights import checksum


def stirred(network: nn.Module, seed: int = 0) -> nn.Module:
    """Normalizations as after a training: none is the identity."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            for tensor, low, high in ((module.running_mean, -1, 1), (module.running_var, 0.5, 2),
                                      (module.weight, 0.5, 1.5), (module.bias, -1, 1)):  # fmt: skip
                if tensor is not None:
                    tensor.data.copy_(low + (high - low) * torch.rand(tensor.shape, generator=generator))
    return network.eval()


def norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules())


def assert_same(network: nn.Module, folded: nn.Module, *inputs: torch.Tensor) -> None:
    with torch.no_grad():
        expected, answers = network(*inputs), folded(*inputs)
    if isinstance(expected, torch.Tensor):
        expected, answers = [expected], [answers]
    for one, other in zip(expected, answers, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-4 * float(one.abs().max()))


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 1, 1, bias=False), nn.BatchNorm2d(1, eps=0.0)

    def forward(self, x):
        return self.norm(self.conv(x))


def test_one_convolution_by_hand():
    network = Plain().eval()
    network.conv.weight.data.fill_(3.0)
    network.norm.running_mean.fill_(1.0)
    network.norm.running_var.fill_(4.0)
    network.norm.weight.data.fill_(5.0)
    network.norm.bias.data.fill_(7.0)
    folded = fold_normalization(network)
    # (3 x - 1) / 2 * 5 + 7
    assert (folded.conv.weight.item(), folded.conv.bias.item()) == (7.5, 4.5)
    assert folded(torch.full((1, 1, 1, 1), 2.0)).item() == network(torch.full((1, 1, 1, 1), 2.0)).item() == 19.5
    assert network.conv.bias is None
    assert network.conv.weight.item() == 3.0


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "resnet18", "mobilenetv3_small_050"])
def test_every_normalization_of_a_backbone_is_folded(name):
    torch.manual_seed(0)
    network = stirred(timm.create_model(name, pretrained=False, features_only=True))
    before = checksum({key: value.numpy().copy() for key, value in network.state_dict().items()})
    folded = fold_normalization(network)
    assert norms(network) > 0
    assert norms(folded) == 0
    assert_same(network, folded, torch.randn(2, 3, 64, 96))
    assert checksum({key: value.numpy() for key, value in network.state_dict().items()}) == before


def test_the_default_backbone_keeps_its_checksum_and_its_answers():
    backbone = create_backbone()
    folded = fold_normalization(backbone)
    assert folded.checksum == backbone.checksum == create_backbone().checksum
    assert norms(folded) == 0
    assert_same(backbone, folded, torch.rand(1, 3, 64, 64) * 255)


def test_the_copy_does_not_learn_and_the_original_still_does():
    network = Plain().train()
    network.norm.eps = 1e-5
    folded = fold_normalization(network)
    assert network.training
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert not any(parameter.requires_grad for parameter in folded.parameters())
    kept = folded.conv.weight.clone()
    network.conv.weight.data.add_(1.0)
    network(torch.randn(4, 1, 2, 2))  # moves the running statistics
    assert torch.equal(folded.conv.weight, kept)


class UsedTwice(nn.Module):
    """The convolution's output is also used without its normalization."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x):
        y = self.conv(x)
        return y + self.norm(y)


class SharedNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two, self.norm = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x):
        return self.norm(self.one(x)) + self.norm(self.two(x))


class SharedConvolution(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x):
        return self.norm(self.conv(self.conv(x)))


class OtherOrder(nn.Module):
    """The modules are registered side by side, but the activation comes between them."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x):
        return self.norm(F.relu(self.conv(x)))


class StandardizedConvolution(nn.Conv2d):
    def forward(self, x):
        return F.conv2d(x, self.weight / self.weight.norm(), self.bias)


class Standardized(nn.Module):
    """What the convolution does with its weights would undo a factor on them."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = StandardizedConvolution(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x):
        return self.norm(self.conv(x))


@pytest.mark.parametrize("kind", [UsedTwice, SharedNorm, SharedConvolution, OtherOrder, Standardized])
def test_what_cannot_be_folded_is_left(kind):
    torch.manual_seed(0)
    network = stirred(kind())
    folded = fold_normalization(network)
    assert norms(folded) == 1
    assert_same(network, folded, torch.randn(2, 3, 4, 5))


def test_a_normalization_by_the_batch_itself_is_left():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, track_running_stats=False)).eval()
    folded = fold_normalization(network)
    assert norms(folded) == 1
    assert_same(network, folded, torch.randn(2, 3, 4, 5))


def test_a_watched_normalization_is_left():
    network = stirred(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)))
    network[1].register_forward_hook(lambda *_: None)
    assert norms(fold_normalization(network)) == 1


class Branching(nn.Module):
    """Cannot be followed as a whole; its parts can."""

    def __init__(self):
        super().__init__()
        self.part = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False), nn.ReLU())
        self.conv, self.norm = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x):
        y = self.part(x)
        return self.norm(self.conv(y)) if y.shape[-1] > 1 else y


def test_parts_of_a_network_that_branches_are_folded():
    torch.manual_seed(0)
    network = stirred(Branching())
    folded = fold_normalization(network)
    assert norms(folded) == 1
    assert_same(network, folded, torch.randn(2, 3, 6, 7))


def test_networks_are_folded_while_others_are_and_while_some_compute():
    """As where the nodes of one process load beside each other, and one of them works already."""
    busy, stop, failures = timm.create_model("test_resnet", pretrained=False).eval(), threading.Event(), []
    image_b3hw = torch.rand(1, 3, 32, 32)
    expected = busy(image_b3hw).detach()

    def compute() -> None:
        while not stop.is_set():
            try:
                with torch.no_grad():
                    torch.testing.assert_close(busy(image_b3hw), expected)
            except Exception as error:
                failures.append(error)
                return

    counts = []
    folding = [
        threading.Thread(target=lambda one=network: counts.append(norms(fold_normalization(stirred(one)))))
        for network in (timm.create_model("test_resnet", pretrained=False) for _ in range(4))
    ]
    computing = threading.Thread(target=compute)
    for thread in (computing, *folding):
        thread.start()
    for thread in folding:
        thread.join()
    stop.set()
    computing.join()
    assert failures == []
    assert counts == [0, 0, 0, 0]
