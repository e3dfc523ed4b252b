"""A place that cannot take a file is told before the work, not after it."""

import os

import pytest
from command_line import invoke
from geo_training.console import command_group
from geo_training.evaluation.options import ReportOption
from geo_training.options import JsonOption
from geo_training.storage.output_file import check_folder_takes_files, check_output_file

from geo_perception.errors import InputError


def test_a_good_place_is_left_as_it_was(tmp_path):
    check_output_file(tmp_path / "new" / "deeper" / "a.safetensors", ".safetensors", overwrite=False)
    check_output_file("a.safetensors", ".safetensors")
    (tmp_path / "there.safetensors").write_bytes(b"kept")
    check_output_file(tmp_path / "there.safetensors", ".safetensors")
    assert {path.name for path in tmp_path.iterdir()} == {"there.safetensors"}
    assert (tmp_path / "there.safetensors").read_bytes() == b"kept"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("folder", "is a folder"),
        ("a.pt", r"must end with \.safetensors"),
        ("there.safetensors", "exists; pass --overwrite"),
        ("dangling.safetensors", "exists; pass --overwrite"),
        ("there.safetensors/a.safetensors", "cannot be written"),
        ("/proc/a.safetensors", "cannot be written"),
    ],
)
def test_a_bad_place_is_told_in_one_line(tmp_path, name, words):
    (tmp_path / "folder").mkdir()
    (tmp_path / "there.safetensors").write_bytes(b"kept")
    os.symlink(tmp_path / "nowhere", tmp_path / "dangling.safetensors")
    with pytest.raises(InputError, match=words) as answer:
        check_output_file(tmp_path / name, ".safetensors", overwrite=False)
    assert "\n" not in str(answer.value)


def test_a_folder_in_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="choose another --out"):
        check_folder_takes_files(tmp_path / "file" / "folder")


@pytest.mark.parametrize("option", ["--json", "--report"])
@pytest.mark.parametrize("place", ["file/result", "/proc/result", "."])
def test_an_option_that_names_a_file_is_looked_at_before_the_work(tmp_path, option, place):
    (tmp_path / "file").write_text("")
    app, worked = command_group("A group."), []

    @app.callback()
    def group() -> None:
        """A group."""

    @app.command("work")
    def work(json_path: JsonOption = None, report: ReportOption = None) -> None:
        worked.append((json_path, report))

    result = invoke(app, "work", option, tmp_path / place)
    assert (result.exit_code, worked) == (2, [])
    assert option in result.output
    assert invoke(app, "work", option, tmp_path / "new" / "result").exit_code == 0
    assert len(worked) == 1
    assert not (tmp_path / "new").exists()
