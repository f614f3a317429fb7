"""The section of calibration: is a model right as often as it is sure, before and after one temperature."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from evalsuite.report.grid import MISSING
from evalsuite.report.html.section_plots import Change, change_plot
from evalsuite.report.html.sections.base import Section, rendered
from evalsuite.results.details import calibration_of
from evalsuite.results.numbers import ModelKey, Number, Numbers, RowKey, model_label, newest, protocol_label, told_apart
from evalsuite.tasks import TaskIndex

ROWS = 20
"""Rows of the plot and of the table; those with most tasks come first."""


@dataclass(frozen=True)
class Calibrated:
    """The calibration of a number. after: None where no temperature was fitted."""

    number: Number
    before: float
    after: float | None

    @property
    def cell(self) -> str:
        """ECE before and after, in percent."""
        after = "" if self.after is None else f" → {100 * self.after:.1f}"
        return f"{100 * self.before:.1f}{after}{self.number.mark}"


def content(numbers: Numbers, index: TaskIndex) -> Markup | None:
    """Return a plot of mean calibration errors and the table of all of them; None where no record has any."""
    rows: dict[RowKey, dict[str, Calibrated]] = defaultdict(dict)
    for number in newest(numbers.numbers):
        if (found := _calibrated(number)) is not None:
            rows[number.row][number.task] = found
    if not rows:
        return None
    states = told_apart(numbers.places)
    ordered = sorted(rows.values(), key=lambda cells: (-len(cells), _mean(list(cells.values()))))
    shown = ordered[:ROWS]
    tasks = list(dict.fromkeys(task for cells in shown for task in cells))
    names = [_name(next(iter(cells.values())).number, states) for cells in shown]
    changes = [Change(name, *_means(list(cells.values()))) for name, cells in zip(names, shown, strict=True)]
    table = [
        (name, [cells[task].cell if task in cells else MISSING for task in tasks])
        for name, cells in zip(names, shown, strict=True)
    ]
    plot = change_plot(changes, "Mean expected calibration error before and after a temperature")
    return rendered("calibration", plot=plot, tasks=tasks, table=table, left_out=len(ordered) - len(shown))


SECTION = Section("calibration", "Calibration", content)


def _calibrated(number: Number) -> Calibrated | None:
    found = calibration_of(number.record.details) if number.record else None
    if found is None:
        return None
    return Calibrated(number, found.before.ece, found.after.ece if found.after else None)


def _means(cells: Sequence[Calibrated]) -> tuple[float, float | None]:
    """Return the mean errors in percent, over the tasks that have both; without any, the mean of all before."""
    both = [cell for cell in cells if cell.after is not None]
    if not both:
        return _mean(cells), None
    return _mean(both), 100 * math.fsum(cell.after or 0.0 for cell in both) / len(both)


def _mean(cells: Sequence[Calibrated]) -> float:
    return 100 * math.fsum(cell.before for cell in cells) / len(cells)


def _name(number: Number, states: Mapping[ModelKey, str]) -> str:
    model = model_label(number.model, states[number.model_key])
    return f"{model}, {protocol_label(number.protocol, number.options)}"
