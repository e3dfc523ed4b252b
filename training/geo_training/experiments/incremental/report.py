"""The paper's Table 1 and Figures 3, 4 and 5 from our runs: a Markdown file and a page with plots."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import plotly.graph_objects as go

from geo_perception.runtime.files import replace_text
from geo_training.experiments.incremental.config import AdaptConfig
from geo_training.experiments.incremental.matrix import AdaptResult, DomainMetrics, order_found, over_seeds
from geo_training.report.charts import ACCENT, BAD, THIRD, axis, make_chart
from geo_training.report.numbers import number
from geo_training.report.page import tables_page, write_page
from geo_training.report.tables import Table, TableSection, markdown_document, mean_and_std

MARKDOWN, PAGE = "adapt.md", "adapt.html"
HUNDREDTHS = 100.0  # of the normalized targets' squared errors; the paper's values look like these
_NAMES = {
    "joint": "joint (bound)",
    "finetune": "finetuning",
    "lwf": "LwF",
    "icarl": "iCaRL",
    "lucir": "LUCIR",
    "bic": "BiC",
}
_UNITS = (
    "Errors are mean squared errors of the targets divided by their largest absolute value, times 100; "
    "µMSE is the mean of the three. ± is the deviation over seeds."
)
PAIRED_NOTE = (
    "µMSE on the test crops, differences of results of the same seed: mean, and its 95 % confidence interval. One that "
    "holds zero tells nothing."
)
_Y_AXIS = axis("µMSE x 100", rangemode="tozero")
Single = dict[str, dict[int, DomainMetrics]]


def write_adapt_report(
    results: Sequence[AdaptResult], single: Single, config: AdaptConfig, out: str | Path
) -> tuple[Path, Path]:
    """Writes the Markdown file and the page into `out`, and returns their paths."""
    sections = report_sections(results, single, config)
    title, out = f"Learning {' and '.join(config.domains)} one after the other", Path(out)
    replace_text(out / MARKDOWN, markdown_document(title, _UNITS, sections))
    page = tables_page(title, [_UNITS], sections, config.model_dump(mode="json"))
    return out / MARKDOWN, write_page(out / PAGE, page)


def report_sections(results: Sequence[AdaptResult], single: Single, config: AdaptConfig) -> list[TableSection]:
    """All that there are results for, in the paper's order."""
    by_figure: dict[str, list[TableSection]] = {"3": [], "4": [], "5": [], "matrix": []}
    for old, new in config.directions:
        own = [r for r in results if (r.old, r.new) == (old, new)]
        # The sweep's other shares are for Figure 4 alone.
        plain = [r for r in own if r.share in (None, config.options.exemplar_share) and r.method in config.methods]
        way = f"{old}, then {new}"
        if plain:
            for figure, split in (("3", "validation"), ("5", "test")):
                title = f"Figure {figure}: methods on {split} crops ({way})"
                note = f"µMSE on the {split} crops, as many of each domain."
                section = TableSection(title, note, method_table(plain, split), method_chart(plain, split))
                by_figure[figure].append(section)
            section = TableSection(f"Domains by time ({way})", _matrix_note(plain), matrix_table(plain))
            by_figure["matrix"].append(section)
            if len({result.seed for result in plain}) > 1 and {"finetune", "bic"} <= {r.method for r in plain}:
                section = TableSection(f"Differences by seed ({way})", PAIRED_NOTE, paired_table(plain))
                by_figure["matrix"].append(section)
        sweep = [r for r in own if r.method == "icarl"]
        if len({r.share for r in sweep}) > 1:
            note = "µMSE of iCaRL on the validation crops. Without exemplars it is LwF."
            title = f"Figure 4: share of exemplars ({way})"
            by_figure["4"].append(TableSection(title, note, sweep_table(sweep), sweep_chart(sweep)))
    first = TableSection("Table 1: networks that learned one domain", "", table_1(single, config.domains))
    return [first, *(section for sections in by_figure.values() for section in sections)]


def table_1(single: Single, domains: Sequence[str]) -> Table:
    """Cross-evaluation: each column group a network of one domain, each row a split of a domain."""
    learned = [name for name in domains if single.get(name)]
    names = {"focal": "focal", "roll": "roll", "pitch": "pitch", "umse": "µMSE"}
    header = ["evaluated on", *(f"{name} network: {word}" for name in learned for word in names.values())]
    lines = []
    for split in ("validation", "test"):
        for domain in domains:
            cells = []
            for name in learned:
                rows = list(single[name].values())
                cells += [_hundredths(*mean_and_std([row[domain][split][metric] for row in rows])) for metric in names]
            lines.append([f"{split} {domain}", *cells])
    return header, lines


def method_table(results: Sequence[AdaptResult], split: str) -> Table:
    """The error on both domains after adapting, by method."""
    old, new = results[0].old, results[0].new
    lines = []
    for method, own in _by_method(results).items():
        cells = [over_seeds(own, lambda r, d=d: r.matrix(split).error_td[1][d]) for d in (0, 1)]
        both = over_seeds(own, lambda r: sum(r.matrix(split).error_td[1]) / 2)
        before = over_seeds(own, lambda r: r.matrix(split).error_td[0][0])
        lines.append([_NAMES[method], *(_hundredths(*cell) for cell in (before, *cells, both))])
    return ["method", f"{old} before", f"{old} after", f"{new} after", "mean of both after"], lines


def matrix_table(results: Sequence[AdaptResult]) -> Table:
    """Rows by time for each method, with forgetting and transfer, on the test crops."""
    old, new = results[0].old, results[0].new
    header = ["method", "after learning", f"error on {old}", f"error on {new}", "forgetting", "backward transfer",
              "forward transfer"]  # fmt: skip
    lines = []
    for method, own in _by_method(results).items():
        for time, learned in enumerate((old, new)):
            cells = [_hundredths(*over_seeds(own, lambda r, t=time, d=d: r.matrix().error_td[t][d])) for d in (0, 1)]
            readings = ["", "", ""]
            if time:
                names = ("forgetting", "backward_transfer", "forward_transfer")
                readings = [_hundredths(*over_seeds(own, lambda r, n=name: getattr(r.matrix(), n))) for name in names]
            lines.append([_NAMES[method] if not time else "", learned, *cells, *readings])
    return header, lines


def paired_table(results: Sequence[AdaptResult]) -> Table:
    """What finetuning forgets more than each method, and each method's error on both domains above BiC's."""
    order = order_found(results)
    lines = []
    for method in order["forgetting_umse"]:
        cells = [order[name].get(method) for name in ("finetune_forgets_more_by", "bic_is_better_by")]
        lines.append([_NAMES[method], *("" if cell is None else _interval(**cell) for cell in cells)])
    return ["method", "finetuning forgets more by", "error on both domains above BiC's by"], lines


def sweep_table(results: Sequence[AdaptResult]) -> Table:
    """The error on both domains by share of exemplars."""
    old, new = results[0].old, results[0].new
    lines = []
    for share, own in _by_share(results).items():
        cells = [over_seeds(own, lambda r, d=d: r.matrix("validation").error_td[1][d]) for d in (0, 1)]
        lines.append([f"{share:.0%}", str(own[0].exemplars), *(_hundredths(*cell) for cell in cells)])
    return ["share", "exemplars", old, new], lines


def method_chart(results: Sequence[AdaptResult], split: str) -> go.Figure:
    """Figures 3 and 5: a bar for each domain and method, and the old domain's error before as a line."""
    groups = _by_method(results)
    names = [_NAMES[method] for method in groups]
    traces = []
    for d, (domain, color) in enumerate(((results[0].old, ACCENT), (results[0].new, THIRD))):
        found = [over_seeds(own, lambda r, d=d: r.matrix(split).error_td[1][d]) for own in groups.values()]
        traces.append(go.Bar(name=domain, x=names, **_heights(found), marker_color=color))
    before = [over_seeds(own, lambda r: r.matrix(split).error_td[0][0]) for own in groups.values()]
    mark = {"color": BAD, "symbol": "line-ew-open", "size": 26}
    name = f"{results[0].old}, before"
    traces.append(go.Scatter(name=name, x=names, **_heights(before), mode="markers", marker=mark))
    return make_chart(traces, barmode="group", xaxis=axis(""), yaxis=_Y_AXIS)


def sweep_chart(results: Sequence[AdaptResult]) -> go.Figure:
    """Figure 4: a line for each domain over the share of exemplars."""
    groups = _by_share(results)
    shares = [100 * share for share in groups]
    traces = []
    for d, (domain, color) in enumerate(((results[0].old, ACCENT), (results[0].new, THIRD))):
        found = [over_seeds(own, lambda r, d=d: r.matrix("validation").error_td[1][d]) for own in groups.values()]
        traces.append(go.Scatter(name=domain, x=shares, **_heights(found), mode="lines+markers", line_color=color))
    return make_chart(traces, xaxis=axis("exemplars kept (% of old crops)"), yaxis=_Y_AXIS)


def _hundredths(mean: float, deviation: float = math.nan) -> str:
    return number(HUNDREDTHS * mean, 2, deviation=HUNDREDTHS * deviation)


def _interval(mean: float, low: float, high: float) -> str:
    return f"{number(HUNDREDTHS * mean, 2)} ({number(HUNDREDTHS * low, 2)} to {number(HUNDREDTHS * high, 2)})"


def _matrix_note(results: Sequence[AdaptResult]) -> str:
    note = "µMSE on the test crops. Forgetting and transfer are differences of it; transfer above zero is better. "
    if {"finetune", "bic"} <= {r.method for r in results}:
        order, holds = order_found(results), {True: "as in the paper", False: "not as in the paper"}
        most, best = _NAMES[order["forgets_most"]], _NAMES[order["best_over_both"]]
        note += f"Forgets most: {most} ({holds[order['finetune_forgets_most']]}, where it is finetuning). "
        note += f"Lowest over both domains: {best} ({holds[order['bic_is_best']]}, where it is BiC). "
    constant = over_seeds(results, lambda r: sum(r.matrix().constant_d) / len(r.matrix().constant_d))[0]
    note += f"Always answering each domain's mean: {_hundredths(constant)}."
    return note


def _by_method(results: Sequence[AdaptResult]) -> dict[str, list[AdaptResult]]:
    return {name: [r for r in results if r.method == name] for name in dict.fromkeys(r.method for r in results)}


def _by_share(results: Sequence[AdaptResult]) -> dict[float, list[AdaptResult]]:
    return {share: [r for r in results if r.share == share] for share in sorted({r.share for r in results})}


def _heights(found: list[tuple[float, float]]) -> dict:
    """The means as y, with the deviations over seeds where there are any."""
    heights: dict = {"y": [HUNDREDTHS * mean for mean, _ in found]}
    if not any(math.isnan(deviation) for _, deviation in found):
        heights["error_y"] = {"type": "data", "array": [HUNDREDTHS * deviation for _, deviation in found]}
    return heights
