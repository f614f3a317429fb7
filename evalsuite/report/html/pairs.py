"""Paired tests between rows of the page, for the two that its reader pins."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from evalsuite.report.comparison import compare
from evalsuite.report.contenders import Contender
from evalsuite.report.html.board import row_key
from evalsuite.report.table import Row
from evalsuite.results.numbers import Number

PAIRED_ROWS = 8
"""Rows that are tested against each other, the first of the leaderboard: each pair reads its samples again."""

BOOTSTRAPPED_ROWS = 3
"""Those of them for which a test that is no count may be made: a bootstrap of VOC 2007 takes seconds per pair."""

DIGITS = 6

Pairs = dict[str, dict[str, tuple[float, float, float]]]
"""Keys of two rows, with a space between -> task -> (low, high, p): the interval of their difference and Holm's p."""


def paired_rows(rows: Sequence[Row]) -> Pairs:
    """Return what the logged samples say of the difference of each two measured rows under one protocol."""
    able = [row for row in rows if any(cell.stored and cell.stored.samples for cell in row.cells.values())]
    pairs = (
        _pair(able[first], able[second], bootstrap=second < BOOTSTRAPPED_ROWS)
        for first, second in combinations(range(min(len(able), PAIRED_ROWS)), 2)
    )
    return {keys: found for keys, found in pairs if found}


def _pair(first: Row, second: Row, *, bootstrap: bool) -> tuple[str, dict[str, tuple[float, float, float]]]:
    keys = f"{row_key(first)} {row_key(second)}"
    one, other = (
        Contender(row.described, {cell.job: cell for cell in row.cells.values() if bootstrap or _is_counted(cell)})
        for row in (first, second)
    )
    if not any(job in other.numbers and other.numbers[job].metric == cell.metric for job, cell in one.numbers.items()):
        return keys, {}
    tested = {
        row.task: (round(row.interval.low, DIGITS), round(row.interval.high, DIGITS), round(row.p_holm, DIGITS))
        for row in compare(one, other).rows
        if row.interval is not None and row.p_holm is not None
    }
    return keys, tested


def _is_counted(number: Number) -> bool:
    """Say whether the exact test is for a number, see `paired_difference`."""
    return number.metric == "accuracy" and not number.has_folds
