"""The figures of the paper by number, what each is, and what numbers make of the paper's words."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from evalsuite.errors import UsageError
from evalsuite.registry import did_you_mean
from evalsuite.report.editions import editions
from evalsuite.report.paper import few_shot, probes, prompts, shift, zero_shot
from evalsuite.report.paper.figure import CannotDrawError, Drawing, Found, PaperFigure
from evalsuite.report.paper.material import Material
from evalsuite.results.figures import Statement, read_figures, read_retrieval
from evalsuite.results.library import Library
from evalsuite.results.naming import choose_tasks
from evalsuite.results.numbers import Number
from evalsuite.results.shift import read_shift_tables
from evalsuite.text import shortened


@dataclass(frozen=True)
class Recipe:
    """How a figure is drawn."""

    title: str
    draw: Callable[[Material], Drawing]


FIGURES: Mapping[str, Recipe] = {
    "4": Recipe("What prompts gain", prompts.gain),
    "5": Recipe("Zero-shot against a probe on ResNet-50", zero_shot.competitive),
    "6": Recipe("Zero-shot against few labelled images", few_shot.average_curves),
    "7": Recipe("Labelled images that match zero-shot", few_shot.data_efficiency),
    "8": Recipe("Zero-shot by linear probe", zero_shot.correlated),
    "10": Recipe("Average of linear probes by cost", probes.by_cost),
    "11": Recipe("CLIP against the best EfficientNet", probes.against_the_best),
    "12": Recipe("Transfer by the score on ImageNet", probes.transfer),
    "13": Recipe("Robustness to shift", shift.robust),
    "20": Recipe("Linear probes by cost, each task", probes.each_task),
    "22": Recipe("Zero-shot by cost, each task", zero_shot.by_cost),
}
"""Number -> figure. Figures 1 to 3, 9, 14 to 19 and 21 are drawings, images, or of numbers that are made otherwise."""

TRAINING_COST = "10"
"""The figure that may be drawn by the cost of training."""


def published_numbers(library: Library) -> tuple[Number, ...]:
    """Return every number of the paper that ships: tables 10, 11, 13 and 16, and figure 13."""
    shifts = (number for table in read_shift_tables() for number in table.numbers())
    return (*library.printed, *shifts, *read_retrieval().numbers())


def material_of(numbers: Iterable[Number], tasks: Sequence[str] = (), models: Sequence[str] = ()) -> Material:
    """Return what to draw from. tasks: default: the paper's 27. UsageError for a name that stands for no task."""
    from evalsuite.tasks import TaskIndex

    groups, given = TaskIndex().groups, tuple(numbers)
    known = list(dict.fromkeys([*groups["all"], *(number.task for number in given)]))
    chosen = choose_tasks(tasks, known) if tasks else groups["all"]
    return Material(
        given, tuple(chosen), tuple(task for task in chosen if task in groups["kornblith12"]), tuple(models)
    )


def draw(number: str, material: Material, library: Library, *, training: bool = False) -> PaperFigure:
    """Return a figure, and what the numbers that ship make of the paper's words on it.

    training: by the cost of training. UsageError for another number, and where it takes more measurements.
    """
    recipe = FIGURES.get(number)
    if recipe is None:
        raise UsageError(
            f"Figure {number} is not drawn.{did_you_mean(number, list(FIGURES))} There are: {', '.join(FIGURES)}."
        )
    if training and number != TRAINING_COST:
        raise UsageError(f"Figure {number} is not drawn by the cost of training; figure {TRAINING_COST} is.")
    make = partial(probes.by_cost, training=True) if training else recipe.draw
    try:
        drawing = make(material)
    except CannotDrawError as error:
        raise CannotDrawError(f"{error}{_elsewhere(material)}") from error
    shipped = published_numbers(library)
    words = [] if training else verdicts(f"figure {number}", _shipped(recipe, shipped), _own(drawing))
    notes = (*words, *drawing.notes, *filter(None, (editions(material.rows, task) for task in material.tasks)))
    return PaperFigure(number, recipe.title, drawing, notes)


def _elsewhere(material: Material) -> str:
    """Name the tasks that were measured and are none of a figure's; "" where there is none."""
    others = sorted({number.task for number in material.numbers if number.is_measured} - set(material.tasks))
    return f"\nMeasured, and left out here: {shortened(others)}. -t chooses the tasks." if others else ""


def missing(number: str, material: Material) -> str:
    """Say what a figure takes that is not there; "" where it can be drawn."""
    try:
        FIGURES[number].draw(material)
    except CannotDrawError as error:
        return str(error)
    return ""


def verdicts(what: str, shipped: Mapping[str, Found], measured: Mapping[str, Found] | None = None) -> list[str]:
    """Say of each of the paper's words on a figure or table what the numbers that ship, and those drawn, make of it."""
    lines = [_verdict(one, shipped.get(one.name)) for one in read_figures().claims.get(what, [])]
    own = measured or {}
    for number, one in enumerate(read_figures().claims.get(what, [])):
        if one.name in own:
            lines[number] += f" What is drawn gives {_said(one, own[one.name])}."
    return lines


def _verdict(one: Statement, found: Found | None) -> str:
    text = one.text[0].upper() + one.text[1:]
    said = f"the paper prints {one.printed}" if one.printed else f"the paper says more than {one.above:g}"
    begin = f"{text} ({one.where}): {said}"
    if found is None:
        return f"{begin}; the numbers that ship cannot tell{f': {one.needs}' if one.needs else ''}."
    return f"{begin}, its tables give {_said(one, found)}: {'agrees' if one.agrees(found.value) else 'differs'}."


def _said(one: Statement, found: Found) -> str:
    """Write a number with one decimal more than the paper's, so that a reader sees how near it is."""
    whole = one.printed is not None and not one.decimals and found.value % 1 == 0
    text = f"{found.value:.0f}" if whole else f"{found.value:.{one.decimals + 1}f}"
    text = "more than there were" if math.isinf(found.value) else text  # images that match zero-shot
    return text + (f" ({found.evidence})" if found.evidence else "")


def _shipped(recipe: Recipe, numbers: Iterable[Number]) -> Mapping[str, Found]:
    try:
        return recipe.draw(material_of(numbers)).found
    except CannotDrawError:
        return {}


def _own(drawing: Drawing) -> Mapping[str, Found]:
    """Return what is found where something measured is drawn."""
    measured = any(not point.hollow for panel in drawing.panels for series in panel.series for point in series.points)
    return drawing.found if measured else {}
