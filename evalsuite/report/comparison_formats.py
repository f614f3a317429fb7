"""Write a comparison or a reproduction as markdown for people, CSV or JSON for programs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from evalsuite.report.comparison import Comparison, TaskDifference
from evalsuite.report.grid import MISSING
from evalsuite.report.reproduction import Reproduction, ReproductionTable

Table = Comparison | ReproductionTable


def to_markdown(table: Table) -> str:
    """Return a GitHub table and the notes as a list below it."""
    grid = _compared(table) if isinstance(table, Comparison) else _reproduced(table)
    notes = "\n".join(f"- {note}" for note in table.notes)
    return "\n\n".join(part for part in (grid, notes) if part) + "\n"


def to_csv(table: Table) -> str:
    """Return a line a row of the table: percent and points with all digits, empty where there is no value; no notes."""
    kind = TaskDifference if isinstance(table, Comparison) else Reproduction
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(kind)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in table.rows)
    return text.getvalue()


def to_json(table: Table) -> str:
    """Return the table with its notes; a comparison has the average difference of each protocol, too."""
    content: dict[str, Any] = asdict(table)
    if isinstance(table, Comparison):
        content["averages"] = table.averages()
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


FORMATS: Mapping[str, Callable[[Table], str]] = {"markdown": to_markdown, "csv": to_csv, "json": to_json}


def _compared(table: Comparison) -> str:
    words = ["protocol", "task", "outcome", "test"]
    numbers = [table.first, table.second, "difference", "interval", "p (Holm)"]
    lines = [
        [
            row.protocol, row.task, row.outcome, row.test, f"{row.first:.2f}", f"{row.second:.2f}",
            f"{row.difference:+.2f}", _interval(row.low, row.high, "+"), _probability(row.p_holm),
        ]
        for row in table.rows
    ]  # fmt: skip
    return _grid(words, numbers, lines)


def _reproduced(table: ReproductionTable) -> str:
    words = ["model", "protocol", "task", "splits", "weights", "verdict"]
    numbers = ["measured", "interval", "published", "difference"]
    lines = [
        [
            row.model, row.protocol, row.task, row.split_fidelity, row.weight_fidelity, _verdict(row),
            f"{row.measured:.2f}", _interval(row.low, row.high), f"{row.published:.1f}", f"{row.difference:+.2f}",
        ]
        for row in table.rows
    ]  # fmt: skip
    return _grid(words, numbers, lines)


def _verdict(row: Reproduction) -> str:
    if row.verdict == "not comparable":
        return f"not comparable: {row.why}"
    if row.verdict == "outside the interval":
        return f"outside the interval, {abs(row.outside):.2f} too {'high' if row.outside > 0 else 'low'}"
    return row.verdict


def _grid(words: Sequence[str], numbers: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a GitHub table: columns of words, aligned to the left, then columns of numbers."""
    if not lines:
        return "There is no value to show."
    from tabulate import tabulate

    escaped = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    alignment = ["left"] * len(words) + ["right"] * len(numbers)
    header = [name.replace("|", "\\|") for name in (*words, *numbers)]
    return tabulate(escaped, headers=header, tablefmt="github", colalign=alignment, disable_numparse=True)


def _interval(low: float | None, high: float | None, sign: str = "") -> str:
    return MISSING if low is None or high is None else f"{low:{sign}.2f} to {high:{sign}.2f}"


def _probability(value: float | None) -> str:
    if value is None:
        return MISSING
    return f"{value:.3f}" if value >= 0.001 else f"{value:.1e}"
