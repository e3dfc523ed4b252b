"""Splits by block, by sequence, and by each n-th photograph."""

from functools import partial

import pytest
from command_line import invoke
from flat_dataset import make_flat_dataset
from geo_training.cli import train
from geo_training.datasets.importers import ImportOptions, import_dataset
from geo_training.datasets.scene import Frame, SceneDataset
from geo_training.datasets.splits import every_nth_split, sequence_split, tail_split, time_block_split

from geo_perception.errors import InputError


def frames(sequence: str, count: int) -> list[Frame]:
    return [Frame(f"{sequence}/{i:03d}.jpg", sequence, i * 10, "camera0") for i in range(count)]


def test_the_first_share_maps_and_the_rest_alternates_in_blocks():
    splits = [frame.split for frame in time_block_split(frames("a", 100), first=0.7, block=10)]
    assert splits == ["train"] * 80 + ["test"] * 10 + ["train"] * 10
    counts = [frame.split for frame in time_block_split(frames("office", 373))]
    assert (counts.count("train"), counts.count("test")) == (321, 52)


def test_blocks_are_cut_in_each_sequence_by_time_whatever_the_order():
    mixed = [*reversed(frames("b", 40)), *frames("a", 40)]
    split = time_block_split(mixed, first=0.5, block=5)
    test = [frame.name for frame in split if frame.split == "test"]
    assert test == [f"{s}/{i:03d}.jpg" for s in "ab" for i in (*range(25, 30), *range(35, 40))]
    assert split == time_block_split(list(reversed(mixed)), first=0.5, block=5)


def test_each_fifth_photograph():
    split = every_nth_split(frames("fox", 50))
    assert [frame.name for frame in split if frame.split == "test"] == [f"fox/{i:03d}.jpg" for i in range(4, 50, 5)]


def test_whole_sequences():
    split = sequence_split([*frames("a", 2), *frames("b", 2), *frames("c", 1)], test=["b"], val=["c"])
    assert [frame.split for frame in split] == ["train", "train", "test", "test", "val"]


@pytest.mark.parametrize(
    ("count", "first", "block", "words"),
    [
        (30, 0.7, 10, "has 30 frames, of which 9 come after the first 70%, not more than a block of 10.*at most 8"),
        (33, 0.7, 10, "of which 10 come"),
        (3, 0.99, 1, "of which 1 come after.*record more"),
        (0, 0.7, 10, "has 0 frames"),
    ],
)
def test_blocks_that_leave_no_test_frame_are_refused(count, first, block, words):
    with pytest.raises(InputError, match=f"no frame is left to test on.*{words}"):
        time_block_split([*frames("a", count), *frames("b", count // 2)], first, block)


def test_the_shortest_recording_that_blocks_can_split_and_the_remedy_that_is_named():
    assert [f.split for f in time_block_split(frames("a", 34))].count("test") == 1
    assert [f.split for f in time_block_split(frames("a", 30), block=8)].count("test") == 1


def test_photographs_fewer_than_n_are_refused():
    assert [f.split for f in every_nth_split(frames("a", 5))].count("test") == 1
    with pytest.raises(InputError, match="each 5th of 4 frames leaves none to test on; give at most 4"):
        every_nth_split(frames("a", 4))
    with pytest.raises(InputError, match="take more photographs"):
        every_nth_split(frames("a", 1))


def test_a_sequence_is_not_both_and_one_is_tested_on():
    with pytest.raises(InputError, match="b cannot be both test and val"):
        sequence_split([*frames("a", 2), *frames("b", 2)], test=["b"], val=["b"])
    with pytest.raises(InputError, match="no sequence is named to test on"):
        sequence_split([*frames("a", 2), *frames("b", 2)], test=[], val=["b"])


@pytest.mark.parametrize(("val", "test", "name"), [(0.0, 0.1, "test 0.1"), (0.1, 0.3, "val 0.1")])
def test_a_tail_that_is_not_one_frame_is_refused(val, test, name):
    with pytest.raises(InputError, match=rf"{name} of sequences this short \(at most 4 frames\) is not one frame"):
        tail_split([*frames("a", 4), *frames("b", 3)], val, test)


def run_split(root, *options):
    return invoke(train, "dataset", "split", root, *options)


def test_the_command_says_that_no_test_frame_is_left_and_changes_nothing(tmp_path):
    root = make_flat_dataset(tmp_path / "dataset", a=20).root
    before = (root / "frames.csv").read_text()
    for options in (["--by", "blocks"], ["--by", "nth", "--every", "21"], ["--by", "sequence", "--test", "a"]):
        done = run_split(root, *options)
        assert done.exit_code == 1
        assert len(done.output.strip().splitlines()) == 1
        assert (root / "frames.csv").read_text() == before
    assert "no frame is left to test on" in run_split(root, "--by", "blocks").output


def test_the_command_names_the_sequences_that_stay_train(tmp_path):
    root = make_flat_dataset(tmp_path / "dataset", a=40, b=12).root
    done = run_split(root, "--by", "blocks")
    assert done.exit_code == 0
    assert "all of it is train: b; lower --block" in done.output
    assert "2 test, 50 train" in done.output


@pytest.mark.parametrize(
    ("options", "idle"),
    [
        (["--by", "blocks", "--test", "a"], "--test"),
        (["--by", "blocks", "--every", "5"], "--every"),
        (["--by", "nth", "--first", "0.7", "--val", "a"], "--first, --val"),
        (["--by", "sequence", "--test", "a", "--block", "10"], "--block"),
    ],
)
def test_an_option_of_another_way_to_split_is_refused(tmp_path, options, idle):
    root = make_flat_dataset(tmp_path / "dataset", a=40, b=12).root
    done = run_split(root, *options)
    assert done.exit_code == 1
    assert f"with --by {options[1]}, {idle} would have no effect" in done.output


def test_impossible_splits_are_refused():
    with pytest.raises(InputError, match="no sequence z; there are a, b"):
        sequence_split([*frames("a", 1), *frames("b", 1)], test=["z"])
    with pytest.raises(InputError, match="none is left"):
        sequence_split(frames("a", 3), test=["a"])
    with pytest.raises(InputError, match="first 1"):
        time_block_split(frames("a", 3), first=1.0)
    with pytest.raises(InputError, match="block 0"):
        time_block_split(frames("a", 3), block=0)
    with pytest.raises(InputError, match="2 or more"):
        every_nth_split(frames("a", 3), n=1)


def test_the_command_writes_the_split_and_the_import_command_makes_the_dataset(shared_data, tmp_path):
    out, run = tmp_path / "office", partial(invoke, train, "dataset")
    made = run("import", shared_data / "office", "--out", out, "--fps", "0.5")
    assert made.exit_code == 0, made.output
    assert "read as --format images" in made.output
    split = run("split", out, "--by", "blocks", "--first", "0.5", "--block", "5")
    assert split.exit_code == 0, split.output
    assert len(SceneDataset(out).of_split("test")) == 5
    unnamed = run("split", out, "--by", "sequence")
    assert unnamed.exit_code == 2
    missing = run("split", out, "--by", "sequence", "--test", "attic")
    assert missing.exit_code == 1
    assert "no sequence attic" in missing.output
    again = run("import", shared_data / "office", "--out", out)
    assert again.exit_code == 1
    assert "--overwrite" in again.output


def test_photographs_split_by_nth(shared_data, tmp_path):
    import_dataset(shared_data / "fox", tmp_path / "fox", options=ImportOptions(fps=1.0))
    result = invoke(train, "dataset", "split", tmp_path / "fox", "--by", "nth", "--every", "5")
    assert result.exit_code == 0
    assert len(SceneDataset(tmp_path / "fox").of_split("test")) == 1


def test_the_tail_of_each_sequence_is_kept_back():
    split = tail_split([*reversed(frames("b", 8)), *frames("a", 20)], val=0.1, test=0.25)
    assert [frame.split for frame in split] == (
        ["train"] * 13 + ["val"] * 2 + ["test"] * 5 + ["train"] * 5 + ["val"] + ["test"] * 2
    )
    assert [frame.name for frame in split] == [f.name for f in (*frames("a", 20), *frames("b", 8))]


def test_a_tail_may_have_only_one_part():
    assert [f.split for f in tail_split(frames("a", 4), val=0.0, test=0.5)] == ["train"] * 2 + ["test"] * 2
    assert [f.split for f in tail_split(frames("a", 4), val=0.5, test=0.0)] == ["train"] * 2 + ["val"] * 2


@pytest.mark.parametrize(("val", "test"), [(0.5, 0.5), (-0.1, 0.5), (0.1, -0.5), (0.0, 1.0)])
def test_tails_that_leave_nothing_to_train_on_are_refused(val, test):
    with pytest.raises(InputError, match="leave nothing to train on"):
        tail_split(frames("a", 10), val, test)


def test_a_sequence_too_short_for_its_tail_is_refused():
    with pytest.raises(InputError, match="sequences this short"):
        tail_split(frames("a", 1), val=0.2, test=0.6)
