"""The plots over all models: zero-shot against a probe (the paper's figure 5), score against cost (10), dots a task."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from evalsuite.models.aliases import aliases
from evalsuite.report.html.plots import COLOURS, Bar, Dot, Point, difference_bars, dot_plot, scatter
from evalsuite.report.html.tables import foremost, left_out
from evalsuite.report.leaderboard import MEASURED, build_leaderboard
from evalsuite.report.standings import interval_of, is_model
from evalsuite.report.table import Leaderboard, Row
from evalsuite.results.published import load_published

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
    """Score against GFLOPs, a plot a protocol, with the families behind the colours and what is not drawn."""

    figures: tuple[Figure, ...]
    families: tuple[str, ...]
    notes: tuple[str, ...]


def zero_shot_figures(board: Leaderboard, detail: Sequence[str]) -> list[Figure]:
    """Return the paper's figure 5 for the models `detail`, or for the best zero-shot row, measured before published."""
    against = {id(row): _baseline(row, board) for row in board.rows if _protocol(row) == "zero_shot"}
    rows = [row for row in board.rows if id(row) in against]
    comparable = [row for row in rows if row.cells.keys() & against[id(row)].cells.keys()]
    best = max(comparable, key=lambda row: (row.origin == MEASURED, len(row.cells), row.average), default=None)
    named = [row for row in rows if any(is_model(row, name) for name in detail)]
    chosen = named or ([best] if best else [])
    if not chosen:
        return [Figure(None, f"There is no zero-shot result on a task that {BASELINE} has a value for.")]
    return [_zero_shot_figure(row, against[id(row)], board.tasks) for row in chosen]


def cost_figures(board: Leaderboard) -> CostFigures:
    """Return the paper's figure 10, over the tasks that the most complete row has; rows that lack one are left out."""
    widest = max((_whole_tasks(row) for row in board.rows), key=len, default=frozenset())
    known = _known_gflops()
    rows = [row for row in board.rows if widest and widest <= _whole_tasks(row)]
    points = {
        id(row): Point(row.model, _family(row), cost, _mean(row, widest), row.origin != MEASURED)
        for row in rows
        if (cost := _gflops(row, known)) is not None
    }
    drawn = [row for row in rows if id(row) in points]
    families = tuple(name for name, _ in Counter(map(_family, drawn)).most_common())
    over = f"{len(widest)} tasks" if len(widest) > 1 else "".join(widest)
    figures = []
    for protocol in dict.fromkeys(row.protocol for row in drawn):
        title = f"{protocol}: average of {over} against GFLOPs an image"
        chosen = [points[id(row)] for row in drawn if row.protocol == protocol]
        figures.append(Figure(scatter(chosen, title, families), f"{title}."))
    notes = []
    unknown = list(dict.fromkeys(row.model for row in rows if id(row) not in points))
    if unknown:
        notes.append(f"Left out, because their GFLOPs are not known: {_shortened(unknown)}.")
    if len(rows) < len(board.rows):
        notes.append(f"Left out, because they lack some of the {over}: {len(board.rows) - len(rows)} rows.")
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
        Dot(_name(row), row.cells[task].value, interval_of(row.cells[task]), _protocol(row), row.origin != MEASURED)
        for row in shown
    ]
    return Figure(dot_plot(dots, f"Scores on {title}"), f"Scores with their intervals.{left_out(rows, shown)}")


def _zero_shot_figure(row: Row, base: Row, tasks: Sequence[str]) -> Figure:
    shared = [task for task in tasks if task in row.cells and task in base.cells]
    title = f"Zero-shot {row.model} minus the linear probe on {base.model}"
    against = f"{base.model} ({base.protocol}, {base.origin})"
    if not shared:
        return Figure(None, f"{row.model} and {against} have no task in common.")
    bars = [Bar(task, row.cells[task].value - base.cells[task].value) for task in shared]
    bars.sort(key=lambda bar: -bar.value)
    won = sum(bar.value > 0 for bar in bars)
    caption = f"{row.model} ({row.origin}) minus {against}, in points: ahead on {won} of {len(bars)} tasks."
    missing = len(tasks) - len(shared)
    return Figure(difference_bars(bars, title), caption + (f" {missing} tasks lack a value." if missing else ""))


def _baseline(row: Row, board: Leaderboard) -> Row:
    """Return the baseline's probe with most tasks in common with `row`; of equals the measured one."""
    measured = [other for other in board.rows if other.origin == MEASURED]
    published = build_leaderboard([], load_published([BASELINE]), protocols=["linear_probe"]).rows
    found = [
        other for other in [*measured, *published] if is_model(other, BASELINE) and _protocol(other) == "linear_probe"
    ]
    return max(found, key=lambda other: len(row.cells.keys() & other.cells.keys()))


def _known_gflops() -> dict[str, float]:
    """Return GFLOPs by the slug of a model, and of its row in a paper."""
    known = {alias.published: alias.gflops for alias in aliases().values()}
    return known | {alias.slug: alias.gflops for alias in aliases().values()}


def _gflops(row: Row, known: dict[str, float]) -> float | None:
    for cell in row.cells.values():
        if cell.result is not None and (info := cell.result.model_info) and info.gflops:
            return info.gflops
    return known.get(row.model.partition(" @")[0])


def _family(row: Row) -> str:
    return row.model.partition("/")[0]


def _protocol(row: Row) -> str:
    return row.protocol.partition(" #")[0]


def _name(row: Row) -> str:
    """Return the model, with the hash of its options where they are not the default."""
    options = row.protocol.partition(" ")[2]
    return f"{row.model} {options}" if options else row.model


def _mean(row: Row, tasks: Collection[str]) -> float:
    return math.fsum(row.cells[task].value for task in tasks) / len(tasks)


def _whole_tasks(row: Row) -> frozenset[str]:
    return frozenset(row.cells.keys() - row.partial_tasks)


def _shortened(names: Sequence[str], most: int = 12) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
