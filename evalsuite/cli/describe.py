"""evalsuite describe: what a task is and where its data comes from."""

from __future__ import annotations

from pathlib import Path

import click

from evalsuite.cli.options import (
    Command,
    TaskName,
    cache_dir_option,
    data_root_option,
    include_path_option,
    split_commas,
    trust_adapters_option,
)

INDEX = "README.md"


@click.command(
    cls=Command,
    epilog="""
    evalsuite describe sun397                     what it is, and how to get its images
    evalsuite describe imagenet --data-root DIR   with what is missing there
    evalsuite describe all --output docs/datasets a page a task
    """,
)
@click.argument("choices", nargs=-1, required=True, type=TaskName(), metavar="TASK|FILE...")
@data_root_option
@cache_dir_option
@include_path_option
@trust_adapters_option
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write a page a task and an index into this folder instead.",
)
def describe(
    choices: tuple[str, ...],
    data_root: Path | None,
    cache_dir: Path | None,
    include_paths: tuple[Path, ...],
    trust_adapters: bool,
    output: Path | None,
) -> None:
    """Say of tasks what they are: splits, metric, prompts, licence, and how to get the images."""
    from evalsuite.atomic import check_writable, write_text
    from evalsuite.data.opening import data_state
    from evalsuite.data.place import DataPlace
    from evalsuite.options import build
    from evalsuite.report.task_page import index_page, task_page
    from evalsuite.tasks import TaskIndex

    tasks = TaskIndex(include_paths).select(split_commas(choices))
    if output is not None:
        check_writable(output, "--output")
        for task in tasks:
            write_text(output / f"{task.name}.md", task_page(task))
        write_text(output / INDEX, index_page(tasks))
        click.echo(f"{len(tasks)} pages are in {output}.")
        return
    place = build(DataPlace, {"data_root": data_root, "cache_dir": cache_dir, "trust_adapters": trust_adapters})
    for task in tasks:
        click.echo(task_page(task))
        state = data_state(task, place)
        click.echo(f"## On this machine\n\n{state.state}{f': {state.missing}' if state.missing else ''}\n")
