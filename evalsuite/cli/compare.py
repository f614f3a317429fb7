"""`evalsuite compare`: is one model better than another, where, by how much, and is it more than chance?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from evalsuite.cli.options import Command, ModelName, TaskName, results_option, shown_protocols_option, split_commas
from evalsuite.cli.tables import emit, read_numbers

if TYPE_CHECKING:
    from evalsuite.report.comparison import Comparison
    from evalsuite.report.reproduction import ReproductionTable


class ContenderName(ModelName):
    """A model or `published:NAME`; completes both when the shell asks."""

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        """Offer the names that begin as typed."""
        from click.shell_completion import CompletionItem

        from evalsuite.results.library import Library
        from evalsuite.results.naming import PUBLISHED

        if not incomplete.startswith(PUBLISHED[:3]):
            return super().shell_complete(ctx, param, incomplete)
        names = (PUBLISHED + name for name in Library().names())
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]


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
@click.argument("models", nargs=-1, type=ContenderName(), metavar="[MODEL]...")
@click.option(
    "--reproduce", "reproduction", is_flag=True, help="Hold each result against the published number of its model."
)
@results_option
@shown_protocols_option
@click.option(
    "--tasks",
    "--task",
    "-t",
    "tasks",
    multiple=True,
    type=TaskName(),
    metavar="NAME",
    help="Only these tasks: names, groups or patterns; repeat it or separate by commas.",
)
@click.option(
    "--include-partial",
    is_flag=True,
    help="Compare results computed from a part of the samples, too; --reproduce names them anyway.",
)
@click.option(
    "--fail-below",
    type=click.FloatRange(min=0),
    callback=_points,
    metavar="POINTS",
    help="Exit 1 where the first model is more than POINTS behind: on the average of a protocol, or on a task it "
    "loses. A task it lacks fails, too. With --reproduce: a result outside the interval and more than POINTS too low.",
)
@click.option("--format", "format_name", type=click.Choice(["markdown", "csv", "json"]), help="[default: markdown]")
@click.option(
    "--to",
    "target",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write to this file; its suffix (.md, .csv, .json) tells the format.",
)
def compare(
    models: tuple[str, ...],
    reproduction: bool,
    outputs: tuple[Path, ...],
    protocols: tuple[str, ...],
    tasks: tuple[str, ...],
    include_partial: bool,
    fail_below: float | None,
    format_name: str | None,
    target: Path | None,
) -> int:
    """Compare two models, or one with a row of a paper (published:NAME): differences, tests, wins and losses.

    A MODEL is named as it was run, by its slug or a pattern. One alone is held against its own published row.
    """
    from evalsuite.report.comparison_formats import FORMATS
    from evalsuite.report.formats import format_of

    chosen_format = format_name or (format_of(target, FORMATS) if target else "markdown")
    chosen_protocols, chosen_tasks = split_commas(protocols), split_commas(tasks)
    table: Comparison | ReproductionTable
    if reproduction:
        table = _reproduction(split_commas(models), outputs, chosen_protocols, chosen_tasks)
    else:
        table = _comparison(models, outputs, chosen_protocols, chosen_tasks, include_partial)
    emit(FORMATS[chosen_format](table), table.notes, len(table.rows), target, chosen_format)
    failures = [] if fail_below is None else table.failures(fail_below)
    for failure in failures:
        click.echo(f"Failed: {failure}.", err=True)
    return int(bool(failures))


def _comparison(
    models: Sequence[str], outputs: Sequence[Path], protocols: list[str], tasks: list[str], include_partial: bool
) -> Comparison:
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
    measured = not all(name.startswith(PUBLISHED) for name in models)
    table, _ = read_numbers(outputs, (), library, required=measured)
    first, second = choose_contenders(models, table.numbers, include_partial=include_partial, library=library)
    return compare(first, second, protocols=protocols or None, tasks=tasks or None)


def _reproduction(
    models: Sequence[str], outputs: Sequence[Path], protocols: list[str], tasks: list[str]
) -> ReproductionTable:
    from evalsuite.report.reproduction import reproduce
    from evalsuite.results.library import Library

    library = Library()
    table, _ = read_numbers(outputs, (), library, required=True)
    return reproduce(table, models, protocols=protocols or None, tasks=tasks or None, library=library)
