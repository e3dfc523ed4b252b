"""Recordings that were cut, damaged or never closed: what is readable is kept, what is lost is said."""

import numpy as np
import pytest
from bag_maker import T0_NS
from command_line import invoke
from geo_training.cli import train
from geo_training.datasets.recordings.bags import Recording
from geo_training.datasets.recordings.from_bag import BagOptions, dataset_from_bags
from geo_training.datasets.scene import SceneDataset

from geo_perception.errors import InputError

FRAMES = 20


def noise(seed):
    """Grey noise, 128 x 96: it does not compress, and JPEG keeps it."""
    return np.random.default_rng(seed).integers(0, 256, (96, 128), np.uint8)


def read_or_complain(path):
    """How many messages can be read, what was lost, and the complaint where there is nothing."""
    try:
        with Recording(path) as recording:
            count = sum(1 for _ in recording.messages({"/camera/image_raw", "/pose"}))
            return count, recording.losses, ""
    except InputError as error:
        return 0, [], str(error)


@pytest.fixture
def walk(bag_maker):
    def write(storage="mcap", compression="none", ros1=False):
        maker = bag_maker(ros1)
        for i in range(FRAMES):
            maker.image(T0_NS + i * 250_000_000, noise(i), encoding="mono8", step=128)
            maker.pose(T0_NS + i * 250_000_000, np.eye(4))
        path = maker.write("walk.bag" if ros1 else "walk", storage, compression)
        return path, path if ros1 else next(p for p in path.iterdir() if p.name != "metadata.yaml")

    return write


def cut(file, share):
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])


@pytest.mark.parametrize(
    ("storage", "compression", "ros1"),
    [
        ("mcap", "none", False), ("mcap", "storage", False), ("mcap", "message", False), ("mcap", "file", False),
        ("sqlite3", "none", False), ("sqlite3", "message", False), ("sqlite3", "file", False),
        ("", "none", True), ("", "bz2", True), ("", "lz4", True),
    ],
)  # fmt: skip
@pytest.mark.parametrize("share", [0.7, 0.9])
def test_a_cut_recording_keeps_what_was_readable(walk, tmp_path, storage, compression, ros1, share):
    path, file = walk(storage, compression, ros1)
    cut(file, share)
    result = dataset_from_bags([path], tmp_path / "out", BagOptions())
    # A compressed block or a database page is lost as a whole, an image of a plain file is not.
    assert FRAMES * share * 0.4 <= result["frames"] < FRAMES
    assert any("lost" in warning or "could be read" in warning for warning in result["warnings"])
    dataset = SceneDataset(tmp_path / "out")
    assert any("lost" in note or "could be read" in note for note in dataset.info.notes)
    for i, frame in enumerate(dataset.frames):
        assert frame.stamp_ns == T0_NS + i * 250_000_000
        assert np.abs(dataset.image(frame)[..., 0].astype(int) - noise(i)).mean() < 5


@pytest.mark.parametrize(("storage", "ros1"), [("mcap", False), ("sqlite3", False), ("", True)])
def test_wherever_it_is_cut_there_is_an_answer(walk, storage, ros1):
    path, file = walk(storage, "none", ros1)
    whole, known = file.read_bytes(), -1
    for size in np.linspace(0, len(whole), 25).astype(int):
        file.write_bytes(whole[:size])
        count, losses, complaint = read_or_complain(path)
        assert losses or complaint or size == len(whole)
        assert "\n" not in complaint
        assert count >= known
        known = count
    assert known == 2 * FRAMES


@pytest.mark.parametrize(("storage", "compression"), [("mcap", "none"), ("mcap", "storage"), ("sqlite3", "none")])
def test_changed_bytes_never_end_in_a_traceback(walk, storage, compression):
    path, file = walk(storage, compression)
    whole = file.read_bytes()
    random = np.random.default_rng(0)
    for _ in range(25):
        damaged = bytearray(whole)
        for at in random.integers(0, len(whole), 4):
            damaged[at] ^= 1 << random.integers(0, 8)
        file.write_bytes(damaged)
        count, _, complaint = read_or_complain(path)
        assert count <= 2 * FRAMES
        assert "\n" not in complaint


KINDS = [
    ("mcap", "none", False), ("mcap", "storage", False), ("mcap", "file", False), ("sqlite3", "none", False),
    ("sqlite3", "message", False), ("", "none", True), ("", "bz2", True), ("", "lz4", True),
]  # fmt: skip


@pytest.mark.parametrize(("storage", "compression", "ros1"), KINDS)
def test_the_command_answers_whatever_is_damaged(bag_maker, tmp_path, storage, compression, ros1):
    """Bytes flipped, cut and replaced anywhere, also in definitions, indices and metadata: one line, or a dataset."""
    maker, random = bag_maker(ros1), np.random.default_rng(len(storage + compression) + ros1)
    for i in range(4):
        stamp_ns = T0_NS + i * 250_000_000
        maker.info(stamp_ns, width=16, height=12)
        maker.image(stamp_ns, random.integers(0, 256, (12, 16, 3), np.uint8))
        maker.odometry(stamp_ns, np.eye(4))
        maker.tf(stamp_ns, ("map", "odom", np.eye(4)), ("base_link", "camera_optical", np.eye(4)))
    path = maker.write("walk.bag" if ros1 else "walk", storage, compression)
    files = [path] if ros1 else sorted(path.iterdir())
    whole = {file: file.read_bytes() for file in files}
    for attempt in range(12):
        for file, data in whole.items():
            file.write_bytes(damaged(data, attempt, random) if file.suffix != ".yaml" or attempt % 3 == 0 else data)
        arguments = ["dataset", "from-bag", str(path), "--out", str(tmp_path / "out"), "--overwrite", "--fps", "0"]
        done = invoke(train, *arguments, *(["--pose", "/tf"] if attempt % 2 else []))
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
        assert done.exit_code in (0, 1)
        if done.exit_code:
            assert len(done.output.strip().splitlines()) == 1
            assert done.output.startswith("error: ")


def damaged(data, attempt, random):
    data = bytearray(data)
    if attempt % 4 == 0:
        return data[: random.integers(0, len(data))]
    for at in random.integers(0, len(data), random.integers(1, 30)):
        data[at] = random.integers(0, 256) if attempt % 4 == 1 else data[at] ^ (1 << random.integers(0, 8))
    return data


def test_a_damaged_definition_of_a_standard_type_is_the_standards(walk, tmp_path):
    path, file = walk()
    data = file.read_bytes()
    assert b"float64 x" in data
    file.write_bytes(data.replace(b"uint32 height", b"uint3! height").replace(b"float64 x", b"float64 q"))
    result = dataset_from_bags([path], tmp_path / "out", BagOptions())
    assert (result["frames"], result["posed_frames"]) == (FRAMES, FRAMES)


def test_a_damaged_name_in_an_sqlite_file_costs_that_topic_only(walk, tmp_path):
    path, file = walk("sqlite3")
    file.write_bytes(file.read_bytes().replace(b"geometry_msgs/msg/PoseStamped", b"geometry_msgs/msg/PoseStamp\xffd"))
    (path / "metadata.yaml").unlink()
    result = dataset_from_bags([path], tmp_path / "out", BagOptions())
    assert (result["frames"], result["posed_frames"]) == (FRAMES, 0)


def test_a_chunk_of_unknown_compression_is_lost_and_not_the_rest(bag_maker, tmp_path):
    maker = bag_maker(True)
    for i in range(FRAMES):
        maker.image(T0_NS + i * 250_000_000, noise(i), encoding="mono8", step=128)
    path = maker.write("walk.bag", compression="lz4")
    data = path.read_bytes()
    assert data.count(b"compression=lz4") > 2
    path.write_bytes(data.replace(b"compression=lz4", b"compression=lz9", 1))
    result = dataset_from_bags([path], tmp_path / "out", BagOptions())
    assert 0 < result["frames"] < FRAMES
    assert any("is damaged" in warning for warning in result["warnings"])


def test_messages_received_at_one_time_survive_damage_after_them(bag_maker, tmp_path):
    """Image and pose of a frame share the time of receipt; where the reader stops between them, neither is lost."""
    maker = bag_maker()
    for i in range(FRAMES):
        for topic in ("/a", "/b", "/c"):
            maker.image(T0_NS + i * 250_000_000, noise(i), topic=topic, encoding="mono8", step=128)
    path = maker.write("walk", "mcap", "none")
    with Recording(path) as recording:
        reader = recording._files[0]._reader
        original = reader.messages

        def stops(connections):
            for number, message in enumerate(original(connections)):
                if number == 7:
                    raise ValueError("damaged")
                yield message

        reader.messages = stops
        counts = dict.fromkeys(("/a", "/b", "/c"), 0)
        for topic, _, _ in recording.messages(set(counts)):
            counts[topic] += 1
    assert counts == dict.fromkeys(counts, FRAMES)


def test_names_with_spaces_hidden_files_and_broken_links(walk, tmp_path):
    path, file = walk()
    (path / f"._{file.name}").write_bytes(b"\x00\x05\x16\x07 of another disk")
    (path / "gone.mcap").symlink_to(tmp_path / "nowhere.mcap")
    (path / "metadata.yaml").unlink()
    spaced = path.rename(tmp_path / "my walk, second  try")
    result = dataset_from_bags([spaced], tmp_path / "out", BagOptions())
    assert result["sequences"] == {"my_walk_second_try": FRAMES}
    link = tmp_path / "a link"
    link.symlink_to(tmp_path / "nothing")
    with pytest.raises(InputError, match="a link does not exist"):
        Recording(link)


def test_a_topic_with_a_space(bag_maker, tmp_path):
    maker = bag_maker()
    maker.image(T0_NS, noise(0), topic="/my camera/image raw", encoding="mono8", step=128)
    maker.image(T0_NS, noise(0), topic="/other/image", encoding="mono8", step=128)
    path = maker.write("walk")
    result = dataset_from_bags([path], tmp_path / "out", BagOptions(images=("/my camera/image raw",)))
    assert result["tallies"][0]["source"] == "walk /my camera/image raw"


def test_a_recorder_that_was_killed_leaves_no_metadata(walk, tmp_path):
    path, _ = walk()
    (path / "metadata.yaml").unlink()
    result = dataset_from_bags([path], tmp_path / "out", BagOptions())
    assert result["frames"] == FRAMES
    assert any("no metadata.yaml" in warning for warning in result["warnings"])


def test_metadata_that_cannot_be_read(walk, tmp_path):
    path, _ = walk()
    for content in ("", ": : :\n\t-", "rosbag2_bagfile_information: 3", "\x00"):
        (path / "metadata.yaml").write_text(content)
        result = dataset_from_bags([path], tmp_path / "out", BagOptions(), overwrite=True)
        assert result["frames"] == FRAMES


def test_the_missing_part_of_a_split_bag_is_named(walk, tmp_path):
    path, _ = walk()
    text = (path / "metadata.yaml").read_text()
    (path / "metadata.yaml").write_text(text.replace("- walk.mcap", "- walk.mcap\n    - walk_1.mcap", 1))
    result = dataset_from_bags([path], tmp_path / "out", BagOptions())
    assert result["frames"] == FRAMES
    assert any("walk_1.mcap" in warning and "missing" in warning for warning in result["warnings"])


@pytest.mark.parametrize("name", ["x.bag", "x.mcap", "x.db3"])
@pytest.mark.parametrize(("content", "words"), [(b"", "empty"), (b"hello", ""), (bytes(5000), "")])
def test_a_file_that_is_no_recording(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as error:
        dataset_from_bags([tmp_path / name], tmp_path / "out", BagOptions())
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == [tmp_path / name]


def test_a_path_that_is_no_recording(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "notes.txt", tmp_path / "folder", tmp_path / "nothing"):
        with pytest.raises(InputError, match=r"give a \.bag"):
            Recording(path)


@pytest.mark.parametrize(("storage", "ros1"), [("mcap", False), ("sqlite3", False), ("", True)])
def test_a_bag_without_messages(bag_maker, tmp_path, storage, ros1):
    path = bag_maker(ros1).write("empty.bag" if ros1 else "empty", storage)
    with pytest.raises(InputError, match="holds no message"):
        dataset_from_bags([path], tmp_path / "out", BagOptions())


def test_one_bad_bag_of_two_leaves_nothing_behind(walk, tmp_path):
    path, _ = walk()
    (tmp_path / "bad.mcap").write_bytes(b"hello")
    with pytest.raises(InputError, match=r"bad\.mcap"):
        dataset_from_bags([path, tmp_path / "bad.mcap"], tmp_path / "out", BagOptions())
    assert not list(tmp_path.glob("out*"))
