"""The heatmap loss against hand-computed values."""

import math

import pytest
import torch
from geo_training.localization.losses import fine_loss, heatmap_loss, target_cells

from geo_perception.localization.network import HeadConfig, HeadMaps, LandmarkHead


def test_a_landmark_at_a_cell_centre_pulls_most_on_that_cell():
    # Pixel 19.5 is the centre of cell 2: (19.5 + 0.5) / 8 - 0.5 = 2.
    index, weight = target_cells(torch.tensor([[19.5, 11.5]]), H=6, W=8, sigma_cells=0.7)
    best = int(weight[0].argmax())
    assert int(index[0, best]) == 1 * 8 + 2
    assert float(weight.sum()) == pytest.approx(1.0, abs=1e-6)
    side = math.exp(-1 / (2 * 0.49))
    row = 1 + 2 * side + 2 * math.exp(-4 / (2 * 0.49))
    # Rows 0 to 3 lie in the window and the image; row -1 does not.
    column = row - math.exp(-4 / (2 * 0.49))
    assert float(weight[0, best]) == pytest.approx(1 / (row * column), rel=1e-4)


def test_cells_outside_the_map_have_no_weight():
    _, weight = target_cells(torch.tensor([[-0.5, -0.5]]), H=6, W=8, sigma_cells=0.7)
    assert float(weight.sum()) == pytest.approx(1.0, abs=1e-6)
    assert int((weight > 0).sum()) == 4 + 4 + 1  # rows and columns 0 to 2 around the rounded cell 0


def test_equal_logits_cost_the_logarithm_of_the_choices():
    logits = torch.zeros(1, 2, 6, 8)
    state = torch.tensor([[1, -1]])
    terms = heatmap_loss(logits, torch.zeros(2), torch.full((1, 2, 2), 20.0), state, 0.7)
    assert float(terms["seen"]) == pytest.approx(math.log(49), abs=1e-5)
    assert float(terms["unseen"]) == pytest.approx(math.log(49), abs=1e-5)


def test_a_sure_and_right_answer_costs_nothing_when_unseen():
    logits = torch.full((1, 1, 6, 8), -50.0)
    terms = heatmap_loss(logits, torch.zeros(1), torch.zeros(1, 1, 2), torch.tensor([[-1]]), 0.7)
    assert float(terms["unseen"]) == pytest.approx(0.0, abs=1e-6)
    assert float(terms["seen"]) == 0.0  # nothing was seen


def test_landmarks_that_may_be_seen_are_left_out():
    logits = torch.randn(1, 3, 6, 8, requires_grad=True)
    terms = heatmap_loss(logits, torch.zeros(3), torch.full((1, 3, 2), 20.0), torch.tensor([[1, 0, -1]]), 0.7)
    (terms["seen"] + terms["unseen"]).backward()
    assert float(logits.grad[0, 1].abs().sum()) == 0.0
    assert float(logits.grad[0, 0].abs().sum()) > 0
    assert float(logits.grad[0, 2].abs().sum()) > 0


def test_its_gradient_is_that_of_numeric_derivatives():
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    state = torch.tensor([[1, -1, 0], [-1, 1, 1]])
    pixels = torch.rand(2, 3, 2) * 30

    def loss(logits):
        terms = heatmap_loss(logits, torch.zeros(3), pixels, state, 0.7)
        return terms["seen"] + terms["unseen"]

    # The loss works in float32 inside, so the steps are large and the tolerance is wide.
    assert torch.autograd.gradcheck(loss, (logits,), eps=1e-2, atol=2e-2, rtol=5e-2)


def test_a_flat_fine_map_costs_the_logarithm_of_its_window():
    head = LandmarkHead(HeadConfig(1, (4,), (6,), 16, (1,), fine_width=3))
    maps = HeadMaps(torch.zeros(1, 1, 20, 20), torch.zeros(1), torch.zeros(1, 3, 40, 40))
    loss = fine_loss(head, maps, torch.full((1, 1, 2), 79.5), torch.ones(1, 1), 0.7)
    assert float(loss.detach()) == pytest.approx(math.log(81), abs=1e-5)


def test_no_seen_landmark_costs_nothing_in_the_fine_map():
    head = LandmarkHead(HeadConfig(1, (4,), (6,), 16, (1,), fine_width=3))
    maps = HeadMaps(torch.zeros(1, 1, 20, 20), torch.zeros(1), torch.zeros(1, 3, 40, 40))
    assert float(fine_loss(head, maps, torch.full((1, 1, 2), 79.5), -torch.ones(1, 1), 0.7)) == 0.0


def test_the_fine_map_learns_where_a_landmark_is():
    torch.manual_seed(0)
    head = LandmarkHead(HeadConfig(1, (4,), (6,), 16, (1,), fine_width=3))
    fine = torch.zeros(1, 3, 40, 40, requires_grad=True)
    optimizer = torch.optim.Adam([fine, head.fine_landmark_ld], lr=0.3)
    true = torch.tensor([[[86.1, 70.4]]])
    for _ in range(150):
        optimizer.zero_grad()
        fine_loss(
            head, HeadMaps(torch.zeros(1, 1, 20, 20), torch.zeros(1), fine), true, torch.ones(1, 1), 0.7
        ).backward()
        optimizer.step()
    logits = torch.full((1, 1, 20, 20), -20.0)
    logits[0, 0, 8, 10] = 20.0  # pixel (83.5, 67.5)
    found = head.find(HeadMaps(logits, torch.zeros(1), fine.detach())).pixels_bl2[0, 0]
    assert found.tolist() == pytest.approx(true[0, 0].tolist(), abs=0.5)
