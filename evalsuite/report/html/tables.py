"""The leaderboard as the page shows it: columns by group of tasks, and a heat map of the groups."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from evalsuite.report.grid import TextCell, cells_of, header_of
from evalsuite.report.table import LABELS, Leaderboard, Row
from evalsuite.results.numbers import MEASURED

OTHER = "other"
"""The group of tasks that are in none."""

SHADES = 10
"""Shades of the heat map and of confusion matrices."""

FOREMOST = 15
"""Rows of a protocol in the heat map."""


@dataclass(frozen=True)
class ColumnGroup:
    """Neighbouring columns under a common heading; `tasks`: whether they are tasks, and can be hidden."""

    title: str
    columns: tuple[str, ...]
    tasks: bool


@dataclass(frozen=True)
class BoardTable:
    """Headings and cells of the leaderboard; the labels of a row come first, then the columns of the groups."""

    labels: tuple[str, ...]
    groups: tuple[ColumnGroup, ...]
    rows: tuple[tuple[TextCell, ...], ...]


@dataclass(frozen=True)
class HeatCell:
    """An average and its shade, 0 to 9 by its tens of percent; none without a value."""

    text: str
    shade: int | None


@dataclass(frozen=True)
class HeatMap:
    """Averages by group: headings with their tasks, the rows with their cells, what is said of those left out."""

    groups: Mapping[str, tuple[str, ...]]
    rows: tuple[tuple[Row, tuple[HeatCell, ...]], ...]
    left_out: str


def group_tasks(tasks: Sequence[str], groups: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Return group -> tasks, each task once, in the first group that has it."""
    found: dict[str, list[str]] = {tag: [] for tag in [*groups, OTHER]}
    for task in tasks:
        found[next((tag for tag, members in groups.items() if task in members), OTHER)].append(task)
    return {tag: members for tag, members in found.items() if members}


def board_table(board: Leaderboard, groups: Mapping[str, Sequence[str]]) -> BoardTable:
    """Return the leaderboard with its summary before the tasks, and these by group; averages by tag are elsewhere.

    groups: as `group_tasks` returns them.
    """
    first, last = len(LABELS), len(LABELS) + len(board.tasks)
    header = header_of(board)
    summary = list(range(last, len(header) - len(board.groups)))
    tasks = [first + board.tasks.index(task) for members in groups.values() for task in members]
    order = [*range(first), *summary, *tasks]
    sections = [ColumnGroup("all tasks", tuple(header[index] for index in summary), False)]
    sections += [ColumnGroup(tag, tuple(members), True) for tag, members in groups.items()]
    rows = tuple(tuple(cells[index] for index in order) for cells in (cells_of(row, board) for row in board.rows))
    return BoardTable(LABELS, tuple(sections), rows)


def heat_map(board: Leaderboard) -> HeatMap:
    """Return the averages by tag of the foremost rows of each protocol."""
    protocols = dict.fromkeys(row.labels[1] for row in board.rows)
    shown = [
        row
        for protocol in protocols
        for row in foremost([row for row in board.rows if row.labels[1] == protocol], FOREMOST, lambda row: row.average)
    ]
    rows = tuple((row, tuple(_heat_cell(row, tag) for tag in board.groups)) for row in shown)
    return HeatMap(board.groups, rows, left_out(board.rows, shown))


def foremost(rows: Iterable[Row], limit: int, value: Callable[[Row], float]) -> list[Row]:
    """Return at most `limit` rows, highest value first: measured ones before published ones where not all fit."""
    measured_first = sorted(rows, key=lambda row: (row.origin != MEASURED, -value(row)))
    return sorted(measured_first[:limit], key=lambda row: -value(row))


def left_out(rows: Sequence[Row], shown: Sequence[Row]) -> str:
    """Return a sentence on the rows that are not among the foremost, empty where all are."""
    if len(rows) == len(shown):
        return ""
    first = " Measured ones come first." if len({row.origin == MEASURED for row in rows}) > 1 else ""
    more = len(rows) - len(shown)
    return f" {more} more {'row is' if more == 1 else 'rows are'} in the leaderboard.{first}"


def _heat_cell(row: Row, tag: str) -> HeatCell:
    mean = row.groups.get(tag)
    if mean is None:
        return HeatCell("–", None)
    return HeatCell(f"{100 * mean.value:.1f}{mean.mark}", min(int(mean.value * SHADES), SHADES - 1))
