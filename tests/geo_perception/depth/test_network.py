"""The depth networks: SfMLearner's DispNet to its sizes, and the small encoder-decoder."""

import copy
import math

import pytest
import torch

from geo_perception.depth.dispnet import DispNet
from geo_perception.depth.network import DepthNetwork, DepthNetworkConfig, make_depth_network
from geo_perception.errors import InputError
from geo_perception.runtime.weights import with_present_names


@pytest.fixture(scope="module")
def dispnet():
    torch.manual_seed(0)
    return DispNet().eval()


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return DepthNetwork()


class TestDispNet:
    def test_it_has_the_parameters_of_the_paper(self, dispnet):
        """Counted by hand: kernel^2 x in x out + out of every layer."""

        def layer(kernel, before, after):
            return kernel**2 * before * after + after

        encoder, before = 0, 3
        for channels, kernel in ((32, 7), (64, 5), (128, 3), (256, 3), (512, 3), (512, 3), (512, 3)):
            encoder += layer(kernel, before, channels) + layer(kernel, channels, channels)
            before = channels
        up = sum(layer(3, b, a) for b, a in ((512, 512), (512, 512), (512, 256), (256, 128), (128, 64), (64, 32),
                                             (32, 16)))  # fmt: skip
        merged = sum(layer(3, b, a) for b, a in ((1024, 512), (1024, 512), (512, 256), (256, 128), (129, 64), (65, 32),
                                                 (17, 16)))  # fmt: skip
        predicted = sum(layer(3, channels, 1) for channels in (128, 64, 32, 16))
        count = sum(parameter.numel() for parameter in dispnet.parameters())
        assert count == encoder + up + merged + predicted == 31_596_900

    def test_the_encoder_halves_seven_times_with_the_kernels_of_the_paper(self, dispnet):
        strided = [pair[0][0] for pair in dispnet.down]
        assert [c.stride for c in strided] == [(2, 2)] * 7
        assert [c.kernel_size[0] for c in strided] == [7, 5, 3, 3, 3, 3, 3]
        assert [c.out_channels for c in strided] == [32, 64, 128, 256, 512, 512, 512]
        assert all(pair[1][0].stride == (1, 1) for pair in dispnet.down)

    @pytest.mark.parametrize(("height", "width"), [(128, 160), (131, 149)])
    def test_disparity_at_four_scales_each_half_of_the_one_before(self, dispnet, height, width):
        with torch.inference_mode():
            output = dispnet(torch.rand(1, 3, height, width))
        sizes = [tuple(d.shape) for d in output.disparity]
        assert sizes == [(1, 1, math.ceil(height / 2**s), math.ceil(width / 2**s)) for s in range(4)]
        assert output.log_sigma_b1hw is None

    def test_disparity_is_10_sigmoid_plus_a_hundredth(self, dispnet):
        """Undecided, it is 5.01; pushed either way it stays in 0.01 to 10.01."""
        layer = dispnet.predict[-1]
        kept = {name: value.clone() for name, value in layer.state_dict().items()}
        torch.nn.init.zeros_(layer.weight)
        try:
            for bias, expected in ((0.0, 5.01), (100.0, 10.01), (-100.0, 0.01)):
                torch.nn.init.constant_(layer.bias, bias)
                with torch.inference_mode():
                    disparity = dispnet(torch.rand(1, 3, 128, 128)).disparity[0]
                torch.testing.assert_close(disparity, torch.full_like(disparity, expected))
        finally:
            layer.load_state_dict(kept)

    def test_grey_in_the_middle_is_zero_for_it(self, dispnet):
        """Images are shifted to -1..1: mid grey gives what only the biases give, and these begin at zero."""
        with torch.inference_mode():
            output = dispnet(torch.full((1, 3, 128, 128), 0.5))
        coarsest = output.disparity[-1]
        torch.testing.assert_close(coarsest, torch.full_like(coarsest, 5.01))


class TestDepthNetwork:
    def test_four_scales_and_an_uncertainty_for_every_pixel(self, network):
        with torch.inference_mode():
            output = network(torch.rand(2, 3, 64, 96))
        assert [tuple(d.shape) for d in output.disparity] == [(2, 1, 64 >> s, 96 >> s) for s in range(4)]
        assert output.log_sigma_b1hw.shape == (2, 1, 64, 96)
        assert all((d > 0).all() for d in output.disparity)

    def test_it_fits_in_15_megabytes_of_half_precision(self, network):
        assert 2 * sum(p.numel() for p in network.parameters()) < 15_000_000

    def test_the_uncertainty_reads_depth_and_does_not_change_it(self, network):
        network.zero_grad()
        output = network(torch.rand(1, 3, 64, 64))
        output.log_sigma_b1hw.square().sum().backward()
        touched = {name.split(".")[0] for name, p in network.named_parameters() if p.grad is not None}
        assert touched == {"uncertainty"}

    def test_training_leaves_the_statistics_of_its_pretraining_alone(self, network):
        norms = [m for m in network.backbone.modules() if isinstance(m, torch.nn.BatchNorm2d)]
        before = [m.running_mean.clone() for m in norms]
        network.train()
        network(torch.rand(2, 3, 64, 64))
        assert norms
        assert all(torch.equal(m.running_mean, b) for m, b in zip(norms, before, strict=True))
        network.eval()

    def test_disparity_stays_finite_however_sure_the_network_is(self, network):
        layer = network.predict[-1]
        kept = layer.bias.detach().clone()
        for bias, expected in ((1e4, math.exp(7)), (-1e4, math.exp(-7))):
            torch.nn.init.constant_(layer.bias, bias)
            with torch.inference_mode():
                disparity = network(torch.rand(1, 3, 64, 64)).disparity[0]
            torch.testing.assert_close(disparity, torch.full_like(disparity, expected))
        layer.bias.data.copy_(kept)


def test_a_network_is_made_again_from_its_config(network, dispnet):
    assert isinstance(make_depth_network(dispnet.config_dict()), DispNet)
    again = make_depth_network(network.config_dict() | {"widths": list(network.config.widths)})  # JSON has no tuples
    assert again.config == network.config
    assert {k: v.shape for k, v in again.state_dict().items()} == {k: v.shape for k, v in network.state_dict().items()}


@pytest.mark.parametrize("config", [{}, {"architecture": "unet"}, {"architecture": "dispnet", "widths": [1]}])
def test_an_unknown_architecture_is_refused(config):
    with pytest.raises(InputError, match="use dispnet or encoder_decoder"):
        make_depth_network(config)


def test_a_backbone_without_fine_features_is_refused():
    with pytest.raises(InputError, match="no features at stride 2"):
        DepthNetwork(DepthNetworkConfig(backbone="convnext_atto"))


def test_weights_with_former_module_names_load(network):
    former = {present: name for name, present in DepthNetwork.former_names.items()}
    state = with_present_names(network.state_dict(), former)
    assert state.keys() != network.state_dict().keys()
    again = torch.nn.ModuleDict({"inner": copy.deepcopy(network)})
    for parameter in again.parameters():
        torch.nn.init.zeros_(parameter)
    again.load_state_dict({f"inner.{key}": value for key, value in state.items()})
    assert all(torch.equal(value, again["inner"].state_dict()[key]) for key, value in network.state_dict().items())
