"""Plots of the optional sections: plain numbers in, an SVG element out. Colours are classes of the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from evalsuite.report.html.plots import WIDTH, label_rows
from evalsuite.report.html.svg import Scale, element, figure, line, linear, round_steps, text, tip


@dataclass(frozen=True)
class Line:
    """A line through points (x > 0, percent) in a colour. spreads: of the first points; level: a dashed line."""

    label: str
    colour: int
    points: tuple[tuple[float, float], ...]
    spreads: tuple[float, ...] = ()
    level: float | None = None

    @property
    def style(self) -> str:
        """The class of its colour."""
        return f"c{self.colour}"

    @property
    def reach(self) -> list[float]:
        """The values that it must have room for."""
        ends = ((y - spread, y + spread) for (_, y), spread in zip(self.points, self.spreads, strict=False))
        return [*(y for _, y in self.points), *(end for pair in ends for end in pair)]

    def __str__(self) -> str:
        """Say it in words."""
        said = ", ".join(f"{y:.1f} at {x:,.4g}" for x, y in self.points)
        return f"{self.label}: {said}" + ("" if self.level is None else f", zero-shot {self.level:.1f}")


def line_plot(lines: Sequence[Line], title: str, below: str = "images per class") -> Markup:
    """Draw percent by a number on a logarithmic axis, at least one line of at least one point."""
    left, right, top, bottom = 34, WIDTH - 14, 8, 190
    ys = [value for one in lines for value in one.reach]
    ys += [one.level for one in lines if one.level is not None]
    low, high = max(0.0, min(ys) - 2), min(100.0, max(ys) + 2)
    places = sorted({x for one in lines for x, _ in one.points})
    across = linear(math.log(places[0]), math.log(places[-1]), left + 8, right - 8)
    down = linear(low, high, bottom, top)
    parts = [line(left, bottom, right, bottom, "axis")]
    for step in round_steps(low, high, 5):
        parts.append(line(left, down(step), right, down(step), "grid"))
        parts.append(text(left - 5, down(step), f"{step:g}", "end", "tick"))
    taken = -math.inf
    for place in places:
        x, said = across(math.log(place)), f"{place:,.4g}"
        parts.append(line(x, bottom, x, bottom + 3, "axis"))
        if x - taken > 7 * len(said):  # where two are so near, the first is named
            parts.append(text(x, bottom + 12, said, "middle", "tick"))
            taken = x
    parts.append(text((left + right) / 2, bottom + 28, below, "middle", "tick"))
    for one in lines:
        parts += _drawn(one, left, right, [(across(math.log(x)), down(y)) for x, y in one.points], down)
    return figure(WIDTH, bottom + 38, title, "; ".join(map(str, lines)) + ".", parts)


def _drawn(one: Line, left: float, right: float, spots: Sequence[tuple[float, float]], down: Scale) -> list[Markup]:
    parts = []
    if one.level is not None:
        y = down(one.level)
        parts.append(line(left, y, right, y, f"curve level {one.style}"))
    for (x, _), (_, value), spread in zip(spots, one.points, one.spreads, strict=False):
        parts.append(line(x, down(value - spread), x, down(value + spread), f"curve {one.style}"))
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in spots)
    parts.append(element("path", tip(str(one)), d=path, class_=f"curve {one.style}"))
    for (x, y), (images, value) in zip(spots, one.points, strict=True):
        said = tip(f"{one.label}: {value:.1f} at {images:,.4g}")
        parts.append(element("circle", said, cx=x, cy=y, r=3.5, class_=one.style))
    return parts


@dataclass(frozen=True)
class Change:
    """A value in percent before and after; after: None where there is none."""

    label: str
    before: float
    after: float | None


def change_plot(changes: Sequence[Change], title: str) -> Markup:
    """Draw values before and after as two marks with a line between them, a row each."""
    most = max(value for one in changes for value in (one.before, one.after or 0.0))
    left, right = 155, WIDTH - 84
    rows, bottom = label_rows([one.label for one in changes], 4)
    scale = linear(0, max(most, 1.0), left, right)
    parts: list[Markup] = []
    for step in round_steps(0, max(most, 1.0), 4):
        parts.append(line(scale(step), 0, scale(step), bottom, "grid"))
        parts.append(text(scale(step), bottom + 9, f"{step:g}", "middle", "tick"))
    for (y, label), one in zip(rows, changes, strict=True):
        said = _changed(one)
        parts += label
        if one.after is not None:
            parts.append(line(scale(one.before), y, scale(one.after), y, "axis"))
            parts.append(element("circle", tip(said), cx=scale(one.after), cy=y, r=5, class_="ahead"))
        parts.append(element("circle", tip(said), cx=scale(one.before), cy=y, r=5, class_="behind"))
        parts.append(text(WIDTH, y, said, "end", "number"))
    described = "; ".join(f"{one.label} {_changed(one)}" for one in changes)
    return figure(WIDTH, bottom + 20, title, f"{described}.", parts)


@dataclass(frozen=True)
class Mark:
    """An accuracy under shift by one without it, in percent; kind: the protocol; hollow: not measured here."""

    label: str
    x: float
    y: float
    kind: str
    hollow: bool


def shift_plot(marks: Sequence[Mark], curve: Sequence[tuple[float, float]], title: str, below: str) -> Markup:
    """Draw accuracies under shift by those without it, the diagonal, and the curve of baselines if there is one."""
    left, right, top, bottom = 34, WIDTH - 14, 8, 240
    places = [(mark.x, mark.y) for mark in marks] + list(curve)
    across = linear(*_room([x for x, _ in places]), left, right)
    low, high = _room([y for _, y in places])
    down = linear(low, high, bottom, top)
    parts = [line(left, bottom, right, bottom, "axis")]
    for step in round_steps(low, high, 5):
        parts.append(line(left, down(step), right, down(step), "grid"))
        parts.append(text(left - 5, down(step), f"{step:g}", "end", "tick"))
    first, last = _room([x for x, _ in places])
    for step in round_steps(first, last, 6):
        parts.append(text(across(step), bottom + 12, f"{step:g}", "middle", "tick"))
    start, end = max(first, low), min(last, high)
    if start < end:
        parts.append(line(across(start), down(start), across(end), down(end), "diagonal"))
    if curve:
        path = "M" + "L".join(f"{across(x):.1f} {down(y):.1f}" for x, y in curve)
        parts.append(element("path", tip("baselines"), d=path, class_="curve c7"))
    for mark in marks:
        style = f"mark {mark.kind}{' hollow' if mark.hollow else ''}"
        said = tip(f"{mark.label}: {mark.y:.1f} at {mark.x:.1f}")
        parts.append(element("circle", said, cx=across(mark.x), cy=down(mark.y), r=5, class_=style))
    parts.append(text((left + right) / 2, bottom + 28, f"accuracy on {below}", "middle", "tick"))
    described = "; ".join(f"{mark.label} {mark.y:.1f} at {mark.x:.1f}" for mark in marks)
    return figure(WIDTH, bottom + 38, title, f"{described}.", parts)


def _room(values: Sequence[float]) -> tuple[float, float]:
    return max(0.0, min(values) - 3), min(100.0, max(values) + 3)


def _changed(one: Change) -> str:
    return f"{one.before:.1f}" + ("" if one.after is None else f" → {one.after:.1f}")
