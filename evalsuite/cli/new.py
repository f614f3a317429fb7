"""evalsuite new: files to start from."""

from __future__ import annotations

from pathlib import Path

import click

from evalsuite.cli.options import Command, Group
from evalsuite.cli.terminal import say
from evalsuite.errors import UsageError

TEMPLATE = Path(__file__).with_name("task_template.yaml")


@click.group(cls=Group)
def new() -> None:
    """Write a commented file to start from."""


@new.command(
    cls=Command,
    epilog="""
    evalsuite new task my_birds.yaml
    evalsuite validate my_birds.yaml && evalsuite run -m pocket -t my_birds.yaml
    """,
)
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.yaml")
def task(path: Path) -> None:
    """Write a commented task file: a dataset of your own."""
    from evalsuite.atomic import write_text

    if path.suffix not in {".yaml", ".yml"}:
        path = path.with_name(path.name + ".yaml")
    if path.exists():
        raise UsageError(f"{path} is there already; name another file, or remove it first.")
    try:
        write_text(path, TEMPLATE.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"Cannot write {path}: {error.strerror or error}. Name another file.") from error
    say(f"Wrote {path}. Edit it, then:\n  evalsuite validate {path}\n  evalsuite run -m pocket -t {path}")
