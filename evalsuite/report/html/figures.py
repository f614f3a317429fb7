"""Plots over all models: zero-shot against a probe (the paper's figure 5), score by cost (10), dots for each task."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from evalsuite.records import Interval
from evalsuite.report.html.facts import facts_of
from evalsuite.report.html.plots import COLOURS, Bar, Dot, Point, difference_bars, dot_plot, scatter
from evalsuite.report.html.tables import foremost, left_out
from evalsuite.report.leaderboard import build_leaderboard
from evalsuite.report.ranking import rows_called
from evalsuite.report.table import Leaderboard, Row
from evalsuite.results.library import Library
from evalsuite.results.naming import PUBLISHED
from evalsuite.results.numbers import MEASURED, PARTIAL, Number, Numbers, family, protocol_label
from evalsuite.text import counted, shortened

BASELINE = "resnet/50"
"""The linear probe that zero-shot models are held against in the paper's figure 5."""

DOTS = 20
"""Rows of a dot plot."""


@dataclass(frozen=True)
class Figure:
    """A plot with its caption; no plot: the caption says why."""

    plot: Markup | None
    caption: str


@dataclass(frozen=True)
class CostFigures:
    """Score against GFLOPs, a plot for each protocol, with the families behind the colours and what is not drawn."""

    figures: tuple[Figure, ...]
    families: tuple[str, ...]
    notes: tuple[str, ...]


def zero_shot_figures(board: Leaderboard, detail: Sequence[str], library: Library | None = None) -> list[Figure]:
    """Return the paper's figure 5 for the models `detail`, or for the best zero-shot row, measured before published.

    library: where the published baseline is read.
    """
    rows = [row for row in board.rows if row.protocol == "zero_shot"]
    probes = _baseline_rows(board, library or Library()) if rows else []
    # The probe with most tasks in common; of equals the measured one.
    against = {id(row): max(probes, key=lambda other: len(row.cells.keys() & other.cells.keys())) for row in rows}
    comparable = [row for row in rows if row.cells.keys() & against[id(row)].cells.keys()]
    best = max(comparable, key=lambda row: (row.origin == MEASURED, len(row.cells), row.average), default=None)
    called = {id(row) for name in detail for row in rows_called(name, rows)}
    chosen = [row for row in rows if id(row) in called] or ([best] if best else [])
    if not chosen:
        return [Figure(None, f"There is no zero-shot result on a task that {BASELINE} has a value for.")]
    return [_zero_shot_figure(row, against[id(row)], board.tasks) for row in chosen]


def cost_figures(board: Leaderboard) -> CostFigures:
    """Return the paper's figure 10, over the tasks that the most complete row has; rows that lack one are left out."""
    widest = max((_whole_tasks(row) for row in board.rows), key=len, default=frozenset())
    rows = [row for row in board.rows if widest and widest <= _whole_tasks(row)]
    points = {
        id(row): Point(row.title, family(row.model), cost, 100 * _mean(row, widest), row.origin != MEASURED)
        for row in rows
        if (cost := facts_of(row).gflops) is not None
    }
    drawn = [row for row in rows if id(row) in points]
    families = tuple(name for name, _ in Counter(family(row.model) for row in drawn).most_common())
    over = counted(len(widest), "task") if len(widest) > 1 else "".join(widest)
    figures = []
    for protocol in dict.fromkeys(row.labels[1] for row in drawn):
        title = f"{protocol}: average of {over} against GFLOPs per image"
        chosen = [points[id(row)] for row in drawn if row.labels[1] == protocol]
        figures.append(Figure(scatter(chosen, title, families), f"{title}."))
    notes = []
    unknown = list(dict.fromkeys(row.title for row in rows if id(row) not in points))
    if unknown:
        notes.append(f"Left out, because their GFLOPs are not known: {shortened(unknown, 12)}.")
    if len(rows) < len(board.rows):
        notes.append(f"Left out, because they lack some of the {over}: {counted(len(board.rows) - len(rows), 'row')}.")
    return CostFigures(tuple(figures), families, tuple(notes))


def legend(families: Sequence[str]) -> list[tuple[str, str]]:
    """Return (class of its colour, name) for each family; the last colour stands for all that have none."""
    named = list(families if len(families) <= COLOURS else [*families[: COLOURS - 1], "others"])
    return [(f"c{number}", name) for number, name in enumerate(named)]


def task_dots(board: Leaderboard, task: str, title: str) -> Figure:
    """Return the scores of a task with their intervals, the foremost rows of both protocols."""
    rows = [row for row in board.rows if task in row.cells]
    if not rows:
        return Figure(None, "No row has a value.")
    shown = foremost(rows, DOTS, lambda row: row.cells[task].value)
    dots = [
        Dot(
            label=_name(row),
            value=100 * row.cells[task].value,
            interval=percent(row.cells[task].confidence()),
            kind=row.protocol,
            hollow=row.origin != MEASURED,
            mark=row.cells[task].mark,
        )
        for row in shown
    ]
    return Figure(dot_plot(dots, f"Scores on {title}"), f"Scores with their intervals.{left_out(rows, shown)}")


def percent(interval: Interval | None) -> tuple[float, float] | None:
    """Return the bounds of an interval in percent."""
    return (100 * interval.low, 100 * interval.high) if interval else None


def _zero_shot_figure(row: Row, base: Row, tasks: Sequence[str]) -> Figure:
    shared = [task for task in tasks if task in row.cells and task in base.cells]
    title = f"Zero-shot {row.title} minus the linear probe on {base.title}"
    against = base.described
    if not shared:
        return Figure(None, f"{row.title} and {against} have no task in common.")
    bars = [_difference(row.cells[task], base.cells[task]) for task in shared]
    bars.sort(key=lambda bar: -bar.value)
    won = sum(bar.value > 0 for bar in bars)
    caption = (
        f"{row.title} ({row.origin.label}) minus {against}, in points: ahead on {won} of {counted(len(bars), 'task')}."
    )
    missing = len(tasks) - len(shared)
    caption += f" Without a value: {counted(missing, 'task')}." if missing else ""
    caption += f" {PARTIAL}: from a part of the samples." if any(bar.mark for bar in bars) else ""
    return Figure(difference_bars(bars, title), caption)


def _difference(ours: Number, base: Number) -> Bar:
    return Bar(ours.task, 100 * (ours.value - base.value), mark=ours.mark or base.mark)


def _baseline_rows(board: Leaderboard, library: Library) -> list[Row]:
    """Return the probes of the baseline: those that were measured, then the published one."""
    measured = [row for row in board.rows if row.origin == MEASURED and row.protocol == "linear_probe"]
    published = Numbers(tuple(library.one_model(PUBLISHED + BASELINE)))
    return [*rows_called(BASELINE, measured), *build_leaderboard(published, protocols=["linear_probe"]).rows]


def _name(row: Row) -> str:
    """Return the model, with the hash of its options where they are not the default."""
    return protocol_label(row.title, row.options)


def _mean(row: Row, tasks: Collection[str]) -> float:
    return math.fsum(row.cells[task].value for task in tasks) / len(tasks)


def _whole_tasks(row: Row) -> frozenset[str]:
    return frozenset(row.cells.keys() - row.partial_tasks)
