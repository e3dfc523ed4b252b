"""Pages that open from disk, whatever the words in them are."""

import pytest
from geo_training.report.charts import line, make_chart
from geo_training.report.page import (
    chart_section,
    coverage_tone,
    header,
    page,
    pair,
    provenance,
    section,
    table,
    tables_page,
    tiles,
    verdict_table,
    write_page,
)
from geo_training.report.tables import TableSection
from html_page import Page
from markupsafe import Markup

HOSTILE = "</script><img src=http://x>"


def test_a_page_loads_nothing_and_closes_what_it_opens_whatever_is_written_in_it():
    chart = make_chart([line([0, 1], [0, 1], HOSTILE, "red")])
    sections = [
        header(HOSTILE, [HOSTILE]),
        tiles([("98 %", HOSTILE, "good")]),
        chart_section({"errors": chart}, "errors", {"errors": ("Errors", HOSTILE)}),
        pair(section("Table", HOSTILE, table([HOSTILE], [[HOSTILE]]))),
        provenance({"data": HOSTILE}, {"steps": 3}, f"geo-eval {HOSTILE}"),
    ]
    read = Page(page(HOSTILE, sections, {"errors": chart}))
    assert read.loads == []
    assert read.images == 0
    assert read.open == []
    text = " ".join(read.words)
    assert text.count(HOSTILE) >= 8
    assert '"steps": 3' in text


def test_a_chart_that_is_not_there_leaves_no_place():
    assert chart_section({}, "errors", {"errors": ("Errors", "")}) == ""
    assert pair(chart_section({}, "errors", {"errors": ("Errors", "")})) == ""


def test_a_number_and_its_unit_stay_on_one_line():
    shown = page("90 %", [header("Title", ["Within 5 cm and 90 %, <b>", Markup("<b>1 m</b> of 20 maps")])], {})
    assert (
        "Within 5\N{NO-BREAK SPACE}cm and 90\N{NO-BREAK SPACE}%, &lt;b&gt; <b>1\N{NO-BREAK SPACE}m</b> of 20 maps"
        in shown
    )


def test_a_table_without_headings_has_no_empty_line():
    assert "<thead>" not in table(["", ""], [["frames", "3"]])
    assert "<th>all</th>" in table(["", "all"], [["frames", "3"]])


def test_verdicts_are_counted_the_most_frequent_first():
    words = Page(f"<div>{verdict_table(['lost', 'found', 'found'], 'Of three.')}</div>").words
    cells = [word for word in map(str.strip, words) if word]
    assert cells[-6:] == ["found", "2", "66.7 %", "lost", "1", "33.3 %"]


@pytest.mark.parametrize(
    ("coverage_90", "frames", "tone"), [(0.9, 29, ""), (0.9, 30, "good"), (0.7, 30, "bad"), (0.99, 300, "bad")]
)
def test_coverage_is_judged_where_enough_frames_tell(coverage_90, frames, tone):
    assert coverage_tone(coverage_90, frames) == tone


def test_an_experiments_page_is_written_with_its_tables_and_charts(tmp_path):
    chart = make_chart([line([0, 1], [0, 1], "loss", "red")])
    sections = [
        TableSection("Losses", "By step.", None, chart),
        TableSection("Errors", "By seed.", (["seed", "px"], [["0", "1.5"]])),
    ]
    path = write_page(tmp_path / "new" / "page.html", tables_page("Experiment", ["Two seeds."], sections, {"seeds": 2}))
    text = " ".join(Page(path.read_text()).words)
    for words in ("Experiment", "Two seeds.", "Losses", "By seed.", "1.5"):
        assert words in text
