"""`evalsuite compare`: is one model better than another, where, by how much, and is it more than chance?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from evalsuite.cli.options import Command, ContenderName, split_commas
from evalsuite.cli.tables import Shown, emit, measured_options, written_options
from evalsuite.cli.terminal import say

if TYPE_CHECKING:
    from evalsuite.report.comparison import Comparison
    from evalsuite.report.reproduction import ReproductionTable


def _points(ctx: click.Context, param: click.Parameter, value: float | None) -> float | None:
    """Refuse what no difference is larger or smaller than."""
    if value is not None and math.isnan(value):
        raise click.BadParameter("nan is no number of points.")
    return value


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
    type=click.FloatRange(min=0),
    callback=_points,
    metavar="POINTS",
    help="Exit 1 where the first model is more than POINTS behind: on the average of a protocol, or on a task it "
    "loses. A task it lacks fails, too. With --reproduce: a result outside the interval and more than POINTS too low.",
)
@written_options
def compare(
    shown: Shown,
    names: tuple[str, ...],
    reproduction: bool,
    fail_below: float | None,
    format_name: str | None,
    raw: bool,
    target: Path | None,
) -> int:
    """Compare two models, or one with a row of a paper (published:NAME): differences, tests, wins and losses.

    A MODEL is named as it was run, by its slug or a pattern. One alone is held against its own published row.
    """
    from evalsuite.report.comparison_formats import FORMATS, to_csv
    from evalsuite.report.formats import format_of

    chosen_format = format_name or (format_of(target, FORMATS) if target else "markdown")
    table: Comparison | ReproductionTable
    table = _reproduction(split_commas(names), shown) if reproduction else _comparison(names, shown)
    text = to_csv(table, raw=True) if raw and chosen_format == "csv" else FORMATS[chosen_format](table)
    emit(text, table.notes, len(table.rows), target, chosen_format)
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
