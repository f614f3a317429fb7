"""Write the tables of bias as Markdown for people, CSV or JSON for programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from tabulate import tabulate

from evalsuite.report.bias import BiasLine, BiasReport, BiasTable, Share
from evalsuite.report.escaping import markdown_cell, markdown_line, to_csv_text, to_json_text
from evalsuite.report.grid import MISSING
from evalsuite.results.numbers import PARTIAL

COLUMNS = ("table", "what", "of", "group", "percent", "low", "high", "n", "least", "most", "partial")
"""Columns of the table for programs, a line for each share; percent. least, most: over the templates."""

FEW = 4
"""Groups that have a column each in Markdown; of more, each has a row: a table stays at about 100 characters."""

INTERVAL, RANGE = "99.5 % interval", "over templates"

NOTHING = "There are no numbers of bias: evalsuite bias -m MODEL measures them.\n"


def to_markdown(report: BiasReport) -> str:
    """Return the tables with their titles, the notes, and what the numbers can and cannot say."""
    if not report.tables:
        return "\n".join([NOTHING, *(f"- {markdown_line(note)}" for note in report.notes)])
    parts = [f"### {title_of(table)}\n\n{_grid(table)}" for table in report.tables]
    notes = "\n".join(f"- {markdown_line(note)}" for note in report.notes)
    meaning = "\n".join(f"- {text}" for text in report.meaning)
    return "\n\n".join([*parts, notes, f"### What these numbers can and cannot say\n\n{meaning}"]) + "\n"


def to_csv(report: BiasReport, *, raw: bool = False) -> str:
    """Return a line for each share, with all digits. raw: names as they are, also those like formulas."""
    return to_csv_text(COLUMNS, _records(report), raw)


def to_json(report: BiasReport) -> str:
    """Return the shares, the notes, and what the numbers can and cannot say."""
    return to_json_text({"shares": list(_records(report)), "notes": report.notes, "meaning": report.meaning})


FORMATS: Mapping[str, Callable[[BiasReport], str]] = {"markdown": to_markdown, "csv": to_csv, "json": to_json}


def title_of(table: BiasTable) -> str:
    """Return the title of a table with its number in the paper."""
    return f"Table {table.number}: {table.title}" if table.number.isdigit() else table.title


def text_rows(table: BiasTable) -> Iterator[list[str]]:
    """Yield the rows of a table for people: each line, below it its intervals and its range over the templates."""
    for line in table.lines:
        mark = PARTIAL if line.partial else ""
        yield [line.what, line.of, *(f"{value}{mark}" for value in _cells(table, line, _percent))]
        if any(cell.interval for cell in line.cells.values()):
            yield ["", INTERVAL, *_cells(table, line, _interval)]
        if any(cell.least is not None for cell in line.cells.values()):
            yield ["", RANGE, *_cells(table, line, _range)]


def _grid(table: BiasTable) -> str:
    if len(table.columns) <= FEW:
        return _markdown(["", "", *table.columns], list(text_rows(table)), 2)
    printed = {line.what: line for line in table.lines if not line.is_measured}
    measured = [line for line in table.lines if line.is_measured]
    beside = {line.what for line in measured}
    lines = [*measured, *(line for what, line in printed.items() if what not in beside)]
    rows = [row for line in lines for row in _tall(line, table, printed.get(line.what, line))]
    header = ["", "", "", "%", INTERVAL, RANGE, "printed"]
    kept = [place for place in range(len(header)) if any(row[place] not in ("", MISSING) for row in rows)]
    return _markdown([header[place] for place in kept], [[row[place] for place in kept] for row in rows], 3)


def _tall(line: BiasLine, table: BiasTable, printed: BiasLine) -> Iterator[list[str]]:
    """Yield a row for each group of a line; the first says what it is of, the last column what the paper printed."""
    named = [line.what, line.of]
    for column in table.columns:
        cell, other = line.cells.get(column), None if printed is line else printed.cells.get(column)
        if cell is not None or other is not None:
            own = (_percent(cell), _interval(cell), _range(cell)) if cell else (MISSING,) * 3
            mark = PARTIAL if cell and line.partial else ""
            yield [*named, column, f"{own[0]}{mark}", *own[1:], _percent(other) if other else MISSING]
            named = ["", ""]


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]], words: int) -> str:
    """Return a table of Markdown; words: columns at its left that are none of numbers."""
    return tabulate(
        [list(map(markdown_cell, row)) for row in rows],
        headers=list(map(markdown_cell, header)),
        tablefmt="github",
        colalign=["left"] * words + ["right"] * (len(header) - words),
        disable_numparse=True,
    )


def _cells(table: BiasTable, line: BiasLine, write: Callable[[Share], str]) -> list[str]:
    return [write(line.cells[column]) if column in line.cells else MISSING for column in table.columns]


def _percent(cell: Share) -> str:
    return f"{100 * cell.value:.1f}"


def _interval(cell: Share) -> str:
    return MISSING if cell.interval is None else f"{100 * cell.interval.low:.1f}-{100 * cell.interval.high:.1f}"


def _range(cell: Share) -> str:
    return MISSING if cell.least is None or cell.most is None else f"{100 * cell.least:.1f}-{100 * cell.most:.1f}"


def _records(report: BiasReport) -> Iterator[dict[str, object]]:
    for table in report.tables:
        for line in table.lines:
            for group, cell in line.cells.items():
                low, high = (cell.interval.low, cell.interval.high) if cell.interval else (None, None)
                shares = (cell.value, low, high, cell.n, cell.least, cell.most)
                percent = [number if k == 3 or number is None else 100 * number for k, number in enumerate(shares)]
                values = (table.number, line.what, line.of, group, *percent, line.partial)
                yield dict(zip(COLUMNS, values, strict=True))
