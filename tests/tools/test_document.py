"""The page about the nodes says what the code declares."""

import importlib.util
from pathlib import Path

import pytest

from geo_perception.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "nodes.md"
spec = importlib.util.spec_from_file_location("document", ROOT / "tools" / "document.py")
document = importlib.util.module_from_spec(spec)
spec.loader.exec_module(document)
fill, main = document.fill, document.main


def test_the_tables_in_the_docs_are_those_of_the_code():
    text = PAGE.read_text()
    assert fill(text) == text, "run: python tools/document.py docs/nodes.md"


def test_a_page_without_a_place_is_refused(tmp_path, capsys):
    with pytest.raises(InputError, match="no place for 'shared parameters'"):
        fill("# empty")
    page = tmp_path / "page.md"
    page.write_text("# empty")
    assert main([str(page)]) == 1
    assert page.read_text() == "# empty"
    assert main([]) == 2
    assert "Traceback" not in capsys.readouterr().err
