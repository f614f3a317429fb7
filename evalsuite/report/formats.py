"""Write a leaderboard: markdown, LaTeX and HTML for people, CSV and JSON for programs."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from evalsuite.report.escaping import frame_to_csv, latex, markdown_cell, markdown_line, to_json_text
from evalsuite.report.grid import TextCell, cells_of, header_of, html_table
from evalsuite.report.table import LABELS, UNIT, Leaderboard, Mean, Row
from evalsuite.results.numbers import Number


def to_markdown(board: Leaderboard) -> str:
    """Return a GitHub table with one decimal, and the notes as a list below it."""
    parts = [_markdown_table(board) if board.rows else "There is no value to show."]
    if board.remarks:
        parts.append("\n".join(f"- {markdown_line(line)}" for line in board.remarks))
    return "\n\n".join(parts) + "\n"


def to_csv(board: Leaderboard, *, raw: bool = False) -> str:
    """Return comma-separated values: percent with two decimals, empty where there is no value, no notes.

    raw: names as they are, also those that a spreadsheet takes for a formula.
    """
    return frame_to_csv(board.to_frame(), raw=raw, float_format="%.2f")


def to_json(board: Leaderboard) -> str:
    """Return the table with full values in percent, null where there is none, notes and verdicts.

    Every row has `scores`, a number for each task, and `cells`, the same with interval, test samples and metric.
    """
    content = {
        "unit": UNIT,
        "tasks": board.tasks,
        "groups": board.groups,
        "baselines": board.baselines,
        "rows": [_json_row(row, board) for row in board.rows],
        "notes": board.notes,
        "claims": [asdict(verdict) for verdict in board.claims],
    }
    return to_json_text(content)


def to_latex(board: Leaderboard) -> str:
    """Return a booktabs tabular to \\input, and the notes in small print below it."""
    header = header_of(board)
    lines = [
        "% needs \\usepackage{booktabs}",
        f"\\begin{{tabular}}{{{'l' * len(LABELS)}{'r' * (len(header) - len(LABELS))}}}",
        "\\toprule",
        _latex_line([TextCell(name) for name in header]),
        "\\midrule",
        *(_latex_line(cells_of(row, board)) for row in board.rows),
        "\\bottomrule",
        "\\end{tabular}",
    ]
    if board.remarks:
        lines += ["", "\\par\\smallskip", *(f"{{\\footnotesize {latex(line)}\\par}}" for line in board.remarks)]
    return "\n".join(lines) + "\n"


def to_html(board: Leaderboard) -> str:
    """Return a page with a plain table and the notes as a list; nothing in it asks the network."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8"><title>Leaderboard</title></head>\n<body>\n'
        f"{to_html_part(board)}</body>\n</html>\n"
    )


def to_html_part(board: Leaderboard) -> str:
    """Return the table and the notes alone, for a page of somebody else's, such as a notebook."""
    return html_table(header_of(board), [cells_of(row, board) for row in board.rows], board.remarks)


def to_terminal(board: Leaderboard, width: int = 120) -> str:
    """Return the pages of the terminal in plain text, for a file or a pipe; bold is lost."""
    from rich.console import Console

    from evalsuite.report.terminal import renderables

    console = Console(file=io.StringIO(), width=width, no_color=True, force_terminal=False)
    with console.capture() as captured:
        console.print(*renderables(board, width), sep="\n")
    return captured.get()


FORMATS: Mapping[str, Callable[[Leaderboard], str]] = {
    "terminal": to_terminal,
    "markdown": to_markdown,
    "csv": to_csv,
    "json": to_json,
    "latex": to_latex,
    "html": to_html,
}


def _markdown_table(board: Leaderboard) -> str:
    from tabulate import tabulate

    header = list(map(markdown_cell, header_of(board)))
    lines = [[_markdown_cell(cell) for cell in cells_of(row, board)] for row in board.rows]
    alignment = ["left"] * len(LABELS) + ["right"] * (len(header) - len(LABELS))
    # Numbers are text already: tabulate must not parse them again and drop a final zero.
    return tabulate(lines, headers=header, tablefmt="github", colalign=alignment, disable_numparse=True)


def _markdown_cell(cell: TextCell) -> str:
    text = markdown_cell(cell.text)
    return f"**{text}**" if cell.bold else text


def _json_row(row: Row, board: Leaderboard) -> dict[str, Any]:
    return {
        **dict(zip(LABELS, row.labels, strict=True)),
        "average": 100 * row.average,
        "average_over": len(row.cells),
        "average_rank": row.rank,
        "wins": row.wins,
        "places": asdict(row.places) if row.places else None,
        "scores": {task: 100 * row.cells[task].value if task in row.cells else None for task in board.tasks},
        "cells": {task: _json_cell(row.cells[task]) for task in board.tasks if task in row.cells},
        "best": [task for task in board.tasks if task in row.best],
        "partial": row.partial_tasks,
        "differences": {name: _json_mean(mean) for name, mean in row.differences.items()},
        "groups": {tag: _json_mean(mean) for tag, mean in row.groups.items()},
    }


def _json_cell(number: Number) -> dict[str, Any]:
    interval = number.confidence()
    return {
        "value": 100 * number.value,
        "low": 100 * interval.low if interval else None,
        "high": 100 * interval.high if interval else None,
        "level": interval.level if interval else None,
        "n": number.n,
        "unit": UNIT,
        "metric": number.metric,
        "partial": number.partial,
    }


def _json_mean(mean: Mean) -> dict[str, Any]:
    return {"value": 100 * mean.value, "over": mean.over, "of": mean.of}


def _latex_line(cells: list[TextCell]) -> str:
    texts = [f"\\textbf{{{latex(cell.text)}}}" if cell.bold else latex(cell.text) for cell in cells]
    return " & ".join(texts) + " \\\\"
