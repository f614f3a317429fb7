"""The section of bias on faces: tables 3 to 7 of the models that were measured, next to the paper's."""

from __future__ import annotations

from collections.abc import Iterator

from markupsafe import Markup

from evalsuite.report.bias import BiasLine, BiasReport, BiasTable, build_bias
from evalsuite.report.bias_formats import text_rows, title_of
from evalsuite.report.html.plots import Dot, dot_plot
from evalsuite.report.html.sections.base import Section, rendered
from evalsuite.results.bias_tables import read_bias_paper
from evalsuite.results.numbers import PARTIAL, Numbers
from evalsuite.tasks import TaskIndex

DRAWN = "6"
"""The table whose rates are drawn, too."""


def content(numbers: Numbers, index: TaskIndex) -> Markup | None:
    """Return the tables, drawings of the rates by race, and what these numbers can and cannot say."""
    report = build_bias(numbers, read_bias_paper())
    if not report.tables:
        return None
    tables = [(title_of(table), table.columns, list(text_rows(table))) for table in report.tables]
    return rendered("bias", tables=tables, plots=list(_plots(report)), notes=report.notes, meaning=report.meaning)


def _plots(report: BiasReport) -> Iterator[tuple[str, Markup]]:
    """Yield a drawing of each measured line of the table of rates by race, with the paper's rates hollow."""
    for table in report.tables:
        printed = {line.what: line for line in table.lines if not line.is_measured}
        for line in table.lines if table.number == DRAWN else ():
            if line.is_measured:
                title = f"{line.what}, {line.of}"
                yield title, dot_plot(list(_dots(table, line, printed.get(line.what))), f"{title_of(table)}: {title}")


def _dots(table: BiasTable, line: BiasLine, printed: BiasLine | None) -> Iterator[Dot]:
    mark = PARTIAL if line.partial else ""
    for column in table.columns:
        if (cell := line.cells.get(column)) is not None:
            bounds = (100 * cell.interval.low, 100 * cell.interval.high) if cell.interval else None
            yield Dot(column, 100 * cell.value, bounds, "zero_shot", False, mark)
        if printed is not None and (cell := printed.cells.get(column)) is not None:
            yield Dot("  as printed", 100 * cell.value, None, "zero_shot", True)


SECTION = Section("bias", "Bias on faces", content)
