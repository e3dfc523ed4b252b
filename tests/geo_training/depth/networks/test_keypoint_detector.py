"""The keypoint mask: OpenCV's keypoints, as pixels of a batch."""

import cv2
import numpy as np
import pytest
import torch
from geo_training.depth.networks.keypoint_detector import KeypointDetector, _blurred_by_opencv
from kornia.filters import gaussian_blur2d
from scipy.spatial import cKDTree

from geo_perception.errors import InputError


def blobs(height_px: int, width_px: int, places_n3: list[tuple[float, float, float]]) -> torch.Tensor:
    """Bright Gaussian spots (x, y, sigma in pixels) on dark grey, (1, 1, H, W)."""
    y, x = torch.meshgrid(torch.arange(float(height_px)), torch.arange(float(width_px)), indexing="ij")
    spots = [torch.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * s**2)) for cx, cy, s in places_n3]
    return (0.1 + 0.7 * sum(spots)).clamp(0, 1)[None, None]


def places(mask_b1hw: torch.Tensor) -> np.ndarray:
    """(x, y) of the marked pixels of the first image, (N, 2)."""
    return mask_b1hw[0, 0].nonzero().flip(1).numpy()


@pytest.mark.parametrize(("x", "y", "sigma_px"), [(30, 24, 2.0), (27, 33, 4.0), (40, 32, 7.0)])
def test_a_spot_is_a_keypoint_at_its_centre(x, y, sigma_px):
    found = places(KeypointDetector()(blobs(64, 80, [(x, y, sigma_px)])))
    assert len(found) >= 1
    assert np.abs(found - [x, y]).max() <= 2


def test_edges_and_flat_places_have_no_keypoints():
    image = torch.zeros(1, 1, 48, 64)
    image[..., 30:] = 1
    assert not KeypointDetector()(image).any()
    assert not KeypointDetector()(torch.full((1, 3, 48, 64), 0.5)).any()


def test_weak_keypoints_need_a_lower_contrast():
    faint = 0.5 + 0.04 * (blobs(48, 48, [(24, 24, 3.0)]) - 0.1)
    assert not KeypointDetector()(faint).any()
    assert KeypointDetector(contrast=0.005)(faint).any()


def test_images_of_a_batch_do_not_mix():
    one, other = blobs(48, 48, [(16, 20, 2.5)]), blobs(48, 48, [(30, 25, 2.5)])
    both = KeypointDetector()(torch.cat([one, other]))
    assert both.dtype == torch.bool
    assert torch.equal(both, torch.cat([KeypointDetector()(one), KeypointDetector()(other)]))


@pytest.mark.parametrize(("size", "sigma_px"), [(13, 1.52), (21, 2.45), (31, 7.0)])
def test_the_blur_of_a_cpu_is_that_of_other_devices(size, sigma_px):
    images = torch.rand(2, 1, 24, 31, generator=torch.Generator().manual_seed(0))
    expected = gaussian_blur2d(images, (size, size), (sigma_px, sigma_px), border_type="reflect")
    assert torch.allclose(_blurred_by_opencv(images, size, sigma_px), expected, atol=1e-6)


def test_a_radius_marks_the_surroundings():
    image = blobs(48, 48, [(24, 20, 2.5)])
    point, around = KeypointDetector()(image), KeypointDetector(radius_px=3)(image)
    (x, y), marked = places(point)[0], places(around)
    assert point.sum() == 1
    assert around.sum() == 49
    assert (marked.min(0).tolist(), marked.max(0).tolist()) == ([x - 3, y - 3], [x + 3, y + 3])


def test_patches_lie_inside_the_image():
    image = blobs(48, 48, [(4, 24, 2.0), (24, 24, 2.0)])
    assert len(places(KeypointDetector(border_px=0)(image))) == 2
    assert places(KeypointDetector()(image)).tolist() == [[24, 24]]


@pytest.mark.parametrize(
    ("name", "size_px"),
    [("office/rgb/00301.jpg", (256, 192)), ("drive/grey/000756.jpg", (416, 128)), ("fox/images/0049.jpg", (256, 192))],
)
def test_keypoints_are_those_of_opencv(shared_data, name, size_px):
    image_bgr = cv2.imread(str(shared_data / name))
    image = cv2.cvtColor(cv2.resize(image_bgr, size_px, interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2RGB)
    ours = places(KeypointDetector()(torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255))
    points = cv2.SIFT_create().detect(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
    # Points at the very border of ours count on one side only.
    theirs = np.array([point.pt for point in points])
    inside = ((theirs >= 8) & (theirs <= np.array(size_px) - 9)).all(1)
    assert len(ours) > 150
    assert np.mean(cKDTree(ours).query(theirs[inside])[0] <= 2) > 0.88
    assert np.mean(cKDTree(theirs).query(ours)[0] <= 2) > 0.85


@pytest.mark.parametrize("options", [{"contrast": 0}, {"edge_ratio": 0.5}, {"radius_px": -1}, {"border_px": -1}])
def test_a_detector_that_cannot_be_is_refused(options):
    with pytest.raises(InputError, match="use a contrast above 0"):
        KeypointDetector(**options)
