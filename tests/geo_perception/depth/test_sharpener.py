"""Every pixel takes one of the depths around it, or one of its own."""

import pytest
import torch

from geo_perception.depth.network import DepthNetwork, DepthNetworkConfig, make_depth_network
from geo_perception.depth.sharpener import OFFSETS_PX, REACH_PX, DepthChoice, EdgeSharpener

H, W, FEATURES = 48, 64, 8


@pytest.fixture
def sharpener() -> EdgeSharpener:
    torch.manual_seed(0)
    return EdgeSharpener(FEATURES, 8).eval()


def inputs(log_b1hw: torch.Tensor):
    torch.manual_seed(1)
    return torch.rand(len(log_b1hw), 3, H, W), log_b1hw, torch.randn(len(log_b1hw), FEATURES, H // 2, W // 2)


def decided_for(sharpener: EdgeSharpener, candidate: int) -> EdgeSharpener:
    """The sharpener, sure of one candidate at every pixel."""
    with torch.no_grad():
        bias = sharpener.choose.bias.view(-1, 4)
        bias[: len(OFFSETS_PX) + 2] = 0.0
        bias[candidate] = 50.0
    return sharpener


def ramp() -> torch.Tensor:
    """Log disparity that tells its place: the row a hundredth, the column a unit."""
    rows, columns = torch.meshgrid(torch.arange(H), torch.arange(W), indexing="ij")
    return (0.01 * rows + columns).float()[None, None]


def test_an_untrained_one_leaves_the_coarse_map_nearly_as_it_is(sharpener):
    coarse = 0.1 * torch.randn(2, 1, H, W)
    with torch.inference_mode():
        choice = sharpener(*inputs(coarse))
    assert choice.log_bkhw.shape == choice.weight_bkhw.shape == (2, len(OFFSETS_PX) + 2, H, W)
    torch.testing.assert_close(choice.weight_bkhw.sum(1), torch.ones(2, H, W))
    torch.testing.assert_close(choice.mean_b1hw(), coarse, atol=1e-4, rtol=0)


@pytest.mark.parametrize("offset", [(0, 0), (-8, 4), (16, -16)])
def test_a_pixel_that_chooses_an_offset_has_the_coarse_depth_there(sharpener, offset):
    with torch.inference_mode():
        choice = decided_for(sharpener, OFFSETS_PX.index(offset))(*inputs(ramp()))
    dy, dx = offset
    inside = slice(REACH_PX, -REACH_PX)
    expected = ramp()[..., inside, inside] + 0.01 * dy + dx
    torch.testing.assert_close(choice.mean_b1hw()[..., inside, inside], expected)


def test_beyond_the_rim_lies_what_lies_at_it(sharpener):
    with torch.inference_mode():
        choice = decided_for(sharpener, OFFSETS_PX.index((0, 16)))(*inputs(ramp()))
    torch.testing.assert_close(choice.mean_b1hw()[..., -1], ramp()[..., -1])


@pytest.mark.parametrize(("own", "step"), [(0, -0.3), (1, 0.3)])
def test_a_pixel_may_name_a_depth_that_no_neighbour_has(sharpener, own, step):
    coarse = torch.zeros(1, 1, H, W)
    with torch.inference_mode():
        choice = decided_for(sharpener, len(OFFSETS_PX) + own)(*inputs(coarse))
    torch.testing.assert_close(choice.mean_b1hw(), coarse + step)


@pytest.mark.parametrize(("own", "step"), [(0, -0.3), (1, 0.3)])
def test_what_changes_everywhere_alike_is_not_taken(sharpener, own, step):
    coarse = 0.3 * torch.randn(1, 1, 96, 128)
    with torch.inference_mode():
        choice = decided_for(sharpener, len(OFFSETS_PX) + own)(
            torch.rand(1, 3, 96, 128), coarse, torch.rand(1, FEATURES, 48, 64)
        )
    torch.testing.assert_close(choice.mean_b1hw(), coarse + step)
    torch.testing.assert_close(choice.sharpened_b1hw(), coarse, atol=1e-5, rtol=0)


def test_an_edge_that_is_moved_is_taken_but_for_the_mean_of_the_square_around_it():
    """A column of eight pixels is told 0.5 more, in squares of 65 x 65."""
    coarse = torch.zeros(1, 1, 96, 160)
    told = coarse.clone()
    told[..., 76:84] = 0.5
    choice = DepthChoice(torch.cat([coarse, told], 1), torch.tensor([0.0, 1.0]).view(1, 2, 1, 1).expand(1, 2, 96, 160))
    found = choice.sharpened_b1hw()
    torch.testing.assert_close(found[0, 0, 48, 80], torch.tensor(0.5 - 0.5 * 8 / 65))
    torch.testing.assert_close(found[0, 0, 48, 70], torch.tensor(-0.5 * 8 / 65))
    torch.testing.assert_close(found[0, 0, 48, 20], torch.tensor(0.0))
    assert found[0, 0, 0, 80] == pytest.approx(0.5 - 0.5 * 8 / 65)  # the square ends at the rim


def test_a_factor_on_all_depths_stays_that_factor(sharpener):
    torch.nn.init.normal_(sharpener.choose.weight, std=0.3)
    coarse = 0.3 * torch.randn(1, 1, H, W)
    image, _, features = inputs(coarse)
    with torch.inference_mode():
        one = sharpener(image, coarse, features).mean_b1hw()
        other = sharpener(image, coarse + 0.7, features).mean_b1hw()
    torch.testing.assert_close(other, one + 0.7, atol=1e-4, rtol=0)


def test_it_is_more_decided_than_in_training(sharpener):
    torch.nn.init.normal_(sharpener.choose.weight, std=0.3)
    coarse = 0.3 * torch.randn(1, 1, H, W)
    with torch.inference_mode():
        decided = sharpener(*inputs(coarse)).weight_bkhw.amax(1)
        undecided = sharpener.train()(*inputs(coarse)).weight_bkhw.amax(1)
    assert (decided >= undecided - 1e-6).all()
    assert decided.mean() > undecided.mean() + 0.02


def test_a_network_with_one_gives_its_depth_and_is_made_again_by_its_config():
    torch.manual_seed(0)
    network = DepthNetwork(DepthNetworkConfig("tf_efficientnet_lite0", (8, 8, 8, 8, 8), sharpener_width=8)).eval()
    again = make_depth_network(network.config_dict()).eval()
    again.load_state_dict(network.state_dict())
    image = torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        output, same = network(image), again(image)
        learning = again.train()(image)
        network.sharpener = None
        plain = network(image)
    torch.testing.assert_close(same.disparity[0], output.disparity[0])
    assert isinstance(learning.choice, DepthChoice)
    assert (output.choice, plain.choice) == (None, None)  # only a loss asks for it
    torch.testing.assert_close(learning.disparity[0], torch.exp(learning.choice.sharpened_b1hw()))
    assert not torch.equal(output.disparity[0], plain.disparity[0])
    for one, other in zip(output.disparity[1:], plain.disparity[1:], strict=True):  # the coarser ones stay
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(output.log_sigma_b1hw, plain.log_sigma_b1hw)


def test_the_quick_way_gives_what_the_choice_gives():
    torch.manual_seed(0)
    sharpener = EdgeSharpener(FEATURES, 8).eval()
    torch.nn.init.normal_(sharpener.choose.weight, std=0.3)
    asked = inputs(ramp() + 0.1 * torch.randn(2, 1, H, W))
    with torch.no_grad():
        torch.testing.assert_close(sharpener.sharpened_b1hw(*asked), sharpener(*asked).sharpened_b1hw())
