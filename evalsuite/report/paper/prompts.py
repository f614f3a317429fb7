"""What prompts are worth: the paper's figure 4. Only what was measured has the numbers."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from evalsuite.report.paper.figure import Axis, Drawing, Found, Panel, Series
from evalsuite.report.paper.material import Material, is_published, mean, needed, point
from evalsuite.report.paper.zero_shot import ZERO_SHOT, left_out
from evalsuite.report.table import Row
from evalsuite.text import counted, shortened

NAMES = {"prompts": "names"}
"""The options of a zero-shot result without templates."""


def gain(material: Material) -> Drawing:
    """Draw figure 4: average zero-shot score with bare names and with the prompts of the tasks, by GFLOPs."""
    bare = {row.title: row for row in material.rows if _is_bare(row)}
    pairs = [(row, bare[row.title]) for row in material.of(ZERO_SHOT) if row.title in bare and not is_published(row)]
    if pairs:
        named = {id(row) for row in material.named([row for row, _ in pairs])}
        pairs = [(row, other) for row, other in pairs if id(row) in named]
    drawn = [(row, other) for row, other in pairs if material.gflops(row)]
    shared = set(material.tasks).intersection(*(row.cells.keys() & other.cells.keys() for row, other in drawn))
    tasks = [task for task in material.tasks if task in shared]
    if not drawn or not tasks:
        raise needed(
            "figure 4",
            "it takes zero-shot results of the same tasks with and without prompts.",
            "  evalsuite run -m RN50,RN101,RN50x4,RN50x16,RN50x64 -t all --protocol zero_shot --prompts default,names",
        )
    cost = {row.title: material.gflops(row) or 0.0 for row, _ in drawn}
    series = (
        _line("prompts of the tasks", [(row, cost[row.title]) for row, _ in drawn], tasks, 0),
        _line("names alone", [(row, cost[row.title]) for _, row in drawn], tasks, 1),
    )
    points = [mean(row, tasks) - mean(other, tasks) for row, other in drawn]
    panel = Panel(
        f"Zero-shot average of {counted(len(tasks), 'task')}",
        series,
        Axis("gflops", "GFLOPs per image", log=True),
        Axis("score", "average score"),
    )
    found = {"gain": Found(statistics.fmean(points), shortened([row.title for row, _ in drawn]))}
    models = counted(len(drawn), "model")
    caption = f"Prompts gain {found['gain'].value:+.1f} points on average of {models}, on {shortened(tasks, 6)}."
    return Drawing((panel,), caption, found, left_out([row for row, _ in pairs], [row for row, _ in drawn]))


def _line(label: str, rows: Sequence[tuple[Row, float]], tasks: Sequence[str], colour: int) -> Series:
    points = [point(row, cost, mean(row, tasks), shown=colour == 0) for row, cost in rows]
    return Series(label, tuple(sorted(points, key=lambda one: one.x)), colour, joined=True)


def _is_bare(row: Row) -> bool:
    return row.protocol == ZERO_SHOT and all(dict(cell.changed_options) == NAMES for cell in row.cells.values())
