"""Linear probes of many models: the paper's figures 10, 11, 12 and 20."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from evalsuite.report.costs import training_days
from evalsuite.report.paper.figure import Axis, CannotDrawError, Drawing, Found, Guide, Panel, Point, Series
from evalsuite.report.paper.material import Material, kind, label, mean, needed, point
from evalsuite.report.paper.zero_shot import PROBE, bar_panel, differences, left_out, task_panels
from evalsuite.report.table import Row
from evalsuite.results.numbers import family
from evalsuite.text import counted

CLIP = "clip"

RIVAL = "efficientnet-ns/l2-475"
"""The EfficientNet-L2 of figure 11: of the two in table 10, the one that 21 of 27 holds for."""

OTHER_RIVAL = "efficientnet-ns/l2-800"

OTHERS = "all but CLIP"

STATED = {
    "ahead_12": (12, CLIP, OTHERS),
    "ahead_27": (27, CLIP, OTHERS),
    "rn50x64": (12, "clip/rn50x64", OTHERS),
    "simclr_12": (12, "bit-m", "simclrv2"),
    "simclr_27": (27, "simclrv2", "bit-m"),
}
"""Claim -> the suite, and the two of which the best of the first is said to be ahead."""

COMMAND = "  evalsuite run -m 'clip/*' -t all --protocol linear_probe"


def by_cost(material: Material, *, training: bool = False) -> Drawing:
    """Draw figure 10: average score by GFLOPs, on the tasks of Kornblith et al. 2019 and on all.

    training: by the days of one V100 that training took, where they are published.
    """
    rows = _complete(material, "figure 10")
    costs = {id(row): training_days(row) if training else material.gflops(row) for row in rows}
    drawn = [row for row in rows if costs[id(row)]]
    if not drawn:
        raise CannotDrawError("Figure 10 cannot be drawn: the training cost of none of the rows is published.")
    axis = (
        Axis("v100_days", "V100 days of training", log=True)
        if training
        else Axis("gflops", "GFLOPs per image", log=True)
    )
    panels = [_averages(drawn, costs, tasks, axis) for tasks in dict.fromkeys((material.few, material.tasks)) if tasks]
    unknown = counted(len(rows) - len(drawn), "row")
    missing = (f"Without published training cost: {unknown}.",) if training else left_out(rows, drawn)
    caption = f"Average score of linear probes of {counted(len(drawn), 'row')} by {axis.label}."
    found = {} if training else _efficiency(material, rows)
    return Drawing(tuple(panels), caption, found, missing)


def _averages(rows: Sequence[Row], costs: Mapping[int, float | None], tasks: Sequence[str], axis: Axis) -> Panel:
    marks = [(row, point(row, costs[id(row)] or math.nan, mean(row, tasks))) for row in rows]
    title = f"Average of {counted(len(tasks), 'task')}"
    return Panel(title, _series(_named(marks)), axis, Axis("score", "average score"), short=True)


def against_the_best(material: Material) -> Drawing:
    """Draw figure 11: the probe on CLIP minus the one on the Noisy Student EfficientNet-L2, a bar for each task."""
    row, rival = material.subject(PROBE), material.called(RIVAL, PROBE)
    if row is None or rival is None or row is rival:
        raise needed("figure 11", f"it takes a linear probe on {RIVAL} and one on another model.", COMMAND)
    bars = differences(row, rival, material.tasks)
    found = {}
    for suffix, other in (("", rival), ("_other", material.called(OTHER_RIVAL, PROBE))):
        if other is not None:
            points = {bar.name: bar.x for bar in differences(row, other, material.tasks)}
            found[f"won{suffix}"] = Found(sum(value > 0 for value in points.values()), f"against {other.title}")
            if "gtsrb" in points:
                found[f"gtsrb{suffix}"] = Found(points["gtsrb"], f"against {other.title}")
    panel = bar_panel(f"Linear probe on {row.title} minus that on {rival.title}", bars)
    ahead = f"ahead on {found['won'].value:.0f} of {counted(len(bars), 'task')}"
    return Drawing((panel,), f"Linear probe on {label(row)} minus that on {label(rival)}: {ahead}.", found)


def transfer(material: Material) -> Drawing:
    """Draw figure 12: average score on other tasks by the score on ImageNet, with the line of all models but CLIP."""
    if "imagenet" not in material.tasks:
        raise CannotDrawError("Figure 12 cannot be drawn without imagenet among the tasks.")
    rows, panels, found = _complete(material, "figure 12"), [], {}
    others = tuple(task for task in material.tasks if task != "imagenet")
    for tasks in dict.fromkeys((tuple(task for task in material.few if task != "imagenet"), others)):
        if not tasks:
            continue
        marks = [(row, point(row, 100 * row.cells["imagenet"].value, mean(row, tasks))) for row in rows]
        guides = _line([mark for row, mark in marks if family(row.model) != CLIP])
        clip = [mark for row, mark in marks if family(row.model) == CLIP]
        if guides and clip:
            above = [mark for mark in clip if mark.y > _at(guides[0], mark.x)]
            found[f"above_{len(tasks)}"] = Found(len(above), f"of {len(clip)}")
        panels.append(
            Panel(
                f"Transfer to {counted(len(tasks), 'task')}",
                _series(marks, joined=False),
                Axis("imagenet", "ImageNet score"),
                Axis("transfer_score", "average of the other tasks"),
                guides,
            )
        )
    if not panels:
        raise CannotDrawError("Figure 12 cannot be drawn: it takes tasks other than imagenet.")
    caption = f"Linear probes of {counted(len(rows), 'row')}: transfer by the score on ImageNet."
    return Drawing(tuple(panels), caption, found)


def each_task(material: Material) -> Drawing:
    """Draw figure 20: the score of linear probes by GFLOPs, a panel for each task."""
    rows = material.named(material.of(PROBE))
    drawn = [row for row in rows if material.gflops(row)]
    if not drawn:
        raise needed("figure 20", "it takes linear probes of models whose GFLOPs are known.", COMMAND)
    ordered = sorted(drawn, key=lambda row: _order(kind(row.model)))
    panels = task_panels(material, ordered, lambda row: kind(row.model))
    return Drawing(
        panels, f"Linear probes of {counted(len(drawn), 'row')} by GFLOPs of an image.", notes=left_out(rows, drawn)
    )


def _complete(material: Material, figure: str) -> list[Row]:
    rows = material.named(material.complete(PROBE, material.tasks))
    if not rows:
        tasks = counted(len(material.tasks), "task")
        raise needed(figure, f"it takes linear probes that have all {tasks} (or choose tasks by -t).", COMMAND)
    return rows


def _named(marks: Sequence[tuple[Row, Point]]) -> list[tuple[Row, Point]]:
    """Return the marks with those shown by name that no model of at most their cost reaches."""
    best = -math.inf
    named = set()
    for _, mark in sorted(marks, key=lambda item: (item[1].x, -item[1].y)):
        if mark.y > best:
            best = mark.y
            named.add(mark)
    return [(row, Point(mark.name, mark.x, mark.y, hollow=mark.hollow, shown=mark in named)) for row, mark in marks]


def _series(marks: Iterable[tuple[Row, Point]], *, joined: bool = True) -> tuple[Series, ...]:
    """Return a colour for each family, CLIP's first."""
    found: dict[str, list[Point]] = defaultdict(list)
    for row, mark in marks:
        found[kind(row.model)].append(mark)
    return tuple(
        Series(name, tuple(sorted(found[name], key=lambda mark: (mark.x, mark.name))), colour, joined)
        for colour, name in enumerate(sorted(found, key=_order))
    )


def _order(name: str) -> tuple[bool, str]:
    return not name.startswith(CLIP), name


def _line(points: Sequence[Point]) -> tuple[Guide, ...]:
    """Return the line of least squares; none without two places."""
    xs = [mark.x for mark in points]
    if len(set(xs)) < 2:
        return ()
    slope, start = statistics.linear_regression(xs, [mark.y for mark in points])
    return (Guide(OTHERS, tuple((x, start + slope * x) for x in (min(xs), max(xs)))),)


def _at(guide: Guide, x: float) -> float:
    (x0, y0), (x1, y1) = guide.points
    return y0 + (y1 - y0) * (x - x0) / (x1 - x0)


def _efficiency(material: Material, rows: Sequence[Row]) -> dict[str, Found]:
    """Return what the paper says of figure 10."""
    found = {}
    for name, (suite, ours, theirs) in STATED.items():
        best = _best(rows, material.few if suite == 12 else material.tasks)
        if ours in best and theirs in best:
            (row, score), (other, reached) = best[ours], best[theirs]
            found[name] = Found(score - reached, f"{row.title} and {other.title}")
    costs = [(row, material.gflops(row) or math.inf, mean(row, material.tasks)) for row in rows]
    clip = [(cost, score) for row, cost, score in costs if family(row.model) == CLIP]
    if clip:
        rivals = (item for item in costs if family(item[0].model) != CLIP)
        beat = [
            row.title for row, cost, score in rivals if any(cost <= most and score >= least for most, least in clip)
        ]
        found["efficient"] = Found(len(beat), ", ".join(sorted(beat)))
    return found


def _best(rows: Sequence[Row], tasks: Collection[str]) -> dict[str, tuple[Row, float]]:
    """Return the best row by average of each family, of each model, and of all but CLIP."""
    found: dict[str, tuple[Row, float]] = {}
    if not tasks:
        return found
    for row in sorted(rows, key=lambda row: mean(row, tasks)):
        best = row, mean(row, tasks)
        found |= {family(row.model): best, row.model: best}
        if family(row.model) != CLIP:
            found[OTHERS] = best
    return found
