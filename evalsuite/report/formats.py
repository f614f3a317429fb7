"""Write a leaderboard as text: markdown for people, CSV for programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from evalsuite.errors import UsageError
from evalsuite.report.leaderboard import Leaderboard, Row

MISSING = "–"
PARTIAL = "*"


def to_markdown(board: Leaderboard) -> str:
    """Return a GitHub table with one decimal, and the notes as a list below it."""
    parts = [_table(board) if board.rows else "There is no value to show."]
    if board.notes:
        parts.append("\n".join(f"- {note}" for note in board.notes))
    return "\n\n".join(parts) + "\n"


def to_csv(board: Leaderboard) -> str:
    """Return comma-separated values: percent with two decimals, empty where there is no value, no notes."""
    text: str = board.to_frame().to_csv(index=False, float_format="%.2f", lineterminator="\n")
    return text


FORMATS: Mapping[str, Callable[[Leaderboard], str]] = {"markdown": to_markdown, "csv": to_csv}
SUFFIXES: Mapping[str, str] = {".md": "markdown", ".csv": "csv"}


def format_of(path: Path) -> str:
    """Return the format that the suffix of `path` stands for; UsageError names the suffixes there are."""
    found = SUFFIXES.get(path.suffix.lower())
    if found is None:
        raise UsageError(
            f"Cannot tell the format of {path}: end its name in {' or '.join(SUFFIXES)}, or give --format."
        )
    return found


def _table(board: Leaderboard) -> str:
    from tabulate import tabulate

    header = ["model", "protocol", "origin", *board.tasks, "average"]
    lines = [[_escape(row.model), _escape(row.protocol), row.origin, *_numbers(row, board)] for row in board.rows]
    alignment = ["left"] * 3 + ["right"] * (len(header) - 3)
    # Numbers are text already: tabulate must not parse them again and drop a final zero.
    return tabulate(lines, headers=header, tablefmt="github", colalign=alignment, disable_numparse=True)


def _numbers(row: Row, board: Leaderboard) -> list[str]:
    cells = [row.cells.get(task) for task in board.tasks]
    values = [MISSING if cell is None else f"{cell.value:.1f}{PARTIAL if cell.partial else ''}" for cell in cells]
    average = f"{row.average:.1f}{PARTIAL if row.partial_tasks else ''}"
    if len(row.cells) < len(board.tasks):
        average += f" ({len(row.cells)}/{len(board.tasks)})"
    return [*values, average]


def _escape(text: str) -> str:
    return text.replace("|", "\\|")
