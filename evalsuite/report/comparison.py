"""Compare two models task by task, and say for each whether the difference is more than chance."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from evalsuite.errors import UsageError
from evalsuite.report.pairing import NotPairedError, paired_difference
from evalsuite.report.selection import resolve_names
from evalsuite.report.sides import FAITHFUL, Key, Score, Side, split_fidelity
from evalsuite.stats import LEVEL, holm

ALPHA = 0.05
"""Chance of calling any difference of a protocol real where there is none."""

Outcome = Literal["win", "tie", "loss"]


@dataclass(frozen=True)
class TaskDifference:
    """The difference of two models on one task under one protocol: first minus second, in points of percent.

    low, high: interval of the difference at 1 - ALPHA, where the test gives one; p: of the paired test;
    p_holm: corrected over the tasks of the protocol; remark: why there is no paired test.
    """

    protocol: str
    task: str
    metric: str
    first: float
    second: float
    difference: float
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None
    outcome: Outcome
    test: str
    remark: str = ""


@dataclass(frozen=True)
class Comparison:
    """Two models on the tasks that both have.

    lacking: results of a measured second that there is nothing of the first to hold against.
    """

    first: str
    second: str
    rows: tuple[TaskDifference, ...]
    lacking: tuple[str, ...]
    notes: tuple[str, ...]

    def averages(self) -> dict[str, float]:
        """Return the mean difference of each protocol, in points, over the tasks of the table."""
        groups: dict[str, list[float]] = {}
        for row in self.rows:
            groups.setdefault(row.protocol, []).append(row.difference)
        return {protocol: math.fsum(values) / len(values) for protocol, values in groups.items()}

    def failures(self, points: float) -> list[str]:
        """Return what is more than `points` behind: averages of a protocol, lost tasks, and tasks the first lacks."""
        return [
            *(f"{name}: {value:+.2f} points on average" for name, value in self.averages().items() if -value > points),
            *(
                f"{row.task} ({row.protocol}): {row.difference:+.2f} points"
                for row in self.rows
                if row.outcome == "loss" and -row.difference > points
            ),
            *(
                f"{name}: nothing to hold against {self.second}; leave it out with --tasks or --protocol"
                for name in self.lacking
            ),
        ]


def compare(
    first: Side, second: Side, *, protocols: Sequence[str] | None = None, tasks: Sequence[str] | None = None
) -> Comparison:
    """Return the differences of two sides on the tasks, protocols and options that both have.

    protocols, tasks: names or patterns; one that selects nothing is a UsageError, as are sides that share nothing.
    """
    known = set(first.scores) | set(second.scores)
    chosen_protocols = resolve_names("protocol", protocols, sorted({key.protocol for key in known}))
    chosen_tasks = resolve_names("task", tasks, sorted({key.task for key in known}))
    keys = sorted(
        (key for key in known if key.protocol in chosen_protocols and key.task in chosen_tasks),
        key=lambda key: (key.protocol, key.options_hash or "", key.task),
    )
    both = [key for key in keys if key in first.scores and key in second.scores]
    shared = [key for key in both if first.scores[key].metric == second.scores[key].metric]
    if not shared:
        raise UsageError(
            f"{first.label} and {second.label} have no task, protocol, options and metric in common"
            f"{'' if protocols is None and tasks is None else ' among those chosen'}; "
            "`evalsuite leaderboard` shows what each has."
        )
    rows = _corrected([_difference(key, first.scores[key], second.scores[key]) for key in shared])
    lacking = (
        () if second.is_published else tuple(str(key) for key in keys if key in second.scores and key not in shared)
    )
    notes = [
        *_totals(first, second, rows),
        *_methods(rows),
        *_data_notes(shared, first, second),
        *_published_notes(shared, first, second),
        *_absent(keys, first, second),
    ]
    return Comparison(first.label, second.label, tuple(rows), lacking, tuple(notes))


def _difference(key: Key, first: Score, second: Score) -> TaskDifference:
    """Return one row, not yet corrected for the number of tasks."""
    value = 100 * (first.value - second.value)
    row = TaskDifference(
        key.shown, key.task, first.metric, 100 * first.value, 100 * second.value, value,
        None, None, None, None, _by_overlap(first, second), "interval overlap",
    )  # fmt: skip
    if first.stored is None or second.stored is None:
        return replace(row, remark="published numbers have no samples")
    try:
        found = paired_difference(first.stored, second.stored, 1 - ALPHA)
    except NotPairedError as error:
        return replace(row, remark=str(error))
    return replace(
        row, low=100 * found.interval.low, high=100 * found.interval.high, p=found.p, test=found.interval.method
    )


def _by_overlap(first: Score, second: Score) -> Outcome:
    """Return a win or a loss where the intervals of the two values do not touch; a value without one touches all."""
    if first.low is None or first.high is None or second.low is None or second.high is None:
        return "tie"
    if first.low > second.high:
        return "win"
    return "loss" if second.low > first.high else "tie"


def _corrected(rows: Sequence[TaskDifference]) -> list[TaskDifference]:
    """Return the rows with Holm's correction over the paired tests of each protocol, and what follows from it."""
    found = []
    for protocol in dict.fromkeys(row.protocol for row in rows):
        own = [row for row in rows if row.protocol == protocol]
        corrected = iter(holm([row.p for row in own if row.p is not None]))
        found += [row if row.p is None else _decided(row, next(corrected)) for row in own]
    return found


def _decided(row: TaskDifference, p_holm: float) -> TaskDifference:
    outcome: Outcome = "tie" if p_holm >= ALPHA else "win" if row.difference > 0 else "loss"
    return replace(row, p_holm=p_holm, outcome=outcome)


def _totals(first: Side, second: Side, rows: Sequence[TaskDifference]) -> Iterable[str]:
    for protocol in dict.fromkeys(row.protocol for row in rows):
        own = [row for row in rows if row.protocol == protocol]
        wins, ties, losses = (sum(row.outcome == kind for row in own) for kind in ("win", "tie", "loss"))
        average = math.fsum(row.difference for row in own) / len(own)
        over = "1 task" if len(own) == 1 else f"{len(own)} tasks"
        yield (
            f"{protocol}: {first.label} against {second.label}: wins {wins}, ties {ties}, losses {losses}; "
            f"{average:+.2f} points on average over {over}."
        )


def _methods(rows: Sequence[TaskDifference]) -> Iterable[str]:
    """Say what decided each outcome."""
    if any(row.p is not None for row in rows):
        yield (
            f"Paired tests on the same samples: a win or a loss has p (Holm, over the tasks of a protocol) below "
            f"{ALPHA:g}; the interval of the difference is at {100 * (1 - ALPHA):g} % for each task alone."
        )
    reasons: dict[str, list[str]] = {}
    for row in rows:
        if row.p is None:
            reasons.setdefault(row.remark, []).append(f"{row.task} ({row.protocol})")
    for remark, tasks in reasons.items():
        yield f"No paired test for {_listed(tasks)}: {remark}."
    if reasons:
        yield (
            f"Interval overlap, in place of a paired test: a win or a loss is where the {100 * LEVEL:g} % intervals of "
            "the two values do not touch, which misses small differences; nothing is corrected for the number of tasks."
        )


def _data_notes(keys: Sequence[Key], first: Side, second: Side) -> Iterable[str]:
    """Name the tasks on which two measured results did not use the same data, or a part of it."""
    other_bytes, partial = [], []
    for key in keys:
        records = [score.stored.result for side in (first, second) if (score := side.scores[key]).stored is not None]
        contents = {record.data.content for record in records if record.data is not None}
        if len(contents - {""}) > 1:
            other_bytes.append(str(key))
        if any(record.status == "partial" for record in records):
            partial.append(str(key))
    if other_bytes:
        yield f"Not computed from the same images, training images included: {_listed(other_bytes)}."
    if partial:
        yield f"Partial results, computed from a part of the samples: {_listed(partial)}."


def _published_notes(keys: Sequence[Key], first: Side, second: Side) -> Iterable[str]:
    """Say why a published number may be of something else than the measured one beside it."""
    if first.is_published == second.is_published:
        return
    measured, published = (second, first) if first.is_published else (first, second)
    levels: dict[str, list[str]] = {}
    for key in keys:
        stored = measured.scores[key].stored
        level = split_fidelity(stored.result) if stored is not None else "unknown"
        if level not in FAITHFUL:
            levels.setdefault(level, []).append(str(key))
    for level, tasks in levels.items():
        yield f"Split fidelity {level}, so that the published number is of other samples: {_listed(tasks)}."
    for task, caveat in published.caveats.items():
        if any(key.task == task for key in keys):
            yield f"{task}, published: {caveat}"


def _absent(keys: Sequence[Key], first: Side, second: Side) -> Iterable[str]:
    """Name what is left out of the table: what one side lacks, and what the two measured by other metrics."""
    for side, other in ((first, second), (second, first)):
        absent = [str(key) for key in keys if key not in side.scores]
        if absent:
            names = _listed(absent) if other.is_published else ", ".join(absent)
            yield f"Not compared, because {side.label} has no such result: {names}."
        if side.partial:
            yield f"{side.partial} partial result(s) of {side.label} are left out; --include-partial compares them."
    for key in keys:
        metrics = [side.scores[key].metric for side in (first, second) if key in side.scores]
        if len(set(metrics)) > 1:
            yield f"Not compared, because the metrics differ: {key}, {' and '.join(metrics)}."


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 5 else f"{', '.join(names[:5])} and {len(names) - 5} more"
