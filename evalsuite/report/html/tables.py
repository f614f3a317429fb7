"""Kinds of tasks on the page: which task belongs to which, and a heat map of their averages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from evalsuite.report.grid import MISSING
from evalsuite.report.table import Leaderboard, Row
from evalsuite.results.numbers import MEASURED

OTHER = "other"
"""The group of tasks that are in none."""

SHADES = 10
"""Shades of the heat map and of confusion matrices."""

FOREMOST = 15
"""Rows of a protocol in the heat map."""


@dataclass(frozen=True)
class HeatCell:
    """An average and its shade, 0 to 9 by its tens of percent; none without a value. whole: over all tasks of it."""

    text: str
    shade: int | None
    whole: bool


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


def heat_map(board: Leaderboard) -> HeatMap:
    """Return the averages by tag of the foremost rows of each protocol; those that lack something come last."""
    protocols = dict.fromkeys(row.labels[1] for row in board.rows)
    shown = [
        row
        for protocol in protocols
        for row in foremost([row for row in board.rows if row.labels[1] == protocol], FOREMOST, lambda row: row.average)
    ]
    cells = {id(row): tuple(_heat_cell(row, tag) for tag in board.groups) for row in shown}
    shown.sort(key=lambda row: not all(cell.whole for cell in cells[id(row)]))
    rows = tuple((row, cells[id(row)]) for row in shown)
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
        return HeatCell(MISSING, None, False)
    return HeatCell(f"{100 * mean.value:.1f}{mean.mark}", min(int(mean.value * SHADES), SHADES - 1), not mean.mark)
