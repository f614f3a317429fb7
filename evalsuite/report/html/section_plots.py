"""Plots of the optional sections: plain numbers in, an SVG element out. Colours are classes of the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

from markupsafe import Markup

from evalsuite.report.html.plots import WIDTH
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

    def __str__(self) -> str:
        """Say it in words."""
        said = ", ".join(f"{y:.1f} at {x:,.4g}" for x, y in self.points)
        return f"{self.label}: {said}" + ("" if self.level is None else f", zero-shot {self.level:.1f}")


def line_plot(lines: Sequence[Line], title: str, below: str = "images per class") -> Markup:
    """Draw percent by a number on a logarithmic axis, at least one line of at least one point."""
    left, right, top, bottom = 34, WIDTH - 14, 8, 190
    ys = [
        y + sign * spread
        for one in lines
        for (_, y), spread in zip_longest(one.points, one.spreads, fillvalue=0.0)
        for sign in (-1, 1)
    ]
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
