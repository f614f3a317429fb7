"""The leaderboard as text cells: what the formats for people share."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

from evalsuite.report.table import LABELS, Leaderboard, Row
from evalsuite.text import on_one_line

MISSING = "–"


@dataclass(frozen=True)
class TextCell:
    """A cell as it is printed, on one line."""

    text: str
    bold: bool = False


def header_of(board: Leaderboard) -> list[str]:
    """Return the headings, each on one line; one task needs neither ranks nor wins, and one row no place."""
    standings = ["place"] if board.has_places else []
    standings += ["rank", "wins"] if len(board.tasks) > 1 else []
    differences = [f"vs {name}" for name in board.baselines]
    names = [*LABELS, *board.tasks, "average", *standings, *differences, *(f"tag:{tag}" for tag in board.groups)]
    return list(map(on_one_line, names))


def cells_of(row: Row, board: Leaderboard) -> list[TextCell]:
    """Return the cells of a row below the headings of `header_of`."""
    return [
        *(TextCell(on_one_line(label)) for label in row.labels),
        *(_value(row, task) for task in board.tasks),
        *map(TextCell, _summary(row, board)),
    ]


def html_table(header: Sequence[str], rows: Sequence[Sequence[TextCell]], notes: Sequence[str] = ()) -> str:
    """Return an HTML table, and notes as a list below it; what is in them is text and no markup."""
    headings = "".join(f'<th scope="col">{html.escape(on_one_line(name))}</th>' for name in header)
    body = "\n".join(f"<tr>{''.join(map(_html_cell, row))}</tr>" for row in rows)
    items = "\n".join(f"<li>{html.escape(on_one_line(line))}</li>" for line in notes)
    table = f"<table>\n<thead><tr>{headings}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>\n"
    return f"{table}<ul>\n{items}\n</ul>\n" if notes else table


def _html_cell(cell: TextCell) -> str:
    text = html.escape(on_one_line(cell.text))
    return f"<td><strong>{text}</strong></td>" if cell.bold else f"<td>{text}</td>"


def _value(row: Row, task: str) -> TextCell:
    cell = row.cells.get(task)
    if cell is None:
        return TextCell(MISSING)
    return TextCell(cell.percent, task in row.best)


def _summary(row: Row, board: Leaderboard) -> list[str]:
    average = f"{100 * row.average:.1f}{row.average_mark}"
    if len(row.cells) < len(board.tasks):
        average += f" ({len(row.cells)}/{len(board.tasks)})"
    standings = [row.places.label if row.places else MISSING] if board.has_places else []
    standings += [MISSING if row.rank is None else f"{row.rank:.1f}", str(row.wins)] if len(board.tasks) > 1 else []
    points = [row.differences.get(name) for name in board.baselines]
    means = [row.groups.get(tag) for tag in board.groups]
    return [
        average,
        *standings,
        *(MISSING if mean is None else f"{100 * mean.value:+.1f}{mean.mark}" for mean in points),
        *(MISSING if mean is None else f"{100 * mean.value:.1f}{mean.mark}" for mean in means),
    ]
