"""Writes the tables of docs/nodes.md from the declarations: `python tools/document.py docs/nodes.md`.

What stands between `<!-- NAME -->` and `<!-- /NAME -->` is replaced; the rest of the page is written by hand.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from geo_perception.errors import InputError
from geo_perception.ros.container import NODES, node_class
from geo_perception.ros.diagnostics import condition_table
from geo_perception.ros.parameters import SHARED, parameter_table


def tables() -> dict[str, str]:
    """The generated parts of the page by name, in Markdown."""
    parts = {"shared parameters": parameter_table(SHARED), "diagnostics": condition_table()}
    return parts | {f"{name} parameters": parameter_table(node_class(name).own_parameters) for name in NODES}


def fill(page: str) -> str:
    """The page with its tables made anew. Raises InputError when a table's place is missing."""
    for name, table in tables().items():
        place = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if not place.search(page):
            raise InputError(f"the page has no place for '{name}'; add <!-- {name} --> and <!-- /{name} -->")
        page = place.sub(lambda found, table=table: f"{found[1]}{table}\n{found[2]}", page)
    return page


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print(f"usage: python tools/document.py PAGE.md; {len(arguments)} paths were given", file=sys.stderr)
        return 2
    path = Path(arguments[0])
    try:
        path.write_text(fill(path.read_text()))
    except (OSError, InputError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
