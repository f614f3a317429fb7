"""A figure as data: panels of points, what is said below it, and what numbers make of the paper's words."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from evalsuite.errors import UsageError


class CannotDrawError(UsageError):
    """A figure that takes more measurements; the message says which command makes them."""


@dataclass(frozen=True)
class Point:
    """A mark. name: a model or a task; x, y: numbers of the axes; hollow: not measured here; spread: of y, up and down.

    shown: the name is written next to it.
    """

    name: str
    x: float
    y: float
    hollow: bool = False
    spread: float | None = None
    shown: bool = False


@dataclass(frozen=True)
class Series:
    """Points of one colour. colour: a number that stands for it in all panels; joined: with a line through them."""

    label: str
    points: tuple[Point, ...]
    colour: int = 0
    joined: bool = False


@dataclass(frozen=True)
class Guide:
    """A straight or bent line that is no data, such as y = x."""

    label: str
    points: tuple[tuple[float, float], ...]
    dashed: bool = True


@dataclass(frozen=True)
class Axis:
    """An axis. name: the column of the data; label: what a reader sees; ticks: the only places that are named."""

    name: str
    label: str
    log: bool = False
    ticks: tuple[float, ...] = ()


@dataclass(frozen=True)
class Panel:
    """A plot. kind: points by x and y, or bars of x, a row for each name, from top to bottom.

    short: names are drawn without the family, which the colour says.
    """

    title: str
    series: tuple[Series, ...]
    x: Axis
    y: Axis
    guides: tuple[Guide, ...] = ()
    kind: Literal["points", "bars"] = "points"
    short: bool = False


@dataclass(frozen=True)
class Found:
    """What numbers give where the paper says something; evidence: the rows or tasks behind it."""

    value: float
    evidence: str = ""


@dataclass(frozen=True)
class Drawing:
    """A figure without what is said of it. caption: of what it is drawn; found: claim -> what these numbers give.

    notes: what is left out and why.
    """

    panels: tuple[Panel, ...]
    caption: str
    found: Mapping[str, Found] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class PaperFigure:
    """A figure to be written. notes: what numbers make of the paper's words, and what is left out."""

    number: str
    title: str
    drawing: Drawing
    notes: tuple[str, ...]

    @property
    def caption(self) -> str:
        """What it is drawn from."""
        return self.drawing.caption

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of its data."""
        first = self.drawing.panels[0]
        values = (first.x.name,) if first.kind == "bars" else (first.x.name, first.y.name)
        spread = ("standard_deviation",) if any(point.spread is not None for _, _, point in self._points()) else ()
        return ("panel", "series", "name", "origin", *values, *spread)

    def records(self) -> list[dict[str, object]]:
        """Return its data: a line for each mark."""
        return [
            dict(zip(self.columns, self._record(panel, series, point), strict=True))
            for panel, series, point in self._points()
        ]

    def _points(self) -> Iterator[tuple[Panel, Series, Point]]:
        for panel in self.drawing.panels:
            for series in panel.series:
                for point in series.points:
                    yield panel, series, point

    def _record(self, panel: Panel, series: Series, point: Point) -> tuple[object, ...]:
        origin = "published" if point.hollow else "measured"
        values = [point.x] if panel.kind == "bars" else [point.x, point.y]
        spread = [point.spread] if "standard_deviation" in self.columns else []
        return (panel.title, series.label, point.name, origin, *map(_finite, values), *spread)


def names_of(points: Sequence[Point]) -> str:
    """Return the names of points with commas between them."""
    return ", ".join(point.name for point in points)


def _finite(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 6) if math.isfinite(value) else value
