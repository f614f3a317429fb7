"""Write SVG by hand: elements, figures with a title and a description, scales. All text is escaped."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from markupsafe import Markup, escape

Scale = Callable[[float], float]


def element(tag: str, content: str = "", **attributes: object) -> Markup:
    """Return an element; `class_` and `text_anchor` become class and text-anchor, floats get one decimal."""
    written = Markup("").join(
        Markup(' {}="{}"').format(name.rstrip("_").replace("_", "-"), _plain(value))
        for name, value in attributes.items()
    )
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(tag), written, content)


def tip(text: str) -> Markup:
    """Return what a browser shows while the pointer rests on the parent element."""
    return element("title", text)


def figure(width: float, height: float, title: str, description: str, parts: Iterable[Markup]) -> Markup:
    """Return a drawing that scales with its place; who cannot see it hears the title and the description."""
    content = Markup("").join([element("title", title), element("desc", description), *parts])
    return element("svg", content, viewBox=f"0 0 {_plain(width)} {_plain(height)}", role="img")


def text(x: float, y: float, content: object, anchor: str = "start", class_: str = "") -> Markup:
    """Return a text whose `anchor` end (start, middle, end) is at x, its middle at height y."""
    return element("text", escape(str(content)), x=x, y=y + 4, text_anchor=anchor, class_=class_ or "label")


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    """Return a line."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def box(x: float, y: float, width: float, height: float, class_: str, said: str = "") -> Markup:
    """Return a rectangle; `said` is its tip."""
    return element("rect", tip(said) if said else "", x=x, y=y, width=width, height=height, class_=class_)


def linear(low: float, high: float, start: float, end: float) -> Scale:
    """Return the map of [low, high] to [start, end]; a single value goes to the middle."""
    if high == low:
        return lambda value: (start + end) / 2
    return lambda value: start + (value - low) / (high - low) * (end - start)


def round_steps(low: float, high: float, most: int) -> list[float]:
    """Return round numbers (1, 2 or 5 times a power of ten apart) inside [low, high], at most `most` + 1."""
    span = high - low
    step = next(
        factor * 10.0**power for power in range(-6, 9) for factor in (1, 2, 5) if span / (factor * 10.0**power) <= most
    )
    first = int(-(-low // step))
    return [step * number for number in range(first, int(high // step) + 1)]


def _plain(value: object) -> str:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)
