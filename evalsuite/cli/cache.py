"""evalsuite cache: look after the stored features."""

from __future__ import annotations

import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from evalsuite.cli.known_tasks import tell_foreign
from evalsuite.cli.options import Command, Group, cache_dir_option, include_path_option, place_options, split_commas
from evalsuite.cli.terminal import say
from evalsuite.columns import Column, as_table, room
from evalsuite.config import default_cache, default_output
from evalsuite.errors import UsageError
from evalsuite.text import counted

if TYPE_CHECKING:
    from evalsuite.data.base import Pool
    from evalsuite.data.place import DataPlace
    from evalsuite.features.catalog import Entry
    from evalsuite.tasks import TaskIndex

STORED = ("model", "task", "pool", "precision")
"""What a table says of stored features, next to their size."""

_filter: dict[str, Any] = {"multiple": True, "metavar": "PATTERN", "help": "Only these."}
models_filter = click.option("-m", "--model", "--models", "models", **_filter)
tasks_filter = click.option("-t", "--tasks", "--task", "tasks", **_filter)


@click.group(cls=Group)
def cache() -> None:
    """Look after the stored features."""


@cache.command("ls", cls=Command, epilog="evalsuite cache ls -m 'clip/*'    what is stored of some models")
@models_filter
@tasks_filter
@cache_dir_option
def list_(models: tuple[str, ...], tasks: tuple[str, ...], cache_dir: Path | None) -> None:
    """List what is stored and how large it is."""
    from rich.filesize import decimal

    chosen = _chosen(cache_dir, models, tasks)
    for entry in chosen:
        if entry.problem:
            say(f"{entry.problem}; `evalsuite cache rm -m {entry.origin.model}` removes it.", err=True)
    if chosen:
        rows = [[*(getattr(entry.origin, name) for name in STORED), decimal(entry.bytes)] for entry in chosen]
        columns = [Column(name, wraps=name == "model") for name in STORED]
        say(as_table([*columns, Column("size", right=True)], rows, room()) + "\n")
    say(f"{_sum(chosen)} in {cache_dir or default_cache()}")


@cache.command(
    cls=Command,
    epilog="""
    evalsuite cache rm -m 'my_model*'        what is stored of one model
    evalsuite cache rm --all --yes           everything, without being asked
    """,
)
@models_filter
@tasks_filter
@click.option("--all", "everything", is_flag=True, help="Everything.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@cache_dir_option
def rm(models: tuple[str, ...], tasks: tuple[str, ...], everything: bool, yes: bool, cache_dir: Path | None) -> int:
    """Remove stored features; results stay. They are computed again when they are needed."""
    from evalsuite.features.catalog import remove, sweep

    if not (models or tasks or everything):
        raise UsageError("Say what to remove: -m PATTERN, -t PATTERN or --all.")
    chosen = _chosen(cache_dir, models, tasks)
    if not chosen:
        sweep(cache_dir or default_cache())
        say("Nothing matches.")
        return 0
    if not (yes or _agreed(f"Remove {_sum(chosen)}?")):
        say("Nothing was removed.")
        return 1
    failed = 0
    for entry in chosen:
        try:
            remove(entry, lambda text: say(text, err=True))
        except OSError as error:
            failed += 1
            say(f"{entry.folder} was not removed: {error}.", err=True)
    sweep(cache_dir or default_cache())
    say(f"Removed {counted(len(chosen) - failed, 'pool')}.")
    return 1 if failed else 0


@cache.command(
    cls=Command,
    epilog="""
    evalsuite cache verify --data-root DIR   compare the bytes of every image with what was encoded
    evalsuite cache verify -o runs/monday    and look at the results in a folder
    """,
)
@models_filter
@tasks_filter
@click.option(
    "-o",
    "--output",
    "outputs",
    type=click.Path(path_type=Path, exists=True),
    multiple=True,
    help="Look at the results in this folder, too; repeat it.  [default: where runs write]",
)
@place_options
@include_path_option
def verify(models: tuple[str, ...], tasks: tuple[str, ...], outputs: tuple[Path, ...], **options: Any) -> int:
    """Check everything that is stored by its checksums, and that the images are still the ones that were encoded.

    Features, text embeddings, results and their samples, imports, notes. Images of a task of your own are found by what
    its results say. Exit code 1 if anything is wrong; the same run again computes what is damaged.
    """
    from evalsuite.cli.verifying import others, show, show_checked
    from evalsuite.data.place import DataPlace
    from evalsuite.features.catalog import leftovers
    from evalsuite.features.catalog import verify as verify_entry
    from evalsuite.options import build
    from evalsuite.results.library import load_numbers
    from evalsuite.results.task_files import index_of

    place = build(DataPlace, {**options, "offline": True})
    results = outputs or [folder for folder in [default_output()] if folder.is_dir()]
    index = tell_foreign(index_of(load_numbers(results)[0].numbers, options["include_paths"]))
    chosen = _chosen(place.cache_dir, models, tasks)
    if not chosen:
        say(f"Nothing matches in {place.cache_dir}.")
    wrong = 0
    for entry in chosen:
        pool, note = _pool(entry, place, index)
        problems = verify_entry(entry, pool)
        wrong += show(f"{entry.origin.model} {entry.origin.task}/{entry.origin.pool}", problems, note)
    folders = [entry.folder.parent for entry in chosen] if models or tasks else None
    for found in others(place.cache_dir, results, lambda m, t: _matches(m, models) and _matches(t, tasks), folders):
        wrong += show_checked(found)
    if left := leftovers(place.cache_dir):
        say(f"{counted(len(left), 'leftover')} of stopped runs, which nothing reads; the next run removes them.")
    return 1 if wrong else 0


def _agreed(question: str) -> bool:
    """Ask; UsageError where nobody can answer."""
    try:
        return click.confirm(question)
    except click.Abort as error:
        if isinstance(error.__context__, EOFError):
            raise UsageError("Nobody is there to be asked: --yes removes without a question.") from None
        raise


def _pool(entry: Entry, place: DataPlace, index: TaskIndex) -> tuple[Pool | None, str]:
    """Return the images that were encoded; where they are not here, why only the files of the store are looked at."""
    from evalsuite.data.opening import open_task
    from evalsuite.errors import EvalsuiteError

    if entry.origin.task not in index.files:
        return None, " (files of the store only; no task of this name is known: say where its results are with -o)"
    try:
        pool = open_task(index.load(entry.origin.task), place).open_pool(entry.origin.pool)
    except EvalsuiteError as error:
        return None, f" (files of the store only; the images are not available: {str(error).splitlines()[0]})"
    if pool.fingerprint != entry.origin.fingerprint:
        return None, " (files of the store only; the dataset here is another copy)"
    return pool, ""


def _chosen(cache_dir: Path | None, models: tuple[str, ...], tasks: tuple[str, ...]) -> list[Entry]:
    from evalsuite.features.catalog import entries

    found = entries(cache_dir or default_cache())
    return [entry for entry in found if _matches(entry.origin.model, models) and _matches(entry.origin.task, tasks)]


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return not patterns or any(fnmatch.fnmatch(name, pattern) for pattern in split_commas(patterns))


def _sum(chosen: list[Entry]) -> str:
    from rich.filesize import decimal

    return f"{counted(len(chosen), 'pool')}, {decimal(sum(entry.bytes for entry in chosen))}"
