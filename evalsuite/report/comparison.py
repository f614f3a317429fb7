"""Compare two models task by task, and say for each whether the difference is more than chance."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from evalsuite.errors import UsageError
from evalsuite.records import Interval
from evalsuite.report.contenders import FAITHFUL, Contender
from evalsuite.report.editions import of_data
from evalsuite.report.pairing import NotPairedError, paired_difference
from evalsuite.results.naming import choose_tasks, resolve_names
from evalsuite.results.numbers import PARTIAL, Job, Number
from evalsuite.stats import LEVEL, holm
from evalsuite.text import counted, shortened

if TYPE_CHECKING:
    import pandas as pd

ALPHA = 0.05
"""Chance of calling any difference of a protocol real where there is none."""

Decision = Literal["win", "tie", "loss"]


@dataclass(frozen=True)
class TaskDifference:
    """Two models' numbers of one task under one protocol, and whether they differ.

    test: what decided; interval: of the difference at 1 - ALPHA, where the test gives one; p: of the paired test;
    p_holm: corrected over the tasks of the protocol; remark: why there is no paired test.
    """

    first: Number
    second: Number
    outcome: Decision
    test: str = "interval overlap"
    interval: Interval | None = None
    p: float | None = None
    p_holm: float | None = None
    remark: str = ""

    @property
    def task(self) -> str:
        """The task."""
        return self.first.task

    @property
    def protocol(self) -> str:
        """The protocol, with its options, as a table has it."""
        return self.first.job.protocol_label

    @property
    def difference(self) -> float:
        """First minus second."""
        return self.first.value - self.second.value

    @property
    def mark(self) -> str:
        """What stands behind the difference wherever it is written: a star where one of the two values is partial."""
        return self.first.mark or self.second.mark


@dataclass(frozen=True, repr=False)
class Comparison:
    """Two models on the tasks that both have.

    lacking: results of a measured second that there is nothing of the first to hold against.
    """

    first: str
    second: str
    rows: tuple[TaskDifference, ...]
    lacking: tuple[str, ...]
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        from evalsuite.report.comparison_formats import to_markdown

        return to_markdown(self).rstrip()

    def _repr_html_(self) -> str:
        """Show the table in a notebook."""
        from evalsuite.report.comparison_formats import to_html_part

        return to_html_part(self)

    def to_frame(self) -> pd.DataFrame:
        """Return a row per task and protocol: first, second, difference, low, high (percent, points), p, outcome."""
        from evalsuite.report.comparison_formats import to_frame

        return to_frame(self)

    def averages(self) -> dict[str, float]:
        """Return the mean difference of each protocol over the tasks of the table."""
        groups: dict[str, list[float]] = {}
        for row in self.rows:
            groups.setdefault(row.protocol, []).append(row.difference)
        return {protocol: math.fsum(values) / len(values) for protocol, values in groups.items()}

    def failures(self, points: float) -> list[str]:
        """Return what is more than `points` behind: averages of a protocol, lost tasks, and tasks the first lacks."""
        averages = {name: 100 * value for name, value in self.averages().items()}
        return [
            *(f"{name}: {value:+.2f} points on average" for name, value in averages.items() if -value > points),
            *(
                f"{row.first.job}: {100 * row.difference:+.2f}{row.mark} points"
                for row in self.rows
                if row.outcome == "loss" and -100 * row.difference > points
            ),
            *(
                f"{name}: nothing to hold against {self.second}; leave it out with --tasks or --protocol"
                for name in self.lacking
            ),
        ]


def compare(
    first: Contender,
    second: Contender,
    *,
    protocols: Sequence[str] = (),
    tasks: Sequence[str] = (),
    tags: Sequence[str] = (),
) -> Comparison:
    """Join two contenders on the tasks, protocols and options that both have, and return the differences.

    protocols: names or patterns; tasks, tags: see `choose_tasks`. One that selects nothing is a UsageError, as are
    contenders that share nothing.
    """
    known = {**first.numbers, **second.numbers}
    chosen_protocols = resolve_names("protocol", protocols, sorted({job.protocol for job in known}))
    chosen_tasks = choose_tasks(tasks, sorted({job.task for job in known}), tags, known.values())
    jobs = sorted(
        (job for job in known if job.protocol in chosen_protocols and job.task in chosen_tasks),
        key=lambda job: (job.protocol, job.options or "", job.task),
    )
    both = [job for job in jobs if job in first.numbers and job in second.numbers]
    shared = [job for job in both if first.numbers[job].metric == second.numbers[job].metric]
    if not shared:
        raise UsageError(
            f"{first.label} and {second.label} have no task, protocol, options and metric in common"
            f"{' among those chosen' if protocols or tasks or tags else ''}; "
            "`evalsuite leaderboard` shows what each has."
        )
    rows = _corrected([_difference(first.numbers[job], second.numbers[job]) for job in shared])
    lacking = [str(job) for job in jobs if job in second.numbers and job not in shared] if second.is_measured else []
    notes = [
        *_totals(first, second, rows),
        *_methods(rows),
        *_data_notes(rows),
        *_published_notes(rows),
        *_absent(jobs, first, second),
    ]
    return Comparison(first.label, second.label, tuple(rows), tuple(lacking), tuple(notes))


def _difference(first: Number, second: Number) -> TaskDifference:
    """Return one row, not yet corrected for the number of tasks."""
    row = TaskDifference(first, second, _by_overlap(first, second))
    if not (first.is_measured and second.is_measured):
        return replace(row, remark="published numbers have no samples")
    try:
        found = paired_difference(first, second, 1 - ALPHA)
    except NotPairedError as error:
        return replace(row, remark=str(error))
    return replace(row, test=found.test, interval=found.interval, p=found.p)


def _by_overlap(first: Number, second: Number) -> Decision:
    """Return a win or a loss where the intervals of the two values do not touch; a value without one touches all."""
    one, two = first.confidence(), second.confidence()
    if one is None or two is None:
        return "tie"
    if one.low > two.high:
        return "win"
    return "loss" if two.low > one.high else "tie"


def _corrected(rows: Sequence[TaskDifference]) -> list[TaskDifference]:
    """Return the rows with Holm's correction over the paired tests of each protocol, and what follows from it."""
    found = []
    for protocol in dict.fromkeys(row.protocol for row in rows):
        own = [row for row in rows if row.protocol == protocol]
        corrected = iter(holm([row.p for row in own if row.p is not None]))
        found += [row if row.p is None else _decided(row, next(corrected)) for row in own]
    return found


def _decided(row: TaskDifference, p_holm: float) -> TaskDifference:
    outcome: Decision = "tie" if p_holm >= ALPHA else "win" if row.difference > 0 else "loss"
    return replace(row, p_holm=p_holm, outcome=outcome)


def _totals(first: Contender, second: Contender, rows: Sequence[TaskDifference]) -> Iterable[str]:
    for protocol in dict.fromkeys(row.protocol for row in rows):
        own = [row for row in rows if row.protocol == protocol]
        wins, ties, losses = (sum(row.outcome == kind for row in own) for kind in ("win", "tie", "loss"))
        average = 100 * math.fsum(row.difference for row in own) / len(own)
        yield (
            f"{protocol}: {first.label} against {second.label}: wins {wins}, ties {ties}, losses {losses}; "
            f"{average:+.2f}{next((row.mark for row in own if row.mark), '')} points on average over "
            f"{counted(len(own), 'task')}."
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
            reasons.setdefault(row.remark, []).append(str(row.first.job))
    for remark, tasks in reasons.items():
        yield f"No paired test for {shortened(tasks)}: {remark}."
    if reasons:
        yield (
            f"Interval overlap, in place of a paired test: a win or a loss is where the {100 * LEVEL:g} % intervals of "
            "the two values do not touch, which misses small differences; nothing is corrected for the number of tasks."
        )


def _data_notes(rows: Sequence[TaskDifference]) -> Iterable[str]:
    """Name the tasks on which two measured results did not use the same data, or a part of it."""
    other_bytes, other_labels, partial = [], [], []
    for row in rows:
        pair = (row.first, row.second)
        if len({of_data(number, "content") for number in pair} - {""}) > 1:
            other_bytes.append(str(row.first.job))
        if len({of_data(number, "labels") for number in pair} - {""}) > 1:
            other_labels.append(str(row.first.job))
        if row.mark:
            partial.append(str(row.first.job))
    if other_bytes:
        yield f"Not computed from the same images, training images included: {shortened(other_bytes)}."
    if other_labels:
        yield f"Not held against the same labels or classes: {shortened(other_labels)}."
    if partial:
        yield f"{PARTIAL}: partial results, computed from a part of the samples: {shortened(partial)}."


def _published_notes(rows: Sequence[TaskDifference]) -> Iterable[str]:
    """Say why a published number may be of something else than the measured one next to it."""
    levels: dict[str, list[str]] = {}
    caveats: dict[str, str] = {}
    for row in rows:
        if row.first.is_measured != row.second.is_measured:
            measured, published = sorted((row.first, row.second), key=lambda number: not number.is_measured)
            caveats[row.task] = published.caveat
            if measured.fidelity not in FAITHFUL:
                levels.setdefault(measured.fidelity or "unknown", []).append(str(row.first.job))
    for level, tasks in levels.items():
        yield f"Split fidelity {level}, so that the published number is of other samples: {shortened(tasks)}."
    for task, caveat in sorted(caveats.items()):
        if caveat:
            yield f"{task}, published: {caveat}"


def _absent(jobs: Sequence[Job], first: Contender, second: Contender) -> Iterable[str]:
    """Name what is left out of the table: what one contender lacks, and what the two measured by other metrics."""
    for one, other in ((first, second), (second, first)):
        absent = [str(job) for job in jobs if job not in one.numbers]
        if absent:
            names = ", ".join(absent) if other.is_measured else shortened(absent)
            yield f"Not compared, because {one.label} has no such result: {names}."
        if one.partial:
            partial = counted(one.partial, "partial result")
            yield f"Left out: {partial} of {one.label}; --include-partial compares them."
    for job in jobs:
        metrics = [one.numbers[job].metric for one in (first, second) if job in one.numbers]
        if len(set(metrics)) > 1:
            yield f"Not compared, because the metrics differ: {job}, {' and '.join(metrics)}."
