"""Write a figure as data: CSV and JSON for programs, Markdown for people."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tabulate import tabulate

from evalsuite.report.escaping import markdown_cell, markdown_line, to_csv_text, to_json_text
from evalsuite.report.grid import MISSING
from evalsuite.report.paper.figure import PaperFigure


def to_csv(figure: PaperFigure, *, raw: bool = False) -> str:
    """Return a line for each mark. raw: names as they are, also those like formulas."""
    return to_csv_text(figure.columns, figure.records(), raw)


def to_json(figure: PaperFigure) -> str:
    """Return the marks, the lines that are no data, and the notes."""
    panels = figure.drawing.panels
    guides = [
        {"panel": panel.title, "label": guide.label, "points": guide.points}
        for panel in panels
        for guide in panel.guides
    ]
    content = {"figure": figure.number, "title": figure.title, "caption": figure.caption}
    return to_json_text({**content, "marks": figure.records(), "guides": guides, "notes": figure.notes})


def to_markdown(figure: PaperFigure) -> str:
    """Return a GitHub table of the marks, and the notes as a list below it."""
    rows = [[_cell(record[name]) for name in figure.columns] for record in figure.records()]
    grid = tabulate(rows, headers=list(figure.columns), tablefmt="github", disable_numparse=True)
    notes = "\n".join(f"- {markdown_line(note)}" for note in (figure.caption, *figure.notes))
    return f"{grid}\n\n{notes}\n"


FORMATS: Mapping[str, Callable[[PaperFigure], str]] = {"markdown": to_markdown, "csv": to_csv, "json": to_json}


def _cell(value: object) -> str:
    if value is None:
        return MISSING
    return f"{value:.1f}" if isinstance(value, float) else markdown_cell(str(value))
