"""Learned descriptors are of unit length at every pixel, in every precision."""

import torch
from geo_training.depth.networks.descriptors import DescriptorNetwork


def test_every_pixel_has_a_descriptor_of_unit_length():
    torch.manual_seed(0)
    descriptors = DescriptorNetwork(channels=24)(torch.rand(2, 3, 33, 46))
    assert descriptors.shape == (2, 24, 33, 46)
    assert torch.allclose(descriptors.norm(dim=1), torch.ones(2, 33, 46), atol=1e-5)


def test_descriptors_keep_their_norm_in_half_precision():
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        descriptors = DescriptorNetwork()(torch.rand(1, 3, 32, 32))
    assert descriptors.dtype == torch.float32
    assert torch.allclose(descriptors.norm(dim=1), torch.ones(1, 32, 32), atol=1e-5)
