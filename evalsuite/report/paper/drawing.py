"""Draw a figure with matplotlib, as SVG, PNG or PDF: the same bytes each time."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

from evalsuite.errors import MissingExtraError
from evalsuite.report.paper.figure import Axis, Panel, PaperFigure, Point, Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ImageFormat = Literal["svg", "png", "pdf"]

COLOURS = (
    "#0b5cad", "#d1610f", "#17795a", "#8a3fa0", "#b3261e", "#8c7a00", "#00868f", "#646b75",
    "#e377c2", "#7a4b2a", "#5aa0e0", "#9fb300", "#3d3d3d", "#c2185b", "#1fb58f", "#6a5acd",
)  # fmt: skip
"""Told apart also by who sees no red or green, together with MARKERS."""

MARKERS = "osD^vPX*<>hdp"

STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # matplotlib's own, so that a figure is the same on every machine
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#55606e",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e3e7ec",
    "legend.frameon": False,
    "svg.hashsalt": "evalsuite",
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
    "savefig.dpi": 160,
}

NO_DATE: dict[str, dict[str, Any]] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}

SMALL = 4
"""More panels than these are small ones, without names."""


def draw(figure: PaperFigure, image_format: ImageFormat) -> bytes:
    """Return the file of a figure; MissingExtraError where there is no matplotlib."""
    try:
        from matplotlib import rc_context
    except ImportError as error:
        raise MissingExtraError("matplotlib", "plots", "Drawing a figure") from error
    with rc_context(cast(Any, STYLE)):
        made = _figure(figure.drawing.panels, f"Figure {figure.number}: {figure.title}")
        file = io.BytesIO()
        made.savefig(file, format=image_format, metadata={"Title": figure.caption, **NO_DATE[image_format]})
    return _short(file.getvalue()) if image_format == "svg" else file.getvalue()


def _short(svg: bytes) -> bytes:
    """Return the drawing with two decimals, hundredths of a point, in place of six."""
    return re.sub(rb'(?<= [dxy]=")[^"]+', lambda place: re.sub(rb"(\.\d\d)\d+", rb"\1", place[0]), svg)


def _figure(panels: Sequence[Panel], title: str) -> Figure:
    from matplotlib.figure import Figure

    small = len(panels) > SMALL
    columns = min(len(panels), 5 if small else 2)
    rows = math.ceil(len(panels) / columns)
    width, height = (2.3, 1.9) if small else (6.4, max(map(_height, panels)))
    made = Figure(figsize=(width * columns, height * rows + 0.5), layout="constrained")
    grid = made.subplots(rows, columns, squeeze=False).flatten().tolist()
    for axes, panel in zip(grid, panels, strict=False):
        (_bars if panel.kind == "bars" else _points)(axes, panel, small)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    made.suptitle(title, fontsize=11, x=0.01, ha="left")
    _legend(made, grid, panels)
    made.draw_without_rendering()  # places the axes, so that names find room
    if not small:
        for axes, panel in zip(grid, panels, strict=False):
            _names(made, axes, panel)
    return made


def _height(panel: Panel) -> float:
    """Return inches: a row of bars takes a line."""
    return 1.2 + 0.22 * len(panel.series[0].points) if panel.kind == "bars" else 5.2


def _bars(axes: Axes, panel: Panel, small: bool) -> None:
    points = panel.series[0].points
    places = list(range(len(points), 0, -1))
    colours = [COLOURS[0] if point.x >= 0 else COLOURS[1] for point in points]
    drawn = axes.barh(places, [point.x for point in points], color=colours, height=0.75)
    axes.bar_label(
        drawn,
        [f"{point.x:+.1f}" if panel.x.name == "difference" else f"{point.x:,.1f}" for point in points],
        padding=3,
        fontsize=8,
    )
    axes.set_yticks(places, [point.name for point in points])
    axes.set_ylim(0.3, len(points) + 0.7)
    axes.axvline(0, color="#55606e", linewidth=0.8)
    axes.margins(x=0.12)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(panel.x.label)
    axes.set_title(panel.title, loc="left")


def _points(axes: Axes, panel: Panel, small: bool) -> None:
    for guide in panel.guides:
        xs, ys = zip(*guide.points, strict=True)
        axes.plot(
            xs, ys, color="#55606e", linewidth=1, linestyle="--" if guide.dashed else "-", label=guide.label, zorder=1.5
        )
    for series in panel.series:
        _series(axes, series, small)
    for axis, set_scale, set_label in (
        (panel.x, axes.set_xscale, axes.set_xlabel),
        (panel.y, axes.set_yscale, axes.set_ylabel),
    ):
        if axis.log:
            set_scale("log")
        if not small:
            set_label(axis.label)
    _ticks(axes, panel.x)
    if small:
        axes.tick_params(labelsize=7)
    axes.set_title(panel.title, loc="left", fontsize=8 if small else None)


def _ticks(axes: Axes, axis: Axis) -> None:
    from matplotlib.ticker import NullFormatter

    if axis.ticks:
        axes.set_xticks(axis.ticks, [f"{tick:g}" for tick in axis.ticks])
    elif axis.log:
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())


def _series(axes: Axes, series: Series, small: bool) -> None:
    colour, marker = COLOURS[series.colour % len(COLOURS)], MARKERS[series.colour % len(MARKERS)]
    xs, ys = [point.x for point in series.points], [point.y for point in series.points]
    joined = series.joined and len(set(xs)) > 1
    if joined:
        axes.plot(xs, ys, color=colour, linewidth=1 if small else 1.3, alpha=0.7, zorder=2)
    for hollow in (True, False):
        marks = [point for point in series.points if point.hollow is hollow]
        axes.plot(
            [point.x for point in marks], [point.y for point in marks], marker, color=colour,
            markerfacecolor="white" if hollow else colour, markersize=3 if small else 6, zorder=3,
        )  # fmt: skip
    for point in series.points:
        if point.spread is not None:
            axes.errorbar(point.x, point.y, point.spread, color=colour, linewidth=1, capsize=2, zorder=2)
    fill = "white" if all(point.hollow for point in series.points) else colour
    line = "-" if joined else ""
    axes.plot([], [], marker + line, color=colour, markerfacecolor=fill, markersize=5, label=series.label)


def _legend(made: Figure, grid: Sequence[Axes], panels: Sequence[Panel]) -> None:
    """Put one legend for all panels below them, or none where one series has no guide."""
    found: dict[str, Any] = {}
    for axes in grid:
        handles, labels = axes.get_legend_handles_labels()
        found |= {label: handle for label, handle in zip(labels, handles, strict=True) if label not in found}
    if len(found) > 1:
        hollow = any(point.hollow for panel in panels for series in panel.series for point in series.points)
        made.legend(
            found.values(), found.keys(), loc="outside lower center", ncols=min(len(found), 5), fontsize=8,
            title="hollow: published, not measured here" if hollow else None, title_fontsize=8,
        )  # fmt: skip


def _names(made: Figure, axes: Axes, panel: Panel) -> None:
    """Write names next to their marks where nothing is covered; a name without a place is left out."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    renderer = cast(Any, FigureCanvasAgg(made)).get_renderer()
    spots = [tuple(axes.transData.transform((point.x, point.y))) for series in panel.series for point in series.points]
    taken: list[Any] = []
    for point in _shown(panel):
        for right, up in sorted(PLACES, key=lambda place: place[0] != 0) if panel.short else PLACES:
            far = abs(right) > NEAR
            text = axes.annotate(
                point.name.rpartition("/")[2] if panel.short else point.name, (point.x, point.y), (right, up),
                textcoords="offset points", fontsize=7.5,
                ha="left" if right > 0 else "right" if right < 0 else "center",
                va="bottom" if up > 0 else "top" if up < 0 else "center",
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.5},
                arrowprops={"arrowstyle": "-", "color": "#8a939f", "linewidth": 0.6, "shrinkB": 3} if far else None,
            )  # fmt: skip
            text.update_positions(renderer)
            box = Text.get_window_extent(text, renderer)  # without the line to the mark
            inside = axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1 + 8
            covers = any(box.overlaps(other) for other in taken) or any(box.padded(3).contains(*spot) for spot in spots)
            if inside and not covers:
                taken.append(box)
                break
            text.remove()


NEAR = 6
"""Points from a mark up to which a name needs no line to it."""

PLACES = (
    (6, 0), (-6, 0), (0, 6), (0, -6), (5, 5), (-5, 5), (5, -5), (-5, -5),
    (14, 10), (-14, 10), (14, -10), (-14, -10), (24, 16), (-24, 16), (24, -16), (-24, -16),
)  # fmt: skip
"""Where a name may stand, in points from its mark."""


def _shown(panel: Panel) -> list[Point]:
    """Return the points with names, the highest first."""
    found = [point for series in panel.series for point in series.points if point.shown]
    return sorted(found, key=lambda point: (-point.y, point.x))
