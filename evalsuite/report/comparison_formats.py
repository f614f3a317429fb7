"""Write a comparison or a reproduction as markdown for people, CSV or JSON for programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evalsuite.records import Interval
from evalsuite.report.comparison import Comparison, TaskDifference
from evalsuite.report.escaping import markdown_cell, markdown_line, to_csv_text, to_json_text
from evalsuite.report.grid import MISSING, TextCell, html_table
from evalsuite.report.reproduction import Reproduction, ReproductionTable
from evalsuite.report.table import UNIT

if TYPE_CHECKING:
    import pandas as pd

Table = Comparison | ReproductionTable

COMPARED: Mapping[str, Callable[[TaskDifference], object]] = {
    "protocol": lambda row: row.protocol,
    "task": lambda row: row.task,
    "metric": lambda row: row.first.metric,
    "first": lambda row: 100 * row.first.value,
    "second": lambda row: 100 * row.second.value,
    "difference": lambda row: 100 * row.difference,
    "low": lambda row: _low(row.interval),
    "high": lambda row: _high(row.interval),
    "p": lambda row: row.p,
    "p_holm": lambda row: row.p_holm,
    "outcome": lambda row: row.outcome,
    "test": lambda row: row.test,
    "remark": lambda row: row.remark,
    "partial": lambda row: " ".join(name for name in ("first", "second") if getattr(row, name).partial),
}
REPRODUCED: Mapping[str, Callable[[Reproduction], object]] = {
    "model": lambda row: row.model,
    "protocol": lambda row: row.measured.job.protocol_label,
    "task": lambda row: row.measured.task,
    "metric": lambda row: row.measured.metric,
    "measured": lambda row: 100 * row.measured.value,
    "low": lambda row: _low(row.measured.confidence()),
    "high": lambda row: _high(row.measured.confidence()),
    "published": lambda row: 100 * row.published.value,
    "difference": lambda row: 100 * row.difference,
    "outside": lambda row: 100 * row.outside,
    "split_fidelity": lambda row: row.split_fidelity,
    "weight_fidelity": lambda row: row.measured.weight_fidelity,
    "verdict": lambda row: row.verdict,
    "why": lambda row: row.why,
    "caveat": lambda row: row.published.caveat,
    "partial": lambda row: "measured" if row.measured.partial else "",
}
"""Columns of the tables for programs, in percent and points; `partial` names the values of a part of the samples."""


@dataclass(frozen=True)
class Grid:
    """A table for people: headings of the columns of words, then of those of numbers, and lines of text."""

    words: Sequence[str]
    numbers: Sequence[str]
    lines: Sequence[Sequence[str]]

    @classmethod
    def of(cls, table: Table) -> Grid:
        """Return what people are shown of a table."""
        return _compared(table) if isinstance(table, Comparison) else _reproduced(table)

    def to_markdown(self) -> str:
        """Return a GitHub table: words are aligned to the left, numbers to the right."""
        if not self.lines:
            return "There is no value to show."
        from tabulate import tabulate

        escaped = [list(map(markdown_cell, line)) for line in self.lines]
        alignment = ["left"] * len(self.words) + ["right"] * len(self.numbers)
        header = [markdown_cell(name) for name in (*self.words, *self.numbers)]
        return tabulate(escaped, headers=header, tablefmt="github", colalign=alignment, disable_numparse=True)


def to_markdown(table: Table) -> str:
    """Return a GitHub table and the notes as a list below it."""
    grid = Grid.of(table).to_markdown()
    notes = "\n".join(f"- {markdown_line(note)}" for note in table.notes)
    return "\n\n".join(part for part in (grid, notes) if part) + "\n"


def to_csv(table: Table, *, raw: bool = False) -> str:
    """Return a line for each row: percent and points with all digits, empty where there is no value; no notes.

    raw: names as they are, also those that a spreadsheet takes for a formula.
    """
    columns = COMPARED if isinstance(table, Comparison) else REPRODUCED
    return to_csv_text(list(columns), _records(table), raw)


def to_json(table: Table) -> str:
    """Return the table with its notes; a comparison has the average difference of each protocol, too."""
    content: dict[str, Any] = {"unit": UNIT, "rows": _records(table), "notes": table.notes}
    if isinstance(table, Comparison):
        averages = {protocol: 100 * value for protocol, value in table.averages().items()}
        names = {"first": table.first, "second": table.second}
        content = {
            **names,
            "unit": UNIT,
            "rows": content["rows"],
            "lacking": table.lacking,
            "notes": table.notes,
            "averages": averages,
        }
    return to_json_text(content)


FORMATS: Mapping[str, Callable[[Table], str]] = {"markdown": to_markdown, "csv": to_csv, "json": to_json}


def to_html_part(table: Table) -> str:
    """Return an HTML table and the notes alone, for a page of somebody else's, such as a notebook."""
    grid = Grid.of(table)
    return html_table([*grid.words, *grid.numbers], [list(map(TextCell, line)) for line in grid.lines], table.notes)


def to_frame(table: Table) -> pd.DataFrame:
    """Return a row for each of the table's: percent, points, None where there is no value."""
    import pandas as pd

    columns = COMPARED if isinstance(table, Comparison) else REPRODUCED
    return pd.DataFrame(_records(table), columns=list(columns))


def _records(table: Table) -> list[dict[str, object]]:
    """Return the rows for programs: percent, points, None where there is no value."""
    if isinstance(table, Comparison):
        return [{name: value(row) for name, value in COMPARED.items()} for row in table.rows]
    return [{name: value(row) for name, value in REPRODUCED.items()} for row in table.rows]


def _low(interval: Interval | None) -> float | None:
    return 100 * interval.low if interval else None


def _high(interval: Interval | None) -> float | None:
    return 100 * interval.high if interval else None


def _compared(table: Comparison) -> Grid:
    words = ["protocol", "task", "outcome", "test"]
    numbers = [table.first, table.second, "difference", "interval", "p (Holm)"]
    lines = [
        [
            row.protocol, row.task, row.outcome, row.test, f"{100 * row.first.value:.2f}{row.first.mark}",
            f"{100 * row.second.value:.2f}{row.second.mark}", f"{100 * row.difference:+.2f}{row.mark}",
            _interval(row.interval, "+"), _probability(row.p_holm),
        ]
        for row in table.rows
    ]  # fmt: skip
    return Grid(words, numbers, lines)


def _reproduced(table: ReproductionTable) -> Grid:
    words = ["model", "protocol", "task", "splits", "weights", "verdict"]
    numbers = ["measured", "interval", "published", "difference"]
    lines = [
        [
            row.model, ours.job.protocol_label, ours.task, row.split_fidelity, ours.weight_fidelity, _verdict(row),
            f"{100 * ours.value:.2f}{ours.mark}", _interval(ours.confidence()), f"{100 * row.published.value:.1f}",
            f"{100 * row.difference:+.2f}{ours.mark}",
        ]
        for row in table.rows
        if (ours := row.measured)
    ]  # fmt: skip
    return Grid(words, numbers, lines)


def _verdict(row: Reproduction) -> str:
    if row.verdict == "not comparable":
        return f"not comparable: {row.why}"
    if row.verdict == "outside the interval":
        return f"outside the interval, {abs(100 * row.outside):.2f} too {'high' if row.outside > 0 else 'low'}"
    return row.verdict


def _interval(interval: Interval | None, sign: str = "") -> str:
    return MISSING if interval is None else f"{100 * interval.low:{sign}.2f} to {100 * interval.high:{sign}.2f}"


def _probability(value: float | None) -> str:
    if value is None:
        return MISSING
    return f"{value:.3f}" if value >= 0.001 else f"{value:.1e}"
