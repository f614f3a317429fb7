"""evalsuite describe: what a task is and where its data comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from evalsuite.cli.options import Command, TaskName, include_path_option, place_options, split_commas
from evalsuite.text import counted

INDEX = "README.md"


@click.command(
    cls=Command,
    epilog="""
    evalsuite describe sun397                     what it is, and how to get its images
    evalsuite describe imagenet --data-root DIR   with what is missing there
    evalsuite describe all --output docs/datasets one page per task
    """,
)
@click.argument("choices", nargs=-1, required=True, type=TaskName(), metavar="TASK|FILE...")
@place_options
@include_path_option
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write one page per task and an index into this folder instead.",
)
def describe(choices: tuple[str, ...], output: Path | None, **options: Any) -> None:
    """Say of tasks what they are: splits, metric, prompts, licence, and how to get the images."""
    from evalsuite.atomic import check_writable, write_text
    from evalsuite.data.opening import data_state
    from evalsuite.data.place import DataPlace
    from evalsuite.data.task_page import index_page, task_page
    from evalsuite.options import build
    from evalsuite.tasks import TaskIndex

    tasks = TaskIndex(options["include_paths"]).select(split_commas(choices))
    if output is not None:
        check_writable(output, "--output")
        for task in tasks:
            write_text(output / f"{task.name}.md", task_page(task))
        write_text(output / INDEX, index_page(tasks))
        click.echo(f"{counted(len(tasks), 'page')} in {output}.")
        return
    place = build(DataPlace, options)
    for task in tasks:
        click.echo(task_page(task))
        state = data_state(task, place)
        click.echo(f"## On this machine\n\n{state.state}{f': {state.missing}' if state.missing else ''}\n")
