"""Accuracy under shift: the paper's figure 13, and what it says of table 16."""

from __future__ import annotations

from collections.abc import Sequence

from evalsuite.report.paper.figure import Axis, Drawing, Found, Guide, Panel, Point, Series
from evalsuite.report.paper.material import BEST, Material, mean, needed, point
from evalsuite.report.robustness import fit_line
from evalsuite.report.table import Row
from evalsuite.results.shift import read_shift_tables
from evalsuite.text import counted, shortened

IMAGENET = "imagenet"

TRAINED = "trained"
"""The protocol of published models that were trained on the labels of ImageNet: the baselines."""

STEPS = 40
"""Straight pieces of a bent line."""


def shift_tasks() -> tuple[str, ...]:
    """Return the tasks of table 16, ImageNet first."""
    return tuple(dict.fromkeys(task for table in read_shift_tables() for task in table.tasks))


def robust(material: Material) -> Drawing:
    """Draw figure 13: average accuracy under shift by accuracy on ImageNet, y = x, and the line of baselines."""
    sets = [task for task in shift_tasks() if task != IMAGENET]
    every = [row for row in material.rows if not row.options and IMAGENET in row.cells and _sets(row, sets)]
    rows = [row for row in every if row.protocol == TRAINED] if material.models else []
    rows += material.named([row for row in every if row not in rows])
    if not rows:
        raise needed(
            "figure 13",
            f"it takes an accuracy on {IMAGENET} and one under shift of one model.",
            f"  evalsuite run -m ViT-B/32 -t {IMAGENET},{','.join(sets)} --protocol zero_shot,linear_probe",
        )
    widest = max((_sets(row, sets) for row in rows), key=len)
    drawn = [row for row in rows if _sets(row, sets) >= widest]
    shared = [task for task in sets if task in widest]
    marks = [(row, point(row, 100 * row.cells[IMAGENET].value, mean(row, shared), shown=True)) for row in drawn]
    protocols = sorted({row.protocol for row in drawn}, key=lambda name: (name == TRAINED, name))
    series = tuple(
        Series(_words(name), tuple(mark for row, mark in marks if row.protocol == name), colour)
        for colour, name in enumerate(protocols)
    )
    panel = Panel(
        f"Average of {counted(len(shared), 'set')} under shift",
        series,
        Axis("imagenet", "accuracy on ImageNet"),
        Axis("under_shift", "average accuracy under shift"),
        (_diagonal(marks), *_bent([mark for row, mark in marks if row.protocol == TRAINED])),
    )
    missing = [row.title for row in rows if _sets(row, sets) < widest]
    notes = [f"Left out, because they lack some of the sets: {shortened(missing)}."] if missing else []
    notes.append(
        f"Average of {', '.join(shared)}. The paper's also has Youtube-BB and ImageNet-Vid, and its accuracy on "
        "ImageNet is that of the classes of each set: here it is that of all classes."
    )
    return Drawing(
        (panel,), f"{counted(len(drawn), 'row')} by accuracy on ImageNet and under shift.", _equal(marks), tuple(notes)
    )


def gains(rows: Sequence[Row]) -> dict[str, Found]:
    """Return what a probe on ImageNet gains there, and what it loses under shift (section 3.3), from table 16."""
    of = {row.protocol: row for row in rows if row.model == BEST and len(row.cells) > 1}
    if not {"zero_shot", "linear_probe"} <= of.keys():
        return {}
    zero_shot, probe = of["zero_shot"].cells, of["linear_probe"].cells
    points = {task: 100 * (probe[task].value - zero_shot[task].value) for task in probe if task in zero_shot}
    return {task: Found(value if task == IMAGENET else -value) for task, value in points.items()}


def _sets(row: Row, sets: Sequence[str]) -> frozenset[str]:
    return frozenset(task for task in sets if task in row.cells)


def _words(protocol: str) -> str:
    return "trained on ImageNet" if protocol == TRAINED else protocol.replace("_", " ")


def _equal(marks: Sequence[tuple[Row, Point]]) -> dict[str, Found]:
    values = {(row.model, row.protocol): mark for row, mark in marks}
    ours, theirs = values.get((BEST, "zero_shot")), values.get(("resnet/101", TRAINED))
    return {"equal": Found(ours.x - theirs.x, f"and {ours.y - theirs.y:.1f} under shift")} if ours and theirs else {}


def _diagonal(marks: Sequence[tuple[Row, Point]]) -> Guide:
    values = [mark.x for _, mark in marks]
    ends = max(0.0, min(values) - 4), min(100.0, max(values) + 4)
    return Guide("y = x", ((ends[0], ends[0]), (ends[1], ends[1])))


def _bent(marks: Sequence[Point]) -> tuple[Guide, ...]:
    """Return the line of the baselines, which is straight in logits (Taori et al. 2020)."""
    line = fit_line([(mark.x / 100, mark.y / 100) for mark in marks])
    if line is None:
        return ()
    places = [line.low + (line.high - line.low) * step / STEPS for step in range(STEPS + 1)]
    names = f"line of {counted(line.points, 'baseline')}"
    return (Guide(names, tuple((100 * x, 100 * line.predict(x)) for x in places), dashed=False),)
