"""One dataset of a place's recordings: bags, our own datasets, and other formats, and which of them is held out."""

from collections import Counter

import pytest
from geo_training.datasets.scene import SceneDataset
from geo_training.fleet.manifest import DatasetOptions
from geo_training.fleet.place_dataset import make_place_dataset
from image_files import write_image
from tiny_fleet import ASKED_FRAMES, MAPPED_FRAMES, record_place
from tiny_walk import make_walk

from geo_perception.errors import InputError


@pytest.fixture(scope="module")
def bags(tmp_path_factory):
    return record_place(tmp_path_factory.mktemp("bags"), "hall", 0)


def splits(root):
    return Counter((frame.sequence, frame.split) for frame in SceneDataset(root).frames)


def test_bags_become_one_dataset_with_one_of_them_held_out(bags, tmp_path):
    mapped, held_out = bags
    counts = make_place_dataset([mapped], held_out, tmp_path / "out", DatasetOptions(fps=0))
    assert splits(tmp_path / "out") == {("hall_map", "train"): MAPPED_FRAMES, ("hall_ask", "test"): ASKED_FRAMES}
    assert counts == {"frames": 32, "train": 20, "test": 12, "posed_frames": 32, "scale": "metric"}
    # Once more, as after an interruption.
    assert make_place_dataset([mapped], held_out, tmp_path / "out", DatasetOptions(fps=0)) == counts


def test_a_bag_a_dataset_and_images_go_together(bags, tmp_path):
    make_walk(tmp_path / "walked", 5, depth=False)
    folder = tmp_path / "pictures"
    folder.mkdir()
    for grey in (60, 90, 120):
        write_image(folder / f"{grey}.png", grey)
    mapped = [bags[0], tmp_path / "walked", folder]
    counts = make_place_dataset(mapped, bags[1], tmp_path / "out", DatasetOptions(fps=0))
    assert counts["train"] == MAPPED_FRAMES + 5 + 3
    assert {sequence for sequence, split in splits(tmp_path / "out") if split == "test"} == {"hall_ask"}
    assert [path.name for path in tmp_path.iterdir() if "parts" in path.name] == []


def test_a_recording_that_is_none_is_answered_by_its_name(bags, tmp_path):
    (tmp_path / "broken.mcap").write_bytes(b"junk")
    with pytest.raises(InputError, match=r"broken\.mcap"):
        make_place_dataset([tmp_path / "broken.mcap"], bags[1], tmp_path / "out", DatasetOptions())
    assert not (tmp_path / "out").exists()
