"""From fields to a camera: weighted least squares over three unknowns, by Levenberg-Marquardt.

The unknowns are the logarithm of the focal length and the up-vector on its sphere (two tangent directions), so no angle
wraps and looking straight up or down is nothing special. A step that makes the cost worse is not taken.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from geo_perception.calibration.fields import fields_with_jacobians, perspective_fields, tangent_basis

STEPS = 40  # at most; most cameras need five
_SMALL_STEP = 1e-6
MIN_LOG_FOCAL, MAX_LOG_FOCAL = -1.8, 2.8  # square image: fields of view of 161 to 7 degrees
_HUBER = 2.0  # in standard deviations, beyond which a cell counts by its distance and no longer by its square


@dataclass(frozen=True)
class Observations:
    """What the network says of B images at N cells.

    `fields_bn3` are (up x, up y, sin latitude), `weights_bn3` their inverse variances. The prior is a guess at the
    whole camera with its own inverse variances: `prior_focal_b` (log), `prior_up_b3`, `prior_weight_b2` (focal, up).
    """

    xy_n2: torch.Tensor
    fields_bn3: torch.Tensor
    weights_bn3: torch.Tensor
    prior_focal_b: torch.Tensor
    prior_up_b3: torch.Tensor
    prior_weight_b2: torch.Tensor


@dataclass(frozen=True)
class CameraSolution:
    """`log_focal_b`, `up_b3`; `information_b33` by (log focal, first and second tangent direction), and the weighted
    mean squared residual of the cells, 1 where the stated variances are right."""

    log_focal_b: torch.Tensor
    up_b3: torch.Tensor
    information_b33: torch.Tensor
    misfit_b: torch.Tensor


def moved(log_focal_b: torch.Tensor, up_b3: torch.Tensor, step_b3: torch.Tensor):
    """The camera after a step (log focal, two tangent directions)."""
    up_b3 = up_b3 + torch.einsum("bij,bj->bi", tangent_basis(up_b3), step_b3[:, 1:])
    return log_focal_b + step_b3[:, 0], torch.nn.functional.normalize(up_b3, dim=-1)


def normal_equations(log_focal_b, up_b3, seen: Observations):
    """Information (B, 3, 3) and gradient (B, 3) of the cost at a camera; a Gauss-Newton step is H^-1 g."""
    predicted_bn3, jacobian_bn33 = fields_with_jacobians(log_focal_b, up_b3, seen.xy_n2)
    residual_bn3 = seen.fields_bn3 - predicted_bn3
    weights_bn3 = seen.weights_bn3 * _huber(residual_bn3, seen.weights_bn3)
    weighted_bn33 = jacobian_bn33 * weights_bn3[..., None]
    information_b33 = torch.einsum("bnri,bnrj->bij", weighted_bn33, jacobian_bn33)
    gradient_b3 = torch.einsum("bnri,bnr->bi", weighted_bn33, residual_bn3)
    basis_b32 = tangent_basis(up_b3)
    prior_b3 = torch.cat(
        [
            (seen.prior_focal_b - log_focal_b)[:, None],
            torch.einsum("bij,bi->bj", basis_b32, seen.prior_up_b3 - up_b3),
        ],
        -1,
    )
    weight_b3 = seen.prior_weight_b2[:, [0, 1, 1]]
    return information_b33 + torch.diag_embed(weight_b3), gradient_b3 + weight_b3 * prior_b3


def cost(log_focal_b, up_b3, seen: Observations) -> torch.Tensor:
    """(B,) what `solve` makes small: Huber's cost of the cells and the prior's square."""
    up_bn2, sine_bn = perspective_fields(log_focal_b, up_b3, seen.xy_n2)
    residual_bn3 = seen.fields_bn3 - torch.cat([up_bn2, sine_bn[..., None]], -1)
    size_bn3 = residual_bn3.abs() * seen.weights_bn3.clamp(min=0).sqrt()
    cells_b = torch.where(size_bn3 < _HUBER, size_bn3**2, 2 * _HUBER * size_bn3 - _HUBER**2).sum((1, 2))
    focal_b, up_b = seen.prior_weight_b2.unbind(-1)
    away_b = ((seen.prior_up_b3 - up_b3) ** 2).sum(-1)
    return cells_b + focal_b * (seen.prior_focal_b - log_focal_b) ** 2 + up_b * away_b


@torch.no_grad()
def solve(
    seen: Observations, start_focal_b: torch.Tensor, start_up_b3: torch.Tensor, steps: int = STEPS
) -> CameraSolution:
    """The best camera near the start. Float32 or better; always finite for finite observations."""
    focal_b, up_b3 = start_focal_b.clamp(MIN_LOG_FOCAL, MAX_LOG_FOCAL), start_up_b3
    damping_b = torch.full_like(focal_b, 1e-3)
    best_b = cost(focal_b, up_b3, seen)
    for _ in range(steps):
        information_b33, gradient_b3 = normal_equations(focal_b, up_b3, seen)
        diagonal_b3 = information_b33.diagonal(dim1=-2, dim2=-1)
        damped_b33 = information_b33 + torch.diag_embed(damping_b[:, None] * diagonal_b3 + 1e-9)
        step_b3 = torch.linalg.solve(damped_b33, gradient_b3)
        step_b3 = step_b3 * (0.5 / step_b3.norm(dim=-1, keepdim=True).clamp(min=0.5))
        new_focal_b, new_up_b3 = moved(focal_b, up_b3, step_b3)
        new_focal_b = new_focal_b.clamp(MIN_LOG_FOCAL, MAX_LOG_FOCAL)
        new_b = cost(new_focal_b, new_up_b3, seen)
        better_b = new_b < best_b
        focal_b = torch.where(better_b, new_focal_b, focal_b)
        up_b3 = torch.where(better_b[:, None], new_up_b3, up_b3)
        best_b = torch.where(better_b, new_b, best_b)
        damping_b = torch.where(better_b, damping_b / 5, damping_b * 8).clamp(1e-7, 1e7)
        if step_b3.abs().max() < _SMALL_STEP:
            break
    information_b33, _ = normal_equations(focal_b, up_b3, seen)
    return CameraSolution(focal_b, up_b3, information_b33, _misfit(focal_b, up_b3, seen))


def differentiable_step(solution: CameraSolution, seen: Observations):
    """The solution again, as a function of what the network predicted.

    At the minimum one more Gauss-Newton step changes nothing, but its derivative by the observations is that of the
    minimum itself (the implicit function theorem, to first order). Returns log_focal_b, up_b3, information_b33.
    """
    focal_b, up_b3 = solution.log_focal_b.detach(), solution.up_b3.detach()
    information_b33, gradient_b3 = normal_equations(focal_b, up_b3, seen)
    step_b3 = torch.linalg.solve(information_b33 + 1e-6 * torch.eye(3, device=focal_b.device), gradient_b3)
    new_focal_b, new_up_b3 = moved(focal_b, up_b3, step_b3.clamp(-0.5, 0.5))
    return new_focal_b, new_up_b3, information_b33


def _misfit(focal_b, up_b3, seen: Observations) -> torch.Tensor:
    up_bn2, sine_bn = perspective_fields(focal_b, up_b3, seen.xy_n2)
    residual_bn3 = seen.fields_bn3 - torch.cat([up_bn2, sine_bn[..., None]], -1)
    return (seen.weights_bn3 * residual_bn3**2).mean((1, 2))


def _huber(residual_bn3: torch.Tensor, weights_bn3: torch.Tensor) -> torch.Tensor:
    """The factor that turns squares into Huber's cost. It is a constant of the step: no gradient goes through it."""
    size_bn3 = residual_bn3.detach().abs() * weights_bn3.detach().clamp(min=0).sqrt()
    return (_HUBER / size_bn3.clamp(min=1e-9)).clamp(max=1.0)
