"""The section of few-shot curves: scores by labelled images per class, and how many of these zero-shot is worth."""

from __future__ import annotations

import math

from markupsafe import Markup

from evalsuite.report.few_shot import Curve, curves
from evalsuite.report.grid import MISSING
from evalsuite.report.html.plots import COLOURS
from evalsuite.report.html.section_plots import Line, line_plot
from evalsuite.report.html.sections.base import Section, rendered
from evalsuite.results.numbers import PARTIAL, Numbers, model_label, told_apart
from evalsuite.tasks import TaskIndex


def content(numbers: Numbers, index: TaskIndex) -> Markup | None:
    """Return a plot for each task with a curve for each of the best models, and the table of figure 7."""
    found = curves(numbers.numbers, include_partial=True)  # they are left out before where they shall be
    if not found:
        return None
    states = told_apart(numbers.places)
    best = sorted(found, key=lambda model: (-_level(found[model]), model))
    shown = best[:COLOURS]
    names = {model: model_label(model.slug, states[model]) for model in shown}
    by_task = {model: {curve.task: curve for curve in found[model]} for model in shown}
    tasks = list(dict.fromkeys(task for model in shown for task in by_task[model]))
    plots = [
        (
            task,
            line_plot(
                [
                    _line(names[model], number, by_task[model][task])
                    for number, model in enumerate(shown)
                    if task in by_task[model]
                ],
                f"Score on {task} by images per class",
            ),
        )
        for task in tasks
    ]
    matches = [
        (names[model], [_match(by_task[model].get(task)) for task in tasks])
        for model in shown
        if any(curve.target is not None for curve in found[model])
    ]
    return rendered(
        "few_shot",
        plots=plots,
        tasks=tasks,
        matches=matches,
        legend=[(f"c{number}", names[model]) for number, model in enumerate(shown)],
        left_out=len(best) - len(shown),
    )


SECTION = Section("few-shot", "Few-shot curves", content)


def _level(of: list[Curve]) -> float:
    return math.fsum(curve.points[-1][1] for curve in of) / len(of)


def _line(name: str, number: int, curve: Curve) -> Line:
    points = tuple((images, 100 * score) for images, score in curve.points)
    level = None if curve.target is None else 100 * curve.target
    return Line(
        name + (PARTIAL if curve.partial else ""),
        number,
        points,
        tuple(100 * spread for spread in curve.spreads),
        level,
    )


def _match(curve: Curve | None) -> str:
    """Return the images per class that match zero-shot, for a cell."""
    if curve is None or curve.target is None:
        return MISSING
    return curve.matching + (PARTIAL if curve.partial else "")
