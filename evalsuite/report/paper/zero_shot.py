"""Zero-shot next to linear probes: the paper's figures 5, 8 and 22."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence

from evalsuite.report.paper.figure import Axis, CannotDrawError, Drawing, Found, Guide, Panel, Point, Series, names_of
from evalsuite.report.paper.material import BASELINE, Material, is_published, kind, label, needed, point
from evalsuite.report.ranking import rows_called
from evalsuite.report.table import Row
from evalsuite.text import counted, shortened

PROBE, ZERO_SHOT = "linear_probe", "zero_shot"

NEAR = 3.0
"""Points between zero-shot and probe up to which the paper says that it approaches it (figure 8)."""


def competitive(material: Material) -> Drawing:
    """Draw figure 5: zero-shot minus the linear probe on ResNet-50, a bar for each task."""
    row, base = material.subject(ZERO_SHOT), material.called(BASELINE, PROBE)
    if row is None or base is None:
        raise needed(
            "figure 5",
            f"it takes zero-shot results and a linear probe on {BASELINE}, which is published, too (--origin both).",
            "  evalsuite run -m ViT-B/32,resnet/50 -t all --protocol zero_shot,linear_probe",
        )
    bars = differences(row, base, material.tasks)
    found = {"won": Found(sum(bar.x > 0 for bar in bars))}
    found |= {
        bar.name: Found(bar.x) for bar in bars if bar.name in ("kinetics700", "ucf101", "stanford_cars", "food101")
    }
    found |= {bar.name: Found(-bar.x) for bar in bars if bar.name in ("flowers102", "fgvc_aircraft")}
    if "stl10" in row.cells:
        found["stl10"] = Found(100 * row.cells["stl10"].value)
    panel = bar_panel(f"Zero-shot {row.title} minus the linear probe on {base.title}", bars)
    ahead = f"ahead on {found['won'].value:.0f} of {counted(len(bars), 'task')}"
    return Drawing((panel,), f"Zero-shot {label(row)} minus a linear probe on {label(base)}: {ahead}.", found)


def correlated(material: Material) -> Drawing:
    """Draw figure 8: zero-shot by linear probe, a mark for each task, with y = x and the line of least squares."""
    row = material.subject(ZERO_SHOT)
    probe = material.partner(row, PROBE) if row else None
    if row is None or probe is None:
        raise needed(
            "figure 8",
            "it takes zero-shot and linear probe results of one model on the same tasks.",
            "  evalsuite run -m ViT-B/32 -t all --protocol zero_shot,linear_probe",
        )
    shared = [task for task in material.tasks if task in row.cells and task in probe.cells]
    if len(shared) < 3:
        there = f"{row.title} has {len(shared)} under both protocols"
        raise CannotDrawError(f"Figure 8 cannot be drawn: a line takes three tasks, and {there}.")
    hollow = is_published(row)
    points = tuple(
        Point(task, 100 * probe.cells[task].value, 100 * row.cells[task].value, hollow=hollow, shown=True)
        for task in shared
    )
    line, found = _line(points)
    near = [point for point in points if point.x - point.y <= NEAR + 1e-9]
    found["within_3"] = Found(len(near), names_of(near))
    ends = min(min(one.x, one.y) for one in points) - 2, 101.0
    panel = Panel(
        f"Zero-shot and linear probe of {row.title}",
        (Series("tasks", points),),
        Axis("linear_probe", "linear probe score"),
        Axis("zero_shot", "zero-shot score"),
        (Guide("y = x", ((ends[0], ends[0]), (ends[1], ends[1]))), line),
    )
    caption = (
        f"Zero-shot {label(row)} by its linear probe on {counted(len(points), 'task')}: "
        f"r = {found['correlation'].value:.3f}, slope {found['slope'].value:.2f} "
        f"({found['slope_low'].value:.2f} to {found['slope_high'].value:.2f}), {len(near)} at most 3 points apart."
    )
    return Drawing((panel,), caption, found)


def by_cost(material: Material) -> Drawing:
    """Draw figure 22: zero-shot CLIP and linear probes on ResNets by GFLOPs, a panel for each task."""
    rows = [*material.named(material.of(ZERO_SHOT)), *rows_called("resnet", material.of(PROBE))]
    drawn = [row for row in rows if material.gflops(row)]
    if not any(row.protocol == ZERO_SHOT for row in drawn):
        raise needed(
            "figure 22",
            "it takes zero-shot results, and linear probes on ResNets.",
            "  evalsuite run -m RN50,RN101,RN50x4 -t all --protocol zero_shot",
            "  evalsuite run -m 'resnet/*' -t all --protocol linear_probe",
        )
    panels = task_panels(material, drawn, lambda row: f"{kind(row.model)}, {row.protocol.replace('_', ' ')}")
    caption = f"Zero-shot models and linear probes on ResNets by GFLOPs of an image: {counted(len(drawn), 'row')}."
    return Drawing(panels, caption, notes=left_out(rows, drawn))


def task_panels(material: Material, rows: Sequence[Row], named: Callable[[Row], str]) -> tuple[Panel, ...]:
    """Return a panel for each task with a value: score by GFLOPs, a line for each name that `named` gives rows."""
    names = list(dict.fromkeys(named(row) for row in rows))
    panels = []
    for task in material.tasks:
        series = []
        for colour, name in enumerate(names):
            points = [
                point(row, material.gflops(row) or math.nan, 100 * row.cells[task].value)
                for row in rows
                if named(row) == name and task in row.cells
            ]
            if points:
                points.sort(key=lambda one: (one.x, one.name))
                series.append(Series(name, tuple(points), colour, joined=True))
        if series:
            panels.append(Panel(task, tuple(series), Axis("gflops", "GFLOPs", log=True), Axis("score", "score")))
    return tuple(panels)


def differences(row: Row, base: Row, tasks: Sequence[str]) -> list[Point]:
    """Return the row minus the base in points on the tasks that both have, the largest first."""
    hollow = is_published(row)
    bars = [
        Point(task, 100 * (row.cells[task].value - base.cells[task].value), math.nan, hollow=hollow)
        for task in tasks
        if task in row.cells and task in base.cells
    ]
    return sorted(bars, key=lambda bar: (-bar.x, bar.name))


def bar_panel(title: str, bars: Sequence[Point], name: str = "difference", text: str = "points") -> Panel:
    """Return a panel of bars."""
    return Panel(title, (Series(name, tuple(bars)),), Axis(name, text), Axis("task", ""), kind="bars")


def left_out(rows: Sequence[Row], drawn: Sequence[Row]) -> tuple[str, ...]:
    """Name the rows without known GFLOPs."""
    shown = {id(row) for row in drawn}
    names = list(dict.fromkeys(row.title for row in rows if id(row) not in shown))
    return (f"Left out, because their GFLOPs are not known: {shortened(names, 12)}.",) if names else ()


def _line(points: Sequence[Point]) -> tuple[Guide, dict[str, Found]]:
    """Return the line of least squares, and what the paper says of it: correlation, slope, its 95 % interval."""
    from scipy.stats import linregress, t

    xs, ys = [one.x for one in points], [one.y for one in points]
    if statistics.pstdev(xs) == 0:
        raise CannotDrawError("Figure 8 cannot be drawn: the probe has the same score on all tasks.")
    fit = linregress(xs, ys)
    reach = float(t.ppf(0.975, len(points) - 2)) * float(fit.stderr)
    slope, start = float(fit.slope), float(fit.intercept)
    found = {
        "correlation": Found(float(fit.rvalue)),
        "slope": Found(slope),
        "slope_low": Found(slope - reach),
        "slope_high": Found(slope + reach),
    }
    ends = min(xs), max(xs)
    return Guide("least squares", tuple((x, start + slope * x) for x in ends), dashed=False), found
