"""What the commands that show results as a table share: their filters, reading, and where the table goes."""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from evalsuite.cli.options import (
    include_partial_option,
    published_option,
    results_option,
    shown_models_option,
    shown_protocols_option,
    shown_tags_option,
    shown_tasks_option,
    split_commas,
)

if TYPE_CHECKING:
    from evalsuite.results.library import Library
    from evalsuite.results.numbers import Numbers


@dataclass(frozen=True)
class Shown:
    """What the options say is shown: folders, names of published rows, and the filters by name."""

    outputs: tuple[Path, ...]
    published: list[str]
    protocols: list[str] | None
    tasks: list[str] | None
    models: list[str] | None
    tags: list[str]
    include_partial: bool

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

        required = required and not self.published
        folders = list(self.outputs) or [default_output()]
        how = "Measure something first, for example:\n  evalsuite run --model pocket --tasks digits"
        missing = [str(folder) for folder in folders if not folder.exists()]
        if missing and (self.outputs or required):
            raise UsageError(f"There is no results folder {', '.join(missing)}. {how}")
        table, warnings = load_numbers([] if missing else folders, self.published, library)
        gc.freeze()  # thousands of records stay to the end: looking for cycles among them takes longer than the table
        for warning in warnings:
            click.echo(f"warning: {warning}", err=True)
        if required and not table.places:
            raise UsageError(f"There are no results in {', '.join(map(str, folders))}. {how}")
        return table, warnings


def shown_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that choose what is shown, and hand them to it as its argument `shown`."""
    return _with_options(
        command,
        results_option,
        shown_protocols_option,
        shown_tasks_option,
        shown_models_option,
        published_option,
        shown_tags_option,
        include_partial_option,
    )


def measured_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Do as `shown_options`, for a command that shows one measured model."""
    return _with_options(
        command,
        results_option,
        shown_protocols_option,
        shown_tasks_option,
        shown_tags_option,
        include_partial_option,
    )


def _with_options(command: Callable[..., Any], *options: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(command)
    def called(
        *,
        outputs: tuple[Path, ...],
        protocols: tuple[str, ...],
        tasks: tuple[str, ...],
        tags: tuple[str, ...],
        include_partial: bool,
        models: tuple[str, ...] = (),
        published: tuple[str, ...] = (),
        **others: Any,
    ) -> Any:
        names = [split_commas(values) for values in (published, protocols, tasks, models, tags)]
        shown = Shown(
            outputs, names[0], names[1] or None, names[2] or None, names[3] or None, names[4], include_partial
        )
        return command(shown=shown, **others)

    return functools.reduce(lambda wrapped, option: option(wrapped), reversed(options), called)


def emit(text: str, notes: Sequence[str], rows: int, target: Path | None, format_name: str) -> None:
    """Print a table, or write it to `target` and say so; a CSV has no place for notes, which go to stderr."""
    from evalsuite.text import counted

    if target is None:
        click.echo(text, nl=False)
    else:
        write_output(target, text)
        click.echo(f"Wrote {counted(rows, 'row')} to {target}.")
    if format_name == "csv":
        for note in notes:
            click.echo(note, err=True)


def write_output(target: Path, text: str) -> None:
    """Write `text` to the file that --to names; UsageError where that cannot be."""
    from evalsuite.atomic import write_text
    from evalsuite.errors import UsageError

    try:
        write_text(target, text)
    except OSError as error:
        raise UsageError(f"Cannot write {target}: {error.strerror or error}.") from error
