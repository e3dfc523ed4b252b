"""`--out` and `--overwrite` never cost anybody a file."""

import os
import subprocess
import sys

import pytest
from geo_training.storage.folders import FolderKind, check_output, output_folder

from geo_perception.errors import InputError

KIND = FolderKind("set", lambda folder: (folder / "set.json").is_file(), ("set.json", "images", ".*"))


def make(out, text="new", **options):
    with output_folder(out, KIND, **options) as work:
        (work / "images").mkdir(parents=True)
        (work / "set.json").write_text(text)
    return out


def fail(out, **options):
    with output_folder(out, KIND, **options) as work:
        work.mkdir()
        (work / "set.json").write_text("half")
        raise ZeroDivisionError


def files_of(folder):
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    with pytest.raises(ZeroDivisionError):
        fail(tmp_path / "a" / "out")
    assert not (tmp_path / "a" / "out").exists()
    assert files_of(tmp_path) == {}
    make(tmp_path / "a" / "out")
    assert files_of(tmp_path) == {"a/out/set.json": "new"}
    assert os.listdir(tmp_path / "a") == ["out"]


def test_ours_is_replaced_on_request_only(tmp_path):
    make(tmp_path / "out", "old")
    with pytest.raises(InputError, match=r"pass --overwrite"):
        make(tmp_path / "out")
    with pytest.raises(ZeroDivisionError):
        fail(tmp_path / "out", overwrite=True)
    assert files_of(tmp_path / "out") == {"set.json": "old"}
    make(tmp_path / "out", overwrite=True)
    assert files_of(tmp_path / "out") == {"set.json": "new"}


@pytest.mark.parametrize("names", [["photo.jpg"], ["set.json", "bag.mcap"]])
def test_what_others_put_there_is_never_replaced(tmp_path, names):
    """A folder that is not ours, and one of ours that somebody put a file of theirs into."""
    out = tmp_path / "out"
    out.mkdir()
    for name in names:
        (out / name).write_text("precious")
    with pytest.raises(InputError, match=r"not a set of ours|also holds bag.mcap"):
        make(out, overwrite=True)
    assert set(files_of(out)) == set(names)


def test_the_source_is_never_touched(tmp_path):
    """`out` is the source, holds it, or lies in it; by its own name, through `..`, or through a link."""
    source = make(tmp_path / "walk" / "photos", "precious")
    link = tmp_path / "link"
    link.symlink_to(source)
    inside = [source / "out", source / "images" / "out", link / "out"]
    for out in [source, link, source / "images" / "..", source.parent, tmp_path, *inside]:
        with pytest.raises(InputError, match=r"is the source itself|holds the source|lies in the source"):
            make(out, sources=[source], overwrite=True)
    film = tmp_path / "films" / "a.mp4"
    film.parent.mkdir()
    film.write_text("precious")
    with pytest.raises(InputError, match=r"holds the source"):
        make(film.parent, sources=[film], overwrite=True)
    assert film.read_text() == "precious"
    assert files_of(source) == {"set.json": "precious"}
    make(source.parent / "photos2", sources=[source])  # a name that begins alike is another folder


def test_a_link_stays_a_link_and_the_current_folder_stays_current(tmp_path, monkeypatch):
    target = tmp_path / "disk" / "set"
    target.mkdir(parents=True)
    link = tmp_path / "set"
    link.symlink_to(target)
    make(link)
    assert link.is_symlink()
    assert files_of(target) == {"set.json": "new"}
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    make(".")
    make(".", "newer", overwrite=True)
    assert files_of(here) == {"set.json": "newer"}
    assert os.path.samefile(".", here)
    assert sorted(os.listdir(here)) == ["images", "set.json"]
    with pytest.raises(ZeroDivisionError):
        fail(".", overwrite=True)
    assert files_of(here) == {"set.json": "newer"}


def test_a_file_or_a_folder_that_cannot_be_written_is_answered_at_the_door(tmp_path):
    (tmp_path / "file").write_text("precious")
    for out in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(InputError, match=r"is a file|cannot be written"):
            check_output(out, KIND, overwrite=True)
    assert (tmp_path / "file").read_text() == "precious"


def test_a_killed_run_is_cleared_away_and_what_only_looks_like_one_is_not(tmp_path):
    left = tmp_path / ".out.partial"
    (left / "out").mkdir(parents=True)
    (left / "out" / "half").write_text("half")
    make(tmp_path / "out")
    assert sorted(os.listdir(tmp_path)) == ["out"]
    left.mkdir()
    (left / "mine.txt").write_text("precious")
    with pytest.raises(InputError, match=r"in the way"):
        make(tmp_path / "out", overwrite=True)
    assert files_of(left) == {"mine.txt": "precious"}


def test_a_full_disk_leaves_what_was_there(tmp_path):
    """The command as a whole, with a process that may not write more than a little."""
    images = tmp_path / "photos"
    images.mkdir()
    code = (
        "import resource, signal, sys, cv2, numpy as np\n"
        "rng = np.random.default_rng(0)\n"
        "for name in 'abc':\n"
        "    cv2.imwrite(f'{sys.argv[1]}/{name}.png', rng.integers(0, 255, (64, 80, 3), dtype=np.uint8))\n"
        "from geo_training.cli import train\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "sys.argv[1:] = ['dataset', 'import', sys.argv[1], '--out', sys.argv[2]]\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "train()"
    )
    command = [sys.executable, "-c", code, str(images), str(tmp_path / "out")]
    # Without the measuring of lines that `make coverage` asks of every process: its file is larger than the limit.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert str(images) not in done.stderr.splitlines()[-1]  # what cannot be written is named, not what was read
    assert os.listdir(tmp_path) == ["photos"]
