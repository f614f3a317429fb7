"""Few labelled images next to none: the paper's figures 6 and 7. Only what was measured has the numbers."""

from __future__ import annotations

import math
import statistics

from evalsuite.report.few_shot import Curve, curves
from evalsuite.report.paper.figure import Axis, Drawing, Found, Panel, Point, Series
from evalsuite.report.paper.material import Material, needed
from evalsuite.report.paper.zero_shot import bar_panel
from evalsuite.results.naming import stands_for
from evalsuite.results.numbers import ModelKey
from evalsuite.text import counted, shortened

SHOTS = (1, 2, 4, 8, 16)
"""Images per class of figure 6."""

COMMAND = "  evalsuite run -m ViT-L/14@336px -t all --protocol zero_shot,few_shot,linear_probe"


def average_curves(material: Material) -> Drawing:
    """Draw figure 6: the average of few-shot probes by images per class, a line for each model; zero-shot at 0."""
    found = {model: _whole(of) for model, of in _curves(material).items()}
    found = {model: of for model, of in found.items() if of}
    if not found:
        raise needed("figure 6", "it takes few-shot results with 1, 2, 4, 8 and 16 images per class.", COMMAND)
    shared = set.intersection(*(set(of) for of in found.values()))
    tasks = [task for task in material.tasks if task in shared]
    if not tasks:
        raise needed("figure 6", "the models that have few-shot results share none of the tasks.", COMMAND)
    series: list[Series] = []
    statements: dict[str, Found] = {}
    for colour, (model, of) in enumerate(sorted(found.items(), key=lambda item: -_mean(item[1], tasks, SHOTS[-1]))):
        points = [Point(model.slug, k, _mean(of, tasks, k)) for k in SHOTS]
        series.append(Series(model.slug, tuple(points), colour, joined=True))
        targets = [target for task in tasks if (target := of[task].target) is not None]
        if len(targets) == len(tasks):
            level = 100 * statistics.fmean(targets)
            series.append(Series(f"{model.slug}, zero-shot", (Point(model.slug, 0, level, shown=True),), colour))
            average = Curve("average", tuple((one.x, one.y) for one in points), level)
            statements.setdefault("same_space", Found(average.images or 0.0, model.slug))
    panel = Panel(
        f"Average of {counted(len(tasks), 'task')}",
        tuple(series),
        Axis("images_per_class", "labelled images per class", ticks=(0, *SHOTS)),
        Axis("score", "average score"),
    )
    caption = f"Few-shot probes of {counted(len(found), 'model')} on {shortened(tasks, 6)}; at 0: zero-shot."
    return Drawing((panel,), caption, statements)


def data_efficiency(material: Material) -> Drawing:
    """Draw figure 7: labelled images per class that match zero-shot, a bar for each task."""
    known = {model: [one for one in of if one.target is not None] for model, of in _curves(material).items()}
    known = {model: of for model, of in known.items() if of}
    if not known:
        raise needed("figure 7", "it takes zero-shot and few-shot results of one model.", COMMAND)
    model = max(known, key=lambda model: len(known[model]))
    images = {one.task: one.images or 0.0 for one in known[model]}
    reached = {task: value for task, value in images.items() if math.isfinite(value)}
    bars = [Point(task, value, math.nan) for task, value in sorted(reached.items(), key=lambda item: -item[1])]
    never = [task for task in images if task not in reached]
    notes = [f"No probe reaches zero-shot on {shortened(never)}."] if never else []
    if below := [task for task, value in reached.items() if value == 0]:
        notes.append(f"Zero-shot is below one image per class on {shortened(below)}: a bar of no length.")
    if not bars:
        raise needed("figure 7", f"no probe on {model.slug} reaches its zero-shot classifier.", COMMAND)
    values = sorted(images.values())
    found = {
        "median": Found(statistics.median(values)),
        "most": Found(values[-1]),
        "below_one": Found(len(below)),
        **({} if never else {"mean": Found(statistics.fmean(values))}),
        **({"imagenet": Found(images["imagenet"])} if "imagenet" in images else {}),
    }
    panel = bar_panel(
        f"Images per class that match zero-shot {model.slug}", bars, "images_per_class", "images per class"
    )
    middle = found["median"].value
    median = f"median {middle:.1f}" if math.isfinite(middle) else "on most tasks, none of them does"
    caption = f"Labelled images per class with which a probe on {model.slug} matches zero-shot: {median}."
    return Drawing((panel,), caption, found, tuple(notes))


def _curves(material: Material) -> dict[ModelKey, list[Curve]]:
    every = curves((one for one in material.numbers if one.task in material.tasks), include_partial=True)
    chosen = {key for name in material.models for key in stands_for(name, every)} if material.models else set(every)
    return {model: of for model, of in every.items() if model in chosen}


def _whole(of: list[Curve]) -> dict[str, Curve]:
    """Return the curves that have every point of figure 6, by task."""
    return {one.task: one for one in of if set(SHOTS) <= {int(images) for images, _ in one.points}}


def _mean(of: dict[str, Curve], tasks: list[str], images: int) -> float:
    return 100 * statistics.fmean(dict(of[task].points)[images] for task in tasks)
