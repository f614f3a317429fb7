"""What the commands that show results as a table share: their filters, reading, and where the table goes."""

from __future__ import annotations

import functools
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
    filters: dict[str, Any]

    def read(self, library: Library, *, required: bool = True) -> tuple[Numbers, list[str]]:
        """Return the table of numbers, and what was warned of; see `read_numbers`."""
        return read_numbers(self.outputs, self.published, library, required=required and not self.published)


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
        filters = {
            "protocols": split_commas(protocols) or None,
            "tasks": split_commas(tasks) or None,
            "models": split_commas(models) or None,
            "tags": split_commas(tags),
            "include_partial": include_partial,
        }
        return command(shown=Shown(outputs, split_commas(published), filters), **others)

    return functools.reduce(lambda wrapped, option: option(wrapped), reversed(options), called)


def read_numbers(
    outputs: Sequence[Path], published: Sequence[str], library: Library, *, required: bool
) -> tuple[Numbers, list[str]]:
    """Read the results and the published numbers named; where no result is found and some are required, say so.

    Return also what is warned of: files that are left out, and why.
    """
    from evalsuite.config import default_output
    from evalsuite.errors import UsageError
    from evalsuite.results.library import load_numbers

    folders = list(outputs) or [default_output()]
    how = "Measure something first, for example:\n  evalsuite run --model pocket --tasks digits"
    missing = [str(folder) for folder in folders if not folder.exists()]
    if missing and (outputs or required):
        raise UsageError(f"There is no results folder {', '.join(missing)}. {how}")
    table, warnings = load_numbers([] if missing else folders, published, library)
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)
    if required and not any(place.is_measured for place in table.places):
        raise UsageError(f"There are no results in {', '.join(map(str, folders))}. {how}")
    return table, warnings


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
