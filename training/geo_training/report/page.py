"""The parts of which every report page is put together: a page that loads nothing, sections, tiles, tables."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from geo_perception.runtime.files import replace_text
from geo_training.console import json_text
from geo_training.report.machine import describe_machine, describe_versions
from geo_training.report.style import CSS, SCRIPT


def page(title: str, sections: Iterable[str], charts: dict[str, dict]) -> str:
    """The whole page as text. Empty sections are left out; `charts` are those that `chart_section` gives a place."""
    from plotly.offline import get_plotlyjs

    body = "\n".join(section for section in sections if section)
    # "</" would end the script element early.
    chart_json = json_text(charts, indent=None, separators=(",", ":")).replace("</", "<\\/")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(title)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n"
        f'<script type="application/json" id="charts">{chart_json}</script>\n'
        f"<script>{get_plotlyjs()}</script>\n<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )


def write_page(path: str | Path, content: str) -> Path:
    """Writes a page to `path` (its folder is made) and returns it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_text(path, content)
    return path


def header(title: str, sentences: Sequence[str]) -> str:
    """The top of the page; the sentences are HTML."""
    return f'<header><h1>{text(title)}</h1><p class="lead">{" ".join(sentences)}</p></header>'


def tiles(entries: Iterable[tuple[str, str, str]]) -> str:
    """The large figures: (value, words, tone), tone one of good, bad or nothing."""
    cells = (
        f'<div class="tile {tone}"><b>{value}</b><span>{text(words)}</span></div>' for value, words, tone in entries
    )
    return f'<div class="tiles">{"".join(cells)}</div>'


def section(title: str, note: str, content: str) -> str:
    """A section with a sentence on how to read it; note and content are HTML."""
    return f'<section><h2>{title}</h2><p class="note">{note}</p>{content}</section>'


def chart_section(charts: dict[str, dict], name: str, texts: dict[str, tuple[str, str]]) -> str:
    """A chart with its title and its sentence from `texts`; nothing where there is no such chart."""
    return section(*texts[name], f'<div class="chart" data-chart="{name}"></div>') if name in charts else ""


def pair(*sections: str) -> str:
    """Sections side by side, where the screen is wide enough."""
    there = [part for part in sections if part]
    return f'<div class="pair">{"".join(there)}</div>' if there else ""


def figure(name: str, data_url: str, caption: str) -> str:
    """A picture; the caption is HTML."""
    return f'<figure><img alt="{text(name)}" src="{data_url}"><figcaption>{caption}</figcaption></figure>'


def table(header: list[str], rows: list[list[str]]) -> str:
    """A table of cells of HTML."""
    head = "".join(f"<th>{cell}</th>" for cell in header)
    lines = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>'


def verdict_table(verdicts: Sequence[str], note: str) -> str:
    """How often each verdict was given, the most frequent first."""
    counts = {verdict: verdicts.count(verdict) for verdict in dict.fromkeys(verdicts)}
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    rows = [[text(verdict), str(count), f"{count / len(verdicts):.1%}"] for verdict, count in ordered]
    return section("Verdicts", note, table(["verdict", "frames", "share"], rows))


def provenance(facts: dict[str, str], config: dict, command: str = "") -> str:
    """What the report is about, the machine, the versions, the command and the configuration."""
    facts = {
        **facts,
        "machine": ", ".join(f"{key} {value}" for key, value in describe_machine().items()),
        "versions": ", ".join(f"{name} {version}" for name, version in describe_versions().items()),
    }
    pairs = "".join(f"<dt>{text(key)}</dt><dd>{text(str(value))}</dd>" for key, value in facts.items())
    command_html = f"<p class='note'>Made by</p><pre>{text(command)}</pre>" if command else ""
    config_text = text(json_text(config, default=str))
    config_html = f"<p class='note'>Configuration</p><pre>{config_text}</pre>" if config else ""
    return f"<section><h2>Where this comes from</h2><dl>{pairs}</dl>{command_html}{config_html}</section>"


def text(words: str) -> str:
    return html.escape(words)


def number(value: float, digits: int, unit: str = "") -> str:
    """A dash for what is not known, ∞ for what misses made infinite."""
    return f"{value:.{digits}f}{html.escape(unit)}" if np.isfinite(value) else _no_number(value)


def percent(value: float) -> str:
    return number(100 * value, 1, " %")


def two(value: float) -> str:
    return number(value, 2)


def count(value: float) -> str:
    return number(value, 0)


def short(value: float) -> str:
    return f"{value:.4g}" if np.isfinite(value) else _no_number(value)


def _no_number(value: float) -> str:
    return "–" if np.isnan(value) else "∞"
