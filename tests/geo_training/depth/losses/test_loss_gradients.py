"""The gradient of every term of depth training, against differences, in double precision."""

from dataclasses import replace

import pytest
import torch
from geo_training.depth.config import TERMS
from geo_training.depth.networks.model import Prediction
from geo_training.depth.networks.pose_network import motion_matrix
from tiny_clips import DOUBLE, clips, losses, seen

HEIGHT, WIDTH, SCALES, SOURCES = 8, 10, 2, 2


class Leaves:
    """What a network could give for one random clip, as tensors that need a gradient."""

    def __init__(self):
        torch.manual_seed(3)
        sizes = [(HEIGHT >> s, WIDTH >> s) for s in range(SCALES)]
        self.inputs = [0.3 + 0.3 * torch.rand(1, 1, *size, dtype=DOUBLE) for size in sizes]
        self.inputs += [0.02 * torch.randn(SOURCES, 3, dtype=DOUBLE), 0.15 * torch.randn(SOURCES, 3, dtype=DOUBLE)]
        self.inputs += [torch.randn(1, SOURCES, *size, dtype=DOUBLE) for size in sizes]
        self.inputs += [2 + torch.rand(1, 1, HEIGHT, WIDTH, dtype=DOUBLE)]
        self.inputs += [torch.randn(1, 1, HEIGHT, WIDTH, dtype=DOUBLE)]
        images = torch.rand(1 + SOURCES, 3, HEIGHT, WIDTH, dtype=DOUBLE)
        truth = 1 + torch.rand(1, 1, HEIGHT, WIDTH, dtype=DOUBLE)
        truth[..., :3] = 0
        boundary = torch.rand(1, 1, HEIGHT, WIDTH, dtype=DOUBLE)
        teacher = torch.rand(1, 1, HEIGHT, WIDTH, dtype=DOUBLE)
        teacher[..., 2:, 0] = 0
        self.batch = clips(*images, fx_px=9.0, depth=truth, boundary=boundary, teacher=teacher)

    def prediction(self, disparity0, disparity1, rotation, translation, logits0, logits1, source_depth, log_sigma,
                   explained=False, two_views=False) -> Prediction:  # fmt: skip
        T_1s44 = motion_matrix(rotation, translation)[None]
        masks = [torch.sigmoid(logits0), torch.sigmoid(logits1)] if explained else None
        return seen([disparity0, disparity1], T_1s44, masks, log_sigma=log_sigma, source=1,
                    source_depth_b1hw=source_depth if two_views else None)  # fmt: skip


DISPARITY, MOTION, MASKS, OTHER_DEPTH, LOG_SIGMA = (0, 1), (2, 3), (4, 5), (6,), (7,)
GRADIENTS = {
    "photometric: sum of l1": ("photometric", {"reduction": "sum", "difference": "l1", "full_resolution": False,
                               "outside": "zeros", "explainability": True}, (*DISPARITY, *MOTION, *MASKS)),
    "photometric: sum of ssim": ("photometric", {"reduction": "sum"}, (*DISPARITY, *MOTION)),
    "photometric: minimum of l1": ("photometric", {"difference": "l1"}, (*DISPARITY, *MOTION)),
    "photometric: minimum of ssim": ("photometric", {"difference": "ssim"}, (*DISPARITY, *MOTION)),
    "photometric: minimum, masked": ("photometric", {"explainability": True}, (*DISPARITY, *MOTION, *MASKS)),
    "photometric: minimum, own scales": ("photometric", {"full_resolution": False}, (*DISPARITY, *MOTION)),
    "smoothness: edge-aware": ("smoothness", {}, DISPARITY),
    "smoothness: second order": ("smoothness", {"smoothness": "second_order"}, DISPARITY),
    "mask": ("mask", {"explainability": True}, MASKS),
    "consistency": ("consistency", {}, (0, *MOTION, *OTHER_DEPTH)),
    "boundary: first order": ("boundary", {}, DISPARITY),
    "boundary: of normalized disparity": ("boundary", {"boundary_normalized": True}, DISPARITY),
    "boundary: second order": ("boundary", {"boundary_order": 2}, DISPARITY),
    "keypoint: every pixel": ("keypoint", {"keypoint_detector": False, "explainability": True},
                              (*DISPARITY, *MOTION, *MASKS)),
    "depth": ("depth", {}, DISPARITY),
    "gradient": ("gradient", {}, (0,)),
    "teacher up to a factor": ("teacher", {"kind": "depth"}, DISPARITY),
    "teacher in metres": ("teacher", {"kind": "metric"}, DISPARITY),
    "teacher up to a factor and a shift": ("teacher", {"kind": "disparity"}, DISPARITY),
    "teacher without a shift": ("teacher", {"kind": "disparity", "shift_share": 0.3}, DISPARITY),
    "teacher's edges": ("teacher_gradient", {"kind": "depth"}, (0,)),
    "teacher's edges up to a factor and a shift": ("teacher_gradient", {"kind": "disparity"}, (0,)),
    "confidence by the truth": ("confidence", {"weights": {"depth": 1.0, "confidence": 1.0}}, LOG_SIGMA),
    "confidence by the other view": ("confidence", {}, LOG_SIGMA),
}  # fmt: skip


@pytest.mark.parametrize("case", GRADIENTS)
def test_the_gradient_of_every_term_is_exact(case):
    """Autograd against differences, in double precision, through depth and motion and what else it reaches. Along a
    random direction; the functions that a term is made of are checked entry by entry in their own tests."""
    name, options, free = GRADIENTS[case]
    leaves = Leaves()
    options = dict(options)
    leaves.batch = replace(leaves.batch, teacher_kind=options.pop("kind", None))
    if case == "confidence by the other view":
        leaves.batch = replace(leaves.batch, depth_b1hw=torch.zeros_like(leaves.batch.depth_b1hw))
    term = losses(**({"weights": {name: 1.0}} | options))
    views = name == "consistency" or case == "confidence by the other view"
    explained = options.get("explainability", False)

    def value(*chosen):
        inputs = dict(enumerate(leaves.inputs)) | dict(zip(free, chosen, strict=True))
        return term(leaves.prediction(*inputs.values(), explained, views), leaves.batch)[name]

    chosen = [leaves.inputs[index].requires_grad_() for index in free]
    assert value(*chosen).dtype == DOUBLE
    assert all(gradient.any() for gradient in torch.autograd.grad(value(*chosen), chosen))
    assert torch.autograd.gradcheck(value, chosen, fast_mode=True)


def test_every_term_is_checked():
    elsewhere = {"descriptor", "choice"}  # below, and in test_supervision.py
    assert {name for name, _, _ in GRADIENTS.values()} | elsewhere == set(TERMS)


class TestKeypoints:
    """Images large enough to have SIFT keypoints; depth and motion are moved along a few directions."""

    @pytest.fixture(scope="class")
    def batch(self):
        y, x = torch.meshgrid(torch.arange(40, dtype=DOUBLE), torch.arange(48, dtype=DOUBLE), indexing="ij")
        places = ((12, 12, 2.0), (34, 14, 2.5), (20, 26, 3.0), (36, 30, 2.0))
        images = [
            0.1 + sum(0.6 * torch.exp(-((x - cx - s) ** 2 + (y - cy) ** 2) / (2 * r**2)) for cx, cy, r in places)
            for s in (0.0, 1.3)
        ]
        return clips(*(image.clamp(0, 1).expand(3, 40, 48) for image in images), fx_px=40.0)

    def prediction(self, depth_4, motion_6, descriptors=None):
        y, x = torch.meshgrid(
            torch.linspace(-1, 1, 40, dtype=DOUBLE), torch.linspace(-1, 1, 48, dtype=DOUBLE), indexing="ij"
        )
        ways = torch.stack([torch.ones_like(x), x, y, torch.sin(5 * x + 3 * y)])
        depth = torch.exp((depth_4[:, None, None] * ways).sum(0))[None, None]
        T_1144 = motion_matrix(motion_6[None, :3], motion_6[None, 3:])[None]
        return Prediction([1 / depth], [depth], None, T_1144, None, descriptors=descriptors)

    @pytest.fixture(scope="class")
    def inputs(self):
        torch.manual_seed(0)
        return [
            torch.tensor([0.7, 0.1, -0.05, 0.02], dtype=DOUBLE, requires_grad=True),
            torch.tensor([0.01, -0.02, 0.005, 0.021, 0.013, -0.01], dtype=DOUBLE, requires_grad=True),
        ]

    def test_the_gradient_at_detected_keypoints_is_exact(self, batch, inputs):
        term = losses(weights={"keypoint": 1.0})

        def value(depth_4, motion_6):
            return term(self.prediction(depth_4, motion_6), batch)["keypoint"]

        assert value(*inputs).item() > 0
        assert torch.autograd.gradcheck(value, inputs, fast_mode=True)

    def test_the_gradient_of_learned_descriptors_is_exact(self, batch, inputs):
        term = losses(weights={"descriptor": 1.0})
        target, source, more = torch.nn.functional.normalize(torch.randn(3, 1, 6, 40, 48, dtype=DOUBLE), dim=2)

        def value(share_2):
            descriptors = target + share_2[0] * more, (source + share_2[1] * more)[:, None]
            return term(self.prediction(*(i.detach() for i in inputs), descriptors), batch)["descriptor"]

        share_2 = torch.tensor([0.1, -0.2], dtype=DOUBLE, requires_grad=True)
        assert value(share_2).item() > 0
        assert torch.autograd.gradcheck(value, (share_2,))

    def test_learned_descriptors_pull_depth_and_motion_downhill(self, batch, inputs):
        """Where the other keypoints land is held fixed in the gradient, so that it is no derivative of the value; a
        small step against it still lowers the term."""
        term = losses(weights={"descriptor": 1.0})
        smooth = torch.nn.functional.avg_pool2d(torch.randn(1, 6, 40, 48, dtype=DOUBLE), 7, 1, 3)
        smooth = torch.nn.functional.normalize(smooth, dim=1)
        descriptors = smooth, torch.roll(smooth, 1, dims=3)[:, None]

        def value(depth_4, motion_6):
            return term(self.prediction(depth_4, motion_6, descriptors), batch)["descriptor"]

        before = value(*inputs)
        gradients = torch.autograd.grad(before, inputs)
        assert all(gradient.any() for gradient in gradients)
        after = value(*(i.detach() - 1e-5 * g for i, g in zip(inputs, gradients, strict=True)))
        assert after.item() < before.item()
