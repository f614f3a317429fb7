"""Whether the numbers of one column are of the same data: else they may differ by that alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Literal

from evalsuite.report.table import Row, pivot
from evalsuite.results.numbers import Number, told_apart
from evalsuite.text import counted, shortened

DIGITS = 8
"""Of the digest of the data, to tell editions apart."""


def edition_notes(numbers: Iterable[Number]) -> list[str]:
    """Return what `editions` says of each task."""
    known = list(numbers)
    tasks = list(dict.fromkeys(number.task for number in known))
    rows = pivot(known, tasks, told_apart(known))
    return [note for task in tasks if (note := editions(rows, task))]


def editions(rows: Sequence[Row], task: str) -> str:
    """Say which rows have results on which edition of a task, where there are several; "" where all are of one.

    Whole measured numbers are held against each other: all by their metric and their test samples, and those of one
    protocol and its options by the labels, and by the bytes of every sample, training images included. A record that
    does not know them fits all.
    """
    cells = [(row, row.cells[task]) for row in rows if task in row.cells]
    known = [(row, number) for row, number in cells if number.is_measured and not number.partial]
    sizes = len({_size(number) for _, number in known}) > 1
    metrics = len({number.metric for _, number in known}) > 1
    images, labels = _differing(known, "content"), _differing(known, "labels")
    if not (sizes or metrics or images or labels):
        return ""
    groups: dict[str, list[str]] = defaultdict(list)
    for row, number in known:
        job = row.protocol, row.options
        parts = [
            counted(_size(number), "test sample"),
            *([number.metric] if metrics else ()),
            *([f"data {of_data(number, 'content')[:DIGITS] or 'unknown'}"] if job in images else ()),
            *([f"labels {of_data(number, 'labels')[:DIGITS] or 'unknown'}"] if job in labels else ()),
        ]
        groups[", ".join(parts)].append(row.described)
    which = "; ".join(f"{what}: {shortened(names)}" for what, names in sorted(groups.items()))
    differ = {"images": sizes or images, "labels": labels, "metric": metrics}
    what = " and ".join(name for name, is_so in differ.items() if is_so)
    return f"{task}: the rows are not of the same {what}, so their numbers do not compare. {which}."


def _differing(known: Sequence[tuple[Row, Number]], what: Literal["content", "labels"]) -> set[tuple[str, str | None]]:
    """Return the protocols and options whose numbers have several digests of that."""
    found: dict[tuple[str, str | None], set[str]] = defaultdict(set)
    for row, number in known:
        found[row.protocol, row.options] |= {of_data(number, what)} - {""}
    return {job for job, digests in found.items() if len(digests) > 1}


def _size(number: Number) -> int:
    """Return the test samples of one fold: protocols differ in how many folds they read, and seeds are folds, too."""
    folds = number.record.metric.folds if number.record and number.record.metric else None
    return (number.n or 0) // len(folds or [1])


def of_data(number: Number, what: Literal["content", "labels"]) -> str:
    """Return a digest of the data of a number, "" where it is not known."""
    found: str = getattr(number.record.data, what) if number.record and number.record.data else ""
    return found
