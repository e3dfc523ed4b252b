import json
import os

import cv2
import numpy as np
import pytest
from command_line import invoke
from flat_dataset import make_flat_dataset
from geo_training.console import command_group
from geo_training.datasets.scene import SceneDataset
from geo_training.depth.boundary_commands import boundaries_command
from geo_training.depth.data.boundaries import boundary_map, boundary_path, choose_masks, load_boundary, make_boundaries
from geo_training.depth.data.instance_masks import DetectedMasks, MaskFolder, MaskNetwork, write_ids

from geo_perception.errors import InputError


@pytest.fixture
def dataset(tmp_path):
    """Three frames of 32x24; the first has two objects, the second none, the third no mask."""
    dataset = make_flat_dataset(tmp_path / "walk", a=3)
    write_ids(tmp_path / "walk/masks/a/000000.png", _two_objects())
    write_ids(tmp_path / "walk/masks/a/000001.png", np.zeros((24, 32)))
    return dataset


def _two_objects():
    ids_hw = np.zeros((24, 32), np.uint16)
    ids_hw[4:12, 4:12], ids_hw[4:12, 12:20] = 1, 700
    return ids_hw


def _own(dataset, **options):
    return choose_masks(dataset, None, MaskNetwork(), ask_network=False, **options)


def test_a_straight_edge_is_one_on_both_sides_and_zero_elsewhere():
    ids_hw = np.zeros((6, 8), np.uint16)
    ids_hw[:, 4:] = 5
    assert boundary_map(ids_hw)[0].tolist() == [0, 0, 0, 1, 1, 0, 0, 0]
    assert boundary_map(ids_hw.T).T.tolist() == boundary_map(ids_hw).tolist()


def test_a_corner_has_the_sobel_magnitude():
    ids_hw = np.zeros((8, 8), np.uint16)
    ids_hw[4:, 4:] = 1
    # Outside, beside the corner: both responses see one of the four weights. Inside: three, which is cut to 1.
    boundary = boundary_map(ids_hw)
    assert boundary[3, 3] == pytest.approx(2**0.5 / 4)
    assert boundary[4, 4] == 1


def test_how_far_apart_two_ids_are_does_not_matter():
    near, far = np.zeros((6, 8), np.uint16), np.zeros((6, 8), np.uint16)
    near[:, :4], near[:, 4:] = 1, 2
    far[:, :4], far[:, 4:] = 1, 60000
    assert np.array_equal(boundary_map(near), boundary_map(far))
    assert boundary_map(near)[0].tolist() == [0, 0, 0, 1, 1, 0, 0, 0]


def test_an_object_does_not_end_where_the_image_does():
    assert not boundary_map(np.ones((6, 8), np.uint16)).any()


def test_no_object_has_no_boundary():
    assert not boundary_map(np.zeros((6, 8), np.uint16)).any()


def test_an_object_looks_the_same_wherever_it_is():
    small, large = np.zeros((9, 9), np.uint16), np.zeros((40, 50), np.uint16)
    small[3:6, 3:6] = large[23:26, 33:36] = 1
    assert np.array_equal(boundary_map(small), boundary_map(large)[20:29, 30:39])
    assert boundary_map(large).sum() == pytest.approx(boundary_map(small).sum())


def test_every_frame_with_a_mask_gets_a_map(dataset):
    metrics = make_boundaries(dataset, _own(dataset))
    assert metrics.to_json() == {
        "frames": 3, "with_map": 2, "made": 2, "kept": 0, "objects": 2, "frames_without_object": 1,
        "objects_per_frame": 1.0,
    }  # fmt: skip
    loaded = load_boundary(dataset, dataset.frames[0])
    assert loaded.dtype == np.float32
    assert np.abs(loaded - boundary_map(_two_objects())).max() <= 0.5 / 255
    assert not load_boundary(dataset, dataset.frames[1]).any()
    assert load_boundary(dataset, dataset.frames[2]) is None
    assert cv2.imread(str(boundary_path(dataset, dataset.frames[0])), cv2.IMREAD_UNCHANGED).dtype == np.uint8


def test_the_same_call_again_keeps_what_is_there(dataset):
    make_boundaries(dataset, _own(dataset))
    boundary_path(dataset, dataset.frames[1]).unlink()  # as if it had been interrupted
    metrics = make_boundaries(dataset, _own(dataset))
    assert (metrics.made, metrics.kept, metrics.objects) == (1, 1, 2)


@pytest.mark.parametrize("age_s", [-3600, 3600])
def test_a_map_of_another_mask_is_made_again_however_old_that_is(dataset, age_s):
    make_boundaries(dataset, _own(dataset))
    path = dataset.root / "masks/a/000001.png"
    write_ids(path, _two_objects())
    os.utime(path, (path.stat().st_mtime - age_s,) * 2)  # as a copy keeps it
    metrics = make_boundaries(dataset, _own(dataset))
    assert (metrics.made, metrics.objects) == (1, 4)
    assert load_boundary(dataset, dataset.frames[1]).any()


def test_a_map_that_was_cut_short_is_made_again(dataset):
    make_boundaries(dataset, _own(dataset))
    path = boundary_path(dataset, dataset.frames[0])
    path.write_bytes(path.read_bytes()[:20])
    assert make_boundaries(dataset, _own(dataset)).made == 1


def test_a_dataset_that_was_moved_keeps_its_maps(dataset):
    make_boundaries(dataset, _own(dataset))
    moved = SceneDataset(dataset.root.rename(dataset.root.with_name("elsewhere")))
    assert make_boundaries(moved, _own(moved)).kept == 2


def test_other_masks_need_overwrite(dataset, tmp_path):
    make_boundaries(dataset, _own(dataset))
    write_ids(tmp_path / "other/a/000002.png", _two_objects())
    other = choose_masks(dataset, tmp_path / "other", MaskNetwork(), ask_network=False)
    with pytest.raises(InputError, match=r"was made from masks .*--overwrite"):
        make_boundaries(dataset, other)
    assert make_boundaries(dataset, other, overwrite=True).with_map == 1
    assert load_boundary(dataset, dataset.frames[0]) is None


def test_masks_that_no_network_made_are_never_replaced(dataset):
    with pytest.raises(InputError, match="this command did not make"):
        choose_masks(dataset, None, MaskNetwork(), ask_network=True, overwrite=True)
    assert (dataset.root / "masks/a/000000.png").is_file()


def test_masks_that_lie_where_the_maps_go_are_never_replaced(dataset):
    """A user's masks in boundaries/, given as masks or not."""
    (dataset.root / "masks").rename(dataset.root / "boundaries")
    before = {path: path.read_bytes() for path in dataset.root.rglob("*.png")}
    with pytest.raises(InputError, match="is the source itself"):
        choose_masks(dataset, dataset.root / "boundaries", MaskNetwork(), False, overwrite=True)
    masks = MaskFolder(dataset, dataset.root / "boundaries")
    with pytest.raises(InputError, match="did not write"):
        make_boundaries(dataset, masks, overwrite=True)
    assert {path: path.read_bytes() for path in dataset.root.rglob("*.png")} == before


def test_a_folder_without_any_mask_is_refused(dataset, tmp_path):
    with pytest.raises(InputError, match="has no mask of any frame"):
        choose_masks(dataset, tmp_path / "nothing", MaskNetwork(), ask_network=False)


def test_masks_and_a_network_at_once_are_refused(dataset, tmp_path):
    with pytest.raises(InputError, match="pass one of"):
        choose_masks(dataset, tmp_path, MaskNetwork(), ask_network=True)


class _Detector:
    """One object over the middle of every image."""

    def __call__(self, images):
        import torch

        masks = torch.zeros(1, 1, *images[0].shape[1:])
        masks[..., 8:16, 8:16] = 1
        return [{"scores": torch.tensor([0.9]), "masks": masks}]


@pytest.fixture
def unmasked(dataset):
    for path in (dataset.root / "masks").rglob("*.png"):
        path.unlink()
    return dataset


def test_without_masks_the_network_makes_and_keeps_them(unmasked):
    source = choose_masks(unmasked, None, MaskNetwork(_network=_Detector()), ask_network=False)
    assert isinstance(source, DetectedMasks)
    metrics = make_boundaries(unmasked, source)
    assert (metrics.with_map, metrics.objects) == (3, 3)
    # Once all frames have a mask, those are taken, and no network is needed.
    again = choose_masks(unmasked, None, MaskNetwork(), ask_network=False)
    assert isinstance(again, MaskFolder)
    assert make_boundaries(unmasked, again).kept == 3


def test_masks_of_another_score_need_overwrite(unmasked):
    make_boundaries(unmasked, choose_masks(unmasked, None, MaskNetwork(_network=_Detector()), ask_network=True))
    other = MaskNetwork(min_score=0.95, _network=_Detector())
    with pytest.raises(InputError, match=r"min_score 0\.7.*--overwrite"):
        choose_masks(unmasked, None, other, ask_network=True)
    source = choose_masks(unmasked, None, other, ask_network=True, overwrite=True)
    assert make_boundaries(unmasked, source, overwrite=True).objects == 0


def test_overwriting_loses_nothing_when_the_weights_are_missing(unmasked, tmp_path):
    make_boundaries(unmasked, choose_masks(unmasked, None, MaskNetwork(_network=_Detector()), ask_network=True))
    with pytest.raises(InputError, match="does not exist"):
        choose_masks(unmasked, None, MaskNetwork(tmp_path / "none.pth"), ask_network=True, overwrite=True)
    assert (unmasked.root / "masks/a/000000.png").is_file()


@pytest.fixture
def command():
    app = command_group("depth")
    app.callback()(lambda: None)
    app.command("boundaries")(boundaries_command)
    return lambda *words: invoke(app, "boundaries", *words)


def test_the_command_maps_a_dataset_and_writes_its_metrics(dataset, command, tmp_path):
    result = command(dataset.root, "--json", tmp_path / "figures.json")
    assert result.exit_code == 0, result.output
    content = json.loads((tmp_path / "figures.json").read_text())
    assert content["figures"]["with_map"] == 2
    assert "2 of 3 frames have a map (2 made now), 1.0 objects a frame" in " ".join(result.stderr.split())


def test_the_command_answers_missing_weights_with_one_line(unmasked, command, tmp_path):
    result = command(unmasked.root, "--weights", tmp_path / "none.pth")
    assert result.exit_code == 1
    assert "none.pth does not exist" in result.stderr.replace("\n", "")
    assert "Traceback" not in result.output
