"""evalsuite predict: classify your own images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from evalsuite.cli.destination import Destination, destination_options
from evalsuite.cli.known_tasks import task_index
from evalsuite.cli.options import Command, ModelName, TaskName, as_flags, include_path_option
from evalsuite.cli.terminal import say, say_that_it_starts
from evalsuite.columns import room
from evalsuite.data.place import DataPlace
from evalsuite.errors import UsageError
from evalsuite.options import RunOptions, build, declared
from evalsuite.text import counted

if TYPE_CHECKING:
    from evalsuite.applied.predicting import Classes
    from evalsuite.results.heads import StoredHead

FORMATS = ("table", "csv", "json")

ENCODING = ("device", "precision", "batch_size", "workers", "decoder")
"""Options of a run that decide how images are encoded."""

encoding_options = as_flags(
    *(option for option in declared(DataPlace) if option.name in ("cache_dir", "offline")),
    *(option for option in declared(RunOptions) if option.name in ENCODING),
)
one_model_option = click.option(
    "-m", "--model", required=True, type=ModelName(), metavar="NAME", help="Model. `evalsuite ls models` shows them."
)


@click.command(
    cls=Command,
    epilog="""
    evalsuite predict -m ViT-B/32 holiday/ --classes beach,mountain,city      zero-shot, by words
    evalsuite predict -m ViT-B/32 cat.jpg --task oxford_pets                  zero-shot, with the task's prompts
    evalsuite run -m ViT-B/32 -t my_birds.yaml --protocol linear_probe --save-head
    evalsuite predict -m ViT-B/32 garden/ --head results/runs/.../my_birds.linear_probe.head.json --to birds.csv
    """,
)
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@one_model_option
@click.option("--head", type=click.Path(path_type=Path), metavar="FILE", help="A probe that `run --save-head` kept.")
@click.option("--task", type=TaskName(), metavar="NAME", help="Zero-shot with the classes and prompts of a task.")
@click.option("--classes", metavar="A,B,C", help="Zero-shot with these classes, as `a photo of a A.`")
@destination_options(*FORMATS, told="table", raw=False)
@include_path_option
@encoding_options
def predict(
    images: tuple[Path, ...],
    model: str,
    head: Path | None,
    task: str | None,
    classes: str | None,
    to: Destination,
    include_paths: tuple[Path, ...],
    **keywords: Any,
) -> int:
    """Classify IMAGES, files or folders, by a probe that a run has kept or zero-shot by the names of classes.

    Images are encoded once and stored, as in a run.
    """
    say_that_it_starts()
    from evalsuite.api import open_model
    from evalsuite.applied.predicting import Predictions
    from evalsuite.applied.predicting import predict as classify
    from evalsuite.cli.progress import make_reporter
    from evalsuite.models.base import EMBEDDING, PENULTIMATE
    from evalsuite.results.heads import StoredHead

    to.chosen(FORMATS, "table")
    by = _by(head, task, classes, include_paths)
    options, place = build(RunOptions, keywords), build(DataPlace, keywords)
    if isinstance(by, StoredHead) and by.described.layer not in (PENULTIMATE, EMBEDDING):
        options = replace(options, layer=by.described.layer)
    with make_reporter() as reporter:
        session = open_model(model, options, place, reporter.note)
        found = classify(session, images, by, options, reporter)
    width = None if to.target else room()
    written: dict[str, Callable[..., str]] = {
        "table": partial(Predictions.to_table, width=width), "csv": Predictions.to_csv, "json": Predictions.to_json
    }  # fmt: skip
    to.emit(found, written, counted(len(found.images), "prediction"), default="table")
    for problem in found.unreadable:
        say(f"left out: {problem}", err=True)
    return 1 if found.unreadable else 0


def _by(head: Path | None, task: str | None, classes: str | None, folders: tuple[Path, ...]) -> StoredHead | Classes:
    from evalsuite.applied.predicting import Classes
    from evalsuite.results.heads import read_head
    from evalsuite.tasks import TaskClass

    given = [name for name, value in (("--head", head), ("--task", task), ("--classes", classes)) if value is not None]
    if len(given) != 1:
        raise UsageError(f"Give one of --head, --task and --classes{f', not {given}' if given else ''}.")
    if head is not None:
        return read_head(head)
    if task is not None:
        spec = task_index(folders).load(task)
        if not spec.class_list:
            raise UsageError(f"The task {task} has captions and no classes: name classes by --classes A,B,C.")
        return Classes(spec.class_list, spec.prompt_spec.templates)
    names = [name.strip() for name in (classes or "").split(",") if name.strip()]
    if len(set(names)) < 2:
        raise UsageError(f"--classes {classes}: give at least two different names, with commas between them.")
    return Classes([TaskClass(key=name, names=[name]) for name in dict.fromkeys(names)])
