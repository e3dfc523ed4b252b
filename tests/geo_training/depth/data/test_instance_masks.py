import cv2
import numpy as np
import pytest
import torch
from flat_dataset import make_flat_dataset
from geo_training.depth.data.instance_masks import (
    DetectedMasks,
    MaskFolder,
    MaskNetwork,
    load_mask_rcnn,
    paint_ids,
    read_ids,
    write_ids,
)
from geo_training.storage.kept_json import read_kept_json
from PIL import Image

from geo_perception.errors import InputError

SIZE_HW = (24, 32)


@pytest.fixture
def dataset(tmp_path):
    return make_flat_dataset(tmp_path / "walk", a=2)


class StandInDetector(torch.nn.Module):
    """Answers as torchvision's detectors do: two boxes that overlap, and one that it is not sure of."""

    def __init__(self):
        super().__init__()
        self.images = []

    def forward(self, images):
        self.images += images
        masks = torch.zeros(3, 1, *images[0].shape[1:])
        masks[0, :, 2:10, 2:10] = 0.9
        masks[0, :, 10:12, 2:10] = 0.4  # not more likely than not
        masks[1, :, 6:14, 6:14] = 0.8
        masks[2, :, :, 20:] = 1
        return [{"scores": torch.tensor([0.75, 0.95, 0.3]), "masks": masks}]


def _stand_in(**changes):
    return MaskNetwork(_network=StandInDetector(), **changes)


def test_the_surest_object_is_number_one_and_lies_on_top():
    masks = np.zeros((2, 3, 4), bool)
    masks[0, :, :3] = True
    masks[1, :, 2:] = True
    assert paint_ids(masks, np.array([0.8, 0.9]), (3, 4)).tolist() == [[2, 2, 1, 1]] * 3
    assert paint_ids(masks, np.array([0.9, 0.8]), (3, 4)).tolist() == [[1, 1, 1, 2]] * 3


def test_no_object_is_an_image_of_zeros():
    ids = paint_ids(np.zeros((0, 3, 4), bool), np.zeros(0), (3, 4))
    assert ids.shape == (3, 4)
    assert ids.dtype == np.uint16
    assert not ids.any()


def test_a_network_gives_the_objects_that_it_is_sure_of():
    network = _stand_in()
    ids = network.ids(np.full((*SIZE_HW, 3), 51, np.uint8))
    expected = np.zeros(SIZE_HW, int)
    expected[2:10, 2:10] = 2
    expected[6:14, 6:14] = 1
    assert np.array_equal(ids, expected)
    assert torch.allclose(network._network.images[0], torch.full((3, *SIZE_HW), 0.2))


def test_a_lower_least_score_lets_more_objects_in():
    assert _stand_in(min_score=0.2).ids(np.zeros((*SIZE_HW, 3), np.uint8)).max() == 3
    assert _stand_in(min_score=0.9).ids(np.zeros((*SIZE_HW, 3), np.uint8)).max() == 1


def test_detected_masks_are_kept_and_made_once(dataset):
    source = DetectedMasks(dataset, _stand_in())
    first = source.ids(dataset.frames[0])
    assert np.array_equal(read_ids(dataset.root / "masks/a/000000.png"), first)
    assert np.array_equal(source.ids(dataset.frames[0]), first)
    assert len(source.network._network.images) == 1
    assert read_kept_json(dataset.root / "masks/masks.json") == source.metadata


def test_a_newer_image_is_looked_at_again(dataset):
    source = DetectedMasks(dataset, _stand_in())
    source.ids(dataset.frames[0])
    later = cv2.imread(str(dataset.image_path(dataset.frames[0])))
    cv2.imwrite(str(dataset.image_path(dataset.frames[0])), later)
    source.ids(dataset.frames[0])
    assert len(source.network._network.images) == 2


def test_ids_of_sixteen_bits_survive_the_file(tmp_path):
    ids = np.array([[0, 1], [300, 65535]])
    write_ids(tmp_path / "a" / "mask.png", ids)
    assert read_ids(tmp_path / "a" / "mask.png").tolist() == ids.tolist()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["mask.png"]


def test_a_palette_image_has_its_indices_as_ids(tmp_path):
    image = Image.fromarray(np.array([[0, 1], [2, 2]], np.uint8), "P")
    image.putpalette([0, 0, 0, 200, 0, 0, 0, 200, 0])
    image.save(tmp_path / "mask.png")
    assert read_ids(tmp_path / "mask.png").tolist() == [[0, 1], [2, 2]]


def test_colours_are_no_ids(tmp_path):
    cv2.imwrite(str(tmp_path / "mask.png"), np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(InputError, match="has colours, not object ids"):
        read_ids(tmp_path / "mask.png")


def test_a_broken_mask_is_named(tmp_path):
    (tmp_path / "mask.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"mask\.png cannot be read"):
        read_ids(tmp_path / "mask.png")


def test_a_folder_of_masks_takes_any_size_of_the_same_shape(dataset, tmp_path):
    folder = MaskFolder(dataset, tmp_path / "masks")
    write_ids(tmp_path / "masks/a/000000.png", np.ones((12, 16)))
    write_ids(tmp_path / "masks/a/000001.png", np.ones((16, 16)))
    assert folder.ids(dataset.frames[0]).shape == (12, 16)
    with pytest.raises(InputError, match="is 16x16, its frame 32x24"):
        folder.ids(dataset.frames[1])


def test_a_frame_without_a_mask_has_no_version(dataset, tmp_path):
    assert MaskFolder(dataset, tmp_path / "nothing").version(dataset.frames[0]) is None


def test_other_weights_of_the_same_name_are_other_facts(tmp_path):
    metadata = []
    for number in range(2):
        path = tmp_path / str(number) / "weights.pth"
        path.parent.mkdir()
        path.write_bytes(bytes([number]))
        metadata.append(MaskNetwork(path).metadata)
    assert metadata[0]["weights"] == metadata[1]["weights"] == "weights.pth"
    assert metadata[0] != metadata[1]
    assert MaskNetwork(tmp_path / "0" / "weights.pth").metadata == metadata[0]


@pytest.fixture(scope="module", params=["maskrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn_v2"])
def random_weights(request, tmp_path_factory):
    """The real network, never trained, for three classes."""
    from torchvision.models import detection

    torch.manual_seed(0)
    network = getattr(detection, request.param)(weights=None, weights_backbone=None, num_classes=3)
    path = tmp_path_factory.mktemp("weights") / f"{request.param}.pth"
    torch.save({name: value.half() for name, value in network.state_dict().items()}, path)
    return path


def test_the_real_network_runs_from_a_file(random_weights):
    network = MaskNetwork(random_weights, min_score=0.0, device="cpu", image_side_px=64)
    network.get_ready()
    # A network that was never trained proposes all it may; a few proposals are enough here.
    network._network.rpn._post_nms_top_n["testing"] = 4
    ids = network.ids(np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8))
    assert ids.shape == (48, 64)
    assert ids.dtype == np.uint16
    assert not network._network.training
    assert network.metadata["weights"] == random_weights.name


def test_a_file_of_something_else_is_refused(tmp_path):
    torch.save({"layer.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match="does not hold the state dict"):
        load_mask_rcnn(tmp_path / "other.pth")
    torch.save(torch.zeros(3), tmp_path / "tensor.pth")
    with pytest.raises(InputError, match="does not hold the state dict"):
        load_mask_rcnn(tmp_path / "tensor.pth")


def test_a_file_that_could_run_code_is_refused(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pth")
    with pytest.raises(InputError, match="cannot be read as weights"):
        load_mask_rcnn(tmp_path / "module.pth")


def test_a_missing_or_broken_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.pth does not exist"):
        load_mask_rcnn(tmp_path / "none.pth")
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(InputError, match=r"text\.pth cannot be read as weights"):
        load_mask_rcnn(tmp_path / "text.pth")


def test_without_a_network_one_line_says_what_to_bring(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    # An address on this machine where nobody listens.
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with pytest.raises(InputError, match=r"MaskRCNN_ResNet50_FPN_V2_Weights.*--weights FILE") as caught:
        load_mask_rcnn(None)
    assert "\n" not in str(caught.value)
