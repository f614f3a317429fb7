"""`evalsuite table`: the tables of the CLIP paper, with what was measured among their rows."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from evalsuite.cli.figure import ORIGIN, read_numbers
from evalsuite.cli.options import Command
from evalsuite.cli.tables import INCLUDE_PARTIAL, MODELS, OUTPUTS, Shown, board_options, emit, show_board
from evalsuite.cli.terminal import say


@click.command(
    "table",
    cls=Command,
    epilog="""
    evalsuite table                       which tables there are
    evalsuite table 9                     the datasets: what is printed, and what the task files have
    evalsuite table 10 -m 'clip/*'        linear probes of the paper and yours
    evalsuite table 11 --to table-11.tex  zero-shot, for LaTeX
    evalsuite table 16 --to table-16.csv  accuracy under shift
    """,
)
@click.argument("number", required=False)
@OUTPUTS
@MODELS
@ORIGIN
@INCLUDE_PARTIAL
@board_options
def table(
    number: str | None,
    outputs: tuple[Path, ...],
    models: list[str],
    origin: str,
    include_partial: bool,
    format_name: str | None,
    raw: bool,
    target: Path | None,
) -> None:
    """Show a table of the paper, and say where its numbers agree with its text."""
    from evalsuite.report.formats import FORMATS, format_of, to_csv
    from evalsuite.report.paper.tables import DATASETS, TABLES, dataset_table, score_table, write_datasets
    from evalsuite.results.library import Library

    if number is None:
        for name, title in TABLES.items():
            say(f"{name:>3}  {title}")
        return
    library = Library()
    place = "terminal" if sys.stdout.isatty() else "markdown"
    chosen = format_name or (format_of(target) if target else place)
    if number == DATASETS:
        datasets = dataset_table(library)
        form = "markdown" if format_name is None and target is None else chosen  # which `emit` fits to a terminal
        emit(write_datasets(datasets, form, raw=raw), datasets.notes, len(datasets.rows), target, form)
        return
    shown = Shown(outputs, (), (), (), include_partial)
    measured = [one for one in read_numbers(shown, origin, library) if one.is_measured]
    board = score_table(number, measured, library, models=models, printed=origin != "measured")
    if chosen == "terminal" and target is None:
        show_board(board)
        return
    text = to_csv(board, raw=True) if raw and chosen == "csv" else FORMATS[chosen](board)
    emit(text, board.remarks, len(board.rows), target, chosen)
