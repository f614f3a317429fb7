"""A leaderboard for the terminal: columns in pages that fit its width, the model named on each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from evalsuite.columns import widest
from evalsuite.report.grid import MISSING, TextCell, cells_of, header_of
from evalsuite.report.table import LABELS, Leaderboard
from evalsuite.text import on_one_line

GAP = 2
"""Columns of the terminal between two columns of the table."""

WIDEST_MODEL = 40
"""Longer names are broken into lines, so that numbers fit next to them."""


def renderables(board: Leaderboard, width: int) -> list[RenderableType]:
    """Return what to print on a terminal `width` columns wide: pages of the table, then the notes.

    The summary (average, rank ...) comes first, then the tasks. A column of labels in which every row says the same
    is left out and said above the table.
    """
    if not board.rows:
        return [Text("There is no value to show."), *_notes(board)]
    header, lines = header_of(board), [cells_of(row, board) for row in board.rows]
    tasks = list(range(len(LABELS), len(LABELS) + len(board.tasks)))
    same = [index for index in range(1, len(LABELS)) if len({line[index].text for line in lines}) == 1]
    labels = [index for index in range(len(LABELS)) if index not in same]
    summary = range(len(LABELS) + len(tasks), len(header))
    widths = [_width(header[index], [line[index] for line in lines]) for index in range(len(header))]
    widths[0] = min(widths[0], WIDEST_MODEL, max(12, width // 3))
    shared = ", ".join(lines[0][index].text for index in same)
    pages = _pages([*summary, *tasks], widths, width - sum(widths[index] + GAP for index in labels))
    return [
        *([Text(shared, style="dim")] if shared else []),
        *(Padding(_page(header, lines, [*labels, *page], widths), (0, 0, 1, 0)) for page in pages),
        *_notes(board),
    ]


def _pages(columns: Sequence[int], widths: Sequence[int], room: int) -> Iterator[list[int]]:
    """Yield as many columns as fit into `room`, at least one, until there are none."""
    page: list[int] = []
    for column in columns:
        if page and sum(widths[index] + GAP for index in [*page, column]) - GAP > room:
            yield page
            page = []
        page.append(column)
    if page:
        yield page


def _page(
    header: Sequence[str], lines: Sequence[Sequence[TextCell]], columns: Sequence[int], widths: list[int]
) -> Table:
    table = Table(box=None, padding=(0, GAP, 0, 0), collapse_padding=True, pad_edge=False, header_style="")
    for index in columns:
        is_label = index < len(LABELS)
        table.add_column(
            Text(_folded(header[index])),
            justify="left" if is_label else "right",
            width=widths[index],
            vertical="bottom" if is_label else "top",
            overflow="fold",
        )
    for line in lines:
        table.add_row(*(_cell(line[index]) for index in columns))
    return table


def _cell(cell: TextCell) -> Text:
    style = "bold" if cell.bold else "dim" if cell.text == MISSING else ""
    return Text(cell.text, style=style)


def _folded(heading: str) -> str:
    """Break a heading where a name is made of words: they are longer than the numbers below them."""
    return heading.replace("_", "_\n").replace(":", ":\n").replace(" ", "\n")


def _width(heading: str, cells: Sequence[TextCell]) -> int:
    return max(map(widest, [_folded(heading), *(cell.text for cell in cells)]))


def _notes(board: Leaderboard) -> list[RenderableType]:
    return [Text(f"- {on_one_line(line)}") for line in board.remarks]
