"""The plots of the report: plain numbers in, an SVG element out. Colours are classes of the page."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup
from rich.cells import cell_len, chop_cells

from evalsuite.report.calibration import Reliability
from evalsuite.report.html.svg import Scale, box, element, figure, line, linear, round_steps, text, tip

ROW = 20
"""Height of a row of bars or dots."""

WIDTH = 380
"""Of every plot but the square ones: a phone shows it as it is, so that its text stays readable."""

LETTERS = 20
"""Length of a line of a label; a longer label has several lines."""

LINE = 13
"""Height of a further line of a label."""

LETTER_WIDTH = 6.5
"""Of the page's font at 12 units, about."""

COLOURS = 8
"""Families of models that get a colour of their own; the page has as many."""


@dataclass(frozen=True)
class Bar:
    """A label and its value; note: what the tip adds; mark: what follows the number."""

    label: str
    value: float
    note: str = ""
    mark: str = ""


@dataclass(frozen=True)
class Dot:
    """A score in percent and its interval, if known; kind: the protocol; hollow: not measured here; mark: as in Bar."""

    label: str
    value: float
    interval: tuple[float, float] | None
    kind: str
    hollow: bool
    mark: str = ""


@dataclass(frozen=True)
class Point:
    """A model in a plot of cost against score; hollow: not measured here."""

    label: str
    family: str
    x: float
    y: float
    hollow: bool


def difference_bars(bars: Sequence[Bar], title: str) -> Markup:
    """Draw signed differences in points as bars to either side of zero."""
    low, high = min(0.0, *(bar.value for bar in bars)), max(0.0, *(bar.value for bar in bars))
    scale = linear(low, high, 155 if low < 0 else 115, WIDTH - 50)
    rows, bottom = label_rows([bar.label for bar in bars], 4, letters=17)
    parts = [line(scale(0), 4, scale(0), bottom, "axis")]
    for (y, label), bar in zip(rows, bars, strict=True):
        ahead, said = bar.value >= 0, _points(bar)
        start, end = sorted((scale(0), scale(bar.value)))
        parts += label
        parts.append(
            box(start, y - 7, max(1.0, end - start), 14, "ahead" if ahead else "behind", f"{bar.label} {said}")
        )
        parts.append(text(end + 5 if ahead else start - 5, y, said, "start" if ahead else "end", "number"))
    return figure(WIDTH, bottom + 4, title, _list(f"{bar.label} {_points(bar)}" for bar in bars), parts)


def dot_plot(dots: Sequence[Dot], title: str) -> Markup:
    """Draw scores as dots with their intervals, a row each."""
    ends = [end for dot in dots for end in (dot.interval or (dot.value, dot.value))]
    low, high = max(0.0, min(ends) - 1), min(100.0, max(ends) + 1)
    scale = linear(low, high, 145, WIDTH - 45)
    rows, bottom = label_rows([dot.label for dot in dots], 4)
    parts: list[Markup] = []
    for step in round_steps(low, high, 5):
        parts.append(line(scale(step), 0, scale(step), bottom, "grid"))
        parts.append(text(scale(step), bottom + 9, f"{step:g}", "middle", "tick"))
    for (y, label), dot in zip(rows, dots, strict=True):
        parts += label
        if dot.interval is not None:
            parts.append(line(scale(dot.interval[0]), y, scale(dot.interval[1]), y, f"interval {dot.kind}"))
        parts.append(_mark(scale(dot.value), y, dot))
        parts.append(text(WIDTH, y, f"{dot.value:.1f}{dot.mark}", "end", "number"))
    return figure(WIDTH, bottom + 20, title, _list(map(_describe, dots)), parts)


def scatter(points: Sequence[Point], title: str, families: Sequence[str]) -> Markup:
    """Draw scores against GFLOPs on a logarithmic axis; models that no cheaper one reaches are named.

    families: all of the page, so that a family has one colour everywhere; those beyond COLOURS share the last.
    """
    left, right, top, bottom = 30, WIDTH - 18, 18, 290
    exponents = [math.log10(point.x) for point in points]
    first = math.floor(min(exponents))
    last = max(math.ceil(max(exponents)), first + 1)
    low, high = min(point.y for point in points) - 2, max(point.y for point in points) + 2
    across, down = linear(first, last, left, right), linear(low, high, bottom, top)
    parts = [line(left, bottom, right, bottom, "axis")]
    for exponent in range(first, last + 1):
        parts.append(line(across(exponent), top, across(exponent), bottom, "grid"))
        parts.append(text(across(exponent), bottom + 12, f"{10.0**exponent:g}", "middle", "tick"))
    for step in round_steps(low, high, 6):
        parts.append(line(left, down(step), right, down(step), "grid"))
        parts.append(text(left - 5, down(step), f"{step:g}", "end", "tick"))
    parts.append(text((left + right) / 2, bottom + 30, "GFLOPs per image", "middle", "tick"))
    for point in points:
        style = f"c{min(families.index(point.family), COLOURS - 1)}{' hollow' if point.hollow else ''}"
        x, y = across(math.log10(point.x)), down(point.y)
        parts.append(element("circle", tip(_cost(point)), cx=x, cy=y, r=4.5, class_=style))
    parts += _names(_frontier(points), points, across, down)
    return figure(WIDTH, bottom + 40, title, _list(map(_cost, points)), parts)


def reliability_diagram(found: Reliability, title: str) -> Markup:
    """Draw the accuracy of each bin of confidence as a bar, and its gap to the mean confidence of the bin."""
    left, top, size = 34, 6, 220
    width = size / len(found.counts)
    down = linear(0, 1, top + size, top)
    parts = [line(left, down(0), left + size, down(1), "diagonal"), line(left, down(0), left + size, down(0), "axis")]
    notes = []
    for number in map(int, found.counts.nonzero()[0]):
        accuracy, confidence = float(found.accuracy[number]), float(found.confidence[number])
        notes.append(f"confidence {confidence:.0%}: {accuracy:.0%} of {found.counts[number]:,} right")
        x, high, lowest = left + number * width + 1, max(accuracy, confidence), min(accuracy, confidence)
        parts.append(box(x, down(accuracy), width - 2, down(0) - down(accuracy), "bar", notes[-1]))
        gap = "over" if confidence > accuracy else "under"
        parts.append(box(x, down(high), width - 2, down(lowest) - down(high), gap, notes[-1]))
    for share in (0, 0.5, 1):
        parts.append(text(left - 5, down(share), f"{share:.0%}", "end", "tick"))
        parts.append(text(left + share * size, down(0) + 12, f"{share:.0%}", "middle", "tick"))
    parts.append(text(left + size / 2, down(0) + 28, "confidence", "middle", "tick"))
    return figure(left + size + 16, top + size + 38, title, _list(notes), parts)


def share_bars(bars: Sequence[Bar], title: str) -> Markup:
    """Draw values in [0, 1] as bars on a common scale."""
    left, longest = 145, WIDTH - 145 - 55
    parts: list[Markup] = []
    rows, bottom = label_rows([bar.label for bar in bars], 0)
    for (y, label), bar in zip(rows, bars, strict=True):
        parts += label
        parts.append(box(left, y - 7, longest, 14, "track"))
        parts.append(box(left, y - 7, bar.value * longest, 14, "bar", f"{bar.label}: {bar.value:.1%} {bar.note}"))
        parts.append(text(WIDTH, y, f"{bar.value:.1%}", "end", "number"))
    return figure(WIDTH, bottom, title, _list(f"{bar.label} {bar.value:.1%}" for bar in bars), parts)


def _mark(x: float, y: float, dot: Dot) -> Markup:
    style, said = f"mark {dot.kind}{' hollow' if dot.hollow else ''}", tip(_describe(dot))
    if dot.kind == "zero_shot":
        return element("path", said, d=f"M{x:.1f} {y - 6:.1f}l6 6l-6 6l-6 -6z", class_=style)
    return element("circle", said, cx=x, cy=y, r=5, class_=style)


def _describe(dot: Dot) -> str:
    bounds = "" if dot.interval is None else f", interval {dot.interval[0]:.1f} to {dot.interval[1]:.1f}"
    return f"{dot.label} ({dot.kind}{', published' if dot.hollow else ''}) {dot.value:.1f}{dot.mark}{bounds}"


def _points(bar: Bar) -> str:
    return f"{bar.value:+.1f}{bar.mark}"


def _cost(point: Point) -> str:
    return f"{point.label}{' (published)' if point.hollow else ''} {point.y:.1f} at {point.x:.3g} GFLOPs"


def _list(items: Iterable[str]) -> str:
    return "; ".join(items) + "."


def _frontier(points: Sequence[Point]) -> list[Point]:
    """Return the models that no model of at most their cost reaches, cheapest first."""
    best: list[Point] = []
    for point in sorted(points, key=lambda point: (point.x, -point.y)):
        if not best or point.y > best[-1].y:
            best.append(point)
    return best


def _names(named: Sequence[Point], points: Sequence[Point], across: Scale, down: Scale) -> list[Markup]:
    """Name points, the highest first, next to them where nothing is covered; a name without a place is left out."""
    parts: list[Markup] = []
    spots = [(across(math.log10(point.x)), down(point.y)) for point in points]
    taken: list[tuple[float, float, float]] = []
    for point in sorted(named, key=lambda point: -point.y):
        x, y, length = across(math.log10(point.x)), down(point.y), LETTER_WIDTH * cell_len(point.label)
        places = [(x - length, y - 11), (x, y - 11), (x, y + 12), (x - length, y + 12)]
        for start, height in places:
            end = start + length
            free = all(abs(height - other) > 12 or start > last or end < first for first, last, other in taken)
            clear = all(abs(height - dot) > 10 or not start - 4 < place < end + 4 for place, dot in spots)
            if free and clear and start > 32 and end < WIDTH:
                taken.append((start, end, height))
                parts.append(text(x, height, point.label, "end" if start < x else "start", "label name"))
                break
    return parts


def label_rows(
    labels: Sequence[str], top: float, letters: int = LETTERS
) -> tuple[list[tuple[float, list[Markup]]], float]:
    """Return the middle of each row and its label, which is never cut, and where the last row ends."""
    found = []
    for label in labels:
        lines = wrapped(label, letters)
        height = ROW + LINE * (len(lines) - 1)
        first = top + height / 2 - LINE * (len(lines) - 1) / 2
        found.append((top + height / 2, [text(0, first + LINE * place, part) for place, part in enumerate(lines)]))
        top += height
    return found, top


def wrapped(label: str, letters: int) -> list[str]:
    """Return a label as lines of at most so many letters, broken after a separator where there is one.

    Those of Chinese, Japanese and Korean count twice: they are as wide.

    >>> wrapped("efficientnet-ns/l2-800", 20), wrapped("mnist", 20), wrapped("abcdefgh", 3), wrapped("四十雀", 4)
    (['efficientnet-ns/l2-', '800'], ['mnist'], ['abc', 'def', 'gh'], ['四十', '雀'])
    """
    lines = [""]
    for part in re.findall(r"[^\s/_,-]*[\s/_,-]?", label):
        for piece in chop_cells(part, letters) if part else ():
            if lines[-1] and cell_len((lines[-1] + piece).rstrip()) > letters:
                lines.append("")
            lines[-1] += piece
    return [line.strip() for line in lines]
