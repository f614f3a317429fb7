"""`evalsuite compare`: is one model better than another, where, by how much, and is it more than chance?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from evalsuite.cli.destination import Destination, destination_options
from evalsuite.cli.options import Command, ContenderName, Number, split_commas
from evalsuite.cli.tables import Shown, measured_options
from evalsuite.cli.terminal import say
from evalsuite.text import counted

if TYPE_CHECKING:
    from evalsuite.report.comparison import Comparison
    from evalsuite.report.reproduction import ReproductionTable


@click.command(
    "compare",
    cls=Command,
    epilog="""
    evalsuite compare pocket pixels                      two measured models, task by task
    evalsuite compare ViT-B/32                           a model against its own row of the paper
    evalsuite compare mine.py:net published:resnet/50    against another row
    evalsuite compare net@1a2b3c4d net@5e6f7a8b          two states of one model's weights
    evalsuite compare -o new -o old b a --fail-below 1   exit 1 where b is more than a point behind a
    evalsuite compare --reproduce                        does this set-up give the paper's numbers?
    evalsuite compare --reproduce 'clip/*' --to repro.csv
    """,
)
@click.argument("names", nargs=-1, type=ContenderName(), metavar="[MODEL]...")
@click.option(
    "--reproduce", "reproduction", is_flag=True, help="Hold each result against the published number of its model."
)
@measured_options
@click.option(
    "--fail-below",
    type=Number(float, 0),
    metavar="POINTS",
    help="Exit 1 where the first model is more than POINTS behind: on the average of a protocol, or on a task it "
    "loses. A task it lacks fails, too. With --reproduce: a result outside the interval and more than POINTS too low.",
)
@destination_options("markdown", "csv", "json", told="markdown")
def compare(
    shown: Shown,
    names: tuple[str, ...],
    reproduction: bool,
    fail_below: float | None,
    to: Destination,
) -> int:
    """Compare two models, or one with a row of a paper (published:NAME): differences, tests, wins and losses.

    A MODEL is named as it was run, by its slug or a pattern. One alone is held against its own published row.
    """
    from evalsuite.report.comparison_formats import FORMATS

    to.chosen(FORMATS)
    table: Comparison | ReproductionTable
    table = _reproduction(split_commas(names), shown) if reproduction else _comparison(names, shown)
    to.emit(table, FORMATS, counted(len(table.rows), "row"), table.notes)
    failures = [] if fail_below is None else table.failures(fail_below)
    for failure in failures:
        say(f"Failed: {failure}.", err=True)
    return int(bool(failures))


def _comparison(models: Sequence[str], shown: Shown) -> Comparison:
    from evalsuite.errors import UsageError
    from evalsuite.report.comparison import compare
    from evalsuite.report.contenders import choose_contenders
    from evalsuite.results.library import Library
    from evalsuite.results.naming import PUBLISHED

    if len(models) not in (1, 2):
        raise UsageError(
            "Name one or two models, for example: evalsuite compare pocket pixels. "
            "With --reproduce, every model is held against its own published row."
        )
    library = Library()
    table, _ = shown.read(library, required=not all(name.startswith(PUBLISHED) for name in models))
    first, second = choose_contenders(models, table.numbers, include_partial=shown.include_partial, library=library)
    return compare(first, second, protocols=shown.protocols, tasks=shown.tasks, tags=shown.tags)


def _reproduction(models: Sequence[str], shown: Shown) -> ReproductionTable:
    from evalsuite.report.reproduction import reproduce
    from evalsuite.results.library import Library

    library = Library()
    table, _ = shown.read(library)
    return reproduce(table, models, protocols=shown.protocols, tasks=shown.tasks, tags=shown.tags, library=library)
