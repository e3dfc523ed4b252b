"""The page about the nodes says what the code declares."""

from pathlib import Path

import pytest

from geo_perception.errors import InputError
from geo_perception.ros.document import fill, main

PAGE = Path(__file__).resolve().parents[3] / "docs" / "nodes.md"


def test_the_tables_in_the_docs_are_those_of_the_code():
    text = PAGE.read_text()
    assert fill(text) == text, "run: python -m geo_perception.ros.document docs/nodes.md"


def test_a_page_without_a_place_is_refused(tmp_path, capsys):
    with pytest.raises(InputError, match="no place for 'shared parameters'"):
        fill("# empty")
    page = tmp_path / "page.md"
    page.write_text("# empty")
    assert main([str(page)]) == 1
    assert page.read_text() == "# empty"
    assert main([]) == 2
    assert "Traceback" not in capsys.readouterr().err
