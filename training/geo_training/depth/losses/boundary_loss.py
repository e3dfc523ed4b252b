"""Depth that is sharp where objects end: the boundary matching loss of "Deep Structure From Motion" (equation 3).

It asks for a gradient of the disparity where a map of object boundaries (boundaries.py) says that an object ends.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F  # noqa: N812 (the usual name)

from geo_perception.errors import InputError

# Both orders use kernels of 3 x 3 that smooth along the edge with (1 2 1) / 4 and answer 1 to a step of height 1, on
# both pixels beside the step. That is the operator and the scale of the boundary maps: a step of 1 in disparity that
# lies exactly where the object ends has a loss of exactly 0. Plain differences would answer on one side of the step
# only, and the other side could never be satisfied.
_SMOOTH = (0.25, 0.5, 0.25)
_CENTRAL = (-1.0, 0.0, 1.0)
_SECOND = (1.0, -2.0, 1.0)


def disparity_gradient(disparity_b1hw: torch.Tensor, order: int) -> torch.Tensor:
    """How strongly disparity changes at every pixel, (B, 1, H, W), in units of disparity.

    Order 1: magnitude of the two Sobel responses; a slope of s per pixel answers 2 s, as a step of 2 s would. Order 2:
    the norm of the matrix of second differences; every plane answers 0, and a step its height. The border has the
    answer of the pixel beside it, so that nothing is made up outside the image. Differentiable; where the answer is 0
    its gradient is 0. H and W are at least 3. Raises InputError for another order.
    """
    if order not in (1, 2):
        raise InputError(f"the order of the disparity's gradient is {order}; choose 1 or 2")
    exact = disparity_b1hw if disparity_b1hw.dtype == torch.float64 else disparity_b1hw.float()
    smooth, central, second = (exact.new_tensor(taps) for taps in (_SMOOTH, _CENTRAL, _SECOND))
    if order == 1:
        kernels = [torch.outer(smooth, central), torch.outer(central, smooth)]
    else:
        mixed = torch.outer(central, central) / 4
        kernels = [torch.outer(smooth, second), torch.outer(second, smooth), mixed, mixed]
    answers = F.conv2d(exact, torch.stack(kernels)[:, None])
    # vector_norm has the gradient 0 at 0, where the square root of a sum of squares would divide by 0.
    magnitude = torch.linalg.vector_norm(answers, dim=1, keepdim=True)
    return F.pad(magnitude, (1, 1, 1, 1), mode="replicate")


def boundary_loss(
    disparity_b1hw: torch.Tensor,
    boundary_b1hw: torch.Tensor,
    order: int = 1,
    has_boundary_b: torch.Tensor | None = None,
) -> torch.Tensor:
    """G1^2 max(0, G1 - G2), averaged: a scalar. Equation 3.

    `boundary_b1hw` is G1, 0..1; of another size than the disparity it is brought to that size as `boundary_pyramid`
    does. G2 is the gradient of the disparity of the given order. Images that `has_boundary_b` (bool, B) marks False
    have no map and do not count; without any the loss is 0. The paper sums over the pixels; here the sum is divided
    by their number, as in the other terms, so that a weight means the same at every image size.
    """
    boundary_b1hw = boundary_pyramid(boundary_b1hw, [tuple(disparity_b1hw.shape[-2:])])[0]
    gradient_b1hw = disparity_gradient(disparity_b1hw, order)
    boundary_b1hw = boundary_b1hw.to(gradient_b1hw.dtype)
    counted = len(boundary_b1hw)
    if has_boundary_b is not None:
        # A map of zeros adds nothing, whatever stood there before.
        boundary_b1hw = torch.where(has_boundary_b[:, None, None, None], boundary_b1hw, 0.0)
        counted = has_boundary_b.sum().clamp(min=1)
    return (boundary_b1hw**2 * F.relu(boundary_b1hw - gradient_b1hw)).mean(dim=(1, 2, 3)).sum() / counted


def boundary_pyramid(boundary_b1hw: torch.Tensor, sizes_hw: list[tuple[int, int]]) -> list[torch.Tensor]:
    """The boundary map at coarser scales, (B, 1, h, w) each.

    Every pixel takes the largest value that it covers. An edge then stays 1 and one or two pixels wide, as a map made
    at that scale would be; averaging would fade it, and G1^2 fade its weight once more.
    """
    same_hw = tuple(boundary_b1hw.shape[-2:])
    return [boundary_b1hw if size == same_hw else F.adaptive_max_pool2d(boundary_b1hw, size) for size in sizes_hw]
