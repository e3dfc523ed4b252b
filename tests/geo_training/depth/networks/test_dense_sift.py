"""Dense SIFT: what a descriptor depends on, where it stands, and that it is SIFT."""

import cv2
import numpy as np
import pytest
import torch
from geo_training.depth.networks.dense_sift import DenseSift, to_grey
from kornia.feature import convert_sift_descriptor_layout
from scipy.stats import spearmanr
from torch.nn import functional as F  # noqa: N812 (the usual name)

from geo_perception.errors import InputError


def texture(height_px: int, width_px: int, seed: int = 0, channels: int = 1) -> torch.Tensor:
    """Noise of several sizes in 0 to 1, (1, C, H, W) double."""
    random, total = torch.Generator().manual_seed(seed), torch.zeros(1, channels, height_px, width_px).double()
    for cell_px in (2, 4, 8, 16):
        size = (height_px // cell_px + 2, width_px // cell_px + 2)
        coarse = torch.rand(1, channels, *size, generator=random, dtype=torch.float64)
        total += F.interpolate(coarse, size=(height_px, width_px), mode="bicubic", align_corners=False)
    return (total - total.min()) / (total.max() - total.min())


def test_every_pixel_has_a_descriptor_of_unit_length():
    descriptors = DenseSift()(texture(30, 41, channels=3).expand(2, 3, 30, 41).float())
    assert descriptors.shape == (2, 128, 30, 41)
    assert torch.allclose(descriptors.norm(dim=1), torch.ones(2, 30, 41), atol=1e-5)


@pytest.mark.parametrize(("patch_px", "reach_px"), [(15, 7), (19, 9), (23, 11)])
def test_a_descriptor_depends_on_exactly_its_patch(patch_px, reach_px):
    image, sift = texture(41, 41), DenseSift(patch_px)
    image.requires_grad_(True)
    # Normalizing spreads every change over all channels, so that any of them shows it.
    sift(image)[0, :, 20, 20].pow(3).sum().backward()
    row, column = (image.grad[0, 0].abs() > 0).nonzero().T
    assert (row.min(), row.max(), column.min(), column.max()) == (20 - reach_px, 20 + reach_px) * 2


def test_a_descriptor_is_centred_on_its_pixel():
    # Mirrored, the descriptor of the mirrored pixel holds the same values in another order.
    image, sift = texture(31, 31), DenseSift()
    plain, mirrored = sift(image)[0, :, 15, 12], sift(image.flip(-1))[0, :, 15, 30 - 12]
    assert torch.allclose(plain.sort().values, mirrored.sort().values, atol=1e-9)


def test_brightness_and_contrast_do_not_matter():
    image, sift = texture(31, 31), DenseSift()
    assert torch.allclose(sift(image), sift(0.5 * image + 0.2), atol=1e-6)


def test_a_stride_keeps_every_second_descriptor():
    image = texture(30, 41)
    assert torch.allclose(DenseSift(stride=2)(image), DenseSift()(image)[..., ::2, ::2])


@pytest.mark.parametrize("options", [{}, {"angles": 4}, {"patch_px": 23}])
def test_descriptors_of_some_pixels_are_those_of_the_whole_map(options):
    images, sift = torch.cat([texture(24, 33, seed) for seed in (0, 1)]), DenseSift(**options)
    b, row, column = torch.tensor([0, 1, 1, 0]), torch.tensor([0, 23, 7, 12]), torch.tensor([0, 32, 9, 20])
    found = sift.at(sift.histograms(images), b, row, column)
    assert torch.allclose(found, sift(images)[b, :, row, column], atol=1e-12)


def test_a_flat_patch_has_no_descriptor_and_no_gradient():
    image = torch.zeros(1, 1, 40, 40, dtype=torch.float64)
    image[..., 30:] = texture(40, 10)
    image.requires_grad_(True)
    descriptor = DenseSift()(image)[0, :, 20, 8]
    descriptor.sum().backward()
    assert image.grad.abs().max() < 1e-3


def test_fewer_angles_give_fewer_channels():
    sift = DenseSift(angles=4)
    assert sift(texture(20, 20)).shape == (1, 64, 20, 20)
    assert sift.channels == 64


def test_the_same_point_in_a_shifted_image_has_the_nearest_descriptor():
    wide = texture(40, 60, channels=3).float()
    left, right = DenseSift()(wide[..., :50]), DenseSift()(wide[..., 6:56])  # x becomes x - 6
    found = 0
    rng = np.random.default_rng(0)
    places = [(int(rng.integers(10, 30)), int(rng.integers(18, 40))) for _ in range(50)]
    for y, x in places:
        distance = (right[0] - left[0, :, y, x, None, None]).abs().sum(0)
        found += int(distance.argmin()) == y * 50 + (x - 6)
    assert found == 50


def test_descriptors_are_those_of_opencv():
    # A keypoint of size 2 in OpenCV has cells of 3 pixels, as ours. OpenCV blurs the image to 1.6 pixels first, weighs
    # by a Gaussian window and shares gradients between cells, so that values agree in order, not in digits.
    image = (255 * texture(64, 96, seed=3)[0, 0]).round().numpy().astype(np.uint8)
    places = [(y, x) for y in range(16, 48, 6) for x in range(16, 80, 6)]
    points = [cv2.KeyPoint(float(x), float(y), 2.0, 0.0) for y, x in places]
    kept, theirs = cv2.SIFT_create().compute(image, points)
    assert len(kept) == len(places)
    blurred = cv2.GaussianBlur(image.astype(np.float64), (0, 0), np.sqrt(1.6**2 - 0.5**2)) / 255
    ours = DenseSift()(torch.from_numpy(blurred)[None, None])[0]
    ours = torch.stack([ours[:, y, x] for y, x in places])
    ours = convert_sift_descriptor_layout(ours, "kornia", "opencv").numpy()
    own = [spearmanr(a, b).statistic for a, b in zip(ours, theirs, strict=True)]
    others = [spearmanr(a, b).statistic for a, b in zip(ours, np.roll(theirs, 7, axis=0), strict=True)]
    assert np.median(own) > 0.8
    assert np.median(others) < 0.3
    nearest = np.argmax(ours @ (theirs / np.linalg.norm(theirs, axis=1, keepdims=True)).T, axis=1)
    assert np.mean(nearest == np.arange(len(places))) > 0.95


def test_gradient():
    image, sift = texture(10, 10).requires_grad_(True), DenseSift(patch_px=11)
    # Of some sum of all channels: each alone would take minutes.
    weights = torch.rand(1, 128, 10, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: (weights * sift(x)).sum(), (image,), eps=1e-7, atol=1e-5)


def test_nothing_is_learned_or_saved():
    sift = DenseSift()
    assert not list(sift.parameters())
    assert not sift.state_dict()


def test_grey_is_what_opencv_makes_of_colours():
    image = texture(8, 8, channels=3)
    rgb = np.ascontiguousarray(image[0].permute(1, 2, 0).float().numpy())
    assert np.allclose(to_grey(image)[0, 0].numpy(), cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), atol=1e-6)
    assert to_grey(image[:, :1]) is not image
    assert torch.equal(to_grey(image[:, :1]), image[:, :1])


@pytest.mark.parametrize("options", [{"patch_px": 16}, {"patch_px": 7}, {"stride": 0}, {"angles": 1}])
def test_a_descriptor_that_cannot_be_is_refused(options):
    with pytest.raises(InputError, match="use"):
        DenseSift(**options)
