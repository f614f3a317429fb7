"""evalsuite ls: tasks, groups and models."""

from __future__ import annotations

import fnmatch
import sys
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from evalsuite.cli.known_tasks import task_index
from evalsuite.cli.options import (
    Command,
    Group,
    cache_dir_option,
    include_path_option,
    place_options,
    split_commas,
)
from evalsuite.cli.terminal import say, say_that_it_starts
from evalsuite.columns import Column, as_table, room

if TYPE_CHECKING:
    from evalsuite.models.searching import Published
    from evalsuite.tasks import TaskIndex

TASKS = (
    Column("task"),
    Column("classes", right=True, spare=True),
    Column("metric", spare=True),
    Column("splits", spare=True),
    Column("data"),
    Column("get it with", wraps=True),
    Column("tags", wraps=True, spare=True),
)
GROUPS = (Column("group"), Column("tasks", right=True), Column("members with a task file", wraps=True))
MODELS = (
    Column("model", wraps=True),
    Column("also", wraps=True, spare=True),
    Column("weights", wraps=True),
    Column("pixels", right=True),
    Column("million parameters", right=True),
    Column("GFLOPs", right=True, spare=True),
    Column("fidelity", spare=True),
    Column("text", spare=True),
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON: one object for each line of the table.")


@click.group(cls=Group, default="tasks")
def ls() -> None:
    """List tasks, groups or models."""


@ls.command(
    cls=Command,
    epilog="""
    evalsuite ls tasks                       every task, and whether its data is there
    evalsuite ls tasks 'cifar*' tag:ocr      some of them
    evalsuite ls tasks bird --json           those with these letters in their name, for a program
    evalsuite ls tasks --data-root DIR       as seen from another data folder
    """,
)
@click.argument("choices", nargs=-1, metavar="[TASK]...")
@place_options
@include_path_option
@json_option
def tasks(choices: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """List tasks with their classes, metric and the state of their data: ready, partial or absent."""
    from evalsuite.data.opening import data_state
    from evalsuite.data.place import DataPlace
    from evalsuite.data.sources import sources_of
    from evalsuite.options import build

    rows, partial = [], []
    place, index = build(DataPlace, options), task_index(options["include_paths"])
    for task in index.select([name for choice in split_commas(choices) or ["*"] for name in _like(choice, index)]):
        found = data_state(task, place)
        name = "absent" if found.state == "downloadable" else found.state
        how = "download" if any(source.can_be_fetched for source in sources_of(task, place)) else "describe"
        get = "" if name == "ready" else f"evalsuite {how} {task.name}"
        if name == "partial":
            partial.append(f"{task.name} is there only in part: {found.brief}")
        fidelity = task.split_fidelity.level
        rows.append([task.name, len(task.class_list), task.metric, fidelity, name, get, list(task.tags)])
    ready = f"{sum(row[4] == 'ready' for row in rows)} of {len(rows)} are ready (data root: {place.data_root})"
    _show(TASKS, rows, as_json, "\n".join([ready, *partial]))


def _like(choice: str, index: TaskIndex) -> list[str]:
    """Return what a choice stands for; of letters that are no name, the tasks that have them in their name."""
    from evalsuite.cli.choosing import is_task

    return [choice] if is_task(choice, index) else _with(choice, sorted(index.files)) or [choice]


def _with(letters: str, names: Sequence[str]) -> list[str]:
    return [name for name in names if letters.casefold() in name.casefold()]


def _show(columns: Sequence[Column], rows: Sequence[Sequence[Any]], as_json: bool, note: str = "") -> None:
    """Print rows as a table with a note below it, or as JSON."""
    if as_json:
        from evalsuite.report.escaping import to_json_text

        names = [column.heading.replace(" ", "_") for column in columns]
        say(to_json_text([dict(zip(names, row, strict=True)) for row in rows]), nl=False)
        return
    say(as_table(columns, [list(map(_cell, row)) for row in rows], room()))
    if note:
        say(f"\n{note}")


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(value)
    return "-" if value is None else f"{value:.1f}" if isinstance(value, float) else str(value)


@ls.command(cls=Command, epilog="evalsuite ls groups    names for --tasks that stand for several tasks")
@include_path_option
@json_option
def groups(include_paths: tuple[Path, ...], as_json: bool) -> None:
    """List groups of tasks and the tags."""
    index = task_index(include_paths)
    rows: list[list[Any]] = []
    for name, members in index.groups.items():
        there = [member for member in members if member in index.files]
        count = len(there) if len(there) == len(members) else f"{len(there)} of {len(members)}"
        rows.append([name, count, there])
    rows += [[f"tag:{tag}", len(names), names] for tag, names in index.tags.items()]
    _show(GROUPS, rows, as_json)


@ls.command(
    cls=Command,
    epilog="""
    evalsuite ls models                      models with a short name
    evalsuite ls models 'clip/*'             some of them
    evalsuite ls models vit-b                those with these letters in their name; --json for a program
    evalsuite ls models 'siglip*'            what open_clip, timm and torchvision have, where no short name is like that
    evalsuite ls models 'siglip*' --count    and how large they are
    """,
)
@click.argument("patterns", nargs=-1, metavar="[PATTERN]...")
@click.option("--count", is_flag=True, help="Count parameters and FLOPs of networks that were not counted before.")
@cache_dir_option
@json_option
def models(patterns: tuple[str, ...], count: bool, as_json: bool, **options: Any) -> None:
    """List the models that have a short name, also those of installed packages.

    Any other model of open_clip, timm or torchvision can be named, too: a pattern that no short name matches is looked
    for there. --count takes a second or less for each network, and is remembered.
    """
    from evalsuite.data.place import DataPlace
    from evalsuite.errors import UsageError
    from evalsuite.models.names import FORMS, known_names
    from evalsuite.options import build
    from evalsuite.registry import did_you_mean

    wanted = split_commas(patterns)
    kept = [row for row in _named() if not wanted or any(_is_like(row, pattern) for pattern in wanted)]
    notes = []
    if wanted and not kept:
        cache_dir = build(DataPlace, options).cache_dir
        kept = _published([one if _is_glob(one) else f"{one}*" for one in wanted], cache_dir, count=count)
        if not kept:
            raise UsageError(
                f"No model is like {' or '.join(wanted)}.{did_you_mean(wanted[0], known_names())} "
                "`evalsuite ls models` shows the short names, and what else a model may be."
            )
        if not count and any(row[4] is None for row in kept):
            notes.append("-: not counted yet; --count does it, a second or less for each.")
    forms = as_table([Column("name"), Column("what it is", wraps=True)], FORMS, room())
    _show(MODELS, kept, as_json, "\n\n".join([*notes, "A model is one of:", forms]))


def _named() -> list[list[Any]]:
    """Return the rows of the models that have a short name."""
    from evalsuite.models import pocket
    from evalsuite.models.aliases import aliases
    from evalsuite.models.names import plugins

    rows: list[list[Any]] = [
        ["pocket", [], "built in", 32, pocket.PARAMETERS / 1e6, pocket.GFLOPS, "exact", "yes"],
        ["pixels", [], "built in", None, 0, 0, "exact", "no"],
    ]
    for alias in aliases().values():
        weights = f"{alias.backend}:{alias.target}"
        text = "yes" if alias.backend == "open_clip" else "no"
        millions = alias.parameters / 1e6
        names = list(alias.names)
        rows.append([alias.slug, names, weights, alias.input_size, millions, alias.gflops, alias.weight_fidelity, text])
    return rows + [[name, [], function, None, None, None, None, None] for name, function in plugins().items()]


def _is_like(row: Sequence[Any], pattern: str) -> bool:
    """Say whether a pattern matches the name of a model, or its letters are in one of its names."""
    return fnmatch.fnmatch(row[0], pattern) if _is_glob(pattern) else bool(_with(pattern, [row[0], *row[1]]))


def _is_glob(pattern: str) -> bool:
    return any(sign in pattern for sign in "*?[")


def _published(patterns: Sequence[str], cache_dir: Path, *, count: bool) -> list[list[Any]]:
    """Return the rows of published weights, with what was counted of their networks, or with `count` is now."""
    from evalsuite.models.names import resolve
    from evalsuite.models.searching import published_like
    from evalsuite.models.sizes import counted_before, known_size

    rows: list[list[Any]] = []
    size_of = known_size if count else counted_before
    found = published_like(patterns, cache_dir, say_that_it_starts)
    bar: AbstractContextManager[Iterable[Published]] = nullcontext(found)
    if count:
        bar = click.progressbar(found, label="Counting", file=sys.stderr)
    with bar as shown:
        for weights in shown:
            size = size_of(resolve(weights.name), cache_dir)
            pixels, millions, gflops = weights.pixels, None, None
            if size is not None:
                pixels, millions, gflops = size.input_size, size.parameters / 1e6, size.gflops
            rows.append([weights.name, [], "", pixels, millions, gflops, None, weights.text])
    return rows
