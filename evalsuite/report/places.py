"""Say which rows of a table cannot be told apart, so that no place in it is given to noise.

Two rows differ where their averages differ by more than the draw of the test images explains. What that draw does to a
task is known best from the samples: where both rows logged them, the images on which one alone is right (McNemar), or a
bootstrap of both on the same draws. Else it is read from the two intervals, each arm on the side of the other row (the
method of variance estimates recovery: Zou and Donner 2008, Statistics in Medicine 27, 1693-1702), which takes the
rows for independent and so sees less. Tasks are drawn apart, so that variances add up. Holm's correction is over all
pairs of rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from evalsuite.report.pairing import Spread, paired_spreads
from evalsuite.report.table import Places, Row
from evalsuite.results.numbers import Number
from evalsuite.stats import deviations, holm, normal_p

ALPHA = 0.05
"""Chance of telling any two rows of a table apart that are equal."""

Pairs = Mapping[tuple[int, int], Spread]
"""Places of two rows, the lower first -> what chance does to their difference on a task."""


def with_places(rows: Sequence[Row], tasks: Sequence[str]) -> list[Row]:
    """Return the rows with the places that each may have by its average.

    A row is below those that are ahead of it and above those that it is ahead of; where it stands among the others is
    chance. Only rows with a whole value for each task take part, and one alone has no place.
    """
    ranked = [index for index, row in enumerate(rows) if row.is_complete(tasks)]
    if len(ranked) < 2 or not tasks:
        return list(rows)
    columns = [[rows[index].cells[task] for index in ranked] for task in tasks]
    ahead = told_ahead(
        np.array([[cell.value for cell in column] for column in columns]),
        np.array([[_arms(cell) for cell in column] for column in columns]),
        [paired_spreads(column) for column in columns],
    )
    found = list(rows)
    for index, above, below in zip(ranked, ahead.T, ahead, strict=True):
        alike = tuple(other for other, told in zip(ranked, above | below, strict=True) if not told and other != index)
        places = Places(1 + int(above.sum()), len(ranked) - int(below.sum()), alike)
        found[index] = replace(rows[index], places=places)
    return found


def told_ahead(
    values: NDArray[np.float64], arms: NDArray[np.float64], paired: Sequence[Pairs], alpha: float = ALPHA
) -> NDArray[np.bool_]:
    """Return (rows, rows): whether the first is ahead of the second, for certain but for a chance of `alpha` in all.

    values: (tasks, rows). arms: (tasks, rows, 2) how far chance takes a value down and up, in standard deviations.
    paired: for each task, the pairs of rows of which more is known.
    """
    n_tasks, n_rows = values.shape
    averages = values.mean(axis=0)
    variance = np.zeros((n_rows, n_rows))
    for own, known in zip(arms, paired, strict=True):
        part = own[:, None, 0] ** 2 + own[None, :, 1] ** 2
        for (one, two), spread in known.items():
            part[one, two] = part[two, one] = spread.deviation**2
        variance += part
    pairs = list(combinations(np.argsort(-averages, kind="stable").tolist(), 2))
    exact = paired[0] if n_tasks == 1 else {}
    deviation = np.sqrt(variance) / n_tasks
    p_values = [
        _p(averages[one] - averages[two], deviation[one, two], exact.get((min(one, two), max(one, two))))
        for one, two in pairs
    ]
    ahead = np.zeros((n_rows, n_rows), dtype=bool)
    for (one, two), p in zip(pairs, holm(p_values), strict=True):
        ahead[one, two] = p < alpha and averages[one] > averages[two]
    return _closed(ahead)


def places_note(rows: Sequence[Row]) -> Iterable[str]:
    """Yield the line that explains places, where there are any."""
    if any(row.places for row in rows):
        yield (
            "place: the places a row may have by its average; rows that cannot be told apart share some (at "
            f"{100 * ALPHA:g} % for the whole table, Holm; sample by sample where both logged them, else by intervals)."
        )


def _arms(number: Number) -> tuple[float, float]:
    """Return how far chance takes a value down and up, in standard deviations; without end where nothing is known."""
    interval = number.confidence()
    if interval is None:
        return np.inf, np.inf
    down, up = max(0.0, number.value - interval.low), max(0.0, interval.high - number.value)
    return down / deviations(interval.level), up / deviations(interval.level)


def _p(difference: float, deviation: float, exact: Spread | None) -> float:
    """Return the probability of a difference at least as large if there were none."""
    if exact is not None and exact.p is not None:
        return exact.p
    return 1.0 if deviation == 0 else normal_p(difference / deviation)


def _closed(ahead: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the relation with what follows from it: ahead of a row that is ahead of a third is ahead of the third."""
    while True:
        more = ahead | (ahead.astype(np.float32) @ ahead.astype(np.float32) > 0)
        if (more == ahead).all():
            return ahead
        ahead = more
