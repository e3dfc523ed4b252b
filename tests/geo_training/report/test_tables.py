"""The Markdown of tables."""

from geo_training.report.tables import TableSection, markdown_document


def test_markdown_holds_the_sections_that_have_a_table():
    sections = [
        TableSection("Errors", "By seed.", (["seed", "px"], [["0", "1.5"], ["1", "1.7"]])),
        TableSection("Curve", "Only a chart.", None),
        TableSection("Bare", "", (["a"], [])),
    ]
    assert markdown_document("Paper", "", sections) == (
        "# Paper\n\n## Errors\n\nBy seed.\n\n| seed | px |\n| --- | --- |\n| 0 | 1.5 |\n| 1 | 1.7 |\n\n"
        "## Bare\n\n| a |\n| --- |\n"
    )
