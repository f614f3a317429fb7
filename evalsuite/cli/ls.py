"""evalsuite ls: tasks, groups and models."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from evalsuite.cli.known_tasks import task_index
from evalsuite.cli.options import Command, Group, cache_dir_option, include_path_option, place_options
from evalsuite.cli.terminal import say


@click.group(cls=Group)
def ls() -> None:
    """List tasks, groups or models."""


@ls.command(
    cls=Command,
    epilog="""
    evalsuite ls tasks                       every task, and whether its data is there
    evalsuite ls tasks 'cifar*' tag:ocr      some of them
    evalsuite ls tasks --data-root DIR       as seen from another data folder
    """,
)
@click.argument("choices", nargs=-1, metavar="[TASK]...")
@place_options
@include_path_option
def tasks(choices: tuple[str, ...], **options: Any) -> None:
    """List tasks with their classes, metric and the state of their data: ready, partial or absent."""
    from tabulate import tabulate

    from evalsuite.cli.options import split_commas
    from evalsuite.data.opening import data_state
    from evalsuite.data.place import DataPlace
    from evalsuite.data.sources import sources_of
    from evalsuite.options import build

    rows, partial = [], []
    place = build(DataPlace, options)
    for task in task_index(options["include_paths"]).select(split_commas(choices) or ["*"]):
        found = data_state(task, place)
        name = "absent" if found.state == "downloadable" else found.state
        how = "download" if any(source.can_be_fetched for source in sources_of(task, place)) else "describe"
        get = "" if name == "ready" else f"evalsuite {how} {task.name}"
        if name == "partial":
            partial.append(f"{task.name} is there only in part: {found.brief}")
        fidelity = task.split_fidelity.level
        rows.append([task.name, len(task.class_list), task.metric, fidelity, name, get, ", ".join(task.tags)])
    headers = ["task", "classes", "metric", "splits", "data", "get it with", "tags"]
    say(tabulate(rows, headers, tablefmt="simple"))
    ready = sum(row[4] == "ready" for row in rows)
    say("\n".join([f"\n{ready} of {len(rows)} are ready (data root: {place.data_root})", *partial]))


@ls.command(cls=Command, epilog="evalsuite ls groups    names for --tasks that stand for several tasks")
@include_path_option
def groups(include_paths: tuple[Path, ...]) -> None:
    """List groups of tasks and the tags."""
    from tabulate import tabulate

    index = task_index(include_paths)
    rows: list[list[str]] = []
    for name, members in index.groups.items():
        there = [member for member in members if member in index.files]
        count = f"{len(there)}" if len(there) == len(members) else f"{len(there)} of {len(members)}"
        rows.append([name, count, ", ".join(there)])
    rows += [[f"tag:{tag}", str(len(names)), ", ".join(names)] for tag, names in index.tags.items()]
    say(
        tabulate(rows, ["group", "tasks", "members with a task file"], tablefmt="simple", maxcolwidths=[None, None, 80])
    )


@ls.command(
    cls=Command,
    epilog="""
    evalsuite ls models                      models with a short name
    evalsuite ls models 'clip/*'             some of them
    evalsuite ls models 'siglip*'            what open_clip, timm and torchvision have, where no short name is like that
    """,
)
@click.argument("patterns", nargs=-1, metavar="[PATTERN]...")
@cache_dir_option
def models(patterns: tuple[str, ...], **options: Any) -> None:
    """List the models that have a short name, also those of installed packages.

    Any other model of open_clip, timm or torchvision can be named, too: a pattern that no short name matches is looked
    for there. Sizes are counted the first time a network is listed, a second or less for each.
    """
    import fnmatch

    from tabulate import tabulate

    from evalsuite.data.place import DataPlace
    from evalsuite.models import pocket
    from evalsuite.models.aliases import aliases
    from evalsuite.models.names import FORMS, plugins
    from evalsuite.options import build

    rows: list[list[Any]] = [
        ["pocket", "", "built in", 32, pocket.PARAMETERS / 1e6, pocket.GFLOPS, "exact", "yes"],
        ["pixels", "", "built in", None, 0, 0, "exact", "no"],
    ]
    for alias in aliases().values():
        weights = f"{alias.backend}:{alias.target}"
        text = "yes" if alias.backend == "open_clip" else "no"
        millions = alias.parameters / 1e6
        names = ", ".join(alias.names)
        rows.append([alias.slug, names, weights, alias.input_size, millions, alias.gflops, alias.weight_fidelity, text])
    rows += [[name, "", function, None, None, None, None, None] for name, function in plugins().items()]
    kept = [row for row in rows if not patterns or any(fnmatch.fnmatch(str(row[0]), pattern) for pattern in patterns)]
    if patterns and not kept:
        kept = _published(patterns, build(DataPlace, options).cache_dir)
    headers = ["model", "also", "weights", "pixels", "million parameters", "GFLOPs", "fidelity", "text"]
    say(tabulate(kept, headers, tablefmt="simple", floatfmt=".1f", missingval="-"))
    say(f"\nA model is one of:\n{FORMS}")


def _published(patterns: tuple[str, ...], cache_dir: Path) -> list[list[Any]]:
    """Return the rows of published weights, with what is counted of their networks."""
    from evalsuite.models.names import resolve
    from evalsuite.models.searching import published_like
    from evalsuite.models.sizes import known_size

    rows: list[list[Any]] = []
    with click.progressbar(list(published_like(patterns)), label="Counting", file=sys.stderr) as found:
        for weights in found:
            size = known_size(resolve(weights.name), cache_dir)
            pixels, millions, gflops = weights.pixels, None, None
            if size is not None:
                pixels, millions, gflops = size.input_size, size.parameters / 1e6, size.gflops
            rows.append([weights.name, "", "", pixels, millions, gflops, None, weights.text])
    return rows
