"""Tables of words as wide as a terminal: columns are wrapped, then left out, then written one below the other."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

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
    cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
    kept, natural = list(range(len(columns))), _widths(columns, cells)
    while width is not None:
        widths = _fitted(columns, natural, kept, width)
        if widths is not None:
            break
        spare = [index for index in kept if columns[index].spare]
        if not spare:
            return _blocks(columns, cells, width)
        kept.remove(spare[-1])
    else:
        widths = natural
    table = _render([columns[index] for index in kept], [[row[index] for index in kept] for row in cells],
                    [widths[index] for index in kept])  # fmt: skip
    left_out = [column.heading for index, column in enumerate(columns) if index not in kept]
    return f"{table}\n\nA wider terminal also shows: {', '.join(left_out)}." if left_out else table


def _widths(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> list[int]:
    lines = [[column.heading for column in columns], *rows]
    return [max(_longest(line[index]) for line in lines) for index in range(len(columns))]


def _longest(cell: str) -> int:
    return max((len(line) for line in cell.splitlines()), default=0)


def _fitted(columns: Sequence[Column], natural: Sequence[int], kept: Sequence[int], width: int) -> list[int] | None:
    """Return widths with which the columns `kept` fit: of those that may be wrapped, the widest give way."""
    widths = list(natural)
    over = sum(widths[index] + GAP for index in kept) - GAP - width
    while over > 0:
        widest = max((i for i in kept if columns[i].wraps and widths[i] > LEAST), key=lambda i: widths[i], default=None)
        if widest is None:
            return None
        widths[widest] -= 1
        over -= 1
    return widths


def _render(columns: Sequence[Column], rows: Sequence[Sequence[str]], widths: Sequence[int]) -> str:
    # tabulate makes a column two blanks wider than its heading, which few terminals have room for
    lines = []
    for row in ([column.heading for column in columns], ["-" * width for width in widths], *rows):
        cells = [_wrapped(cell, width).splitlines() for cell, width in zip(row, widths, strict=True)]
        for parts in zip_longest(*cells, fillvalue="") if any(cells) else [("",) * len(cells)]:
            placed = zip(columns, parts, widths, strict=True)
            padded = (part.rjust(width) if column.right else part.ljust(width) for column, part, width in placed)
            lines.append((" " * GAP).join(padded).rstrip())
    return "\n".join(lines)


def _wrapped(cell: str, width: int) -> str:
    if _longest(cell) <= width:
        return cell
    return "\n".join(part for line in cell.splitlines() for part in textwrap.wrap(line, width, break_on_hyphens=False))


def _blocks(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> str:
    """Return the rows below each other: a line for each cell that has something in it, named by its heading."""
    names = max((len(column.heading) for column in columns), default=0) + GAP
    blocks = []
    for row in rows:
        lines = []
        for column, cell in zip(columns, row, strict=True):
            parts = _wrapped(cell, max(width - names, LEAST)).splitlines()
            heads = [column.heading, *[""] * len(parts)]
            lines += [f"{head:{names}}{part}" for head, part in zip(heads, parts, strict=False)]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)
