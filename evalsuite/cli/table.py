"""`evalsuite table`: the tables of the CLIP paper, with what was measured among their rows."""

from __future__ import annotations

from pathlib import Path

import click

from evalsuite.cli.destination import Destination
from evalsuite.cli.figure import ORIGIN, read_numbers
from evalsuite.cli.options import Command
from evalsuite.cli.tables import INCLUDE_PARTIAL, MODELS, OUTPUTS, Shown, board_options, emit_board
from evalsuite.cli.terminal import say
from evalsuite.text import counted


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
    to: Destination,
) -> None:
    """Show a table of the paper, and say where its numbers agree with its text."""
    from evalsuite.report.paper.tables import DATASET_FORMATS, DATASETS, TABLES, dataset_table, score_table
    from evalsuite.results.library import Library

    if number is None:
        for name, title in TABLES.items():
            say(f"{name:>3}  {title}")
        return
    library = Library()
    if number == DATASETS:
        datasets = dataset_table(library)
        to.emit(datasets, DATASET_FORMATS, counted(len(datasets.rows), "row"), datasets.notes)
        return
    shown = Shown(outputs, (), (), (), include_partial)
    measured = [one for one in read_numbers(shown, origin, library) if one.is_measured]
    emit_board(score_table(number, measured, library, models=models, printed=origin != "measured"), to)
