"""What the calibration network is trained on: its fields cell by cell, and the cameras that come out of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from geo_perception.calibration.fields import perspective_fields, tangent_basis
from geo_perception.calibration.network import NetworkOutput
from geo_perception.calibration.solve import differentiable_step, solve

FREEDOM = 4.0  # of Student's t: a camera that is far off must not decide the step
TRAINING_STEPS = 4  # the solver starts at the truth


@dataclass(frozen=True)
class TrueCameras:
    """B cameras: log of the focal length over `image_scale`, and up-vectors."""

    log_focal_b: torch.Tensor
    up_b3: torch.Tensor


def calibration_losses(output: NetworkOutput, correlation: torch.Tensor, truth: TrueCameras) -> dict[str, torch.Tensor]:
    """Named scalar terms.

    `up`, `latitude`: mean absolute error of the fields. `cells`: how well the stated variances of the cells fit their
    errors (the errors themselves get no gradient from it). `fields`, `fused`: negative log likelihood of the true
    camera under the solution from the fields alone and with the direct guess; its gradient goes through the solver.
    `direct`: the same for the direct guess alone.
    """
    up_bn2, sine_bn = perspective_fields(truth.log_focal_b, truth.up_b3, output.xy_n2)
    up_error_bn2 = output.fields_bn3[..., :2] - up_bn2
    sine_error_bn = output.fields_bn3[..., 2] - sine_bn
    return {
        "up": up_error_bn2.abs().sum(-1).mean(),
        "latitude": sine_error_bn.abs().mean(),
        "cells": cell_likelihood(up_error_bn2.detach(), sine_error_bn.detach(), output.log_weights_bn2),
        "fields": _solved(output, correlation, truth, direct=False),
        "fused": _solved(output, correlation, truth, direct=True),
        "direct": direct_likelihood(output, truth),
    }


def distillation_loss(output: NetworkOutput, before: NetworkOutput) -> torch.Tensor:
    """How far the answers have moved from those of an earlier network on the same images: mean absolute differences of
    the fields and of the direct guess (Li and Hoiem, "Learning without Forgetting", for this network's outputs)."""
    fields = (output.fields_bn3 - before.fields_bn3).abs().sum(-1).mean()
    focal = (output.log_focal_b - before.log_focal_b).abs().mean()
    return fields + focal + (output.up_b3 - before.up_b3).abs().sum(-1).mean()


def cell_likelihood(up_error_bn2, sine_error_bn, log_weights_bn2) -> torch.Tensor:
    """Negative log likelihood of the errors under normal distributions with the stated inverse variances, without its
    constant: 1/2 (w e^2 - log w), twice for the two components of up."""
    up_w_bn, sine_w_bn = log_weights_bn2.unbind(-1)
    up_bn = torch.exp(up_w_bn) * (up_error_bn2**2).sum(-1) - 2 * up_w_bn
    sine_bn = torch.exp(sine_w_bn) * sine_error_bn**2 - sine_w_bn
    return 0.5 * (up_bn + sine_bn).mean()


def direct_likelihood(output: NetworkOutput, truth: TrueCameras) -> torch.Tensor:
    """Negative log likelihood of the true camera under the direct guess."""
    weight_b3 = torch.exp(output.log_weight_b2)[:, [0, 1, 1]]
    return camera_likelihood(output.log_focal_b, output.up_b3, torch.diag_embed(weight_b3), truth)


def camera_likelihood(log_focal_b, up_b3, information_b33, truth: TrueCameras) -> torch.Tensor:
    """Mean over the batch of -log of a multivariate Student's t (without its constant) at the true camera.

    The error is (log focal, two tangent directions), its information matrix H:
    (nu + 3) / 2 log(1 + e^T H e / nu) - 1/2 log det H.
    """
    tangent_b2 = torch.einsum("bij,bi->bj", tangent_basis(up_b3.detach()), truth.up_b3 - up_b3)
    error_b3 = torch.cat([(truth.log_focal_b - log_focal_b)[:, None], tangent_b2], -1)
    squared_b = torch.einsum("bi,bij,bj->b", error_b3, information_b33, error_b3)
    eye_33 = 1e-4 * torch.eye(3, device=error_b3.device)
    log_det_b = torch.linalg.slogdet(information_b33 + eye_33).logabsdet
    return (0.5 * (FREEDOM + 3) * torch.log1p(squared_b.clamp(min=0) / FREEDOM) - 0.5 * log_det_b).mean()


def _solved(output: NetworkOutput, correlation, truth: TrueCameras, direct: bool) -> torch.Tensor:
    seen = output.observations(correlation, direct=direct)
    solution = solve(_detached(seen), truth.log_focal_b, truth.up_b3, TRAINING_STEPS)
    return camera_likelihood(*differentiable_step(solution, seen), truth)


def _detached(seen):
    return type(seen)(*(value.detach() for value in vars(seen).values()))
