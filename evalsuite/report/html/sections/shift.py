"""The section of shift: accuracy on other images of the same classes, and how much of it baselines do not have."""

from __future__ import annotations

from markupsafe import Markup

from evalsuite.report.grid import MISSING
from evalsuite.report.html.section_plots import Mark, shift_plot
from evalsuite.report.html.sections.base import Section, rendered
from evalsuite.report.robustness import Robustness, RobustRow, Shifted, build_robustness
from evalsuite.results.numbers import MEASURED, Numbers
from evalsuite.results.shift import read_shift_tables
from evalsuite.tasks import TaskIndex

STEPS = 24
"""Straight pieces of the line of baselines, which is straight in logits."""


def content(numbers: Numbers, index: TaskIndex) -> Markup | None:
    """Return a plot for each task under shift and the table; None where nothing was measured under shift."""
    found = build_robustness(numbers, read_shift_tables(), include_partial=True, index=index)
    measured = {task for row in found.rows if row.labels[2] == MEASURED.label for task in row.cells}
    if not measured:
        return None
    tasks = [task for task in found.tasks if task in measured]
    rows = [(row, [_cell(row.cells.get(task)) for task in tasks]) for row in found.rows if measured & row.cells.keys()]
    references = list(dict.fromkeys(found.tasks[task] for task in tasks))
    without = {id(row): [_reference(row, one) for one in references] for row, _ in rows}
    return rendered(
        "shift",
        plots=[(task, _plot(found, task)) for task in tasks],
        tasks=tasks,
        references=references,
        rows=[(row.labels, without[id(row)], cells) for row, cells in rows],
        notes=found.notes,
    )


SECTION = Section("shift", "Robustness to shift", content)


def _plot(found: Robustness, task: str) -> Markup:
    reference = found.tasks[task]
    marks = [
        Mark(
            f"{row.labels[0]} ({row.labels[1]}, {row.labels[2]})",
            100 * row.references[reference].value,
            100 * row.cells[task].number.value,
            row.labels[1].partition(" ")[0],
            hollow=row.labels[2] != MEASURED.label,
        )
        for row in found.rows
        if task in row.cells
    ]
    line = found.lines.get(task)
    places = [line.low + (line.high - line.low) * step / STEPS for step in range(STEPS + 1)] if line else []
    curve = [(100 * x, 100 * line.predict(x)) for x in places] if line else []
    return shift_plot(marks, curve, f"Accuracy on {task} by accuracy on {reference}", reference)


def _cell(cell: Shifted | None) -> str:
    if cell is None:
        return MISSING
    effective = "" if cell.effective is None else f" ({'~' if cell.beyond else ''}{100 * cell.effective:+.1f})"
    return cell.number.percent + effective


def _reference(row: RobustRow, task: str) -> str:
    return row.references[task].percent if task in row.references else MISSING
