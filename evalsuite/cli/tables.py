"""What the commands that show results as a table share: their filters, reading, and where the table goes."""

from __future__ import annotations

import functools
import gc
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from evalsuite.cli.destination import Destination, destination_options
from evalsuite.cli.options import ModelName, ProtocolName, PublishedName, TaskName, split_values
from evalsuite.cli.terminal import say
from evalsuite.columns import room
from evalsuite.text import counted

if TYPE_CHECKING:
    from evalsuite.report.table import Leaderboard
    from evalsuite.results.library import Library
    from evalsuite.results.numbers import Numbers


@dataclass(frozen=True)
class Shown:
    """What the options say is shown: folders, names of published rows, and the filters by name."""

    outputs: Sequence[Path]
    protocols: Sequence[str]
    tasks: Sequence[str]
    tags: Sequence[str]
    include_partial: bool
    models: Sequence[str] = ()
    published: Sequence[str] = ()

    @property
    def filters(self) -> dict[str, Any]:
        """The filters as arguments of what makes a table."""
        filters = vars(self).items()
        return {name: value for name, value in filters if name not in ("outputs", "published")}

    def read(self, library: Library, *, required: bool = True) -> tuple[Numbers, list[str]]:
        """Return the table of the results and the published numbers named, and what was warned of: files left out.

        Where no result is found, none is published and some are required, a UsageError says what to type.
        """
        from evalsuite.config import default_output
        from evalsuite.errors import UsageError
        from evalsuite.results.library import load_numbers
        from evalsuite.results.store import SUFFIXES_OF_FILES

        required = required and not self.published
        folders = list(self.outputs) or [default_output()]
        how = "Measure something first, for example:\n  evalsuite run --model pocket --tasks digits"
        missing = [str(folder) for folder in folders if not folder.exists()]
        if missing and Path(missing[0]).suffix in SUFFIXES_OF_FILES:
            raise UsageError(f"--output {missing[0]} is where results are read. To write a file: --to {missing[0]}")
        if missing and (self.outputs or required):
            raise UsageError(f"There is no results folder {', '.join(missing)}. {how}")
        table, warnings = load_numbers([] if missing else folders, self.published, library)
        gc.freeze()  # thousands of records stay to the end: looking for cycles among them takes longer than the table
        for warning in warnings:
            say(f"warning: {warning}", err=True)
        if required and not table.places:
            raise UsageError(f"There are no results in {', '.join(map(str, folders))}. {how}")
        return table, warnings


def shown_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that choose what is shown, and hand them to it as its argument `shown`."""
    return measured_options(command, MODELS, PUBLISHED)


def measured_options(command: Callable[..., Any], *more: Callable[..., Any]) -> Callable[..., Any]:
    """Do as `shown_options`, for a command whose models are arguments; more: further options."""

    @functools.wraps(command)
    def called(**given: Any) -> Any:
        shown = Shown(**{field.name: given.pop(field.name) for field in fields(Shown) if field.name in given})
        return command(shown=shown, **given)

    options = (OUTPUTS, PROTOCOLS, TASKS, *more, TAGS, INCLUDE_PARTIAL)
    return functools.reduce(lambda wrapped, option: option(wrapped), reversed(options), called)


def names_option(*flags: str, kind: Any = str, metavar: str = "NAME", help: str) -> Callable[..., Any]:
    """Return an option of names, given several times or with commas between them; the command gets a list."""
    return click.option(*flags, multiple=True, type=kind, metavar=metavar, callback=split_values, help=help)


OUTPUTS = click.option(
    "--output",
    "-o",
    "outputs",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Folder of results, as given to `evalsuite run`; may be repeated.  [default: where `run` writes]",
)
PROTOCOLS = names_option(
    "--protocol", "--protocols", "protocols", kind=ProtocolName(),
    help="Only these protocols, e.g. zero_shot; `all` is every one.",
)  # fmt: skip
TASKS = names_option(
    "--tasks", "--task", "-t", "tasks", kind=TaskName(),
    help="Only these tasks, in this order: names, groups or patterns; repeat it or separate by commas.",
)  # fmt: skip
MODELS = names_option(
    "--models", "--model", "-m", "models", kind=ModelName(),
    help="Only these models, measured or published: names or patterns; repeat it or separate by commas.",
)  # fmt: skip
PUBLISHED = names_option(
    "--published", kind=PublishedName(), metavar="all|clip-paper|NAME",
    help="Add rows of papers or imports: all, a table, a row (resnet/50), a family (resnet) or a pattern ('bit-m/*').",
)  # fmt: skip
TAGS = names_option("--tag", "tags", metavar="TAG", help="Only the tasks with one of these tags, e.g. ocr.")
INCLUDE_PARTIAL = click.option(
    "--include-partial", is_flag=True, help="Show results computed from a part of the samples, marked *."
)

board_options = destination_options(
    "terminal", "markdown", "csv", "json", "latex", "html", told="terminal on one, markdown in a pipe"
)


def emit_board(board: Leaderboard, to: Destination) -> None:
    """Print a leaderboard, or write it to a file."""
    from evalsuite.report.formats import FORMATS

    default = "terminal" if sys.stdout.isatty() else "markdown"
    if to.target is None and to.chosen(FORMATS, default) == "terminal":
        show_board(board)
    else:
        to.emit(board, FORMATS, counted(len(board.rows), "row"), board.remarks, default)


def show_board(board: Leaderboard) -> None:
    """Print a leaderboard in pages of columns as wide as the terminal."""
    from rich.console import Console

    from evalsuite.report.terminal import renderables

    console = Console(highlight=False, width=room())
    console.print(*renderables(board, console.width), sep="\n")
