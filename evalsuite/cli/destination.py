"""Where the output of a command goes: the terminal, a pipe, or the file that --to names, in the format chosen."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import click

from evalsuite.cli.terminal import say
from evalsuite.columns import room
from evalsuite.errors import UsageError

SUFFIXES = {
    ".md": "markdown", ".csv": "csv", ".json": "json", ".tex": "latex", ".html": "html", ".txt": "table",
    ".svg": "svg", ".png": "png", ".pdf": "pdf",
}  # fmt: skip
"""Suffix of a file -> the format it stands for."""


@dataclass(frozen=True)
class Destination:
    """What the options say: target is --to; raw leaves names in a CSV as they are."""

    target: Path | None
    format_name: str | None
    raw: bool = False

    def chosen(self, formats: Collection[str], default: str = "markdown") -> str:
        """Return the one of `formats` that --format says, or the suffix of the file; UsageError for another suffix."""
        if self.format_name or self.target is None:
            return self.format_name or default
        suffixes = _suffixes(formats)
        if self.target.suffix.lower() not in suffixes:
            known = " or ".join(suffixes)
            raise UsageError(f"Cannot tell the format of {self.target}: end its name in {known}, or give --format.")
        return SUFFIXES[self.target.suffix.lower()]

    def emit(
        self,
        table: Any,
        formats: Mapping[str, Callable[..., str]],
        what: str,
        notes: Sequence[str] = (),
        default: str = "markdown",
    ) -> None:
        """Print a table in one of `formats`, or write it and say `what` is in the file.

        notes: for stderr where it is a CSV, which has no place for them. Markdown that was not asked for is printed as
        a person reads it.
        """
        name = self.chosen(formats, default)
        text = formats[name](table, raw=True) if self.raw and name == "csv" else formats[name](table)
        if name == "markdown" and self.target is None and self.format_name is None:
            say_markdown(text)
        else:
            deliver(text, self.target, what)
        for note in notes if name == "csv" else ():
            say(note, err=True)


def _suffixes(formats: Collection[str]) -> list[str]:
    return [suffix for wanted in formats for suffix, name in SUFFIXES.items() if name == wanted]


def target_option(text: str, **settings: Any) -> Callable[..., Any]:
    """Return --to, the file to write. text: of its help."""
    return click.option("--to", "target", type=click.Path(path_type=Path, dir_okay=False), help=text, **settings)


to_option = target_option("Write to this file.  [default: the terminal]")


def destination_options(*formats: str, told: str, raw: bool = True, also: str = "") -> Callable[..., Any]:
    """Return a decorator that adds --format and --to, with `raw` also --raw, and hands them over as the argument `to`.

    told: which format is the default. also: what the help of --to says after the suffixes.
    """
    suffixes = ", ".join(_suffixes(formats))

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def called(**given: Any) -> Any:
            named = {field.name: given.pop(field.name) for field in fields(Destination) if field.name in given}
            return command(to=Destination(**named), **given)

        options = [
            click.option("--format", "format_name", type=click.Choice(formats), help=f"[default: {told}]"),
            *([raw_option] if raw else []),
            target_option(f"Write to this file; its suffix ({suffixes}) tells the format.{also}"),
        ]
        return functools.reduce(lambda wrapped, option: option(wrapped), reversed(options), called)

    return decorate


raw_option = click.option(
    "--raw", is_flag=True, help="Leave names in a CSV as they are, also those that a spreadsheet takes for formulas."
)


def say_markdown(text: str) -> None:
    """Print Markdown; on a terminal, as it is meant to be read."""
    width = room()
    if width is None or not sys.stdout.isatty():
        click.echo(text, nl=False)
        return
    from evalsuite.cli.markdown import readable

    say(readable(text, width))


def deliver(text: str, target: Path | None, what: str = "") -> None:
    """Print a text, or write it to the file that --to names and say so. what: there is in it."""
    if target is None and sys.stdout.isatty():
        say(text, nl=False)
    elif target is None:  # another program gets what a file would
        click.echo(text, nl=False)
    else:
        write_output(target, text)
        say(f"Wrote {what} to {target}." if what else f"Wrote {target}.")


def write_output(target: Path, text: str) -> None:
    """Write `text` to the file that --to names; UsageError where that cannot be."""
    from evalsuite.atomic import write_text

    with writing(target):
        write_text(target, text)


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """Raise UsageError where what is done in here cannot write to `target`."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"Cannot write {target}: {error.strerror or error}. Name another file.") from error
