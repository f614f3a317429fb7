"""evalsuite validate: prove task files against the data they describe."""

from __future__ import annotations

from typing import Any

import click

from evalsuite.cli.known_tasks import task_index
from evalsuite.cli.options import Command, TaskName, include_path_option, place_options, split_commas
from evalsuite.cli.terminal import say
from evalsuite.columns import Column, as_table, room
from evalsuite.text import brief, counted

WIDEST = 140
"""Columns of a table with sentences in it."""


@click.command(
    cls=Command,
    epilog="""
    evalsuite validate my_birds.yaml                 before the first run
    evalsuite validate mnist cifar10 --data-root DIR
    evalsuite validate '*'                           every known task, and whether its sources can be reached
    evalsuite validate '*' --offline                 the same without the network
    """,
)
@click.argument("choices", nargs=-1, type=TaskName(), metavar="[TASK|FILE]...")
@place_options
@include_path_option
@click.option("--schema", is_flag=True, help="Print the JSON schema of task files and stop (for editors).")
def validate(choices: tuple[str, ...], schema: bool, **options: Any) -> int:
    """Check task files: schema, prompts, sources, label maps, sizes, labels, and that images decode.

    Tasks whose data is not there are checked as far as their files go, and whether it could be downloaded. It is an
    error where a task of your own is named whose images are nowhere, or a data root that is not there.
    Exit code 1 if anything fails.
    """
    from evalsuite.data.download.prober import Prober
    from evalsuite.data.place import DataPlace
    from evalsuite.data.validation import check_task
    from evalsuite.errors import SpecError, UsageError
    from evalsuite.options import build

    if schema:
        from evalsuite.tasks.schema import task_schema

        say(task_schema())
        return 0
    root = options["data_root"]
    if root is not None and not root.is_dir():
        raise UsageError(f"--data-root {root}: there is no such folder. Make it, or name the folder of your datasets.")
    prober = Prober()
    place = build(DataPlace, options)
    index = task_index(options["include_paths"])
    rows = []
    failed = 0
    given = split_commas(choices) or ["*"]
    names = [name for choice in given for name in index.expand(choice)]
    for name in names:
        try:
            task = index.load(name)
            checks = list(check_task(task, place, prober, must_be_there=name in given and not task.is_shipped))
        except SpecError as error:
            say(brief(str(error)), err=True)
            rows.append([name, "file", "failed", "see above"])
            failed += 1
            continue
        failed += any(check.state == "failed" for check in checks)
        rows += [[task.name, check.name, check.state, brief(check.text)] for check in checks]
    width = min(room() or WIDEST, WIDEST)
    say(as_table([Column("task"), Column("check"), Column("state"), Column("", wraps=True)], rows, width))
    say(f"\n{counted(len(names), 'task')}, {failed} failed.")
    return 1 if failed else 0
