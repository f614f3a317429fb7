"""Whether the numbers of one column are of the same data: else they may differ by that alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from evalsuite.report.table import Row
from evalsuite.results.numbers import Number
from evalsuite.text import counted, shortened

DIGITS = 8
"""Of the digest of the data, to tell editions apart."""


def editions(rows: Sequence[Row], task: str) -> str:
    """Say which rows have results on which edition of a task, where there are several; "" where all are of one.

    Whole measured numbers are held against each other: all by their test samples, and those of one protocol and its
    options by the bytes of every sample, training images included. A record that does not know them fits all.
    """
    found = [(row, row.cells[task]) for row in rows if task in row.cells]
    known = [(row, number) for row, number in found if number.is_measured and not number.partial]
    contents: dict[tuple[str, str | None], set[str]] = defaultdict(set)
    for row, number in known:
        contents[row.protocol, row.options] |= {_content(number)} - {""}
    differing = {job for job, digests in contents.items() if len(digests) > 1}
    if not differing and len({_size(number) for _, number in known}) < 2:
        return ""
    groups: dict[str, list[str]] = defaultdict(list)
    for row, number in known:
        data = f", data {_content(number)[:DIGITS] or 'unknown'}" if (row.protocol, row.options) in differing else ""
        groups[f"{counted(_size(number), 'test sample')}{data}"].append(row.described)
    listed = "; ".join(f"{what}: {shortened(names)}" for what, names in sorted(groups.items()))
    return f"{task}: the rows are not of the same images, so their numbers do not compare. {listed}."


def _size(number: Number) -> int:
    """Return the test samples of one fold: protocols differ in how many folds they read, and seeds are folds, too."""
    folds = number.record.metric.folds if number.record and number.record.metric else None
    return (number.n or 0) // len(folds or [1])


def _content(number: Number) -> str:
    return number.record.data.content if number.record and number.record.data else ""
