"""The page of an audit: what was found, with pictures, and the plot that justifies the threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from evalsuite.report.html.svg import Scale, box, element, figure, line, linear, text
from evalsuite.report.html.templates import environment

BINS = 48
"""Of the histogram of similarities."""

NEAREST = 1e-7
"""Distances (1 - cosine) below count as this: rounding."""

WIDTH, HEIGHT, LEFT, BOTTOM = 640, 220, 44, 40


@dataclass(frozen=True)
class Finding:
    """One finding: the name and the data URI of each picture ("": it cannot be read), and a line below them."""

    pictures: tuple[tuple[str, str], ...]
    line: str


@dataclass(frozen=True)
class Section:
    """Findings of one kind. count: how many there are in all, of which `findings` are shown."""

    title: str
    count: int
    findings: tuple[Finding, ...]


def audit_page(
    *,
    title: str,
    facts: Sequence[str],
    scores: tuple[Sequence[str], Sequence[Sequence[str]]],
    plot: Markup,
    sections: Sequence[Section],
) -> str:
    """Return a page that asks nobody for anything. facts: sentences; scores: headers and rows of a table."""
    template = environment().get_template("audit.html.jinja")
    return template.render(title=title, facts=facts, headers=scores[0], rows=scores[1], plot=plot, sections=sections)


def similarity_plot(tested: NDArray[np.float64], reference: NDArray[np.float64], threshold: float) -> Markup:
    """Draw how near test images are to their nearest training image, and training images to their nearest other one.

    tested, reference: (n,) cosines; the axis is logarithmic in 1 - cosine. threshold: drawn as a line.
    """
    series = [_places(values) for values in (tested, reference)]
    mark = float(_places(np.array([threshold]))[0])
    ends = np.concatenate([*series, [mark]])
    low, high = float(np.floor(ends.min())), float(np.ceil(ends.max() + 1e-9))
    edges = np.linspace(low, high, BINS + 1)
    shares = [np.histogram(values, edges)[0] / max(len(values), 1) for values in series]
    top = max(float(found.max()) for found in shares) or 1.0
    across, down = linear(low, high, LEFT, WIDTH - 8), linear(0, top, HEIGHT - BOTTOM, 14)
    parts = [
        box(across(edges[n]), down(share), across(edges[1]) - across(edges[0]) - 1, down(0) - down(share), "tested")
        for n, share in enumerate(shares[0])
        if share
    ]
    parts.append(_outline(edges, shares[1], across, down))
    for step in range(int(low), int(high) + 1):
        parts.append(text(across(step), down(0) + 12, f"{1 - 10.0**-step:.7g}", "middle", "tick"))
    parts.append(text((LEFT + WIDTH) / 2, HEIGHT - 10, "cosine to the nearest training image", "middle", "tick"))
    parts += [text(LEFT - 4, down(share), f"{share:.0%}", "end", "tick") for share in (0, top)]
    parts.append(line(LEFT, down(0), WIDTH - 8, down(0), "axis"))
    parts.append(line(across(mark), 14, across(mark), down(0), "threshold"))
    said = f"threshold {threshold:.6g}: {int((tested >= threshold).sum())} of {len(tested)} test images reach it."
    parts.append(text(across(mark), 6, f"threshold {threshold:.6g}", "end", "tick"))
    return figure(WIDTH, HEIGHT, "Similarity of test images and of training images to training images", said, parts)


def _places(similarity: NDArray[np.float64]) -> NDArray[np.float64]:
    places: NDArray[np.float64] = -np.log10(np.maximum(1 - similarity, NEAREST))
    return places


def _outline(edges: NDArray[np.float64], shares: NDArray[np.float64], across: Scale, down: Scale) -> Markup:
    """Draw a histogram as a line."""
    steps = [
        f"{across(float(edge)):.1f},{down(float(share)):.1f}"
        for n, share in enumerate(shares)
        for edge in (edges[n], edges[n + 1])
    ]
    return element("polyline", points=" ".join(steps), class_="reference")
