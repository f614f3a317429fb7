"""The only way to the terminal: what a name from data would do to it, or to a pipe, is spelled out instead."""

from __future__ import annotations

import logging
import os
import re
import shlex
import shutil
import sys
import traceback
from pathlib import Path

import click

from evalsuite import __version__
from evalsuite.cli.arguments import volume
from evalsuite.errors import EvalsuiteError
from evalsuite.text import brief, printable


def say(text: object = "", *, err: bool = False, nl: bool = True) -> None:
    """Print a text, to stderr with `err`."""
    click.echo(printable(str(text)), err=err, nl=nl)


def complain(error: EvalsuiteError) -> None:
    """Print what is wrong, on at most six lines."""
    say(f"Error: {brief(str(error))}", err=True)


def comes_from_output(error: OSError) -> bool:
    """Say whether an error came up while click or rich wrote: they write to the terminal alone."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and not {"click", "rich"}.isdisjoint(Path(frames[-1].filename).parts)


def leave_output() -> str | None:
    """Write what is left to write; return why that cannot be, None where it can or where the reader has gone.

    Python would try once more at the end, and end with a traceback: what cannot be written is given up here.
    """
    fault = None
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as error:
            fault = fault or (None if isinstance(error, BrokenPipeError) else error.strerror)
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
    return fault


def say_that_it_starts() -> None:
    """Say at once that something goes on, where torch and what is built on it have to be imported first."""
    if "torch" not in sys.modules and volume() != "quiet":
        say(f"evalsuite {__version__}: loading torch and the libraries of models ...", err=True)


def typed() -> str:
    """Return the command line as a person typed it, for the records."""
    return printable(shlex.join(["evalsuite", *sys.argv[1:]]))


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


def log_more() -> None:
    """Let the libraries below say what they do, for `--verbose`."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Printable("%(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def prepare_output() -> None:
    """Let streams take any name of a file, warnings be as harmless as `say`, and libraries draw no bars into a log.

    A size of the terminal that is no number is forgotten: rich would fail on it.
    """
    for name in ("COLUMNS", "LINES"):
        if not re.fullmatch("[0-9]{1,6}", os.environ.get(name, "0")):
            del os.environ[name]
    _replace_closed()
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_Printable())


def _replace_closed() -> None:
    """Let closed streams (`2>&-`) lead nowhere: a file of a store would get their number, and what is printed."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            setattr(sys, name, os.fdopen(number, "w" if number else "r", encoding="utf-8"))
