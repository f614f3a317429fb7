"""The leaderboard as the page shows it: columns in groups, cells with what is known of them, data for the script."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from markupsafe import Markup

from evalsuite.report.grid import MISSING
from evalsuite.report.html.facts import ModelFacts, facts_of
from evalsuite.report.table import Leaderboard, Mean, Row
from evalsuite.results.numbers import Number
from evalsuite.results.store import hash8
from evalsuite.text import on_one_line

Kind = Literal["average", "place", "rank", "wins", "difference", "group", "task", "parameters", "gflops"]

PARTIAL_FLAG, BEST_FLAG = 1, 2
"""Bits of what the script gets of a cell."""

DIGITS = 8
"""Decimals of the bounds of an interval for the script; values are whole, so that it rounds averages as Python does."""


@dataclass(frozen=True)
class Column:
    """A column. kind: what it holds; key: the task, group or baseline it is of; told: what its heading's tip says."""

    heading: str
    kind: Kind
    key: str = ""
    told: str = ""


@dataclass(frozen=True)
class ColumnGroup:
    """Neighbouring columns under a common heading."""

    title: str
    columns: tuple[Column, ...]

    @property
    def tasks(self) -> list[Column]:
        """Its columns that are tasks: those that a reader can hide."""
        return [column for column in self.columns if column.kind == "task"]


@dataclass(frozen=True)
class Cell:
    """A cell. told: what is known of its number; link: where its samples are, if anywhere."""

    text: str
    bold: bool = False
    told: str = ""
    link: str = ""


@dataclass(frozen=True)
class BoardRow:
    """A row. key: eight digits that name it in the address of the page; whole: whether nothing of it is missing."""

    key: str
    row: Row
    facts: ModelFacts
    whole: bool
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class BoardView:
    """Headings and rows, those from which nothing is missing first; data: JSON for the script, safe inside HTML."""

    groups: tuple[ColumnGroup, ...]
    rows: tuple[BoardRow, ...]
    data: Markup


def row_key(row: Row) -> str:
    """Return eight digits that name a row on every page that has it."""
    return hash8("\n".join(row.labels))


def detail_anchor(row: Row, task: str) -> str:
    """Return the anchor of what lies behind a score."""
    return f"detail-{row_key(row)}-{task}"


def board_view(
    board: Leaderboard,
    groups: Mapping[str, Sequence[str]],
    *,
    titles: Mapping[str, str],
    details: Iterable[str] = (),
    folder: Path | None = None,
    pairs: Mapping[str, Any] | None = None,
) -> BoardView:
    """Return the leaderboard for the page.

    groups: as `group_tasks` returns them. titles: of the tasks. details: anchors that the page has; the samples of
    other cells are linked where they lie, seen from `folder`. pairs: as `paired_rows` returns them.
    """
    columns = tuple(_columns(board, groups, titles))
    anchors = frozenset(details)
    ordered = sorted(board.rows, key=lambda row: not row.is_complete(board.tasks))
    rows = tuple(_board_row(row, board, columns, anchors, folder) for row in ordered)
    return BoardView(columns, rows, _data(rows, columns, pairs or {}))


def _columns(
    board: Leaderboard, groups: Mapping[str, Sequence[str]], titles: Mapping[str, str]
) -> Iterable[ColumnGroup]:
    summary = [Column("average", "average")]
    if board.has_places:
        summary.append(Column("place", "place", told="The places that the test images leave to it, by its average"))
    if len(board.tasks) > 1:
        summary += [Column("rank", "rank"), Column("wins", "wins")]
    summary += [Column(on_one_line(f"vs {name}"), "difference", name) for name in board.baselines]
    yield ColumnGroup("tasks shown", tuple(summary))
    for group, tasks in groups.items():
        mean = [Column("average", "group", group, f"Average of {group}")] if len(tasks) > 1 else []
        own = [Column(on_one_line(task), "task", task, on_one_line(titles.get(task, task))) for task in tasks]
        yield ColumnGroup(group, (*mean, *own))
    size = [Column("parameters (M)", "parameters"), Column("GFLOPs", "gflops")]
    yield ColumnGroup("image encoder", tuple(size))


def _board_row(
    row: Row, board: Leaderboard, columns: Sequence[ColumnGroup], anchors: frozenset[str], folder: Path | None
) -> BoardRow:
    facts = facts_of(row)
    cells = []
    for group in columns:
        tasks = [column.key for column in group.tasks]
        for column in group.columns:
            if column.kind == "task":
                cells.append(_task_cell(row, column.key, anchors, folder))
            else:
                cells.append(Cell(_summary(row, column, tasks, board, facts)))
    return BoardRow(row_key(row), row, facts, row.is_complete(board.tasks), tuple(cells))


def _task_cell(row: Row, task: str, anchors: frozenset[str], folder: Path | None) -> Cell:
    number = row.cells.get(task)
    if number is None:
        return Cell(MISSING)
    anchor = detail_anchor(row, task)
    link = f"#{anchor}" if anchor in anchors else _file(number, folder)
    return Cell(number.percent, task in row.best, _told(number), link)


def _told(number: Number) -> str:
    """Say what is known of a number: interval, test samples, metric, date, and what to know of it."""
    interval, record = number.confidence(), number.record
    made = record.provenance.created[:10] if record and record.provenance else ""
    parts = [
        number.metric.replace("_", " "),
        f"interval {100 * interval.low:.1f} to {100 * interval.high:.1f}" if interval else "no interval",
        f"n = {number.n:,}" if number.n else "",
        "from a part of the samples" if number.partial else "",
        made or number.origin.label,
    ]
    return on_one_line(", ".join(filter(None, parts)))


def _file(number: Number, folder: Path | None) -> str:
    """Return the table of predictions of a number, as a link from `folder`."""
    found = number.stored.samples if number.stored and folder else None
    if found is None or folder is None:
        return ""
    try:
        return Path(os.path.relpath(found, folder)).as_posix()
    except ValueError:  # on another drive
        return ""


def _summary(row: Row, column: Column, tasks: Sequence[str], board: Leaderboard, facts: ModelFacts) -> str:
    if column.kind == "average":
        return _mean(row, board.tasks)
    if column.kind == "group":
        return _mean(row, tasks)
    if column.kind == "place":
        return row.places.label if row.places else MISSING
    if column.kind == "rank":
        return MISSING if row.rank is None else f"{row.rank:.1f}"
    if column.kind == "wins":
        return str(row.wins)
    if column.kind == "difference":
        mean = row.differences.get(column.key)
        return MISSING if mean is None else f"{100 * mean.value:+.1f}{mean.mark}"
    if column.kind == "parameters":
        return MISSING if facts.parameters is None else f"{facts.parameters / 1e6:.1f}"
    return MISSING if facts.gflops is None else f"{facts.gflops:.1f}"


def _mean(row: Row, tasks: Sequence[str]) -> str:
    cells = [row.cells[task] for task in tasks if task in row.cells]
    if not cells:
        return MISSING
    mean = Mean.of_values([cell.value for cell in cells], len(tasks), any(cell.partial for cell in cells))
    return f"{100 * mean.value:.1f}{mean.mark}"


def _data(rows: Sequence[BoardRow], columns: Sequence[ColumnGroup], pairs: Mapping[str, Any]) -> Markup:
    """Return what the script computes from: per row and task [value, low, high, flags], 0 where there is no value."""
    tasks = [column.key for group in columns for column in group.tasks]
    content = {"tasks": tasks, "rows": [_row_data(item, tasks) for item in rows], "pairs": pairs}
    return Markup(json.dumps(content, separators=(",", ":")).replace("<", "\\u003c"))


def _row_data(item: BoardRow, tasks: Sequence[str]) -> dict[str, Any]:
    model, protocol, origin = map(on_one_line, item.row.labels)
    return {
        "key": item.key,
        "model": model,
        "protocol": protocol,
        "origin": origin,
        "names": [on_one_line(name) for name in item.facts.spellings],
        "cells": [_cell_data(item.row.cells.get(task), task in item.row.best) for task in tasks],
    }


def _cell_data(number: Number | None, best: bool) -> list[float] | int:
    if number is None:
        return 0
    found = number.confidence()
    bounds = [round(found.low, DIGITS), round(found.high, DIGITS)] if found else [-1, -1]
    return [number.value, *bounds, PARTIAL_FLAG * number.partial + BEST_FLAG * best]
