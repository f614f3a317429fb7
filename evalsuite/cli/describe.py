"""evalsuite describe: what a task is and where its data comes from; what a model is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from evalsuite.cli.destination import say_markdown
from evalsuite.cli.known_tasks import task_index
from evalsuite.cli.options import Command, TaskName, include_path_option, place_options, split_commas
from evalsuite.cli.terminal import say
from evalsuite.columns import facts, room
from evalsuite.text import counted, printable

INDEX = "README.md"

WIDEST = 120
"""Columns of a page on a model."""

if TYPE_CHECKING:
    from evalsuite.models.names import ResolvedModel
    from evalsuite.tasks import TaskIndex


@click.command(
    cls=Command,
    epilog="""
    evalsuite describe sun397                     what it is, and how to get its images
    evalsuite describe imagenet --data-root DIR   with what is missing there
    evalsuite describe ViT-B/32                   weights, preprocessing, text rules, logit scale; loads nothing
    evalsuite describe all --output docs/datasets one page per task
    """,
)
@click.argument("choices", nargs=-1, required=True, type=TaskName(), metavar="TASK|FILE|MODEL...")
@place_options
@include_path_option
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write one page per task and an index into this folder instead.",
)
def describe(choices: tuple[str, ...], output: Path | None, **options: Any) -> None:
    """Say of tasks what they are: splits, metric, prompts, licence, and how to get the images; of models, too."""
    from evalsuite.atomic import check_writable, write_text
    from evalsuite.data.opening import data_state
    from evalsuite.data.place import DataPlace
    from evalsuite.options import build
    from evalsuite.report.task_page import index_page, task_page

    index, place = task_index(options["include_paths"]), build(DataPlace, options)
    names, models = _apart(split_commas(choices), index)
    for model in models:
        _describe_model(model, place.cache_dir)
    tasks = index.select(names) if names else []
    if output is not None:
        check_writable(output, "--output")
        for task in tasks:
            write_text(output / f"{task.name}.md", task_page(task))
        write_text(output / INDEX, index_page(tasks))
        say(f"{counted(len(tasks), 'page')} in {output}.")
        return
    for task in tasks:
        state = data_state(task, place)
        here = printable(f"## On this machine\n\n{state.state}{f': {state.missing}' if state.missing else ''}")
        say_markdown(f"{task_page(task)}\n{here}\n\n")


def _apart(choices: Sequence[str], index: TaskIndex) -> tuple[list[str], list[ResolvedModel]]:
    """Part names of tasks from models; UsageError for what is neither."""
    from evalsuite.cli.choosing import kind_of
    from evalsuite.models.names import resolve

    names, models = [], []
    for choice in choices:
        if kind_of(choice, index) == "models":
            models.append(resolve(choice))
        else:
            names.append(choice)
    return names, models


def _describe_model(model: ResolvedModel, cache_dir: Path) -> None:
    from evalsuite.models.describing import model_lines

    say(f"# {model.name}\n")
    say(facts(model_lines(model, cache_dir), min(room() or WIDEST, WIDEST)) + "\n")
