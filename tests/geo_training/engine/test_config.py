"""Configs: YAML against a schema."""

from pathlib import Path
from typing import ClassVar

import pytest
from geo_training.config import Strict
from pydantic import Field, ValidationError

from geo_perception.errors import InputError


class Inner(Strict):
    count: int = Field(3, ge=0)


class Outer(Strict):
    help_command: ClassVar[str] = "tool --help"
    rate: float = 0.5
    name: str | None = None
    inner: Inner = Inner()


def read(path=None, **changes):
    return Outer.load(path, **changes)


@pytest.fixture
def written(tmp_path):
    def write(text) -> Path:
        path = tmp_path / "config.yaml"
        path.write_text(text)
        return path

    return write


def test_without_a_file_all_is_as_in_the_schema():
    assert read() == Outer()


def test_an_empty_file_changes_nothing(written):
    assert read(written("# nothing\n")) == Outer()


def test_the_file_is_laid_over_the_defaults_and_changes_over_the_file(written):
    path = written("rate: 0.25\ninner: {count: 7}\n")
    assert read(path) == Outer(rate=0.25, inner=Inner(count=7))
    assert read(path, rate=2.0, name=None).rate == 2.0
    assert read(path, rate=0.0).rate == 0.0  # nought is a value; only None is none
    assert read(path, rate=None).rate == 0.25


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("speed: 3", "config key 'speed'"),
        ("inner: {count: -1}", "config key 'inner.count'"),
        ("inner: {size: 1}", "config key 'inner.size'"),
        ("rate: fast", "config key 'rate'"),
        ("- rate", "must hold keys and values; `tool --help` names them"),
        ("rate: [", "cannot be read as YAML"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_that_names_the_file(written, text, words):
    path = written(text)
    with pytest.raises(InputError) as caught:
        read(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wrong_option_is_said_without_a_file():
    with pytest.raises(InputError, match=r"config key 'rate'.*mend it in the options"):
        read(rate="fast")


def test_files_that_are_not_text(tmp_path):
    (tmp_path / "config.yaml").write_bytes(b"\xff\xfe\x00bad")
    for path in (tmp_path / "config.yaml", tmp_path / "nowhere.yaml", tmp_path):
        with pytest.raises(InputError, match="cannot be read as YAML"):
            read(path)


def test_a_config_does_not_change_once_it_is_made():
    with pytest.raises(ValidationError):
        Outer().rate = 1.0
