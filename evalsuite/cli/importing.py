"""evalsuite import: other people's results, for the leaderboard."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from evalsuite.cli.options import Command
from evalsuite.cli.terminal import say

if TYPE_CHECKING:
    from evalsuite.results.importing import Units


@click.command(
    "import",
    cls=Command,
    epilog="""
    evalsuite import openclip_results.csv                     the table of open_clip
    evalsuite import benchmark.csv                            what `clip_benchmark build` wrote
    evalsuite import results/*.json --name lab                many evaluations of CLIP_benchmark as one table
    evalsuite leaderboard --published open-clip -t imagenet   next to your own results
    """,
)
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="FILE..."
)
@click.option(
    "--name",
    metavar="NAME",
    help="Name of the table, for --published; an earlier import of this name is replaced.  "
    "[default: clip-benchmark or open-clip, by the layout]",
)
@click.option(
    "--units",
    type=click.Choice(["fraction", "percent"]),
    default="fraction",
    show_default=True,
    help="What the numbers in the files are.",
)
def import_results(files: tuple[Path, ...], name: str | None, units: Units) -> None:
    """Read results of CLIP_benchmark (JSON, CSV) or open_clip (openclip_results.csv) into a table of their own.

    Only numbers in the metric of a task here are taken. They are shown by `leaderboard --published NAME` as
    imported:NAME, with the label of their protocol, and never become results of yours.
    """
    from evalsuite.results.imported import store_imported
    from evalsuite.results.importing import read_table
    from evalsuite.text import counted, shortened

    table, skipped = read_table(files, name, units)
    path = store_imported(table)
    for why, what in skipped.items():
        say(f"warning: left out, {why}: {shortened(what, 8)}", err=True)
    for task, known in table.tasks.items():
        if known.caveat:
            say(f"note: {task}: {known.caveat}", err=True)
    size = f"{counted(len(table.rows), 'row')} x {counted(len(table.tasks), 'task')}"
    say(
        f"Imported {size} ({', '.join(table.notes)}) as {table.name} into {path}.\n"
        f"Show them: evalsuite leaderboard --published {table.name}"
    )
