"""Tables of words as wide as a terminal: columns are wrapped, then left out, then written one below the other."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evalsuite.text import printable

if TYPE_CHECKING:
    from rich.table import Table

GAP = 2
"""Blanks between two columns."""

LEAST = 16
"""A column that is wrapped gets no narrower than that."""


@dataclass(frozen=True)
class Column:
    """A column. wraps: its cells may go on several lines. spare: it is left out first where there is no room."""

    heading: str
    right: bool = False
    wraps: bool = False
    spare: bool = False


def room() -> int | None:
    """Return how many columns the terminal has, or $COLUMNS says; None where another program reads."""
    said = os.environ.get("COLUMNS", "")
    if said.isdecimal() and int(said):
        return int(said)
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def as_table(columns: Sequence[Column], rows: Sequence[Sequence[object]], width: int | None = None) -> str:
    """Return a table that is at most `width` wide; None: as wide as it gets.

    A cell that is None is empty. Of a table that does not fit in any way, each row becomes a block of lines.
    """
    cells = [["" if cell is None else printable(str(cell)) for cell in row] for row in rows]
    headings = [column.heading for column in columns]
    natural = [max(map(widest, cells_of_one)) for cells_of_one in zip(headings, *cells, strict=True)]
    least = [min(n, LEAST) if column.wraps else n for n, column in zip(natural, columns, strict=True)]
    kept = [index for index in range(len(columns)) if natural[index]]
    while width is not None and sum(least[index] + GAP for index in kept) - GAP > width:
        spare = [index for index in kept if columns[index].spare]
        if not spare:
            return "\n\n".join(facts(zip(headings, row, strict=True), width) for row in cells)
        kept.remove(spare[-1])
    table = _table([columns[index] for index in kept], [[row[index] for index in kept] for row in cells])
    shown = _written(table, width or sum(natural) + GAP * len(columns))
    left_out = [heading for index, heading in enumerate(headings) if natural[index] and index not in kept]
    return f"{shown}\n\nA wider terminal also shows: {', '.join(left_out)}." if left_out else shown


def facts(pairs: Iterable[tuple[str, str]], width: int | None = None) -> str:
    """Return names with what is said of each next to it, wrapped at `width`; a name of which nothing is said is left
    out."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, GAP, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    said = [(name, text) for name, text in pairs if text]
    for name, text in said:
        grid.add_row(Text(name), Text(text))
    return _written(grid, width or max((widest(name) + GAP + widest(text) for name, text in said), default=1) + GAP)


def widest(text: str) -> int:
    """Return how many columns of a terminal the longest line takes: of CJK two for a letter, of an accent none."""
    from rich.cells import cell_len

    return max(map(cell_len, text.splitlines()), default=0)


def _table(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> Table:
    from rich.rule import Rule
    from rich.table import Table
    from rich.text import Text

    # tabulate makes a column two blanks wider than its heading, which few terminals have room for
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False)
    for column in columns:
        table.add_column(
            Text(column.heading), justify="right" if column.right else "left", no_wrap=not column.wraps, overflow="fold"
        )
    table.add_row(*(Rule(characters="-") for _ in columns))
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _written(table: Table, width: int) -> str:
    from rich.console import Console

    console = Console(width=width, color_system=None, legacy_windows=False)
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())
