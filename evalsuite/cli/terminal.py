"""The only way to the terminal: what a name from data would do to it, or to a pipe, is spelled out instead."""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import sys
from pathlib import Path

import click

from evalsuite.errors import EvalsuiteError, SpecError, UsageError
from evalsuite.text import brief, printable


def say(text: object = "", *, err: bool = False, nl: bool = True) -> None:
    """Print a text, to stderr with `err`."""
    click.echo(printable(str(text)), err=err, nl=nl)


def complain(error: EvalsuiteError) -> None:
    """Print what is wrong, on at most six lines; where a name is wrong, the forms that a name can have take more."""
    lines = 14 if isinstance(error, UsageError) and not isinstance(error, SpecError) else 6
    say(f"Error: {brief(str(error), lines)}", err=True)


def program() -> str:
    """Return what a person types for this command line: `evalsuite` where the shell finds it, else its path."""
    started = Path(sys.argv[0])
    if started.name == "__main__.py":
        return "python -m evalsuite"
    found = shutil.which("evalsuite")
    return "evalsuite" if not started.is_file() or (found and started.samefile(found)) else shlex.quote(sys.argv[0])


class _Printable(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def prepare_output() -> None:
    """Let streams take any name of a file, warnings be as harmless as `say`, and libraries draw no bars into a log."""
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_Printable())
