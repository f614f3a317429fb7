"""Effective robustness: accuracy under shift minus what baselines of the same accuracy without it would have.

Taori et al. 2020 (arXiv:2007.00644): on models trained on ImageNet, the logit of the accuracy under shift is a linear
function of the logit of the accuracy on ImageNet. The line is fitted by least squares on baselines, which are named
with every number: with others it is another number.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from evalsuite.errors import UsageError
from evalsuite.report.editions import edition_notes
from evalsuite.results.naming import select, stands_for
from evalsuite.results.numbers import Number, Numbers, RowKey, model_label, newest, protocol_label, told_apart
from evalsuite.results.shift import ShiftTable
from evalsuite.results.task_files import index_of
from evalsuite.tasks.index import TaskIndex
from evalsuite.text import counted, shortened

LEAST = 1e-4
"""Accuracies are kept so far from 0 and 1 in a logit, which has no value there."""


@dataclass(frozen=True)
class Line:
    """logit(under shift) = slope x logit(reference) + intercept, from `points` baselines of `low` to `high` there."""

    slope: float
    intercept: float
    points: int
    low: float
    high: float

    def predict(self, reference: float) -> float:
        """Return the accuracy under shift that baselines of this accuracy have."""
        return 1 / (1 + math.exp(-(self.slope * _logit(reference) + self.intercept)))


@dataclass(frozen=True)
class Shifted:
    """An accuracy under shift. predicted: that of baselines; None where no line can be drawn. beyond: the accuracy on
    the reference is outside theirs."""

    number: Number
    predicted: float | None
    beyond: bool

    @property
    def effective(self) -> float | None:
        """The effective robustness, a fraction."""
        return None if self.predicted is None else self.number.value - self.predicted


@dataclass(frozen=True)
class RobustRow:
    """One model under one protocol. references: task without shift -> number; cells: task under shift -> what it is."""

    labels: tuple[str, str, str]
    is_baseline: bool
    references: Mapping[str, Number]
    cells: Mapping[str, Shifted]


@dataclass(frozen=True)
class Robustness:
    """The table. tasks: under shift -> reference. lines: task under shift -> line."""

    tasks: Mapping[str, str]
    rows: tuple[RobustRow, ...]
    lines: Mapping[str, Line]
    notes: tuple[str, ...]


def fit_line(pairs: Sequence[tuple[float, float]]) -> Line | None:
    """Fit the line on (accuracy on the reference, accuracy under shift); None for fewer than two different ones."""
    if len({reference for reference, _ in pairs}) < 2:
        return None
    xs, ys = ([_logit(value) for value in values] for values in zip(*pairs, strict=True))
    x_mean, y_mean = math.fsum(xs) / len(xs), math.fsum(ys) / len(ys)
    spread = math.fsum((x - x_mean) ** 2 for x in xs)
    slope = math.fsum((x - x_mean) * (y - y_mean) for x, y in zip(xs, ys, strict=True)) / spread
    references = [reference for reference, _ in pairs]
    return Line(slope, y_mean - slope * x_mean, len(pairs), min(references), max(references))


def build_robustness(
    table: Numbers,
    printed: Sequence[ShiftTable],
    *,
    baselines: Sequence[str] = (),
    protocols: Sequence[str] = (),
    tasks: Sequence[str] = (),
    models: Sequence[str] = (),
    tags: Sequence[str] = (),
    include_partial: bool = False,
    index: TaskIndex | None = None,
) -> Robustness:
    """Return the effective robustness of every row that has an accuracy under shift and one on its reference.

    table: what was measured, imported and published. printed: published accuracies under shift. baselines: models or
    families, measured or published, of all protocols that are shown; default: those that the published tables call so.
    The filters are those of the leaderboard. UsageError for a name that stands for nothing.
    """
    every = Numbers((*table.numbers, *(number for one in printed for number in one.numbers())), table.failures)
    references = _references(every, index or index_of(table.numbers))
    shown = select(every, protocols=protocols, tasks=tasks, models=models, tags=tags).chosen.numbers
    rows = _pivot(newest(every.numbers, include_partial=include_partial))
    fitted = _baseline_rows(rows, baselines, protocols, printed)
    wanted = {number.row for number in shown if number.task in references}
    chosen = {task: one for task, one in references.items() if task in {number.task for number in shown}}
    lines = {task: line for task, one in chosen.items() if (line := fit_line(_pairs(rows, fitted, task, one)))}
    states = told_apart(every.places)
    found = [
        _row(cells, chosen, lines, key in fitted, states[next(iter(cells.values())).model_key])
        for key, cells in rows.items()
        if key in wanted
    ]
    kept = sorted((row for row in found if row.cells), key=lambda row: (row.is_baseline, row.labels))
    there = {task: one for task, one in chosen.items() if any(task in row.cells for row in kept)}
    editions = edition_notes(number for row in kept for number in _numbers_of(row))
    return Robustness(there, tuple(kept), lines, (*_notes(there, lines, rows, fitted, kept, printed), *editions))


def _logit(value: float) -> float:
    kept = min(max(value, LEAST), 1 - LEAST)
    return math.log(kept / (1 - kept))


def _references(table: Numbers, index: TaskIndex) -> dict[str, str]:
    """Return each task of the table that shifts from another -> that one: what it borrows training images from."""
    known = dict.fromkeys(number.task for number in table.numbers)
    loaded = {task: index.load(task) for task in known if task in index.files}
    return {task: spec.borrows["train"].task for task, spec in loaded.items() if "train" in spec.borrows}


def _pivot(numbers: Iterable[Number]) -> dict[RowKey, dict[str, Number]]:
    rows: dict[RowKey, dict[str, Number]] = defaultdict(dict)
    for number in numbers:
        rows[number.row][number.task] = number
    return rows


def _baseline_rows(
    rows: Mapping[RowKey, Mapping[str, Number]],
    names: Sequence[str],
    protocols: Sequence[str],
    printed: Sequence[ShiftTable],
) -> set[RowKey]:
    if not names:
        return {number.row for one in printed for number in one.numbers(baselines=True)}
    keys = {key: next(iter(cells.values())) for key, cells in rows.items()}
    known = {number.model_key for number in keys.values()}
    found: set[RowKey] = set()
    for name in names:
        models = stands_for(name, known)
        if not models:
            raise UsageError(
                f"--baseline {name}: nothing that was measured or published is called so. "
                "`evalsuite leaderboard --published all` shows the names."
            )
        found |= {
            key for key, number in keys.items()
            if number.model_key in models and (not protocols or number.protocol in protocols)
        }  # fmt: skip
    return found


def _pairs(
    rows: Mapping[RowKey, Mapping[str, Number]], baselines: set[RowKey], task: str, reference: str
) -> list[tuple[float, float]]:
    there = (rows[key] for key in baselines if key in rows)
    return sorted((cells[reference].value, cells[task].value) for cells in there if {task, reference} <= cells.keys())


def _row(
    cells: Mapping[str, Number], tasks: Mapping[str, str], lines: Mapping[str, Line], is_baseline: bool, state: str
) -> RobustRow:
    first = next(iter(cells.values()))
    labels = (model_label(first.model, state), protocol_label(first.protocol, first.options), first.origin.label)
    shifted = {}
    for task, reference in tasks.items():
        if task in cells and reference in cells:
            at, line = cells[reference].value, lines.get(task)
            beyond = line is not None and not line.low <= at <= line.high
            shifted[task] = Shifted(cells[task], None if line is None else line.predict(at), beyond)
    return RobustRow(labels, is_baseline, {one: cells[one] for one in tasks.values() if one in cells}, shifted)


def _notes(
    tasks: Mapping[str, str],
    lines: Mapping[str, Line],
    rows: Mapping[RowKey, Mapping[str, Number]],
    baselines: set[RowKey],
    shown: Sequence[RobustRow],
    printed: Sequence[ShiftTable],
) -> Iterable[str]:
    if not shown:
        return
    named = sorted({next(iter(rows[key].values())).model for key in baselines if key in rows})
    yield (
        "(+x): effective robustness, points above the accuracy that baselines of the same accuracy without shift have "
        f"(Taori et al. 2020: linear in logits). Baselines: {shortened(named, 8) or 'none'}."
    )
    for task, reference in tasks.items():
        line = lines.get(task)
        if line is None:
            yield f"{task}: no line; it takes two baselines of different accuracy on {reference} (--baseline NAME)."
        else:
            falls = ", which falls: trust nothing that follows from it" if line.slope <= 0 else ""
            yield (
                f"{task}: logit = {line.slope:.2f} x logit on {reference} {line.intercept:+.2f}{falls} "
                f"({counted(line.points, 'baseline')}, {100 * line.low:.1f} to {100 * line.high:.1f})."
            )
    if any(cell.beyond for row in shown for cell in row.cells.values()):
        yield "~: the accuracy without shift is outside that of the baselines, and the line is only prolonged."
    if any(number.partial for row in shown for number in _numbers_of(row)):
        yield "*: computed from a part of the samples."
    yield "The accuracy without shift is that on all classes, also where a set has some of them only."
    if any(label == one.origin for one in printed for label in (row.labels[2] for row in shown)):
        yield from (" ".join(caveat.split()) for one in printed for caveat in one.caveats)


def _numbers_of(row: RobustRow) -> Iterable[Number]:
    return [*row.references.values(), *(cell.number for cell in row.cells.values())]
