"""Write effective robustness as markdown for people, CSV or JSON for programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tabulate import tabulate

from evalsuite.report.escaping import markdown_cell, markdown_line, to_csv_text, to_json_text
from evalsuite.report.grid import MISSING
from evalsuite.report.robustness import Robustness, RobustRow, Shifted

COLUMNS = ("model", "protocol", "origin", "baseline", "task", "reference", "accuracy", "accuracy_without_shift",
           "predicted", "effective_robustness", "beyond", "partial")  # fmt: skip
"""Columns of the tables for programs, a line for each model and task; percent and points."""


def to_markdown(table: Robustness) -> str:
    """Return a GitHub table and the notes as a list below it."""
    if not table.rows:
        return "There is no model with an accuracy under shift and one without it.\n"
    references = list(dict.fromkeys(table.tasks.values()))
    header = ["model", "protocol", "origin", *references, *table.tasks]
    lines = [
        [
            *row.labels,
            *(row.references[one].percent if one in row.references else MISSING for one in references),
            *(_cell(row.cells.get(task)) for task in table.tasks),
        ]
        for row in table.rows
    ]
    alignment = ["left"] * 3 + ["right"] * (len(header) - 3)
    grid = tabulate(
        [list(map(markdown_cell, line)) for line in lines],
        headers=list(map(markdown_cell, header)), tablefmt="github", colalign=alignment, disable_numparse=True,
    )  # fmt: skip
    return grid + "\n\n" + "\n".join(f"- {markdown_line(note)}" for note in table.notes) + "\n"


def to_csv(table: Robustness, *, raw: bool = False) -> str:
    """Return a line for each model and task, with all digits. raw: names as they are, also those like formulas."""
    return to_csv_text(COLUMNS, _records(table), raw)


def to_json(table: Robustness) -> str:
    """Return the rows, the lines of the baselines, and the notes."""
    lines = {task: vars(line) for task, line in table.lines.items()}
    return to_json_text({"rows": _records(table), "lines": lines, "notes": table.notes})


FORMATS: Mapping[str, Callable[[Robustness], str]] = {"markdown": to_markdown, "csv": to_csv, "json": to_json}


def _cell(cell: Shifted | None) -> str:
    if cell is None:
        return MISSING
    if cell.effective is None:
        return cell.number.percent
    return f"{cell.number.percent} ({'~' if cell.beyond else ''}{100 * cell.effective:+.1f})"


def _records(table: Robustness) -> list[dict[str, object]]:
    return [_record(row, task, table.tasks[task], cell) for row in table.rows for task, cell in row.cells.items()]


def _record(row: RobustRow, task: str, reference: str, cell: Shifted) -> dict[str, object]:
    without = row.references[reference]
    values = (
        *row.labels, row.is_baseline, task, reference, 100 * cell.number.value, 100 * without.value,
        None if cell.predicted is None else 100 * cell.predicted,
        None if cell.effective is None else 100 * cell.effective,
        cell.beyond, cell.number.partial or without.partial,
    )  # fmt: skip
    return dict(zip(COLUMNS, values, strict=True))
