"""The cards at the top of the page: the best rows, each held against the others over the same tasks."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from evalsuite.report.table import Row
from evalsuite.results.numbers import PARTIAL
from evalsuite.text import shortened

MOST_SETS = 3
"""Sets of tasks that get cards of their own."""


@dataclass(frozen=True)
class Card:
    """The best row of a protocol and an origin, with its average in percent and the mark of a partial one."""

    row: Row
    average: str


@dataclass(frozen=True)
class Leaders:
    """Cards over the same tasks, which `over` names."""

    over: str
    cards: tuple[Card, ...]


def leaders(rows: Sequence[Row], tasks: Sequence[str]) -> tuple[Leaders, ...]:
    """Return the best row of each protocol and origin over the tasks that it has, most tasks first.

    Within one set of tasks every protocol and origin that has a row for all of them is there, so that no average
    stands next to one over other tasks.
    """
    kinds: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        kinds.setdefault(row.labels[1:], []).append(row)
    sets = dict.fromkeys(max((_tasks_of(row) for row in own), key=len) for own in kinds.values())
    return tuple(
        Leaders(_over(chosen, tasks), tuple(card for own in kinds.values() for card in _best(own, chosen)))
        for chosen in sorted(sets, key=len, reverse=True)[:MOST_SETS]
    )


def _tasks_of(row: Row) -> frozenset[str]:
    """Return the tasks that a row has a whole value for; of one that has none, all of its tasks."""
    return frozenset(row.cells.keys() - row.partial_tasks) or frozenset(row.cells)


def _best(rows: Sequence[Row], tasks: Collection[str]) -> list[Card]:
    """Return the card of the best row that has all tasks: whole values come before partial ones."""
    able = [row for row in rows if row.cells.keys() >= set(tasks)]
    if not able:
        return []
    best = max(able, key=lambda row: (not _partial(row, tasks), _average(row, tasks)))
    return [Card(best, f"{100 * _average(best, tasks):.1f}{PARTIAL if _partial(best, tasks) else ''}")]


def _average(row: Row, tasks: Collection[str]) -> float:
    return math.fsum(row.cells[task].value for task in tasks) / len(tasks)


def _partial(row: Row, tasks: Collection[str]) -> bool:
    return any(row.cells[task].partial for task in tasks)


def _over(chosen: Collection[str], tasks: Sequence[str]) -> str:
    named = [task for task in tasks if task in chosen]
    if len(named) == 1:
        return f"On {named[0]}"
    if len(named) == len(tasks):
        return f"Average over all {len(tasks)} tasks"
    return f"Average over {len(named)} of {len(tasks)} tasks: {shortened(named, 4)}"
